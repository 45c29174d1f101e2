"""The job `assemble`: the packet logs of a closed call become a sealed recording, and only then are removed."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import structlog

from agent import jobs
from agent.archive.blobs import Archive
from agent.errors import BlobAltered
from agent.model import CapturedCall, SealedBlob
from agent.sip.calls import SOURCE, captured_call, stream_plans
from agent.sip.journal import Fact, read_journal
from agent.sound.assemble import Assembled, StreamPlan, assemble
from agent.sound.codecs import Codec
from agent.store import blobs, interactions, recordings
from agent.store.engine import Store

log = structlog.get_logger()

MEDIA_TYPE = "audio/flac"
_LOGS_GONE = "the packet logs of this call are gone, so there is no sound"


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
        if not facts:
            await self._commit(capture_id, None, None, None, flags=[_LOGS_GONE])
            return
        call = captured_call(facts, capture_id)
        out = folder / "recording.flac"
        assembled = await asyncio.to_thread(_assemble, facts, call, folder, out)
        sealed = await asyncio.to_thread(self._seal, assembled) if assembled.packets else None
        await self._commit(capture_id, call, assembled, sealed, flags=assembled.flags)

    def _seal(self, assembled: Assembled) -> SealedBlob:
        """Sealed and read back whole: the logs are the only other copy there is."""
        with assembled.path.open("rb") as source:
            sealed = self._archive.seal(source, media_type=MEDIA_TYPE)
        if problem := self._archive.check(sealed):
            raise BlobAltered(f"A recording just sealed cannot be read back: {problem}.")
        return sealed

    async def _commit(
        self,
        capture_id: str,
        call: CapturedCall | None,
        assembled: Assembled | None,
        sealed: SealedBlob | None,
        *,
        flags: Sequence[str],
    ) -> None:
        async with self._store.begin() as connection:
            row = await recordings.find_capture(connection, capture_id)
            if row is None or row.state == recordings.ASSEMBLED:
                return
            await interactions.add_flags(connection, row.interaction_id, flags)
            await recordings.mark_assembled(connection, capture_id)
            if call is None or assembled is None or sealed is None:
                return
            blob_id = await blobs.save_blob(connection, sealed, source=SOURCE)
            recording_id = await recordings.save_recording(
                connection,
                capture_id=capture_id,
                interaction_id=row.interaction_id,
                blob_id=blob_id,
                started=_began(call),
                duration_ms=round(assembled.seconds * 1000),
                channels=assembled.channels,
                sample_rate=assembled.rate,
                gaps=assembled.gaps,
                truncated=row.truncated,
            )
            await jobs.defer(connection, [jobs.Job(task=jobs.TRANSCRIBE, args={"recording_id": recording_id})])
        log.info("recording_sealed", capture_id=capture_id, seconds=round(assembled.seconds, 2))


def _began(call: CapturedCall) -> datetime:
    """A recording begins when the two began to talk."""
    return call.answered or call.started


def _assemble(facts: Sequence[Fact], call: CapturedCall, folder: Path, out: Path) -> Assembled:
    plans = [
        StreamPlan(
            path=folder / f"{one.index}.rtpdump",
            channel=one.channel,
            codecs=_codecs(one.codecs, one.parameters),
        )
        for one in stream_plans(facts)
    ]
    ended = call.ended or datetime.now(UTC)
    return assemble(plans, started=_began(call).timestamp(), ended=ended.timestamp(), out=out)


def _codecs(names: dict[str, str], parameters: dict[str, str]) -> dict[int, Codec]:
    """From the rtpmap and fmtp values of the SDP; what is no number there was never a payload type."""
    found = {}
    for payload_type, value in names.items():
        name, _, rest = value.partition("/")
        rate, _, channels = rest.partition("/")
        if payload_type.isdigit() and rate.isdigit():
            found[int(payload_type)] = Codec(
                name=name,
                clock_rate=int(rate),
                channels=int(channels) if channels.isdigit() else 1,
                fmtp=parameters.get(payload_type, ""),
            )
    return found
