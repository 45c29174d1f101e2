"""A line in the whole program: its calls stand as recordings with a voice a channel, also those that were cut short."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from agent.model import Disposition, MarkKind, SourceState
from agent.store import history, interactions, sources
from agent.store.history import Entry
from tests.acceptance.service import ServiceUnderTest
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
