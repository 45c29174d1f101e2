"""The job `transcribe`: a sealed recording becomes its transcript, once for each model.

The worker of the speech queue is a process of its own, so a crash of native code costs one attempt at one job. Calls
into it go to a thread, for the process answers its queue meanwhile.
"""

from __future__ import annotations

import asyncio
import threading
from dataclasses import asdict
from time import monotonic
from typing import BinaryIO, cast

import structlog

from agent.archive.blobs import Archive
from agent.errors import BlobErased
from agent.model import SealedBlob
from agent.settings import Settings
from agent.store import recordings, transcripts
from agent.store.engine import Store
from agent.transcribe.channels import read_channels
from agent.transcribe.dialogue import Dialogue, transcribe_channels
from agent.transcribe.engine import Engine
from agent.transcribe.models import fetch_model
from agent.transcribe.whisper import WhisperEngine

log = structlog.get_logger()


class Transcriber:
    """Does the job; keeps the speech model loaded between calls. ``engine`` replaces Whisper, for tests."""

    def __init__(self, store: Store, archive: Archive, settings: Settings, *, engine: Engine | None = None) -> None:
        self._store = store
        self._archive = archive
        self._settings = settings
        self._engine = engine
        self._lock = threading.Lock()

    async def transcribe(self, recording_id: int) -> None:
        """Write down one recording. Run twice it changes nothing: one transcript a recording and model.

        Raises:
            ModelUnavailable: the model cannot be had now; the job is tried again later, the call stays shown.
            ArchiveUnavailable: the sealed recording cannot be read now.
        """
        model = self._settings.transcribe.model
        async with self._store.begin() as connection:
            recording = await recordings.find_recording(connection, recording_id)
            done = await transcripts.has_transcript(connection, recording_id, model)
        if recording is None or done:
            log.info("transcription_not_needed", recording_id=recording_id, reason="done" if done else "no recording")
            return
        began = monotonic()
        try:
            dialogue = await asyncio.to_thread(self._listen, recording.blob, recording.mixed)
        except BlobErased:
            log.info("transcription_not_needed", recording_id=recording_id, reason="erased")
            return
        async with self._store.begin() as connection:
            await transcripts.save_transcript(
                connection,
                recording_id=recording_id,
                model=model,
                language=dialogue.language,
                utterances=dialogue.utterances,
                dropped=[asdict(one) for one in dialogue.dropped],
                separated=dialogue.separated,
            )
        log.info(
            "call_transcribed",
            recording_id=recording_id,
            interaction_id=recording.interaction_id,
            language=dialogue.language,
            utterances=len(dialogue.utterances),
            dropped=len(dialogue.dropped),
            sound_seconds=recording.duration_ms / 1000,
            work_seconds=round(monotonic() - began, 2),
        )

    def _listen(self, blob: SealedBlob, mixed: bool) -> Dialogue:
        engine = self._ready_engine()
        with self._archive.open(blob) as sealed:
            return transcribe_recording(
                cast(BinaryIO, sealed), engine, self._settings.transcribe.languages, mixed=mixed
            )

    def _ready_engine(self) -> Engine:
        with self._lock:
            if self._engine is None:
                chosen = self._settings.transcribe
                directory = fetch_model(chosen.model, data_dir=self._settings.data_dir)
                self._engine = WhisperEngine(directory, name=chosen.model, threads=chosen.threads)
            return self._engine


def transcribe_recording(
    source: BinaryIO, engine: Engine, languages: tuple[str, ...], *, mixed: bool | None = None
) -> Dialogue:
    """The blocking part of the job: a recording's file to its dialogue. ``mixed`` as in `planning.plan`.

    Raises:
        Unreadable: there is no sound in the file.
        ModelUnavailable: the model cannot be loaded.
    """
    return transcribe_channels(read_channels(source), engine, languages, mixed=mixed)
