"""Killed while many calls go on: the capture process, the main process, and everything at once.

Five calls in the ordinary tests; fifty under `make soak`. Every stream is a tone without a moment of silence, so each
gap of a recording is sound that was lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.archive.chain import verify
from agent.demo.siprec_client import PlayedCall, SiprecClient
from agent.demo.speaker import FRAME_S, Speaker
from agent.store import history, interactions
from agent.store.history import Entry
from tests.acceptance.service import ServiceUnderTest
from tests.acceptance.test_live import tone

pytestmark = pytest.mark.timeout(600)

BEFORE, AFTER = 4.0, 4.0  # seconds of talk before the blow and after it
MOST_LOST = 1.0  # seconds of sound a stream may lose
MOST_AWAY = 2.0  # seconds in which a killed capture process is replaced, and every log grows again
FEW, MANY = 5, 50
HOW_MANY = [FEW, pytest.param(MANY, marks=pytest.mark.soak)]


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[ServiceUnderTest]:
    one = ServiceUnderTest(tmp_path)
    await one.start(speech=False)
    yield one
    await one.stop()


class Line(SiprecClient):
    """A client whose packets are sent by `Crowd`: one task for all calls, since fifty would not keep the pace."""

    def ready(self, call: PlayedCall) -> None:
        """After the INVITE was answered."""
        self._speakers = [Speaker(call.caller_sound), Speaker(call.callee_sound)]

    def send(self, frame: int) -> None:
        """20 ms of both parties."""
        for speaker, sock, port in zip(self._speakers, self._media, self._ports, strict=True):
            with contextlib.suppress(OSError):  # nobody listens while everything is dead
                sock.sendto(speaker.packet(frame), (self._media_host, port))

    @property
    def ports(self) -> tuple[int, ...]:
        """Where the recorder wants the sound."""
        return self._ports


class Crowd:
    """Many calls at once, each with a name of its own."""

    def __init__(self, service: ServiceUnderTest, count: int) -> None:
        self._service = service
        sound = tone(440, BEFORE + AFTER + 20)
        self.calls = {
            f"+7495{number:07d}": PlayedCall(
                caller=f"+7495{number:07d}", callee="101", caller_sound=sound, callee_sound=sound
            )
            for number in range(count)
        }
        self.lines: dict[str, Line] = {}
        self._frame = 0
        self._sending: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """INVITE everybody, then talk."""
        for name, call in self.calls.items():
            line = await Line.connect(self._service.addresses["siprec"])
            assert isinstance(line, Line)
            await line.invite(call)
            line.ready(call)
            self.lines[name] = line
        self._sending = asyncio.create_task(self._send())

    async def _send(self) -> None:
        loop = asyncio.get_running_loop()
        begin = loop.time()
        while True:
            for line in self.lines.values():
                line.send(self._frame)
            self._frame += 1
            await asyncio.sleep(max(0.0, begin + self._frame * FRAME_S - loop.time()))

    @property
    def talked(self) -> float:
        """Seconds each call has talked."""
        return self._frame * FRAME_S

    async def hush(self) -> None:
        """Stop sending."""
        assert self._sending is not None
        self._sending.cancel()
        await asyncio.gather(self._sending, return_exceptions=True)

    async def end(self) -> None:
        """BYE of everybody."""
        await self.hush()
        for line in self.lines.values():
            await line.bye()
        self.close()

    def close(self) -> None:
        """Hang up without a word."""
        for line in self.lines.values():
            line.close()


def processes(folder: Path, pattern: str = "") -> list[int]:
    """Processes of this very service whose command line has the pattern."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                environment = (entry / "environ").read_bytes().decode(errors="replace")
                if pattern in command and (str(folder) in command or str(folder) in environment):
                    found.append(int(entry.name))
    return found


def kill(numbers: list[int]) -> None:
    for number in numbers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)


async def entries(service: ServiceUnderTest) -> list[Entry]:
    async with service.store() as store, store.begin() as connection:
        return await history.load_entries(connection, await interactions.list_ids(connection))


async def all_recorded(service: ServiceUnderTest, count: int) -> list[Entry]:
    """Wait until every call has its recording, and a little for any that would come twice."""

    async def is_done() -> bool:
        with contextlib.suppress(Exception):
            found = await entries(service)
            states = [state for one in found for state in one.captures]
            return len(states) >= count and set(states) == {"assembled"} and all(one.recordings for one in found)
        return False

    await service.until(is_done, 120 + count * 2)
    return await entries(service)


def lost(entry: Entry, talked: float) -> float:
    """Of so many seconds of talk those that the worse of the two parties lost. What lies between the answer and the
    first word, or between the last one and fifty goodbyes in turn, is a gap of the recording and no loss."""
    (recording,) = entry.recordings
    silent = max(
        sum(gap.end_ms - gap.start_ms for gap in recording.gaps if gap.channel == channel) for channel in range(2)
    )
    return talked - (recording.duration_ms - silent) / 1000


def callers(found: list[Entry]) -> Counter[str]:
    return Counter(one.parties[0].value for one in found)


@pytest.mark.parametrize("count", HOW_MANY)
async def test_a_killed_capture_process_is_replaced_on_the_same_ports_and_logs(
    service: ServiceUnderTest, count: int
) -> None:
    crowd = Crowd(service, count)
    await crowd.begin()
    await asyncio.sleep(BEFORE)
    captures = service.folder / "data" / "captures"
    logs = sorted(captures.glob("*/*.rtpdump"))
    assert len(logs) == 2 * count
    before = {log: (log.stat().st_ino, log.stat().st_size) for log in logs}
    (old,) = processes(service.folder, "agent.sip.capture")
    struck = time.time()
    kill([old])
    at_kill = {log: log.stat().st_size for log in logs}
    grown: dict[Path, float] = {}  # when each log first was longer, by the kernel's clock rather than by our looking
    while len(grown) < len(logs):
        assert time.time() - struck < 30, service.log()[-2000:]
        await asyncio.sleep(0.02)
        found_now = {log: log.stat() for log in logs if log not in grown}
        grown |= {log: one.st_mtime for log, one in found_now.items() if one.st_size > at_kill[log]}
    back = max(grown.values()) - struck
    await asyncio.sleep(AFTER)
    assert sorted(captures.glob("*/*.rtpdump")) == logs
    assert {log: log.stat().st_ino for log in logs} == {log: inode for log, (inode, _) in before.items()}
    await crowd.end()
    found = await all_recorded(service, count)
    assert callers(found) == Counter(crowd.calls.keys())
    missing = {one.parties[0].value: lost(one, crowd.talked) for one in found}
    print(f"\n{count} calls: every log grows again {back:.2f} s after the kill; {max(missing.values()):.2f} s lost")
    assert back <= MOST_AWAY
    assert {who: seconds for who, seconds in missing.items() if seconds > MOST_LOST} == {}
    assert not any(one.recordings[0].truncated for one in found)
    assert not list(captures.iterdir())


@pytest.mark.parametrize("count", HOW_MANY)
@pytest.mark.parametrize("everything", [False, True], ids=["main", "everything"])
async def test_after_a_crash_every_orphaned_log_becomes_a_recording_once(
    service: ServiceUnderTest, count: int, everything: bool
) -> None:
    crowd = Crowd(service, count)
    await crowd.begin()
    await service.until(lambda: _all_stored(service, count))
    await asyncio.sleep(max(0.0, BEFORE - crowd.talked))
    if everything:
        kill(processes(service.folder))
    await service.kill()
    said = crowd.talked
    await crowd.hush()
    crowd.close()
    captures = service.folder / "data" / "captures"
    assert len(list(captures.iterdir())) == count

    await service.start(speech=False)
    found = await all_recorded(service, count)
    assert callers(found) == Counter(crowd.calls.keys())
    for one in found:
        assert one.call is not None
        assert one.call.truncated
        assert one.recordings[0].truncated
    short = {one.parties[0].value: lost(one, said) for one in found}
    print(f"\n{count} calls cut after {said:.1f} s: at most {max(short.values()):.2f} s of sound missing")
    assert {who: seconds for who, seconds in short.items() if seconds > MOST_LOST + 0.25} == {}
    assert not list(captures.iterdir())

    await service.stop()
    await service.start(speech=False)
    again = await entries(service)
    assert callers(again) == callers(found)
    assert [[sound.id for sound in one.recordings] for one in again] == [
        [sound.id for sound in one.recordings] for one in found
    ]
    async with service.store() as store:
        assert (await verify(store, service.archive())).first_bad is None


async def _all_stored(service: ServiceUnderTest, count: int) -> bool:
    return len(await entries(service)) == count
