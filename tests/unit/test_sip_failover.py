"""Two recorders on one database are offered the same session: one call, two captures, the fuller recording first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from agent.archive.blobs import Archive
from agent.demo.siprec_client import PlayedCall, play_call
from agent.intake import Intake
from agent.settings import SiprecSettings
from agent.sip.courier import Courier
from agent.sip.siprec import RecordingServer
from agent.store import blobs, recordings
from agent.store.engine import Store
from tests.unit.sip_peers import Phone, SocketRecorder, multipart, request, sdp, to_tag

SESSION = "ZmFpbG92ZXIgc2Vzc2lvbjE="
METADATA = (
    f'<recording><session session_id="{SESSION}"/><participant participant_id="a"><nameID aor="sip:+74950000001@x"/>'
    '<send>x</send></participant><participant participant_id="b"><nameID aor="sip:101@x"/><send>y</send></participant>'
    '<stream stream_id="x"><label>1</label></stream><stream stream_id="y"><label>2</label></stream></recording>'
)


@asynccontextmanager
async def recorder(store: Store, archive: Archive, folder: Path, host: str) -> AsyncIterator[RecordingServer]:
    """A recording server with a disk of its own and the database of all."""
    courier = Courier(Intake(store, archive, host=host), folder / "captures", first_delay=0.01)
    media = SocketRecorder()
    server = RecordingServer(SiprecSettings(listen="127.0.0.1", port=0), media, courier, folder)
    await server.start()
    try:
        yield server
    finally:
        await server.stop(goodbye_s=0.1)
        assert await courier.drain(10)
        await courier.stop()
        media.close()


@pytest.fixture
async def pair(store: Store, archive: Archive, tmp_path: Path) -> AsyncIterator[list[RecordingServer]]:
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(recorder(store, archive, tmp_path / host, host)) for host in ("one", "two")
        ]


async def rows(store: Store, query: str, **values: Any) -> Sequence[Any]:
    async with store.begin() as connection:
        return (await connection.execute(text(query), values)).all()


CALL = """
    SELECT i.id, c.disposition, c.truncated, c.ended_at, i.started_at,
        (SELECT count(*) FROM party p WHERE p.interaction_id = i.id) AS parties
    FROM evidence e JOIN interaction i ON i.id = e.interaction_id JOIN call c ON c.interaction_id = i.id
    WHERE e.source = 'siprec' AND e.key = :key
"""
CAPTURES = "SELECT id, host, state, truncated FROM capture WHERE interaction_id = :id ORDER BY id"


async def until_row(store: Store, query: str, count: int, **values: Any) -> Sequence[Any]:
    async with asyncio.timeout(20):
        while len(found := await rows(store, query, **values)) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return found


async def test_parallel_forking_gives_one_call_with_two_captures(store: Store, pair: list[RecordingServer]) -> None:
    call = PlayedCall(caller="+74950000001", callee="101", caller_sound=b"\xd5" * 800, callee_sound=b"\xd5" * 800)
    await asyncio.gather(*(play_call(server.address, call) for server in pair))
    closed = f"{CALL} AND (SELECT count(*) FROM capture WHERE interaction_id = i.id AND state = 'closed') = 2"
    [found] = await until_row(store, closed, 1, key=call.session_id)
    assert (found.disposition, found.truncated, found.parties) == ("answered", False, 2)
    captures = await rows(store, CAPTURES, id=found.id)
    assert sorted(one.host for one in captures) == ["one", "two"]
    jobs = "SELECT queue_name FROM procrastinate_jobs WHERE task_name = 'assemble' AND args::text LIKE :like"
    for one in captures:  # each host assembles what lies on its disk
        assert [job.queue_name for job in await rows(store, jobs, like=f"%{one.id}%")] == [f"host:{one.host}"]


async def test_failover_continues_the_call(store: Store, pair: list[RecordingServer]) -> None:
    first, second = pair
    kind, body = multipart(sdp("1 sendonly", "2 sendonly"), METADATA.encode())
    with Phone(first.address) as phone, Phone(second.address) as other:
        await phone.ask(request("INVITE", phone, call_id="one@x", content_type=kind, body=body))
        [begun] = await until_row(store, CALL, 1, key=SESSION)
        await asyncio.sleep(1.1)  # names of captures tell seconds apart
        invite = request("INVITE", other, call_id="two@x", content_type=kind, body=body)
        tag = to_tag(await other.ask(invite))
        await until_row(store, CAPTURES, 2, id=begun.id)
        await first.stop(goodbye_s=0.1)  # the recorder that was asked first dies: its half is cut short
        await until_row(store, f"{CALL} AND c.truncated", 1, key=SESSION)
        [going] = await rows(store, CALL, key=SESSION)
        assert going.disposition == "in_progress" and going.ended_at is None  # the other one still records
        await other.ask(request("BYE", other, call_id="two@x", cseq=2, to_tag=tag))
        [ended] = await until_row(store, f"{CALL} AND c.ended_at IS NOT NULL", 1, key=SESSION)
    assert (ended.id, ended.disposition, ended.truncated) == (begun.id, "answered", False)
    assert ended.started_at == begun.started_at and ended.ended_at > begun.started_at + timedelta(seconds=1)
    assert [one.truncated for one in await rows(store, CAPTURES, id=begun.id)] == [True, False]


async def test_a_recorder_that_never_came_back_does_not_keep_the_call_open(
    store: Store, pair: list[RecordingServer]
) -> None:
    """The first one's capture stays open for ever; the second one's end is the end of the call."""
    first, second = pair
    key = "bmV2ZXIgY2FtZSBiYWNrIDE="
    kind, body = multipart(sdp("1 sendonly"), METADATA.replace(SESSION, key).encode())
    with Phone(first.address) as phone, Phone(second.address) as other:
        await phone.ask(request("INVITE", phone, call_id="one@x", content_type=kind, body=body))
        await until_row(store, CALL, 1, key=key)
        await asyncio.sleep(1.1)
        tag = to_tag(await other.ask(request("INVITE", other, call_id="two@x", content_type=kind, body=body)))
        await other.ask(request("BYE", other, call_id="two@x", cseq=2, to_tag=tag))
        [ended] = await until_row(store, f"{CALL} AND c.ended_at IS NOT NULL", 1, key=key)
        assert ended.disposition == "answered"


async def test_the_fuller_recording_comes_first(store: Store, archive: Archive, intake: Intake) -> None:
    call = await rows(store, "INSERT INTO interaction (kind, started_at) VALUES ('call', now()) RETURNING id")
    began = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
    wanted = [("whole-long", 60_000, False), ("whole-short", 20_000, False), ("cut", 90_000, True)]
    for name, duration, truncated in reversed(wanted):
        async with store.begin() as connection:
            await recordings.open_capture(connection, name, call[0].id, "test")
            sealed = await asyncio.to_thread(archive.seal, name.encode(), media_type="audio/flac")
            await recordings.save_recording(
                connection,
                capture_id=name,
                interaction_id=call[0].id,
                blob_id=await blobs.save_blob(connection, sealed, source="siprec"),
                started=began,
                duration_ms=duration,
                channels=2,
                sample_rate=8000,
                gaps=(),
                truncated=truncated,
            )
    async with store.begin() as connection:
        found = await recordings.list_recordings(connection, [call[0].id])
    assert [(one.duration_ms, one.truncated) for one in found] == [(one[1], one[2]) for one in wanted]
