"""Takes recordings of a folder in: each once, however often it is asked to, killed in between or asked to by several.

Of each file is noted before it is tried and afterwards what became of it, so that the next look reads only what is new.
That is for speed; what makes a file come once is its content, by which its recording is known in the database.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.archive.blobs import Archive
from agent.errors import UnreadableSound
from agent.intake import Intake
from agent.keeping import place_sound
from agent.model import CapturedCall
from agent.sip.imports.calls import Habits, Told, captured_call, unrecorded_call
from agent.sip.imports.cdr import CdrRow
from agent.sip.imports.folder import LeftOut, Unit, folders_of, look, readable
from agent.sip.imports.names import Name, plain_id, read_name
from agent.sip.imports.report import Fate, Outcome
from agent.sound.files import SoundFile, SoundProbe, probe
from agent.store import recordings, soundfiles
from agent.store.engine import Store
from agent.store.soundfiles import FileState, NotedFile

log = structlog.get_logger()

ALREADY_HERE = "a file with the same content was imported before"
RECORDED_LIVE = "the call was recorded by another source while it went on"
EMPTY = "there is no sound in it"
TOO_BIG = "the file is larger than 4 GB"
DIED = "the program ended each time this file was read; it is not tried again"
GONE = "the file went away"
CLOSED_FOLDER = "the folder cannot be read"
GROWING = "the file is still being written"
_SHORTEST = 0.1  # second
_MOST_BYTES = 4 * 1024**3
_ALONE_AFTER, _MOST_TRIES = 3, 8  # tries after which a file is read with no other beside it, and not at all
_BATCH = 64
_NOTES = 16  # files of which is noted at once what became of them
_READ = 1024 * 1024

Finder = Callable[[str, Name], Sequence[CdrRow]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What there is to do: recordings not taken yet, newest first, and what was left out at first sight."""

    units: tuple[Unit, ...]
    left: tuple[LeftOut, ...] = ()
    known: int = 0
    tries: Mapping[bytes, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """What a recording's files say of themselves."""

    reference: str
    probes: tuple[SoundProbe, ...]

    @property
    def seconds(self) -> float:
        return max(one.seconds for one in self.probes)

    @property
    def is_mixed(self) -> bool:
        return len(self.probes) == 1 and self.probes[0].channels == 1


class Importer:
    """Of one folder. ``habits`` say what its PBX is like; a file written within ``quiet_seconds`` still grows."""

    def __init__(
        self,
        store: Store,
        archive: Archive,
        intake: Intake,
        root: Path,
        habits: Habits,
        *,
        quiet_seconds: float = 0,
    ) -> None:
        self._store, self._archive, self._intake = store, archive, intake
        self._root, self._habits, self._quiet_seconds = root, habits, quiet_seconds
        self.at_once = 2 * (os.cpu_count() or 1) + 2  # half of the time a file waits for disks
        self._ended: list[NotedFile] = []
        self._done: set[int] = set()

    async def plan(self, folders: Sequence[Path] | None = None, *, again: bool = False) -> Plan:
        """Look through the folder, or these folders of it; ``again``: also at what was left out before.

        Raises:
            OSError: the folder cannot be read.
        """
        units: list[Unit] = []
        left: list[LeftOut] = []
        known, tries = 0, dict[bytes, int]()
        for folder in folders if folders is not None else await asyncio.to_thread(list, folders_of(self._root)):
            try:
                found, others = await asyncio.to_thread(look, self._root, folder)
            except FileNotFoundError:
                continue
            except OSError as error:
                if folder == self._root:
                    raise
                name = readable(str(folder.relative_to(self._root)))
                left.append(LeftOut(path=name, reason=f"{CLOSED_FOLDER}: {error.strerror}"))
                continue
            left += others
            fresh = [unit for unit in found if again or hash(_state_of(unit)) not in self._done]
            known += len(found) - len(fresh)
            for batch in _batches(fresh, _BATCH * 8):
                noted = await self._noted(batch)
                for unit in batch:
                    if _is_done(unit, noted.get(unit.path), again=again):
                        known += 1
                        self._done.add(hash(_state_of(unit)))  # so that a look at a full folder asks for what is new
                    else:
                        units.append(unit)
                        tries[unit.path] = noted[unit.path].tries if unit.path in noted else 0
        units.sort(key=lambda unit: unit.modified_ns, reverse=True)
        return Plan(units=tuple(units), left=tuple(left), known=known, tries=tries)

    async def still_new(self, units: Sequence[Unit]) -> list[Unit]:
        """Those of which nothing became since they were planned."""
        noted = await self._noted(units)
        return [unit for unit in units if not _is_done(unit, noted.get(unit.path), again=False)]

    async def _noted(self, units: Sequence[Unit]) -> dict[bytes, NotedFile]:
        async with self._store.begin() as connection:
            return await soundfiles.find_noted(connection, self._habits.source, [unit.path for unit in units])

    async def take(self, plan: Plan, rows_of: Finder, *, dry_run: bool = False) -> AsyncIterator[Outcome]:
        """Take what is planned, newest first, several at once; each outcome as soon as it is there.

        Raises:
            Unavailable: disk or database are away; what was taken stays so.
        """
        calm = [unit for unit in plan.units if plan.tries.get(unit.path, 0) < _ALONE_AFTER]
        odd = [unit for unit in plan.units if plan.tries.get(unit.path, 0) >= _ALONE_AFTER]
        for units, at_once in ((calm, self.at_once), (odd, 1)):
            for batch in _batches(units, _BATCH if at_once > 1 else 1):
                async for outcome in self._take_batch(batch, plan, rows_of, at_once, dry_run=dry_run):
                    yield outcome

    async def _take_batch(
        self, batch: Sequence[Unit], plan: Plan, rows_of: Finder, at_once: int, *, dry_run: bool
    ) -> AsyncIterator[Outcome]:
        if not dry_run:
            await self._note([_noted_as(unit, FileState.TRYING) for unit in batch])
        gate = asyncio.Semaphore(at_once)

        async def one(unit: Unit) -> Outcome:
            async with gate:
                if plan.tries.get(unit.path, 0) >= _MOST_TRIES:
                    return await self._leave_out(unit, DIED, dry_run=dry_run)
                return await self._take_one(unit, rows_of, dry_run=dry_run)

        tasks = [asyncio.create_task(one(unit)) for unit in batch]
        try:
            for task in asyncio.as_completed(tasks):
                outcome = await task
                if len(self._ended) >= _NOTES:
                    await self._note_ended()
                yield outcome
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._note_ended()

    async def _take_one(self, unit: Unit, rows_of: Finder, *, dry_run: bool) -> Outcome:
        if 0 <= time.time() - unit.modified_ns / 1e9 < self._quiet_seconds:
            return Outcome(file=unit.shown, fate=Fate.FAILED, reason=GROWING)
        if unit.size > _MOST_BYTES:
            return await self._leave_out(unit, TOO_BIG, dry_run=dry_run)
        try:
            read = await asyncio.to_thread(self._read, unit)
        except FileNotFoundError:
            return Outcome(file=unit.shown, fate=Fate.FAILED, reason=GONE)
        except UnreadableSound as error:
            return await self._leave_out(unit, error.what.rstrip("."), dry_run=dry_run)
        except OSError as error:
            return Outcome(file=unit.shown, fate=Fate.FAILED, reason=f"it cannot be read: {error.strerror}")
        if read.seconds < _SHORTEST:
            return await self._leave_out(unit, EMPTY, dry_run=dry_run)
        name = read_name(unit.stem)
        told = Told(
            key=read.reference,
            name=name,
            seconds=read.seconds,
            modified=unit.modified,
            rows=rows_of(unit.stem, name),
        )
        call = captured_call(told, self._habits, is_mixed=read.is_mixed)
        outcome = _outcome(unit, call, told, read)
        async with self._store.begin() as connection:
            interaction_id, why, call = await self._known(connection, read, told, call)
        if why:
            return await self._end(unit, FileState.KNOWN, outcome, why, interaction_id, dry_run=dry_run)
        if dry_run:
            return replace(outcome, fate=Fate.WOULD_IMPORT)
        return await self._keep(unit, call, read, outcome)

    async def take_unrecorded(self, rows: Sequence[CdrRow]) -> None:
        """A conversation of which there are records: its call, unless a source saw it while it went on.

        Raises:
            DatabaseUnavailable: nothing was changed; say it again later.
        """
        ids = {one for row in rows for one in (row.unique_id, row.linked_id)} - {""}
        async with self._store.begin() as connection:
            live = await soundfiles.find_live_call(connection, sorted(ids))
        if live is None and ids:
            await self._intake.close_call(unrecorded_call(rows, self._habits))

    async def _known(
        self, connection: AsyncConnection, read: _Read, told: Told, call: CapturedCall
    ) -> tuple[int | None, str, CapturedCall]:
        """Whether somebody has it; a call that a source saw without recording it is told as that source's."""
        same = await recordings.find_file(connection, read.reference)
        if same is not None:
            return same, ALREADY_HERE, call
        ids = {told.name.unique_id, *(one for row in told.rows for one in (row.unique_id, row.linked_id))}
        live = await soundfiles.find_live_call(connection, sorted(ids - {""}))
        if live is None:
            return None, "", call
        if live.has_recording:
            return live.interaction_id, f"{RECORDED_LIVE}: {live.source}", call
        return None, "", replace(call, source=live.source, key=live.key, parties=(), capture_id=None)

    async def _keep(self, unit: Unit, call: CapturedCall, read: _Read, outcome: Outcome) -> Outcome:
        interaction_id = await self._intake.close_call(call)
        started = place_sound(call, read.seconds)
        ended = call.ended or call.started
        async with self._store.begin() as connection:
            is_live = await soundfiles.is_recorded_live(
                connection, interaction_id, call.answered or call.started, ended
            )
        if is_live:
            return await self._end(unit, FileState.KNOWN, outcome, RECORDED_LIVE, interaction_id)
        sound = [SoundFile(path=one.path, channel=self._channel(unit, one.side), started=started) for one in unit.files]
        try:
            kept = await self._intake.keep_sound(interaction_id, call, sound, reference=read.reference)
        except UnreadableSound as error:
            return await self._leave_out(unit, error.what.rstrip("."), interaction_id=interaction_id)
        except FileNotFoundError:
            return replace(outcome, fate=Fate.FAILED, reason=GONE)
        if kept is None:
            return await self._end(unit, FileState.KNOWN, outcome, ALREADY_HERE, interaction_id)
        return await self._end(unit, FileState.KEPT, outcome, "", interaction_id)

    def _channel(self, unit: Unit, side: int | None) -> int:
        """Of the files of a pair; a file alone has all its channels from the first on."""
        if side is None or len(unit.files) == 1:
            return 0
        return 1 - side if self._habits.callee_first else side

    def _read(self, unit: Unit) -> _Read:
        digest = hashlib.sha256()
        for one in unit.files:
            with one.path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        probes = tuple(probe(one.path) for one in unit.files)
        print_ = self._archive.fingerprint(digest.digest()).hex()
        return _Read(reference=f"{recordings.FILE}{print_}", probes=probes)

    async def _leave_out(
        self, unit: Unit, reason: str, *, dry_run: bool = False, interaction_id: int | None = None
    ) -> Outcome:
        outcome = Outcome(file=unit.shown, fate=Fate.LEFT_OUT)
        return await self._end(unit, FileState.LEFT_OUT, outcome, reason, interaction_id, dry_run=dry_run)

    async def _end(
        self,
        unit: Unit,
        state: FileState,
        outcome: Outcome,
        reason: str,
        interaction_id: int | None,
        *,
        dry_run: bool = False,
    ) -> Outcome:
        if not dry_run:
            self._ended.append(replace(_noted_as(unit, state), reason=reason, interaction_id=interaction_id))
        return replace(outcome, fate=_FATES[state], reason=reason)

    async def _note_ended(self) -> None:
        """What became of some files at once; of whatever is not noted when the power fails, its content tells."""
        ended, self._ended = self._ended, []
        await self._note(ended)

    async def _note(self, files: Sequence[NotedFile]) -> None:
        async with self._store.begin() as connection:
            await soundfiles.note_files(connection, self._habits.source, files)


_FATES = {FileState.KEPT: Fate.IMPORTED, FileState.KNOWN: Fate.KNOWN, FileState.LEFT_OUT: Fate.LEFT_OUT}


def no_rows(*_: object) -> tuple[()]:
    """Where there are no call records."""
    return ()


def wanted_names(plan: Plan) -> list[tuple[str, Name]]:
    """What to look for among call records."""
    return [(unit.stem, read_name(unit.stem)) for unit in plan.units]


def _is_done(unit: Unit, noted: NotedFile | None, *, again: bool) -> bool:
    """Whether nothing is to be done about it. One that has grown since is another recording; one that was only brought
    into another format is not."""
    if noted is None or noted.state is FileState.TRYING:
        return False
    if noted.state is FileState.LEFT_OUT and again:
        return False
    is_same = (noted.size, noted.modified_ns) == (unit.size, unit.modified_ns)
    return is_same or (noted.state is not FileState.LEFT_OUT and noted.suffix != _suffix(unit))


def _state_of(unit: Unit) -> tuple[bytes, str, int, int]:
    return unit.path, _suffix(unit), unit.size, unit.modified_ns


def _suffix(unit: Unit) -> str:
    return unit.files[0].suffix


def _noted_as(unit: Unit, state: FileState) -> NotedFile:
    return NotedFile(path=unit.path, suffix=_suffix(unit), size=unit.size, modified_ns=unit.modified_ns, state=state)


def _outcome(unit: Unit, call: CapturedCall, told: Told, read: _Read) -> Outcome:
    caller, callee = (one.value for one in call.parties)
    return Outcome(
        file=unit.shown,
        fate=Fate.WOULD_IMPORT,
        call=plain_id(call.key) or call.key.removeprefix(recordings.FILE)[:16],
        started=call.started.isoformat(),
        caller=caller,
        callee=callee,
        seconds=round(read.seconds, 2),
        separated=not read.is_mixed,
        records=len(told.rows),
        flags=call.flags,
    )


def _batches(units: Sequence[Unit], size: int) -> Iterator[Sequence[Unit]]:
    rest = iter(units)
    while batch := list(islice(rest, size)):
        yield batch
