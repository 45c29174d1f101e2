"""The job on a real database and archive: once for each model, postponed while the model is away."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text, update

from agent import jobs
from agent.archive.blobs import Archive
from agent.errors import ModelUnavailable, Unreadable
from agent.intake import Intake
from agent.model import CapturedCall, Disposition
from agent.settings import Settings, TranscribeSettings
from agent.store import blobs, erasures, recordings, transcriptions, transcripts
from agent.store.engine import Store
from agent.store.schema import recording
from agent.store.transcriptions import Progress
from agent.transcribe.answers import AnswerSeal
from agent.transcribe.callwork import WindowRunner
from agent.transcribe.engine import Hints, Recognised, Sound
from agent.transcribe.models.fetching import TINY_DEMO, find_model
from agent.transcribe.transcriber import Transcriber
from agent.transcribe.wer import word_errors
from tests.unit.test_transcribe_speech import CALLS, PARTIES, SOUND, flac, track

CALL = CALLS[2]


def settings(model: str, data_dir: Path) -> Settings:
    return Settings(data_dir=data_dir, transcribe=TranscribeSettings(model=model, threads=1))


async def record(store: Store, archive: Archive, intake: Intake, sound: bytes) -> tuple[int, int]:
    """A finished call with this sound; the ids of interaction and recording."""
    key, now = uuid.uuid4().hex, datetime.now(UTC)
    call = CapturedCall(
        source="test", key=key, started=now, ended=now, disposition=Disposition.ANSWERED, capture_id=key
    )
    interaction_id = await intake.close_call(call)
    sealed = archive.seal(sound, media_type="audio/flac")
    async with store.begin() as connection:
        blob_id = await blobs.save_blob(connection, sealed, source="test")
        recording_id = await recordings.save_recording(
            connection,
            capture_id=key,
            interaction_id=interaction_id,
            blob_id=blob_id,
            started=now,
            duration_ms=8000,
            channels=2,
            sample_rate=8000,
            gaps=(),
            truncated=False,
        )
    return interaction_id, recording_id


async def stored(store: Store, interaction_id: int) -> list[transcripts.Transcript]:
    async with store.begin() as connection:
        return await transcripts.list_transcripts(connection, [interaction_id], words=True)


@pytest.fixture(scope="module")
def sound() -> bytes:
    return flac([track(SOUND / CALL["files"][party]) for party in PARTIES]).getvalue()


async def test_a_recording_gets_one_transcript_however_often_the_job_runs(
    store: Store, archive: Archive, intake: Intake, sound: bytes, tmp_path: Path
) -> None:
    interaction_id, recording_id = await record(store, archive, intake, sound)
    transcriber = Transcriber(store, archive, settings(TINY_DEMO, tmp_path))
    for _ in range(2):
        await transcriber.transcribe(recording_id)
    (transcript,) = await stored(store, interaction_id)
    assert (transcript.model, transcript.language) == (TINY_DEMO, "ru")
    said = " ".join(phrase["text"] for phrase in CALL["phrases"])
    assert word_errors(said, " ".join(one.text for one in transcript.utterances)).rate <= 0.1
    assert [PARTIES[one.channel] for one in transcript.utterances] == [phrase["party"] for phrase in CALL["phrases"]]


async def test_a_call_waits_for_its_model_and_is_transcribed_when_it_comes(
    store: Store, archive: Archive, intake: Intake, sound: bytes, tmp_path: Path
) -> None:
    interaction_id, recording_id = await record(store, archive, intake, sound)
    directory = tmp_path / "model"
    transcriber = Transcriber(store, archive, settings(str(directory), tmp_path))
    with pytest.raises(ModelUnavailable):
        await transcriber.transcribe(recording_id)
    assert await stored(store, interaction_id) == []
    directory.symlink_to(find_model(TINY_DEMO, data_dir=tmp_path))
    await transcriber.transcribe(recording_id)
    assert len(await stored(store, interaction_id)) == 1


async def test_a_silent_call_has_an_empty_transcript(
    store: Store, archive: Archive, intake: Intake, tmp_path: Path
) -> None:
    quiet = track(SOUND / CALL["files"]["caller"]) * 0
    interaction_id, recording_id = await record(store, archive, intake, flac([quiet, quiet]).getvalue())
    await Transcriber(store, archive, settings(TINY_DEMO, tmp_path)).transcribe(recording_id)
    (transcript,) = await stored(store, interaction_id)
    assert (transcript.language, transcript.utterances) == ("", ())


async def test_a_recording_without_sound_is_unreadable_and_one_that_is_gone_is_no_error(
    store: Store, archive: Archive, intake: Intake, tmp_path: Path
) -> None:
    interaction_id, recording_id = await record(store, archive, intake, b"no sound at all")
    transcriber = Transcriber(store, archive, settings(TINY_DEMO, tmp_path))
    with pytest.raises(Unreadable):
        await transcriber.transcribe(recording_id)
    assert await stored(store, interaction_id) == []
    await transcriber.transcribe(10**9)


# --- several calls, calls cut off, calls that kill --------------------------------------------------------------------


class NumberingEngine:
    """Answers each window with a word; after ``most`` windows it is broken until it is mended."""

    name = "numbering"
    join_seconds = 0.0
    batch = 2
    lanes = 1

    def __init__(self, most: int = 1000) -> None:
        self.most = most
        self.heard: list[int] = []
        self.at_once: list[int] = []

    def unload(self) -> None:
        return

    def weigh_languages(self, sound: Sound) -> Mapping[str, float]:
        return {"ru": 1.0}

    def recognise(self, windows: Sequence[Sound], language: str, hints: Hints) -> list[list[Recognised]]:
        if len(self.heard) + len(windows) > self.most:
            self.most = 0
            raise ModelUnavailable("The model is away.")
        self.at_once.append(len(windows))
        self.heard += [len(window) for window in windows]
        return [[Recognised(start=0, end=1, text="да", no_speech=0, log_probability=0, compression=1)] for _ in windows]


def of(store: Store, archive: Archive, engine: NumberingEngine, data_dir: Path, **chosen: Any) -> Transcriber:
    made = Settings(data_dir=data_dir, transcribe=TranscribeSettings(threads=1, languages=("ru",), **chosen))
    transcriber = Transcriber(store, archive, made, engine=engine)
    transcriber._runner = WindowRunner(store, AnswerSeal(archive.keys), noted_seconds=0)
    return transcriber


async def kept_of(store: Store, recording_id: int) -> tuple[Progress | None, int]:
    """How far a recording is, and how many of its answers are kept."""
    async with store.begin() as connection:
        progress = await transcriptions.list_progress(connection, [recording_id])
        return progress.get(recording_id), len(await transcriptions.list_answers(connection, recording_id))


async def test_a_call_cut_off_goes_on_with_the_windows_that_are_missing(
    store: Store, archive: Archive, intake: Intake, sound: bytes, tmp_path: Path
) -> None:
    whole = NumberingEngine()
    other_id, other = await record(store, archive, intake, sound)
    await of(store, archive, whole, tmp_path).transcribe(other)
    assert len(whole.heard) > 2
    interaction_id, recording_id = await record(store, archive, intake, sound)
    broken = NumberingEngine(most=2)
    with pytest.raises(ModelUnavailable):
        await of(store, archive, broken, tmp_path).transcribe(recording_id)
    progress, answers = await kept_of(store, recording_id)
    assert progress is not None
    assert (progress.host, answers) == (Settings().host, len(broken.heard))
    assert 0 < progress.done < progress.seconds
    rest = NumberingEngine()
    await of(store, archive, rest, tmp_path).transcribe(recording_id)
    assert sorted(broken.heard + rest.heard) == sorted(whole.heard)
    assert await kept_of(store, recording_id) == (None, 0)
    (first,), (second,) = await stored(store, other_id), await stored(store, interaction_id)
    assert [one.text for one in first.utterances] == [one.text for one in second.utterances]


async def test_windows_of_several_calls_are_recognised_together(
    store: Store, archive: Archive, intake: Intake, sound: bytes, tmp_path: Path
) -> None:
    engine = NumberingEngine()
    transcriber = of(store, archive, engine, tmp_path)
    calls = [await record(store, archive, intake, sound) for _ in range(3)]
    await asyncio.gather(*(transcriber.transcribe(number) for _, number in calls))
    assert max(engine.at_once) > 1
    for interaction_id, _ in calls:
        (transcript,) = await stored(store, interaction_id)
        assert len(transcript.utterances) == len(engine.heard) / 3
    await transcriber.close()


async def test_a_call_that_kills_is_done_alone_and_then_given_up(
    store: Store, archive: Archive, intake: Intake, sound: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill leaves the note that it was tried; nothing takes it back."""
    told: list[bool] = []
    transcriber = of(store, archive, NumberingEngine(), tmp_path)
    taken = transcriber._turns.taken

    def noted(*, alone: bool) -> AbstractAsyncContextManager[None]:
        told.append(alone)
        return taken(alone=alone)

    monkeypatch.setattr(transcriber._turns, "taken", noted)
    for tries, expected in ((0, [False]), (2, [True]), (8, [])):
        interaction_id, recording_id = await record(store, archive, intake, sound)
        async with store.begin() as connection:
            await transcriptions.begin(connection, recording_id, model="m", host="h")
            for _ in range(tries):
                await transcriptions.count_try(connection, recording_id)
        told.clear()
        await transcriber.transcribe(recording_id)
        assert told == expected
        assert len(await stored(store, interaction_id)) == (1 if expected else 0)


async def until_begun(store: Store, recording_id: int) -> None:
    for _ in range(500):
        async with store.begin() as connection:
            if await transcriptions.list_progress(connection, [recording_id]):
                return
        await asyncio.sleep(0.01)
    raise AssertionError("it was not begun")


async def test_a_call_that_waits_for_its_turn_has_not_been_tried(
    store: Store, archive: Archive, intake: Intake, sound: bytes, tmp_path: Path
) -> None:
    """Whoever is killed meanwhile is killed by another: ten kills later it would be given up unheard."""
    transcriber = of(store, archive, NumberingEngine(), tmp_path)
    interaction_id, recording_id = await record(store, archive, intake, sound)
    async with transcriber._turns.taken(alone=True):
        work = asyncio.create_task(transcriber.transcribe(recording_id))
        await until_begun(store, recording_id)
        async with store.begin() as connection:
            assert await transcriptions.begin(connection, recording_id, model="m", host="h") == 0
    await work
    assert len(await stored(store, interaction_id)) == 1


async def test_what_ends_a_job_in_order_is_no_mark_against_its_call(
    store: Store, archive: Archive, intake: Intake, sound: bytes, tmp_path: Path
) -> None:
    interaction_id, recording_id = await record(store, archive, intake, sound)
    away = of(store, archive, NumberingEngine(most=0), tmp_path)
    for _ in range(10):
        with pytest.raises(ModelUnavailable):
            await away.transcribe(recording_id)
    await of(store, archive, NumberingEngine(), tmp_path).transcribe(recording_id)
    assert len(await stored(store, interaction_id)) == 1


async def test_old_calls_wait_for_the_night_and_new_ones_do_not(
    store: Store, archive: Archive, intake: Intake, sound: bytes, tmp_path: Path
) -> None:
    now = datetime.now().astimezone()
    hours = f"{(now + timedelta(hours=2)):%H}-{(now + timedelta(hours=3)):%H}"
    engine = NumberingEngine()
    transcriber = of(store, archive, engine, tmp_path, night=hours, night_days=3)
    for days, waits in ((0, False), (4, True)):
        interaction_id, recording_id = await record(store, archive, intake, sound)
        async with store.begin() as connection:
            older = update(recording).where(recording.c.id == recording_id)
            await connection.execute(older.values(started_at=datetime.now(UTC) - timedelta(days=days)))
        await transcriber.transcribe(recording_id)
        assert bool(await stored(store, interaction_id)) is not waits
    async with store.begin() as connection:
        rows = (
            await connection.execute(
                text("SELECT args, priority, scheduled_at FROM procrastinate_jobs WHERE task_name = 'transcribe'")
            )
        ).all()
        backlog = await transcriptions.find_backlog(connection)
    (row,) = rows
    assert row.args["recording_id"] == recording_id
    assert timedelta() < row.scheduled_at - now <= timedelta(hours=2)
    assert row.priority < jobs.speech_priority(now)
    assert (backlog.waiting, backlog.waiting_seconds) == (1, 8.0)


async def test_nothing_said_in_a_call_erased_meanwhile_is_kept(
    store: Store, archive: Archive, intake: Intake, sound: bytes, tmp_path: Path
) -> None:
    interaction_id, recording_id = await record(store, archive, intake, sound)
    with pytest.raises(ModelUnavailable):
        await of(store, archive, NumberingEngine(most=2), tmp_path).transcribe(recording_id)
    async with store.begin() as connection:
        await erasures.destroy_keys(connection, await erasures.list_blob_ids(connection, [interaction_id]))
        await transcriptions.note(connection, recording_id, done=1, seconds=2, answers={b"late": b"words"})
        assert b"late" not in await transcriptions.list_answers(connection, recording_id)
    await of(store, archive, NumberingEngine(), tmp_path).transcribe(recording_id)
    assert await kept_of(store, recording_id) == (None, 0)
    assert await stored(store, interaction_id) == []
