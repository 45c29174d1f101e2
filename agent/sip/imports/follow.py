"""Follows a folder into which a PBX records by itself, and its call records: attached without touching the PBX.

A recording is taken once it is quiet and its call record is there, or has not come for a while. Calls of which there is
only a record are taken too, where it is wanted: nobody answered them, and that is news.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from zoneinfo import ZoneInfo

import structlog

from agent.archive.blobs import Archive
from agent.errors import Unavailable
from agent.intake import Intake
from agent.model import SourceState
from agent.settings_recordings import RecordingsSettings
from agent.sip.imports.calls import Habits
from agent.sip.imports.cdr import CdrReader, CdrRow
from agent.sip.imports.cdrtail import CdrTail, Line
from agent.sip.imports.folder import Unit
from agent.sip.imports.importer import GROWING, Finder, Importer, Plan, no_rows, wanted_names
from agent.sip.imports.matching import Matcher, match_file
from agent.sip.imports.names import read_name
from agent.sip.imports.report import Fate, Outcome
from agent.sip.imports.watched import WatchedTree
from agent.store import soundfiles, sources
from agent.store.engine import Store
from agent.store.soundfiles import SOURCE_PREFIX, Place

log = structlog.get_logger()

_RECENT = 20_000  # rows kept for recordings that are about to come
_RECENT_BYTES = 4 * 1024 * 1024
_SETTLED_SECONDS = 30.0  # after its last record a conversation is taken to be complete
_MOST_OPEN = 2000  # conversations waiting for that
_AGAIN_SECONDS = 60.0  # until what could not be read is looked at again
_PAUSE_SECONDS = 5.0
_PART = 64  # of what is old, between two looks for what is new


def make_importer(
    store: Store, archive: Archive, intake: Intake, settings: RecordingsSettings, digits: int
) -> Importer:
    """The importer of a folder as it is configured; ``digits``: numbers up to so many are extensions."""
    habits = Habits(
        source=f"{SOURCE_PREFIX}{settings.name}",
        zone=ZoneInfo(settings.timezone),
        digits=digits,
        callee_first=settings.callee_first,
    )
    return Importer(store, archive, intake, settings.folder, habits, quiet_seconds=settings.quiet_seconds)


@dataclass(slots=True)
class _Conversation:
    """Records with one linked id, where the file was read from for the first, and when the last came."""

    began_at: Place
    rows: list[CdrRow] = field(default_factory=list)
    last: float = 0.0


class Follower:
    """One folder. `run` until cancelled; ``on_outcome`` hears what becomes of each file."""

    def __init__(
        self,
        store: Store,
        importer: Importer,
        settings: RecordingsSettings,
        *,
        on_outcome: Callable[[Outcome], None] | None = None,
    ) -> None:
        self._store, self._importer, self._settings = store, importer, settings
        self._on_outcome = on_outcome
        self._tree = WatchedTree(settings.folder)
        self._looking: set[Path] = set()
        self._later: dict[Path, float] = {}
        self._recent: deque[CdrRow] = deque(maxlen=_RECENT)
        self._open: OrderedDict[str, _Conversation] = OrderedDict()
        self._reader = CdrReader(ZoneInfo(settings.timezone))
        self._generation = 0
        self._tail: CdrTail | None = None
        self._place = Place()
        self._backlog: deque[Unit] | None = None
        self._backlog_plan = Plan(units=())
        self._backlog_rows: Finder = no_rows
        self.taken = 0

    @property
    def source(self) -> str:
        """Its name among the sources."""
        return f"{SOURCE_PREFIX}{self._settings.name}"

    async def run(self) -> None:
        """Look again and again; what is away is waited for."""
        await self._say(SourceState.CONNECTING, "")
        try:
            while True:
                await self.step()
                await asyncio.sleep(0 if self._backlog else self._settings.look_seconds)
        finally:
            if self._tail is not None:
                self._tail.close()

    async def step(self) -> None:
        """One look."""
        try:
            await self._look()
        except OSError as error:
            log.warning("recordings_unreachable", source=self.source, reason=error.strerror)
            await self._say(
                SourceState.UNREACHABLE, ": ".join(str(one) for one in (error.strerror, error.filename) if one)
            )
            self._look_anew()
        except Unavailable as error:
            log.warning("recordings_wait", source=self.source, reason=str(error))
            self._look_anew()
            await asyncio.sleep(_PAUSE_SECONDS)
        else:
            waiting = len(self._backlog or ())
            await self._say(SourceState.RUNNING, f"{waiting} older recordings wait" if waiting else "")

    def _look_anew(self) -> None:
        self._tree, self._backlog = WatchedTree(self._settings.folder), None

    async def _look(self) -> None:
        await self._read_records()
        now = time.monotonic()
        due = {folder for folder, at in self._later.items() if at <= now}
        folders = {*await asyncio.to_thread(self._tree.news), *self._looking, *due}
        for folder in due:
            del self._later[folder]
        if self._backlog is None:
            await self._find_backlog(folders)
        elif folders:
            plan = await self._importer.plan(sorted(folders, reverse=True))
            self._looking = set()
            matcher = Matcher(ZoneInfo(self._settings.timezone))
            matcher.search(wanted_names(plan), lambda: self._recent)
            await self._take(plan, plan.units, matcher.rows_of)
        await self._take_backlog()
        await self._tell_settled()

    async def _find_backlog(self, folders: set[Path]) -> None:
        """What lies there at the start, and its records wherever in the file they stand."""
        plan = await self._importer.plan(sorted(folders, reverse=True))
        rows_of: Finder = no_rows
        if self._settings.cdr is not None and plan.units:
            with contextlib.suppress(FileNotFoundError):
                zone = ZoneInfo(self._settings.timezone)
                matcher, _ = await asyncio.to_thread(match_file, self._settings.cdr, zone, wanted_names(plan))
                rows_of = matcher.rows_of
        self._backlog, self._backlog_plan, self._backlog_rows = deque(plan.units), plan, rows_of

    async def _take_backlog(self) -> None:
        """A part of it, newest first, so that what is new never waits for what is old."""
        if not self._backlog:
            return
        part = [self._backlog.popleft() for _ in range(min(_PART, len(self._backlog)))]
        await self._take(self._backlog_plan, await self._importer.still_new(part), self._backlog_rows)
        if not self._backlog:
            self._backlog_plan, self._backlog_rows = Plan(units=()), no_rows

    async def _take(self, plan: Plan, units: Sequence[Unit], rows_of: Finder) -> None:
        ready = []
        for unit in units:
            if self._is_ready(unit, has_rows=bool(rows_of(unit.stem, read_name(unit.stem)))):
                ready.append(unit)
            else:
                self._looking.add(self._folder_of(unit))
        by_name = {unit.shown: unit for unit in ready}
        async for outcome in self._importer.take(replace(plan, units=tuple(ready)), rows_of):
            self._heard(outcome, by_name[outcome.file])

    def _is_ready(self, unit: Unit, *, has_rows: bool) -> bool:
        age = time.time() - unit.modified_ns / 1e9
        if 0 <= age < self._settings.quiet_seconds:
            return False
        return self._settings.cdr is None or has_rows or not 0 <= age < self._settings.cdr_seconds

    def _heard(self, outcome: Outcome, unit: Unit) -> None:
        if outcome.fate is Fate.FAILED:
            if outcome.reason == GROWING:
                self._looking.add(self._folder_of(unit))
            else:
                self._later[self._folder_of(unit)] = time.monotonic() + _AGAIN_SECONDS
                log.warning("recording_not_read", source=self.source, reason=outcome.reason)
        self.taken += outcome.fate is Fate.IMPORTED
        if self._on_outcome is not None:
            self._on_outcome(outcome)

    def _folder_of(self, unit: Unit) -> Path:
        return self._settings.folder / Path(os.fsdecode(unit.path)).parent

    # --- Call records -----------------------------------------------------------------------------------------------

    async def _read_records(self) -> None:
        if self._settings.cdr is None:
            return
        if self._tail is None:
            await self._open_tail(self._settings.cdr)
        assert self._tail is not None
        while lines := await asyncio.to_thread(self._tail.read):
            self._take_lines(lines)
            if len(self._open) > _MOST_OPEN:
                await self._tell_settled()

    async def _open_tail(self, path: Path) -> None:
        """Where it was left; the recordings that wait may need records from before that."""
        async with self._store.begin() as connection:
            self._place = await soundfiles.find_place(connection, self.source, os.fsencode(path))
        self._recent.extend(await asyncio.to_thread(_last_rows, path, ZoneInfo(self._settings.timezone)))
        self._tail = CdrTail(path, self._place)

    def _take_lines(self, lines: Sequence[Line]) -> None:
        assert self._tail is not None
        before, now = self._place, time.monotonic()
        for line in lines:
            if self._generation != self._tail.generation or line.after.inode != before.inode:
                self._generation = self._tail.generation
                self._reader = CdrReader(ZoneInfo(self._settings.timezone))
                list(self._reader.read([self._tail.first_line]))
            for row in self._reader.read([line.data]):
                self._recent.append(row)
                self._add(row, before, now)
            before = line.after
        self._place = before

    def _add(self, row: CdrRow, place: Place, now: float) -> None:
        key = row.linked_id or f"{row.started.isoformat()} {row.caller} {row.callee}"
        conversation = self._open.setdefault(key, _Conversation(began_at=place))
        conversation.rows.append(row)
        conversation.last = now

    async def _tell_settled(self) -> None:
        """Conversations whose records are complete become calls; then the place moves past them."""
        now = time.monotonic()
        settled = [key for key, one in self._open.items() if now - one.last >= self._settled_seconds]
        settled += list(self._open)[: max(len(self._open) - len(settled) - _MOST_OPEN, 0)]
        for key in dict.fromkeys(settled):
            if self._settings.unrecorded:
                await self._importer.take_unrecorded(self._open[key].rows)
            del self._open[key]
        if self._tail is not None and self._settings.cdr is not None:
            first = next(iter(self._open.values()), None)
            await self._save_place(first.began_at if first is not None else self._place)

    async def _save_place(self, place: Place) -> None:
        assert self._settings.cdr is not None
        async with self._store.begin() as connection:
            await soundfiles.save_place(connection, self.source, os.fsencode(self._settings.cdr), place)

    @property
    def _settled_seconds(self) -> float:
        return min(_SETTLED_SECONDS, self._settings.cdr_seconds)

    async def _say(self, state: SourceState, detail: str) -> None:
        try:
            async with self._store.begin() as connection:
                await sources.save_status(connection, self.source, state, detail)
        except Unavailable as error:
            log.warning("source_state_not_noted", reason=str(error))


def _last_rows(path: Path, zone: ZoneInfo) -> Iterable[CdrRow]:
    """The rows at the end of the file."""
    try:
        with path.open("rb") as file:
            first = file.readline(_RECENT_BYTES)
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - _RECENT_BYTES, len(first)))
            if size - _RECENT_BYTES > len(first):
                file.readline(_RECENT_BYTES)
            reader = CdrReader(zone)
            return list(reader.read([first, *file]))
    except FileNotFoundError:
        return []
