"""A line in the whole program: its calls stand as recordings with a voice a channel, also those that were cut short."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import text

from agent.model import Disposition, MarkKind, SourceState
from agent.sip.listening_child import RATE as LISTENED_HZ
from agent.store import audit, history, interactions, sources
from agent.store.history import Entry
from tests.acceptance.service import ServiceUnderTest
from tests.acceptance.test_live import logged_in
from tests.peer.sip_lab import CLIENT, CLIENT_HZ, MANAGER, MANAGER_HZ, Telephone, kamailio, telephone

pytest.importorskip("pjsua2", reason="pjsua2 has no wheel for this Python, so there are no lines")
pytestmark = pytest.mark.timeout(240)

LINE = """
[sip]
listen = "127.0.0.1"

[[sip.line]]
name = "Anna"
registrar = "{registrar}"
user = "901"
secret = "secret-901"
extension = "101"
"""


@pytest.fixture
async def around(tmp_path: Path) -> AsyncIterator[tuple[str, Telephone, Telephone]]:
    """A registrar, a client and a manager."""
    async with AsyncExitStack() as stack:
        registrar = await stack.enter_async_context(kamailio(tmp_path))
        codecs = ["PCMA/8000"]
        client = await stack.enter_async_context(telephone(registrar, CLIENT, CLIENT_HZ, rtp=22000, codecs=codecs))
        manager = await stack.enter_async_context(telephone(registrar, MANAGER, MANAGER_HZ, codecs=codecs))
        yield registrar, client, manager


async def _state(service: ServiceUnderTest) -> tuple[SourceState, str] | None:
    async with service.store() as store, store.begin() as connection:
        statuses = await sources.list_statuses(connection)
    return next(((one.state, one.detail) for one in statuses if one.source == "line:Anna"), None)


async def _entries(service: ServiceUnderTest) -> list[Entry]:
    async with service.store() as store, store.begin() as connection:
        return await history.load_entries(connection, await interactions.list_ids(connection))


async def _talk(client: Telephone, registrar: str, seconds: float) -> None:
    client.forget()
    client.order("call", uri=f"sip:901@{registrar}")
    await client.sees("talking")
    await asyncio.sleep(seconds)


async def _listen_in(service: ServiceUnderTest) -> np.ndarray[Any, np.dtype[np.int16]]:
    """What a supervisor hears of the call that goes on: three seconds of it; and that he did is noted."""
    async with logged_in(service, "boss") as boss:
        (entry,) = [one for one in await _entries(service) if one.call is not None and not one.recordings]
        async with boss.get(f"/calls/{entry.interaction.id}/listen") as answer:
            assert answer.status == 200 and answer.content_type == "audio/wav"
            stream = await answer.content.readexactly(44 + 3 * LISTENED_HZ * 4)
    async with service.store() as store, store.begin() as connection:
        noted = await connection.execute(text("SELECT action FROM audit_entry"))
        assert audit.CALL_LISTENED_IN in [row.action for row in noted]
    samples = np.frombuffer(stream[44:], np.int16).reshape(-1, 2)
    return samples[LISTENED_HZ:]


async def test_a_call_through_a_line_and_one_that_a_crash_cut_short(
    around: tuple[str, Telephone, Telephone], tmp_path: Path
) -> None:
    registrar, client, manager = around
    service = ServiceUnderTest(tmp_path, LINE.format(registrar=registrar))
    await service.start(speech=False)

    async def is_up() -> bool:
        return await _state(service) == (SourceState.RUNNING, "")

    async def recorded(count: int) -> bool:
        return sum(bool(one.recordings) for one in await _entries(service)) == count

    try:
        await service.until(is_up)
        await _talk(client, registrar, 1.0)
        heard = await _listen_in(service)
        for channel, hertz in ((0, CLIENT_HZ), (1, MANAGER_HZ)):
            spectrum = np.abs(np.fft.rfft(heard[:, channel]))
            assert abs(np.argmax(spectrum) * LISTENED_HZ / len(heard) - hertz) < 5
        client.order("press", digits="7")
        await manager.sees("key")
        client.order("hang_up")
        await service.until(lambda: recorded(1))
        (entry,) = await _entries(service)
        assert entry.call is not None and entry.call.disposition == Disposition.ANSWERED
        (recording,) = entry.recordings
        assert recording.channels == 2 and not recording.truncated
        assert [mark.text for mark in entry.marks[recording.id] if mark.kind is MarkKind.DTMF] == ["7"]
        await _talk(client, registrar, 2.0)
        await service.kill()
        for one in (client, manager):  # the line says goodbye although its service is gone
            await one.sees("gone", count=1 if one is client else 2)
        await service.start(speech=False)
        await service.until(is_up)
        await service.until(lambda: recorded(2))
        cut = next(one.recordings[0] for one in await _entries(service) if one.recordings[0].truncated)
        assert cut.duration_ms > 1500
    finally:
        await service.stop()
