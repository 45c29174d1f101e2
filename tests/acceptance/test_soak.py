"""The kill matrix: every process of the service is killed again and again while calls and mails come in.

Afterwards every mail that got its 250 is there once, every call that was answered is there once with its recording,
and the chain holds. ``CARDLINE_SOAK_SECONDS`` sets how long (default 90), ``CARDLINE_SOAK_SEED`` which kills.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import smtplib
import time
from collections import Counter
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path

import pytest

from agent.archive.chain import verify
from agent.demo.scene import stage_calls
from agent.demo.siprec_client import CallRefused, PlayedCall, play_call
from agent.store import history, interactions
from agent.store.history import Entry
from tests.acceptance.service import ServiceUnderTest

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1800)]

SECONDS = float(os.environ.get("CARDLINE_SOAK_SECONDS", "90"))
SEED = int(os.environ.get("CARDLINE_SOAK_SEED", "1"))
VICTIMS = {
    "capture": "agent.sip.capture ",
    "courier": "agent.sip.courier_child",
    "general": "worker general",
    "speech": "worker speech",
    "parse child": "agent.mail.parse_child",
    "postgres": "pginstall18/bin/postgres",
    "main": "",
}
CALL_SECONDS = 5


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[ServiceUnderTest]:
    one = ServiceUnderTest(tmp_path)
    await one.start()
    yield one
    await one.stop()


class Load:
    """Calls and mails that come as long as it runs, and which of them were promised."""

    def __init__(self, service: ServiceUnderTest) -> None:
        self._service = service
        self._sound = stage_calls()[0].played
        self.kept_mails: list[str] = []
        self.whole_calls: dict[str, float] = {}
        self.cut_calls: list[str] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, until: float) -> None:
        number = 0
        while time.monotonic() < until:
            number += 1
            self._start(self._mail(f"soak {number}"))
            if number % 4 == 0:
                self._start(self._call(f"7495{number:07d}"))
            await asyncio.sleep(0.25)
        await asyncio.gather(*self._tasks)

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _mail(self, subject: str) -> None:
        """As a mail server does: again until it is accepted."""
        raw = f"From: a@example.org\r\nTo: b@example.com\r\nMessage-ID: <{subject.replace(' ', '.')}@example.org>\r\n"
        raw += f"Subject: {subject}\r\n\r\nText of {subject}\r\n"
        for _ in range(100):
            with contextlib.suppress(OSError, smtplib.SMTPException):
                await self._service.send_mail(raw.encode())
                self.kept_mails.append(subject)
                return
            await asyncio.sleep(0.5)

    async def _call(self, caller: str) -> None:
        length = CALL_SECONDS * 8000
        call = PlayedCall(
            caller=caller,
            callee="101",
            caller_sound=self._sound.caller_sound[:length],
            callee_sound=self._sound.callee_sound[:length],
        )
        try:
            played = await play_call(self._service.addresses["siprec"], call)
        except (CallRefused, OSError):
            self.cut_calls.append(caller)
            return
        assert played.answered is not None
        self.whole_calls[caller] = (played.ended - played.answered).total_seconds()


def _processes(folder: Path, pattern: str) -> list[int]:
    """Processes of this very service whose command line has the pattern."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                environment = (entry / "environ").read_bytes().decode(errors="replace")
                if pattern in command and (str(folder) in command or str(folder) in environment):
                    found.append(int(entry.name))
    return found


async def _hurt(service: ServiceUnderTest, chance: random.Random) -> str:
    name = chance.choice(list(VICTIMS))
    if name == "main":
        await service.kill()
        await service.start()
        return name
    for number in _processes(service.folder, VICTIMS[name]):
        with contextlib.suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)
        if name == "postgres":
            break
    return name


async def _entries(service: ServiceUnderTest) -> list[Entry]:
    async with service.store() as store, store.begin() as connection:
        return await history.load_entries(connection, await interactions.list_ids(connection, limit=100_000))


async def test_whatever_is_killed_everything_promised_is_there_once(service: ServiceUnderTest) -> None:
    chance = random.Random(SEED)
    load = Load(service)
    running = asyncio.create_task(load.run(time.monotonic() + SECONDS))
    hurt: Counter[str] = Counter()
    while not running.done():
        await asyncio.wait([running], timeout=chance.uniform(2, 6))
        if not running.done():
            hurt[await _hurt(service, chance)] += 1
    await running

    async def all_done() -> bool:
        with contextlib.suppress(Exception):
            entries = await _entries(service)
            mails = {one.message.subject for one in entries if one.message is not None}
            calls = [one for one in entries if one.call is not None]
            seen = {party.value for one in calls for party in one.parties}
            waiting = [one for one in calls if any(state != "assembled" for state in one.captures)]
            untold = [one for one in calls if len(one.transcripts) < len(one.recordings)]
            return not waiting and not untold and set(load.kept_mails) <= mails and set(load.whole_calls) <= seen
        return False

    await service.until(all_done, 300)
    entries = await _entries(service)
    subjects = Counter(one.message.subject for one in entries if one.message is not None)
    callers = Counter(one.parties[0].value for one in entries if one.call is not None)
    lengths = {one.parties[0].value: one.recordings[0].duration_ms / 1000 for one in entries if one.recordings}
    off = {who: lengths.get(who, 0) - asked for who, asked in load.whole_calls.items()}
    print(
        f"\n{sum(hurt.values())} kills {dict(hurt)}; {len(load.kept_mails)} mails, {len(load.whole_calls)} whole calls,"
        f" {len(load.cut_calls)} cut; worst length {max(map(abs, off.values()), default=0):.3f} s off"
    )
    assert {subject: count for subject, count in subjects.items() if count != 1} == {}
    assert {caller: count for caller, count in callers.items() if count != 1} == {}
    assert [who for who, seconds in off.items() if abs(seconds) > 0.25] == []
    assert not list((service.folder / "data" / "captures").iterdir())
    async with service.store() as store:
        assert (await verify(store, service.archive())).first_bad is None
