"""Killed between each two hops of a call and of a mail, the service finds every entry once afterwards."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import ClientSession

from agent.demo.mails import stage_mails
from agent.demo.scene import stage_calls
from agent.demo.siprec_client import PlayedCall, play_call
from agent.store.history import Entry
from tests.acceptance.service import ServiceUnderTest

pytestmark = pytest.mark.timeout(300)
Blow = Callable[[ServiceUnderTest], Awaitable[None]]


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[ServiceUnderTest]:
    one = ServiceUnderTest(tmp_path)
    yield one
    await one.stop()


async def _kill_service(service: ServiceUnderTest) -> None:
    await service.kill()


async def _kill_postgres(service: ServiceUnderTest) -> None:
    await service.kill_postgres()
    await service.stop()


def _call() -> PlayedCall:
    """The shortest of the demo's spoken calls."""
    return min((one.played for one in stage_calls() if one.expected.spoken), key=lambda one: len(one.caller_sound))


async def _entries(service: ServiceUnderTest) -> list[Entry]:
    return (await service.histories()).off_cards


def _calls(entries: list[Entry]) -> list[Entry]:
    return [one for one in entries if one.call is not None]


def _mails(entries: list[Entry]) -> list[Entry]:
    return [one for one in entries if one.message is not None]


@pytest.mark.parametrize("blow", [_kill_service, _kill_postgres])
async def test_killed_between_any_two_hops_every_entry_is_there_once(service: ServiceUnderTest, blow: Blow) -> None:
    (mail,) = [one for one in stage_mails(with_imap=False, salt="survives") if one.expected.attachments]

    # Captured, closed and sealed, and not a job done.
    await service.start(queues=[], speech=False)
    await asyncio.gather(play_call(service.addresses["siprec"], _call()), service.send_mail(mail.raw))
    await service.until(lambda: _has(service, lambda found: bool(_calls(found)) and _ended(found)))
    await blow(service)

    # The mail is parsed; the call still lies in its packet logs.
    await service.start(queues=["parse"], speech=False)
    await service.until(lambda: _has(service, lambda found: bool(_mails(found))))
    assert not [one for one in await _entries(service) if one.recordings]
    await blow(service)

    # The recording is sealed; nothing is linked, nothing transcribed.
    await service.start(queues=["host"], speech=False)
    await service.until(lambda: _has(service, lambda found: any(one.recordings for one in found)))
    assert not [one for one in await _entries(service) if one.links or one.transcripts]
    await blow(service)

    # Linked, not transcribed.
    await service.start(queues=["link"], speech=False)
    await service.until(lambda: _has(service, lambda found: all(one.links for one in found)))
    assert not [one for one in await _entries(service) if one.transcripts]
    await blow(service)

    await service.start()
    await service.until(lambda: _has(service, lambda found: any(one.transcripts for one in found)))
    entries = await _entries(service)
    (call,), (message,) = _calls(entries), _mails(entries)
    assert len(entries) == 2
    assert len(call.recordings) == len(call.transcripts) == len(call.links) == 1
    assert call.transcripts[0].utterances
    assert not call.recordings[0].truncated
    assert [one.name for one in message.attachments] == ["proposal-117.pdf"]
    assert message.evidence_count == 1
    assert not list((service.folder / "data" / "captures").iterdir())


async def test_killed_while_a_call_goes_on_it_becomes_a_recording_marked_truncated(service: ServiceUnderTest) -> None:
    await service.start(speech=False)
    playing = asyncio.create_task(play_call(service.addresses["siprec"], _call()))
    await service.until(lambda: _has(service, lambda found: bool(_calls(found))))
    await asyncio.sleep(3)
    await service.kill()
    playing.cancel()
    await asyncio.gather(playing, return_exceptions=True)

    await service.start()
    await service.until(lambda: _has(service, lambda found: any(one.recordings for one in found)))
    (call,) = await _entries(service)
    (recording,) = call.recordings
    assert call.call is not None
    assert call.call.truncated
    assert recording.truncated
    # The call rang for no more than a second of it; at most the last second of sound may be missing.
    assert 1500 < recording.duration_ms < 6000


def _ended(entries: list[Entry]) -> bool:
    return all(one.call.ended is not None for one in entries if one.call is not None)


async def _has(service: ServiceUnderTest, condition: Callable[[list[Entry]], bool]) -> bool:
    return condition(await _entries(service))


async def test_whoever_asks_for_a_page_while_the_page_processes_die_waits_for_the_next(
    service: ServiceUnderTest,
) -> None:
    await service.start(queues=[], speech=False)
    host, port = service.addresses["web"]
    await service.until(lambda: _runs_two(service))
    before = service.children("agent.pageserver")

    async def look() -> int:
        async with ClientSession() as http, http.get(f"http://{host}:{port}/login") as answer:
            return answer.status

    assert await look() == 200
    os.kill(before[0], signal.SIGKILL)
    assert [await look() for _ in range(20)] == [200] * 20  # the other one goes on
    os.kill(before[1], signal.SIGKILL)
    assert await look() == 200  # knocks at a socket that nobody serves yet
    await service.until(lambda: _runs_two(service))
    assert not set(before) & set(service.children("agent.pageserver"))


async def _runs_two(service: ServiceUnderTest) -> bool:
    return len(service.children("agent.pageserver")) == 2
