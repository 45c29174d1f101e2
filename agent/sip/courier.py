"""Brings each call from its journal into the database, for as long as that takes; knows nothing of SQL.

One task a call, so the order per call is kept; only the newest state is told, since every snapshot is complete. While
the database is away the journals wait on the disk. A folder is never removed here: that is up to the assemble job.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import structlog

from agent.errors import Unavailable
from agent.model import CapturedCall
from agent.sip.calls import captured_call
from agent.sip.journal import CLOSED, FILE_NAME, Journal, read_journal

log = structlog.get_logger()

FIRST_DELAY_S = 0.5
LONGEST_DELAY_S = 30.0
AT_ONCE = 8  # calls told at the same time: a morning's worth of left-overs must not take every database connection


class CallDoor(Protocol):
    """What of `agent.intake.Intake` a courier needs; all three are idempotent."""

    async def open_call(self, call: CapturedCall) -> int:
        """Store a call that begins."""
        ...

    async def update_call(self, call: CapturedCall) -> int:
        """Store what is known by now."""
        ...

    async def close_call(self, call: CapturedCall) -> int:
        """Store the end and have the sound assembled."""
        ...


class _Errand:
    """One call on its way: what is to be told, and the task that tells it."""

    def __init__(self) -> None:
        self.news = asyncio.Event()
        self.ended = False
        self.told = False
        self.task: asyncio.Task[None] | None = None


class Courier:
    """Tells the door of calls. All methods but `stop`, `recover` and `drain` return at once."""

    def __init__(
        self,
        door: CallDoor,
        captures: Path,
        *,
        first_delay: float = FIRST_DELAY_S,
        longest_delay: float = LONGEST_DELAY_S,
        on_delivered: Callable[[str], None] = lambda capture_id: None,
    ) -> None:
        """``on_delivered`` hears of each call whose end the database has."""
        self._door = door
        self._on_delivered = on_delivered
        self._captures = captures
        self._delays = (first_delay, longest_delay)
        self._errands: dict[str, _Errand] = {}
        self._at_once = asyncio.Semaphore(AT_ONCE)

    @property
    def waiting(self) -> int:
        """Calls that go on or whose end the database does not have yet."""
        return len(self._errands)

    def tell(self, capture_id: str) -> None:
        """The journal of a call has something new."""
        self._wake(capture_id, ended=False)

    def tell_ended(self, capture_id: str) -> None:
        """The call has ended and its packet logs are complete."""
        self._wake(capture_id, ended=True)

    async def recover(self) -> int:
        """Bring in every folder left over from before; returns how many. Does not wait for the database."""
        left_over = await asyncio.to_thread(find_left_over, self._captures, frozenset(self._errands))
        for capture_id in left_over:
            self.tell_ended(capture_id)
        if left_over:
            log.info("calls_recovered", calls=len(left_over))
        return len(left_over)

    async def drain(self, timeout_s: float) -> bool:
        """Wait until every ended call stands in the database; False when that took too long."""
        tasks = [errand.task for errand in self._errands.values() if errand.ended and errand.task]
        if not tasks:
            return True
        _, pending = await asyncio.wait(tasks, timeout=timeout_s)
        return not pending

    async def stop(self) -> None:
        """Leave the rest to `recover` at the next start."""
        tasks = [errand.task for errand in self._errands.values() if errand.task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._errands.clear()

    def _wake(self, capture_id: str, *, ended: bool) -> None:
        errand = self._errands.get(capture_id)
        if errand is None:
            errand = self._errands[capture_id] = _Errand()
            errand.task = asyncio.create_task(self._run(capture_id, errand), name=f"courier-{capture_id}")
        errand.ended = errand.ended or ended
        errand.news.set()

    async def _run(self, capture_id: str, errand: _Errand) -> None:
        try:
            finished = False
            while not finished:
                await errand.news.wait()
                finished = await self._told(capture_id, errand)
            self._on_delivered(capture_id)
        finally:
            self._errands.pop(capture_id, None)

    async def _told(self, capture_id: str, errand: _Errand) -> bool:
        """Tell the newest state, again and again until the door has it; True when that was the end."""
        delay, longest = self._delays
        while True:
            errand.news.clear()
            ended = errand.ended
            try:
                async with self._at_once:
                    await self._tell_once(capture_id, errand, ended=ended)
                return ended
            except Unavailable as error:
                log.warning("call_waits_for_database", capture_id=capture_id, problem=str(error), retry_s=delay)
            except Exception:
                log.exception("call_not_stored", capture_id=capture_id, retry_s=delay)
            await asyncio.sleep(delay)
            delay = min(delay * 2, longest)

    async def _tell_once(self, capture_id: str, errand: _Errand, *, ended: bool) -> None:
        folder = self._captures / capture_id
        facts = await asyncio.to_thread(read_journal, folder)
        if not facts and not await asyncio.to_thread(_sound_in, folder):
            log.warning("capture_folder_empty", capture_id=capture_id)  # assembled meanwhile, or refused by a full disk
            return
        if ended and not any(fact.kind == CLOSED for fact in facts):  # the disk was full when it ended
            await asyncio.to_thread(_finished, folder)
            facts = await asyncio.to_thread(read_journal, folder)
        call = await asyncio.to_thread(captured_call, facts, capture_id)
        if not errand.told:
            await self._door.open_call(call)
            errand.told = True
        elif not ended:
            await self._door.update_call(call)
        if ended:
            await self._door.close_call(call)


def find_left_over(captures: Path, known: Iterable[str]) -> list[str]:
    """Folders of calls of ours, oldest first, each with its end in the journal. Blocks."""
    found = []
    with suppress(FileNotFoundError):
        for folder in sorted(captures.iterdir()):
            if folder.is_dir() and folder.name not in known and _finished(folder):
                found.append(folder.name)
    return found


def _sound_in(folder: Path) -> list[Path]:
    """Packet logs, and sound files of those who carry calls themselves."""
    return sorted([*folder.glob("*.rtpdump"), *folder.glob("*.wav")])


def _finished(folder: Path) -> bool:
    """Write the end of a call that a crash cut off: the time of its last packet or fact. False: not ours, or empty."""
    try:
        facts = read_journal(folder)
        logs = _sound_in(folder)
        if not facts and not (logs and (folder / FILE_NAME).exists()):
            return False
        if not any(fact.kind == CLOSED for fact in facts):
            times = [datetime.fromtimestamp(path.stat().st_mtime, UTC) for path in logs if path.stat().st_size]
            journal = Journal(folder)
            journal.write(CLOSED, at=max([*times, *(fact.at for fact in facts)]), by="recovery", truncated=True)
    except (OSError, ValueError):
        log.exception("capture_folder_unreadable", folder=folder.name)
        return False
    return True
