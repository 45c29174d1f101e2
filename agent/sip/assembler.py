"""The job `assemble`: the packet logs of a closed call become a sealed recording, and only then are removed."""

from __future__ import annotations

import asyncio
import shutil
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import ceil, floor
from pathlib import Path

import structlog

from agent import jobs
from agent.archive.blobs import Archive
from agent.errors import BlobAltered
from agent.model import CapturedCall, Mark, MarkKind, SealedBlob
from agent.sip.calls import SOURCE, captured_call
from agent.sip.journal import Fact, read_journal
from agent.sip.sounding import (
    FileStream,
    Interval,
    codecs_of,
    file_streams,
    holds,
    keys,
    keys_of,
    logged_streams,
    pauses,
)
from agent.sound.assemble import Assembled, Assembly, Silence, StreamPlan
from agent.sound.files import SoundFile, join_files
from agent.sound.wav import WavShape, mute, shape_of
from agent.store import blobs, interactions, recordings
from agent.store.engine import Store

log = structlog.get_logger()

MEDIA_TYPE, LOGS_TYPE = "audio/flac", "application/x-tar"
LONGEST_LEAD = timedelta(hours=1)  # of sound before the answer, and after the end
_WORTH_A_MARK = 0.2  # seconds of sound before the answer
_LOGS_GONE = "the packet logs of this call are gone, so there is no sound"
_ON_HOLD, _UNANSWERED = "on hold", "before the answer"
_KEPT = "the packet logs are kept, since not everything in them could be decoded"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    """A recording before it is sealed; ``unread`` holds where the logs are worth keeping beside it."""

    assembled: Assembled
    started: datetime
    marks: tuple[Mark, ...]
    flags: tuple[str, ...]
    unread: bool


class Assembler:
    """Runs on the host whose disk has the logs. Killed anywhere, it begins again and ends with one recording."""

    def __init__(self, store: Store, archive: Archive, captures: Path) -> None:
        self._store = store
        self._archive = archive
        self._captures = captures

    async def assemble(self, capture_id: str) -> None:
        """Assemble, seal, check what was sealed, commit, and remove the logs, in this order."""
        folder = self._captures / capture_id
        async with self._store.begin() as connection:
            row = await recordings.find_capture(connection, capture_id)
        if row is None:
            log.warning("capture_unknown", capture_id=capture_id)
            return
        if row.state != recordings.ASSEMBLED:
            await self._make_recording(capture_id, folder)
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def _make_recording(self, capture_id: str, folder: Path) -> None:
        facts = await asyncio.to_thread(read_journal, folder) if folder.is_dir() else []
        if not facts and not any(path.suffix in (".rtpdump", ".wav") for path in folder.glob("*.*")):
            await self._commit(capture_id, None, None, None, flags=[_LOGS_GONE])
            return
        call = captured_call(facts, capture_id)
        made = await asyncio.to_thread(_make, facts, call, folder)
        sealed = kept = None
        if made.assembled.packets:
            sealed = await asyncio.to_thread(self._seal, made.assembled.path, MEDIA_TYPE)
        if made.unread:
            kept = await asyncio.to_thread(self._seal_logs, folder)
        await self._commit(capture_id, made, sealed, kept, flags=made.flags, source=call.source)

    def _seal(self, path: Path, media_type: str) -> SealedBlob:
        """Sealed and read back whole: the logs are the only other copy there is."""
        with path.open("rb") as source:
            sealed = self._archive.seal(source, media_type=media_type)
        if problem := self._archive.check(sealed):
            raise BlobAltered(f"A recording just sealed cannot be read back: {problem}.")
        return sealed

    def _seal_logs(self, folder: Path) -> SealedBlob:
        """The logs and the journal, whose keys and codecs they need, as they lie on the disk."""
        archive = folder / "logs.tar"
        with tarfile.open(archive, "w") as tar:
            for path in sorted(folder.iterdir()):
                if path.name not in (archive.name, _OUT):
                    tar.add(path, arcname=path.name)
        return self._seal(archive, LOGS_TYPE)

    async def _commit(
        self,
        capture_id: str,
        made: _Made | None,
        sealed: SealedBlob | None,
        kept: SealedBlob | None,
        *,
        flags: Sequence[str],
        source: str = SOURCE,
    ) -> None:
        async with self._store.begin() as connection:
            row = await recordings.find_capture(connection, capture_id)
            if row is None or row.state == recordings.ASSEMBLED:
                return
            await interactions.add_flags(connection, row.interaction_id, flags)
            await recordings.mark_assembled(connection, capture_id)
            if kept is not None:
                logs_id = await blobs.save_blob(connection, kept, source=source)
                await recordings.keep_log(connection, capture_id, logs_id)
            if made is None or sealed is None:
                return
            assembled = made.assembled
            blob_id = await blobs.save_blob(connection, sealed, source=source)
            recording_id = await recordings.save_recording(
                connection,
                capture_id=capture_id,
                interaction_id=row.interaction_id,
                blob_id=blob_id,
                started=made.started,
                duration_ms=round(assembled.seconds * 1000),
                channels=assembled.channels,
                sample_rate=assembled.rate,
                gaps=assembled.gaps,
                truncated=row.truncated,
            )
            await recordings.save_marks(connection, recording_id, made.marks)
            priority = jobs.speech_priority(made.started)
            work = jobs.Job(task=jobs.TRANSCRIBE, args={"recording_id": recording_id}, priority=priority)
            await jobs.defer(connection, [work])
        log.info(
            "recording_sealed",
            capture_id=capture_id,
            seconds=round(assembled.seconds, 2),
            concealed_ms=assembled.concealed * 1000 // assembled.rate,
            logs_kept=kept is not None,
        )


_OUT = "recording.flac"


def _make(facts: Sequence[Fact], call: CapturedCall, folder: Path) -> _Made:
    """Everything that was captured, from the answer to the end, and before and after that where sound came."""
    logs = [int(path.stem) for path in folder.glob("*.rtpdump") if path.stem.isdecimal()]
    ended = call.ended or datetime.now(UTC)
    if not logs and (files := file_streams(facts, [path.name for path in folder.glob("*.wav")])):
        return _make_of_files(facts, call, folder, files, ended)
    streams = logged_streams(facts, logs)
    paused = pauses(facts, ended)
    plans = [
        StreamPlan(path=folder / f"{one.index}.rtpdump", channel=one.channel, codecs=codecs_of(one), srtp=keys_of(one))
        for one in streams
    ]
    assembly = Assembly(plans, pauses=[(one.start, one.end) for one in paused])
    answered = (call.answered or call.started).timestamp()
    begins, ends = assembly.begins or answered, assembly.ends or ended.timestamp()
    started, until, flags = _span(begins, ends, answered, max(ended.timestamp(), answered))
    held = list(holds(facts, streams, ended))
    silences = [Silence(start=one.start, end=one.end, channel=one.channel, reason=_ON_HOLD) for one in held]
    assembled = assembly.write(started=started, ended=until, out=folder / _OUT, silences=silences)
    marks = [
        *_marks(MarkKind.EARLY_MEDIA, _lead(started, answered), started, until),
        *_marks(MarkKind.HOLD, held, started, until),
        *_marks(MarkKind.PAUSE, paused, started, until),
        *_marks(MarkKind.DTMF, keys(facts, paused), started, until),
        *assembled.marks,
    ]
    set_aside = any(folder.glob("*.unreadable-*"))
    unread = assembly.unread or set_aside or bool(flags)
    return _Made(
        assembled=assembled,
        started=datetime.fromtimestamp(started, UTC),
        marks=tuple(sorted(marks, key=lambda mark: (mark.start_ms, mark.end_ms))),
        flags=(*assembled.flags, *flags, *([_KEPT] if unread else [])),
        unread=unread,
    )


def _make_of_files(
    facts: Sequence[Fact], call: CapturedCall, folder: Path, streams: Sequence[FileStream], ended: datetime
) -> _Made:
    """The same from sound files. What came during a pause that was known late is overwritten before it is read."""
    paused, held = pauses(facts, ended), list(holds(facts, streams, ended))
    known = [(one, shape) for one in streams if (shape := _shape(folder / one.name)) is not None]
    begun = call.started.timestamp()
    files = [
        SoundFile(path=folder / one.name, channel=one.channel, started=_started(one, shape, folder, begun))
        for one, shape in known
    ]
    for file in files:
        mute(file.path, file.started, [(one.start, one.end) for one in paused])
    answered = (call.answered or call.started).timestamp()
    first = min([answered, *(file.started for file in files)])
    last = max(
        [ended.timestamp(), *(file.started + shape.seconds for file, (_, shape) in zip(files, known, strict=True))]
    )
    started, until, flags = _span(first, last, answered, max(ended.timestamp(), answered))
    silences = [
        Silence(start=started, end=answered, reason=_UNANSWERED),
        *(Silence(start=one.start, end=one.end, channel=one.channel, reason=_ON_HOLD) for one in held),
    ]
    assembled = join_files(files, started=started, ended=until, out=folder / _OUT, silences=silences)
    marks = [
        *_marks(MarkKind.EARLY_MEDIA, _lead(started, answered), started, until),
        *_marks(MarkKind.HOLD, held, started, until),
        *_marks(MarkKind.PAUSE, paused, started, until),
        *_marks(MarkKind.DTMF, keys(facts, paused), started, until),
    ]
    return _Made(
        assembled=assembled,
        started=datetime.fromtimestamp(started, UTC),
        marks=tuple(sorted(marks, key=lambda mark: (mark.start_ms, mark.end_ms))),
        flags=(*assembled.flags, *flags),
        unread=len(known) < len(streams) or bool(flags),
    )


def _shape(path: Path) -> WavShape | None:
    try:
        return shape_of(path)
    except FileNotFoundError:
        return None


def _started(stream: FileStream, shape: WavShape, folder: Path, begun: float) -> float:
    """As the journal has it, else what its end and its length say: not before the call."""
    if stream.started is not None:
        return stream.started
    return max((folder / stream.name).stat().st_mtime - shape.seconds, begun)


def _span(first: float, last: float, answered: float, ended: float) -> tuple[float, float, list[str]]:
    """From when to when the recording goes: sound before the answer and after the end belongs to it."""
    most, flags = LONGEST_LEAD.total_seconds(), list[str]()
    if answered - first > most or last - ended > most:
        flags.append("sound of more than an hour before the answer or after the end was left out")
    return begins_at(first, answered), min(max(last, ended), ended + most), flags


def begins_at(first: float, answered: float) -> float:
    """When a recording begins, of a call whose first sound was at ``first``; all in seconds since the epoch."""
    return max(min(first, answered), answered - LONGEST_LEAD.total_seconds())


def _lead(started: float, answered: float) -> list[Interval]:
    return [Interval(start=started, end=answered)] if answered - started > _WORTH_A_MARK else []


def _marks(kind: MarkKind, intervals: Sequence[Interval], started: float, ended: float) -> list[Mark]:
    """The intervals within the recording."""
    return [
        _mark(kind, one, max(one.start, started) - started, min(one.end, ended) - started)
        for one in intervals
        if one.start < ended and one.end > started
    ]


def _mark(kind: MarkKind, interval: Interval, start: float, end: float) -> Mark:
    """In the whole milliseconds that lie within: where a mark says that recording was paused, not one sample of sound
    may be. What is shorter than that keeps its place."""
    start_ms = ceil(round(start * 1000, 3))  # without what floating point adds far behind the comma
    end_ms = max(start_ms, floor(round(end * 1000, 3)))
    return Mark(kind=kind, channel=interval.channel, start_ms=start_ms, end_ms=end_ms, text=interval.text)
