"""The job on a real database and archive: once for each model, postponed while the model is away."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.archive.blobs import Archive
from agent.errors import ModelUnavailable, Unreadable
from agent.intake import Intake
from agent.model import CapturedCall, Disposition
from agent.settings import Settings, TranscribeSettings
from agent.store import blobs, recordings, transcripts
from agent.store.engine import Store
from agent.transcribe.models import TINY_DEMO, find_model
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
