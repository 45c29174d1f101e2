"""Sound files of a call become its recording: converted, sealed beside the files as they came, checked and committed.

Whoever has a file (an old recording, a provider's) says it to `Intake.keep_recording`. The files themselves are kept as
evidence: what is played is made from them, and nothing of them is altered.
"""

from __future__ import annotations

import asyncio
import mimetypes
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from agent import jobs
from agent.archive.blobs import Archive
from agent.errors import BlobAltered, UnreadableSound
from agent.model import CapturedCall, EvidenceState, Mark, MarkKind, SealedBlob
from agent.store import blobs, evidence, interactions, notices, recordings
from agent.store.engine import Store

if TYPE_CHECKING:
    from agent.sound.files import Assembled, SoundFile

log = structlog.get_logger()

MEDIA_TYPE = "audio/flac"
_WORTH_A_MARK = 0.2  # seconds of sound before the answer


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    """A recording with everything sealed; ``started`` is the wall time of its first sample."""

    assembled: Assembled
    started: float
    sealed: SealedBlob
    originals: tuple[tuple[str, SealedBlob], ...]
    is_cut: bool


def place_sound(call: CapturedCall, seconds: float) -> float:
    """When a recording of this length began, in seconds since the epoch: it ends with the call, as PBXs stop it then.

    What is longer than the call from its answer began before that; what is longer than the whole call, at its start.
    """
    started = call.started.timestamp()
    if call.ended is None:
        return (call.answered or call.started).timestamp()
    return max(call.ended.timestamp() - seconds, started)


class Keeper:
    """Makes recordings from files. One an intake."""

    def __init__(self, store: Store, archive: Archive) -> None:
        self._store, self._archive = store, archive

    async def is_kept(self, interaction_id: int, reference: str) -> bool:
        """Whether this call has the recording already."""
        async with self._store.begin() as connection:
            return await recordings.has_reference(connection, interaction_id, reference)

    async def keep(
        self, interaction_id: int, call: CapturedCall, sound: Path | Sequence[SoundFile], reference: str
    ) -> int | None:
        """See `Intake.keep_recording`."""
        made = await asyncio.to_thread(self._make, call, sound)
        async with self._store.begin() as connection:
            recording_id = await self._commit(connection, interaction_id, call, reference, made)
        if recording_id is not None:
            seconds = round(made.assembled.seconds, 2)
            log.info("recording_kept", recording_id=recording_id, source=call.source, seconds=seconds)
        return recording_id

    def _make(self, call: CapturedCall, sound: Path | Sequence[SoundFile]) -> _Made:
        """The recording is written into a file without a name, so that a crash leaves nobody's words lying about."""
        from agent.sound.containers import CUT_OFF
        from agent.sound.files import SoundFile, join_files, probe  # PyAV is not for every process that takes things in

        files = (
            [SoundFile(path=sound, channel=0, started=place_sound(call, probe(sound).seconds))]
            if isinstance(sound, Path)
            else list(sound)
        )
        started = min(file.started for file in files)
        with tempfile.TemporaryFile() as flac:
            out = Path(f"/proc/self/fd/{flac.fileno()}")
            assembled = join_files(files, started=started, ended=None, out=out)
            if not assembled.packets:
                raise UnreadableSound(f"There is no sound: {'; '.join(assembled.flags) or 'it is empty'}.")
            sealed = self._seal(out, MEDIA_TYPE)
        originals = tuple((file.path.name, self._seal(file.path, _media_type(file.path))) for file in files)
        is_cut = CUT_OFF in assembled.flags
        return _Made(assembled=assembled, started=started, sealed=sealed, originals=originals, is_cut=is_cut)

    def _seal(self, path: Path, media_type: str) -> SealedBlob:
        with path.open("rb") as source:
            sealed = self._archive.seal(source, media_type=media_type)
        if problem := self._archive.check(sealed):
            raise BlobAltered(f"A recording just sealed cannot be read back: {problem}.")
        return sealed

    async def _commit(
        self, connection: AsyncConnection, interaction_id: int, call: CapturedCall, reference: str, made: _Made
    ) -> int | None:
        told = await evidence.lock_evidence(connection, call.source, call.key)
        if told is not None:  # meanwhile it may have turned out to be a call that was there before
            interaction_id = told.interaction_id
        if await recordings.has_reference(connection, interaction_id, reference):  # another process was first
            return None
        assembled = made.assembled
        blob_id = await blobs.save_blob(connection, made.sealed, source=call.source)
        recording_id = await recordings.save_recording(
            connection,
            capture_id=None,
            reference=reference,
            evidence_id=told.id if told is not None else None,
            interaction_id=interaction_id,
            blob_id=blob_id,
            started=datetime.fromtimestamp(made.started, UTC),
            duration_ms=round(assembled.seconds * 1000),
            channels=assembled.channels,
            sample_rate=assembled.rate,
            gaps=assembled.gaps,
            truncated=call.truncated or made.is_cut,
            mixed=assembled.channels == 1,
        )
        for number, (name, original) in enumerate(made.originals):
            await evidence.insert_evidence(
                connection,
                source=call.source,
                key=f"{call.key} {reference} {number}",
                blob_id=await blobs.save_blob(connection, original, source=call.source),
                details={"sound_file": name},
                received_at=datetime.now(UTC),
                state=EvidenceState.READ,
                interaction_id=interaction_id,
            )
        await interactions.add_flags(connection, interaction_id, assembled.flags)
        await recordings.save_marks(connection, recording_id, _lead(call, made))
        priority = jobs.speech_priority(call.started)
        work = jobs.Job(task=jobs.TRANSCRIBE, args={"recording_id": recording_id}, priority=priority)
        await jobs.defer(connection, [work])
        await notices.notify(connection, notices.INTERACTIONS, interaction_id)
        return recording_id


def _media_type(path: Path) -> str:
    """By its ending, which is all that is told of a file without a head; never that of a mail."""
    kind = mimetypes.guess_type(path.name)[0] or ""
    return kind if kind.startswith("audio/") else "application/octet-stream"


def _lead(call: CapturedCall, made: _Made) -> list[Mark]:
    """What was recorded before the answer."""
    lead = call.answered.timestamp() - made.started if call.answered is not None else 0.0
    if lead <= _WORTH_A_MARK:
        return []
    end = round(min(lead, made.assembled.seconds) * 1000)
    return [Mark(kind=MarkKind.EARLY_MEDIA, channel=None, start_ms=0, end_ms=end)]
