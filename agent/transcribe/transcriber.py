"""The job `transcribe`: a sealed recording becomes its transcript, once for each model.

The worker of the speech queue is a process of its own, so a crash of native code costs an attempt of the calls in work
and nothing else. Whatever blocks goes to threads, for the process answers its queue meanwhile. Several calls are in
work at a time: their windows meet in the batcher.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import BinaryIO, cast

import structlog

from agent import jobs
from agent.archive.blobs import Archive
from agent.errors import BlobErased, DatabaseUnavailable, ModelUnavailable
from agent.processes import give_memory_back
from agent.settings import Settings
from agent.store import callnames, glossary, livespeech, recordings, talks, transcriptions, transcripts
from agent.store.engine import Store
from agent.store.recordings import Recording
from agent.transcribe.afterwards import save_dialogue, save_figures
from agent.transcribe.answers import AnswerSeal
from agent.transcribe.batcher import Batcher, Cores
from agent.transcribe.callwork import CallWork, WindowRunner
from agent.transcribe.capacity.share import Turns, count_threads, night_begins
from agent.transcribe.dialogue import Dialogue, Plan, find_language, merge, plan, transcribe_channels
from agent.transcribe.engine import Engine, Hints
from agent.transcribe.hints import make_hints
from agent.transcribe.live.answers import LiveAnswers
from agent.transcribe.live.call import OngoingCalls
from agent.transcribe.live.listener import Ear, LiveListener
from agent.transcribe.models.choosing import hints_for, make_engine, model_of, models_of, open_engine
from agent.transcribe.soundkeys import SoundKeys
from agent.transcribe.speech.channels import Channel, read_channels
from agent.transcribe.speech.speechfinder import find_speech

log = structlog.get_logger()

_THREADS_A_PLAN = 3  # finding speech is quick, and takes memory; the models are fed by one in so many threads
_ALONE_TRIES, _MOST_TRIES = 2, 8  # tried in vain so often: the call is done alone, then not at all


@dataclass(frozen=True, slots=True, kw_only=True)
class _Order:
    """What a job asks for: the model named, or those of the settings; ``round`` counts how often it was asked again,
    ``tries`` how often a process died at it."""

    recording: Recording
    model: str
    round: int
    tries: int


class Transcriber:
    """Does the job; keeps speech models loaded between calls. ``engine`` replaces them, for tests."""

    def __init__(
        self,
        store: Store,
        archive: Archive,
        settings: Settings,
        *,
        engine: Engine | None = None,
        beside_service: bool = False,
    ) -> None:
        """``beside_service``: this host may record calls too (`share.count_threads`)."""
        self._store, self._archive = store, archive
        threads = count_threads(settings, beside_service=beside_service)
        chosen = settings.transcribe.model_copy(update={"threads": threads})
        self._settings = settings.model_copy(update={"transcribe": chosen})
        self._cores = Cores(threads)
        self._models = _Models(self._settings, self._cores, engine)
        self._seal, self._sound_keys = AnswerSeal(archive.keys), SoundKeys(archive.keys)
        self._runner = WindowRunner(store, self._seal)
        self._turns = Turns()
        self._planning = asyncio.Semaphore(max(1, threads // _THREADS_A_PLAN))

    async def transcribe(self, recording_id: int, model: str = "", round: int = 0) -> None:  # noqa: A002 - the noun
        """Write down one recording. Run twice it changes nothing: one transcript a recording, model and round.

        Raises:
            ModelUnavailable: the model cannot be had now; the job is tried again later, the call stays shown.
            ArchiveUnavailable: the sealed recording cannot be read now.
        """
        order = await self._begin(recording_id, model, round)
        if order is None:
            return
        began = monotonic()
        try:
            async with self._turns.taken(alone=order.tries >= _ALONE_TRIES):
                name, dialogue = await self._listen(order)
        except BlobErased:
            log.info("transcription_not_needed", recording_id=recording_id, reason="erased")
            await self._forget(recording_id)
            return
        except BaseException as error:
            await asyncio.shield(self._excuse(recording_id))
            if isinstance(error, ModelUnavailable):
                await self._measure(order)
            raise
        await self._save(order, name, dialogue)
        log.info(
            "call_transcribed",
            recording_id=recording_id,
            interaction_id=order.recording.interaction_id,
            language=dialogue.language,
            utterances=len(dialogue.utterances),
            dropped=len(dialogue.dropped),
            sound_seconds=order.recording.duration_ms / 1000,
            work_seconds=float(f"{monotonic() - began:.2f}"),
        )

    def listener(self, calls: OngoingCalls) -> LiveListener:
        """Who transcribes calls while they go on, with the models and cores of the jobs."""
        ear = Ear(
            open=lambda: self._models.open(""),
            cores=self._cores,
            find=find_speech,
            keys=self._sound_keys,
            seal=self._seal,
            languages=self._settings.transcribe.languages,
        )
        return LiveListener(self._store, calls, ear, marks=self._settings.data_dir / "followed")

    async def close(self) -> None:
        """End the threads; what was loaded is given back."""
        await asyncio.to_thread(self._models.close)

    async def _begin(self, recording_id: int, model: str, round: int) -> _Order | None:  # noqa: A002
        """None: there is nothing to do, now or at all."""
        async with self._store.begin() as connection:
            recording = await recordings.find_recording(connection, recording_id)
            names = [model] if model else list(models_of(self._settings))
            done = [
                one for one in names if await transcripts.has_transcript(connection, recording_id, one, round=round)
            ]
            if recording is None or done:
                reason = "done" if done else "no recording"
                log.info("transcription_not_needed", recording_id=recording_id, reason=reason)
                return None
            if (night := self._night_to_wait_for(recording)) is not None:
                args = {"recording_id": recording_id, "model": model, "round": round}
                priority = jobs.speech_priority(recording.started)
                await jobs.defer(connection, [jobs.Job(task=jobs.TRANSCRIBE, args=args, priority=priority, at=night)])
                return None
            host = self._settings.host
            tries = await transcriptions.begin(connection, recording_id, model=", ".join(names), host=host)
        if tries >= _MOST_TRIES:
            log.error("transcription_given_up", recording_id=recording_id, tries=tries)
            return None
        return _Order(recording=recording, model=model, round=round, tries=tries)

    def _night_to_wait_for(self, recording: Recording) -> datetime | None:
        night = self._settings.transcribe.night_minutes
        if night is None or recording.started > datetime.now(UTC) - timedelta(
            days=self._settings.transcribe.night_days
        ):
            return None
        return night_begins(datetime.now().astimezone(), night)

    async def _listen(self, order: _Order) -> tuple[str, Dialogue]:
        """The name of the model that did it, and the dialogue."""
        engine, batcher = await asyncio.to_thread(self._models.open, order.model)
        async with self._store.begin() as connection:  # not before: a call that waits for its turn kills nobody
            await transcriptions.count_try(connection, order.recording.id)
        with self._archive.open(order.recording.blob) as sealed:
            source = cast(BinaryIO, sealed)
            mixed = order.recording.mixed
            async with self._planning:
                live = await self._live_answers(order.recording.id)
                channels, planned = await asyncio.to_thread(self._plan, source, engine, live, mixed=mixed)
            language = await asyncio.to_thread(self._find_language, planned, channels, engine, live)
            name = model_of(engine, language)
            hints = await asyncio.to_thread(hints_for, engine, language, await self._hints(order.recording.id))
            known = await asyncio.to_thread(live.answers, planned, channels, model=name, language=language, hints=hints)
            work = CallWork(
                recording_id=order.recording.id,
                plan=planned,
                channels=channels,
                model=name,
                language=language,
                hints=hints,
                rank=-order.recording.started.timestamp(),
                known=known,
            )
            if known:
                log.info(
                    "call_heard_live", recording_id=work.recording_id, heard=len(known), windows=len(planned.windows)
                )
            answers = await self._runner.run(work, batcher, ahead=engine.batch * (engine.lanes + 1))
        return name, await asyncio.to_thread(merge, planned, answers, language)

    async def _hints(self, recording_id: int) -> Hints:
        """Names of this call, and the words that an administrator has named."""
        async with self._store.begin() as connection:
            names = await callnames.find_call_names(connection, recording_id)
            return make_hints(names, await glossary.find_glossary(connection))

    async def _measure(self, order: _Order) -> None:
        """The figures of the talk, which need no model, while the model is awaited."""
        recording = order.recording
        async with self._store.begin() as connection:
            if await talks.list_talks(connection, [recording.id]):
                return
        with self._archive.open(recording.blob) as sealed:
            source = cast(BinaryIO, sealed)
            async with self._planning:
                nothing = LiveAnswers({}, self._sound_keys, self._seal)
                _, planned = await asyncio.to_thread(self._plan, source, None, nothing, mixed=recording.mixed)
        async with self._store.begin() as connection:
            seconds = recording.duration_ms / 1000
            await save_figures(connection, recording.id, planned.speech, seconds=seconds, separated=planned.separated)

    async def _live_answers(self, recording_id: int) -> LiveAnswers:
        async with self._store.begin() as connection:
            rows = await livespeech.list_answers_of(connection, recording_id)
        return LiveAnswers(rows, self._sound_keys, self._seal)

    def _plan(
        self, source: BinaryIO, engine: Engine | None, live: LiveAnswers, *, mixed: bool
    ) -> tuple[Sequence[Channel], Plan]:
        join_seconds = engine.join_seconds if engine is not None else 0.0
        with self._cores.taken():
            channels = read_channels(source)
            find, comparing = live.finding(find_speech), live.comparing
            found = plan(channels, join_seconds=join_seconds, find=find, mixed=mixed or None, comparing=comparing)
            give_memory_back()  # what decoding and looking for speech took is a third of what this process has
            return channels, found

    def _find_language(self, planned: Plan, channels: Sequence[Channel], engine: Engine, live: LiveAnswers) -> str:
        known = live.weights(channels, model=engine.name)
        with self._cores.taken():
            return find_language(planned, channels, engine, self._settings.transcribe.languages, known)

    async def _save(self, order: _Order, model: str, dialogue: Dialogue) -> None:
        async with self._store.begin() as connection:
            await save_dialogue(connection, dialogue, recording_id=order.recording.id, model=model, round=order.round)
            await save_figures(
                connection,
                order.recording.id,
                dialogue.speech,
                seconds=order.recording.duration_ms / 1000,
                separated=dialogue.separated,
            )
            await transcriptions.forget(connection, order.recording.id)
            await livespeech.forget_of(connection, order.recording.id)

    async def _forget(self, recording_id: int) -> None:
        async with self._store.begin() as connection:
            await transcriptions.forget(connection, recording_id)
            await livespeech.forget_of(connection, recording_id)

    async def _excuse(self, recording_id: int) -> None:
        """This process lives, so the call has not killed it."""
        with contextlib.suppress(DatabaseUnavailable):
            async with self._store.begin() as connection:
                await transcriptions.excuse(connection, recording_id)


class _Models:
    """The engines that were asked for by now, each with its batcher."""

    def __init__(self, settings: Settings, cores: Cores, engine: Engine | None) -> None:
        self._settings, self._cores, self._engine = settings, cores, engine
        self._opened: dict[str, tuple[Engine, Batcher]] = {}
        self._lock = threading.Lock()

    def open(self, name: str) -> tuple[Engine, Batcher]:
        """The model of this name, fetched if need be; empty: those of the settings. Blocks, maybe for hours.

        Raises:
            ModelUnavailable: it cannot be had now.
        """
        with self._lock:
            if name not in self._opened:
                engine = self._engine or (open_engine(name, self._settings) if name else make_engine(self._settings))
                unload = self._settings.transcribe.unload_seconds
                self._opened[name] = engine, Batcher(engine, self._cores, unload_seconds=unload)
            return self._opened[name]

    def close(self) -> None:
        """End the batchers."""
        for _, batcher in self._opened.values():
            batcher.close()


def transcribe_recording(source: BinaryIO, engine: Engine, languages: tuple[str, ...]) -> Dialogue:
    """The blocking part of the job: a recording's file to its dialogue.

    Raises:
        Unreadable: there is no sound in the file.
        ModelUnavailable: the model cannot be loaded.
    """
    return transcribe_channels(read_channels(source), engine, languages)
