"""What the store keeps once: captures are closed once, recordings transcribed once, a person's decision stands."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

import pytest
from sqlalchemy.exc import IntegrityError

from agent.archive.blobs import Archive
from agent.intake import Intake
from agent.model import CapturedCall, Gap, LinkState, Utterance, Word
from agent.store import blobs, links, mailboxes, recordings, transcripts
from agent.store.engine import Store
from agent.store.links import Link

_START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


async def _call(intake: Intake) -> tuple[int, str]:
    capture_id = uuid.uuid4().hex
    call = CapturedCall(source="siprec", key=capture_id, started=_START, capture_id=capture_id)
    return await intake.open_call(call), capture_id


async def _recording(store: Store, archive: Archive, interaction_id: int, capture_id: str) -> int:
    sealed = archive.seal(b"fLaC", media_type="audio/flac")
    async with store.begin() as connection:
        return await recordings.save_recording(
            connection,
            capture_id=capture_id,
            interaction_id=interaction_id,
            blob_id=await blobs.save_blob(connection, sealed, source="siprec"),
            started=_START,
            duration_ms=61_000,
            channels=2,
            sample_rate=8000,
            gaps=[Gap(channel=1, start_ms=10, end_ms=20, reason="hold")],
            truncated=True,
        )


async def test_a_capture_closes_once(store: Store, intake: Intake) -> None:
    _, capture_id = await _call(intake)
    async with store.begin() as connection:
        assert await recordings.close_capture(connection, capture_id, truncated=False)
        assert not await recordings.close_capture(connection, capture_id, truncated=False)
        await recordings.mark_assembled(connection, capture_id)
        assert not await recordings.close_capture(connection, capture_id, truncated=False)
        assert not await recordings.close_capture(connection, "unknown", truncated=False)
        assert await recordings.find_capture(connection, "unknown") is None
        row = await recordings.find_capture(connection, capture_id)
    assert row is not None
    assert (row.host, row.state) == ("test", recordings.ASSEMBLED)


async def test_one_recording_a_capture(store: Store, intake: Intake, archive: Archive) -> None:
    interaction_id, capture_id = await _call(intake)
    recording_id = await _recording(store, archive, interaction_id, capture_id)
    with pytest.raises(IntegrityError):
        await _recording(store, archive, interaction_id, capture_id)
    async with store.begin() as connection:
        (found,) = await recordings.list_recordings(connection, [interaction_id])
        assert found == await recordings.find_recording(connection, recording_id)
    assert (found.duration_ms, found.started, found.truncated) == (61_000, _START, True)
    assert found.gaps == (Gap(channel=1, start_ms=10, end_ms=20, reason="hold"),)
    assert archive.read(found.blob) == b"fLaC"


async def test_a_recording_is_transcribed_once_a_model(store: Store, intake: Intake, archive: Archive) -> None:
    interaction_id, capture_id = await _call(intake)
    recording_id = await _recording(store, archive, interaction_id, capture_id)
    word = Word(start=1.5, end=1.75, text="Да", confidence=0.5)
    later = Utterance(channel=0, start=3.0, end=4.0, text="Until tomorrow", confidence=0.25)
    sooner = Utterance(channel=1, start=1.5, end=2.0, text="Да", confidence=0.5, words=(word,))
    for expected in (True, False):
        async with store.begin() as connection:
            saved = await transcripts.save_transcript(
                connection, recording_id=recording_id, model="tiny", language="ru", utterances=[later, sooner]
            )
        assert (saved is not None) is expected
    async with store.begin() as connection:
        assert await transcripts.has_transcript(connection, recording_id, "tiny")
        assert not await transcripts.has_transcript(connection, recording_id, "large-v3")
        await transcripts.save_transcript(
            connection, recording_id=recording_id, model="large-v3", language="ru", utterances=[]
        )
        (newest,) = await transcripts.list_transcripts(connection, [interaction_id])
    assert (newest.model, newest.utterances) == ("large-v3", ())


async def test_rules_do_not_overrule_a_person(store: Store, intake: Intake) -> None:
    mine, _ = await _call(intake)
    other, _ = await _call(intake)
    unknown = [
        Link(
            interaction_id=one,
            card_id=None,
            started=_START,
            state=LinkState.UNKNOWN,
            reason="no card",
            decided_by="rule",
        )
        for one in (mine, other)
    ]
    private = Link(
        interaction_id=mine, card_id=None, started=_START, state=LinkState.PRIVATE, reason="private", decided_by="anna"
    )
    async with store.begin() as connection:
        await links.replace_links(connection, [mine, other], unknown)
        await links.decide_link(connection, private)
        await links.replace_links(connection, [mine, other], unknown)
        await links.replace_links(connection, [mine, other], unknown)
        found = await links.list_links(connection, [mine, other])
    assert {one.interaction_id: one for one in found} == {mine: private, other: unknown[1]}
    assert len(found) == 2


async def test_a_folder_nobody_has_read(store: Store) -> None:
    async with store.begin() as connection:
        assert await mailboxes.find_position(connection, "box", "INBOX") is None
