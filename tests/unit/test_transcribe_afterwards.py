"""What is done with a dialogue, on a real database: masked before it is stored, masked later, transcribed again."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, func, select, text

from agent.archive.blobs import Archive
from agent.errors import ModelUnavailable
from agent.intake import Intake
from agent.model import CapturedCall, Disposition, Mark, MarkKind, Utterance, Word
from agent.settings import Settings, TranscribeSettings
from agent.store import blobs, erasures, masks, recordings, retranscribing, rewriting, talks, transcripts
from agent.store.engine import Store
from agent.store.masks import MaskKind, MaskRule
from agent.store.runs import TRANSCRIPTS
from agent.store.schema import mask_rule, mask_run, search_due, transcript, transcript_mask, utterance
from agent.transcribe.afterwards import Remeasurer, save_dialogue, save_figures
from agent.transcribe.dialogue import Dialogue
from agent.transcribe.engine import Stretch
from agent.transcribe.gate import Dropped
from agent.transcribe.masks import patterns
from agent.transcribe.masks.masking import MASK
from agent.transcribe.masks.remasking import Remasker, start, try_rule
from agent.transcribe.models.fetching import TINY_DEMO
from agent.transcribe.transcriber import Transcriber
from tests.unit.test_transcribe_speech import CALLS, PARTIES, SOUND, flac, track

STARTED = datetime(2026, 3, 2, 10, tzinfo=UTC)
CARD = "4111 1111 1111 1111"


@pytest.fixture(autouse=True)
async def only_cards(store: Store) -> None:
    """The rules as they come with the program."""
    async with store.begin() as connection:
        await connection.execute(delete(mask_run))
        await connection.execute(delete(mask_rule).where(mask_rule.c.preset == ""))


def said(start: float, words: str, *, channel: int = 0, end: float | None = None) -> Utterance:
    parts = words.split()
    stop = start + 4 if end is None else end
    step = (stop - start) / len(parts)
    told = [
        Word(start=start + place * step, end=start + (place + 1) * step, text=one, confidence=0.9)
        for place, one in enumerate(parts)
    ]
    return Utterance(channel=channel, start=start, end=stop, text=words, confidence=0.9, words=told)


async def record(
    store: Store,
    archive: Archive,
    intake: Intake,
    *,
    started: datetime = STARTED,
    sound: bytes = b"",
    answered: float | None = 5,
) -> tuple[int, int]:
    """Interaction and recording of a call of a minute, answered after so many seconds."""
    key = uuid.uuid4().hex
    call = CapturedCall(
        source="test",
        key=key,
        started=started,
        answered=None if answered is None else started + timedelta(seconds=answered),
        ended=started + timedelta(seconds=60),
        disposition=Disposition.ANSWERED,
        capture_id=key,
    )
    interaction_id = await intake.close_call(call)
    sealed = archive.seal(sound or key.encode(), media_type="audio/flac")
    async with store.begin() as connection:
        recording_id = await recordings.save_recording(
            connection,
            capture_id=key,
            interaction_id=interaction_id,
            blob_id=await blobs.save_blob(connection, sealed, source="test"),
            started=started,
            duration_ms=60_000,
            channels=2,
            sample_rate=8000,
            gaps=(),
            truncated=False,
        )
    return interaction_id, recording_id


async def save(
    store: Store,
    recording_id: int,
    *utterances: Utterance,
    model: str = "small",
    again: int = 0,
    dropped: Sequence[Dropped] = (),
) -> int | None:
    dialogue = Dialogue(language="ru", utterances=utterances, dropped=tuple(dropped))
    async with store.begin() as connection:
        return await save_dialogue(connection, dialogue, recording_id=recording_id, model=model, round=again)


async def shown(store: Store, interaction_id: int, **more: Any) -> transcripts.Transcript:
    async with store.begin() as connection:
        (found,) = await transcripts.list_transcripts(connection, [interaction_id], words=True, **more)
    return found


async def masks_of(store: Store, transcript_id: int) -> list[masks.Masked]:
    async with store.begin() as connection:
        return (await masks.list_masks(connection, [transcript_id])).get(transcript_id, [])


async def everything_stored(store: Store) -> str:
    """All text of all transcripts."""
    async with store.begin() as connection:
        parts = [
            (
                await connection.execute(text(f"SELECT coalesce(string_agg(t::text, ' '), '') FROM {table} t"))
            ).scalar_one()
            for table in ("transcript", "utterance", "utterance_correction", "transcript_mask", "search_entry")
        ]
    return " ".join(parts)


# --- Masking ----------------------------------------------------------------------------------------------------------


async def test_a_card_number_never_reaches_the_database(store: Store, archive: Archive, intake: Intake) -> None:
    interaction_id, recording_id = await record(store, archive, intake)
    heard = Dropped(channel=0, start=30, end=34, text="4111 1111 1111 1111", reason="improbable")
    await save(store, recording_id, said(10, f"Карта {CARD} вот"), said(20, "Спасибо", channel=1), dropped=[heard])
    found = await shown(store, interaction_id)
    assert [one.text for one in found.utterances] == [f"Карта {MASK} вот", "Спасибо"]
    assert [one.text for one in found.utterances[0].words] == ["Карта", MASK, "вот"]
    (one,) = await masks_of(store, found.id)
    assert (one.why, one.channel, one.start_ms, one.end_ms) == ("card", 0, 10_517, 13_483)
    assert "1111" not in await everything_stored(store)


async def test_nothing_is_stored_when_it_cannot_be_masked(
    store: Store, archive: Archive, intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    interaction_id, recording_id = await record(store, archive, intake)
    async with store.begin() as connection:
        await masks.save_rule(connection, MaskRule(id=0, name="x", kind=MaskKind.PATTERN, text="тайна"))
    with monkeypatch.context() as patch:
        patch.setattr("sys.executable", "/bin/false")
        with pytest.raises(patterns.PatternsUnavailable):
            await save(store, recording_id, said(1, "это тайна"))
    async with store.begin() as connection:
        assert await transcripts.list_transcripts(connection, [interaction_id]) == []
    await save(store, recording_id, said(1, "это тайна"))
    assert (await shown(store, interaction_id)).utterances[0].text == f"это {MASK}"


async def test_older_transcripts_are_masked_by_a_new_rule(
    store: Store, archive: Archive, intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.transcribe.masks.remasking._BATCH", 2)
    calls = [await record(store, archive, intake) for _ in range(5)]
    heard = Dropped(channel=1, start=30, end=34, text="про Тайну", reason="improbable")
    for place, (_, recording_id) in enumerate(calls):
        words = "это тайна для всех" if place != 3 else "ничего такого"
        await save(store, recording_id, said(1, words), dropped=[heard] if place == 0 else [])
    line = (await shown(store, calls[0][0])).utterances[0]
    async with store.begin() as connection:
        await transcripts.correct(connection, line.id, "Это ТАЙНА для нас", by="anna")
        await transcripts.correct(connection, line.id, "Это тайны для нас", by="anna")
        await connection.execute(delete(search_due))
        rule = MaskRule(id=0, name="Тайны", kind=MaskKind.WORDS, text="тайн*")
        trial = await try_rule(connection, rule)
        assert trial.touched >= 4
        assert (trial.examples[0].before, trial.examples[0].found) == ("это ", "тайна")
        assert "тайна" in await everything_stored(store), "a trial changes nothing"
        await masks.save_rule(connection, rule)
        run = await start(connection, "admin")
    worker = Remasker(store)
    await worker.mask_again(run.id)
    await worker.mask_again(run.id)  # as the job of before that was killed after its work was done
    for _ in range(run.total):
        await worker.mask_again(run.id)
    found = await shown(store, calls[0][0])
    assert (found.utterances[0].text, found.utterances[0].machine) == (f"Это {MASK} для нас", f"это {MASK} для всех")
    assert [one.rule for one in await masks_of(store, found.id)] == ["Тайны"]
    assert "айн" not in (await everything_stored(store)).replace("Тайны", ""), "earlier corrections, what was dropped"
    async with store.begin() as connection:
        done = await TRANSCRIPTS.find(connection, run.id)
        due = set((await connection.execute(select(search_due.c.interaction_id))).scalars())
        rows = select(func.count()).select_from(transcript_mask).where(transcript_mask.c.rule == "Тайны")
        assert (await connection.execute(rows)).scalar_one() == 4
    assert done is not None
    assert done.finished is not None
    assert done.changed == 4
    assert {one for place, (one, _) in enumerate(calls) if place != 3} <= due
    assert calls[3][0] not in due


async def test_what_somebody_corrects_meanwhile_stays_his(store: Store, archive: Archive, intake: Intake) -> None:
    _, recording_id = await record(store, archive, intake)
    number = await save(store, recording_id, said(1, "раз два три"))
    assert number is not None
    async with store.begin() as connection:
        (before,) = await rewriting.list_texts(connection, [number])
        was = before.utterances[0]
        await connection.execute(utterance.update().where(utterance.c.id == was.id).values(text="другое"))
        change = rewriting.Rewritten(
            transcript_id=number,
            interaction_id=before.interaction_id,
            utterances=((was, was.__class__(**{**_fields(was), "text": MASK})),),
            corrections={},
            dropped={},
            masks=(),
        )
        assert await rewriting.save_texts(connection, [change]) == 0


def _fields(one: transcripts.Spoken) -> dict[str, Any]:
    return {name: getattr(one, name) for name in one.__dataclass_fields__}


# --- Transcribed again ------------------------------------------------------------------------------------------------


async def test_both_transcripts_stay_and_corrections_come_along(store: Store, archive: Archive, intake: Intake) -> None:
    interaction_id, recording_id = await record(store, archive, intake)
    first = await save(
        store,
        recording_id,
        said(1, "Добрый день"),
        said(10, "Сто двадцать тысяч"),
        said(20, "Привезём в среду", channel=1),
        said(30, "Хорошо"),
    )
    lines = (await shown(store, interaction_id)).utterances
    async with store.begin() as connection:
        await transcripts.correct(connection, lines[1].id, "Сто тридцать тысяч", by="anna")
        await transcripts.correct(connection, lines[2].id, "Привезём в пятницу", by="boss")
        await transcripts.correct(connection, lines[3].id, "Хорошо, жду", by="anna")
    second = await save(
        store,
        recording_id,
        said(1, "Добрый день"),
        said(10.3, "сто двадцать тысяч"),
        said(20, "Привезут цветы", channel=1),
        said(30, "Хорошо, жду."),
        model="large-v3",
    )
    assert second is not None
    found = await shown(store, interaction_id)
    assert (found.id, found.model) == (second, "large-v3")
    assert [one.text for one in found.utterances] == [
        "Добрый день",
        "Сто тридцать тысяч",
        "Привезут цветы",
        "Хорошо, жду.",
    ]
    carried = found.utterances[1]
    assert (carried.machine, carried.corrected_by) == ("сто двадцать тысяч", "anna")
    older = await shown(store, interaction_id, chosen=first)
    assert carried.corrected_at == older.utterances[1].corrected_at, "who and when stays"
    assert [one.text for one in older.utterances][2] == "Привезём в пятницу"
    async with store.begin() as connection:
        (waiting,) = await retranscribing.list_open(connection, [second])
        assert (waiting.text, waiting.by, waiting.utterance_id) == (
            "Привезём в пятницу",
            "boss",
            found.utterances[2].id,
        )
        versions = (await retranscribing.list_versions(connection, [recording_id]))[recording_id]
        assert [one.id for one in versions] == [second, first]
        third = await save(store, recording_id, said(20, "Привезём в среду", channel=1), model="turbo")
    assert third is not None
    found = await shown(store, interaction_id)
    assert [one.text for one in found.utterances] == ["Привезём в пятницу"], "it waited, and fits this one"


async def test_somebody_settles_what_waits(store: Store, archive: Archive, intake: Intake) -> None:
    interaction_id, recording_id = await record(store, archive, intake)
    await save(store, recording_id, said(10, "Раз"), said(20, "Два"))
    lines = (await shown(store, interaction_id)).utterances
    async with store.begin() as connection:
        for line in lines:
            await transcripts.correct(connection, line.id, f"{line.text} точно", by="anna")
    second = await save(store, recording_id, said(10, "Три"), said(20, "Четыре"), model="large-v3")
    assert second is not None
    lines = (await shown(store, interaction_id)).utterances
    async with store.begin() as connection:
        first, other = await retranscribing.list_open(connection, [second])
        assert await retranscribing.find_open(connection, first.id) == (interaction_id, first)
        await retranscribing.settle(connection, first.id, by="boss")
        assert await retranscribing.find_open(connection, first.id) is None
        assert other.utterance_id == lines[1].id
        await transcripts.correct(connection, lines[1].id, "Два точно", by="boss")
        assert await retranscribing.list_open(connection, [second]) == [], "who corrects the line has seen it"


async def test_an_older_one_may_be_shown_again_until_the_next(store: Store, archive: Archive, intake: Intake) -> None:
    interaction_id, recording_id = await record(store, archive, intake)
    first = await save(store, recording_id, said(1, "первый"))
    second = await save(store, recording_id, said(1, "второй"), model="large-v3")
    assert first is not None
    async with store.begin() as connection:
        assert await retranscribing.show(connection, first)
        assert not await retranscribing.show(connection, 10**9)
        assert list(await transcripts.list_words(connection, recording_id)) == [
            one.id for one in (await transcripts.list_transcripts(connection, [interaction_id]))[0].utterances
        ]
    assert (await shown(store, interaction_id)).id == first
    assert (await shown(store, interaction_id, chosen=second)).id == second
    third = await save(store, recording_id, said(1, "третий"), model="turbo")
    assert (await shown(store, interaction_id)).id == third


async def test_the_same_model_may_be_asked_again_and_a_job_run_twice_is_one(
    store: Store, archive: Archive, intake: Intake
) -> None:
    _, recording_id = await record(store, archive, intake)
    assert await save(store, recording_id, said(1, "раз")) is not None
    assert await save(store, recording_id, said(1, "раз")) is None
    async with store.begin() as connection:
        assert await retranscribing.next_round(connection, recording_id) == 1
        assert await retranscribing.next_round(connection, 10**9) == 0
        assert await transcripts.has_transcript(connection, recording_id, "small")
        assert not await transcripts.has_transcript(connection, recording_id, "small", round=1)
    assert await save(store, recording_id, said(1, "два"), again=1) is not None
    assert await save(store, recording_id, said(1, "три"), again=1) is None
    async with store.begin() as connection:
        counted = select(func.count()).where(transcript.c.recording_id == recording_id)
        assert (await connection.execute(counted)).scalar_one() == 2


async def test_what_a_model_has_not_transcribed_since(store: Store, archive: Archive, intake: Intake) -> None:
    early, late = datetime(2031, 1, 1, tzinfo=UTC), datetime(2031, 2, 1, tzinfo=UTC)
    _, first = await record(store, archive, intake, started=early)
    _, second = await record(store, archive, intake, started=late)
    await save(store, first, said(1, "раз"), model="large-v3")
    async with store.begin() as connection:
        since = datetime(2030, 12, 1, tzinfo=UTC)
        found = await retranscribing.list_recordings_without(connection, ["small"], since=since)
        assert found == [(second, 60_000, late), (first, 60_000, early)]
        found = await retranscribing.list_recordings_without(connection, ["large-v3", "x"], since=since)
        assert found == [(second, 60_000, late)]
        assert await retranscribing.list_recordings_without(connection, ["small"], since=since, until=early) == []
        assert await retranscribing.list_recordings_without(connection, ["small", "large-v3"], since=late) == [
            (second, 60_000, late)
        ]
        assert (await retranscribing.count_since(connection, datetime(2026, 1, 1, tzinfo=UTC))).seconds >= 60


# --- Figures ----------------------------------------------------------------------------------------------------------


async def test_figures_count_from_the_answer_and_without_holds(store: Store, archive: Archive, intake: Intake) -> None:
    _, recording_id = await record(store, archive, intake)
    async with store.begin() as connection:
        hold = Mark(kind=MarkKind.HOLD, channel=None, start_ms=30_000, end_ms=40_000)
        await recordings.save_marks(connection, recording_id, [hold])
        speech = [[Stretch(start=1, end=8), Stretch(start=32, end=38)], [Stretch(start=10, end=14)]]
        for _ in range(2):
            await save_figures(connection, recording_id, speech, seconds=60, separated=True)
        found = (await talks.list_talks(connection, [recording_id], speech=True))[recording_id]
    assert (found.length_ms, found.talk_ms, found.first_ms) == (45_000, (3000, 4000), (0, 5000))
    assert (found.patience_ms, found.interruptions) == ((None, 2000), (0, 0))
    assert found.speech == (((1000, 8000), (32_000, 38_000)), ((10_000, 14_000),)), "as heard"


async def test_a_late_answer_makes_the_figures_anew(store: Store, archive: Archive, intake: Intake) -> None:
    interaction_id, recording_id = await record(store, archive, intake, answered=None)
    speech = [[Stretch(start=1, end=8)], [Stretch(start=10, end=14)]]
    async with store.begin() as connection:
        await save_figures(connection, recording_id, speech, seconds=60, separated=True)
        query = text("SELECT key FROM evidence WHERE interaction_id = :id")
        key = (await connection.execute(query, {"id": interaction_id})).scalar_one()
    call = CapturedCall(
        source="test",
        key=key,
        started=STARTED,
        ended=STARTED + timedelta(seconds=60),
        disposition=Disposition.ANSWERED,
    )
    waiting = text(
        "SELECT count(*) FROM procrastinate_jobs WHERE task_name = 'measure' AND args ->> 'recording_id' = :id"
    )
    for answered, jobs_after in ((None, 0), (STARTED + timedelta(seconds=9), 1)):
        await intake.update_call(replace(call, answered=answered, flags=(str(answered),)))
        async with store.begin() as connection:
            assert (await connection.execute(waiting, {"id": str(recording_id)})).scalar_one() == jobs_after
    for _ in range(2):
        await Remeasurer(store).measure(recording_id)
    async with store.begin() as connection:
        found = (await talks.list_talks(connection, [recording_id]))[recording_id]
    assert (found.answered_ms, found.talk_ms, found.first_ms) == (9000, (0, 4000), (None, 1000))
    await Remeasurer(store).measure(10**9)


async def test_figures_come_although_no_model_can_be_had(
    store: Store, archive: Archive, intake: Intake, tmp_path: Path
) -> None:
    call = CALLS[2]
    sound = flac([track(SOUND / call["files"][party]) for party in PARTIES]).getvalue()
    interaction_id, recording_id = await record(store, archive, intake, sound=sound)
    settings = Settings(data_dir=tmp_path, transcribe=TranscribeSettings(model=str(tmp_path / "none"), threads=1))
    transcriber = Transcriber(store, archive, settings)
    for _ in range(2):
        with pytest.raises(ModelUnavailable):
            await transcriber.transcribe(recording_id)
    async with store.begin() as connection:
        assert await transcripts.list_transcripts(connection, [interaction_id]) == []
        found = (await talks.list_talks(connection, [recording_id]))[recording_id]
    assert found.separated
    assert min(found.talk_ms) > 500
    await transcriber.close()


# --- Erased -----------------------------------------------------------------------------------------------------------


async def test_an_erasure_takes_all_of_it(store: Store, archive: Archive, intake: Intake) -> None:
    interaction_id, recording_id = await record(store, archive, intake)
    await save(store, recording_id, said(10, "Раз"), said(20, f"Карта {CARD}"))
    first = (await shown(store, interaction_id)).utterances[0]
    async with store.begin() as connection:
        await transcripts.correct(connection, first.id, "Тайное слово", by="anna")
        await save_figures(connection, recording_id, [[Stretch(start=10, end=14)], []], seconds=60, separated=True)
    second = await save(store, recording_id, said(10, "Три"), model="large-v3")
    assert second is not None
    async with store.begin() as connection:
        assert len(await retranscribing.list_open(connection, [second])) == 1
        act = await erasures.insert_erasure(
            connection, at=STARTED, by="admin", reason="asked", basis="", subject="all", links=[], blobs=0
        )
        await erasures.wipe(connection, [interaction_id], act.id, "erased")
        assert await talks.list_talks(connection, [recording_id]) == {}
        assert await retranscribing.list_versions(connection, [recording_id]) == {}
    assert "Тайное" not in await everything_stored(store)


# --- The whole way ----------------------------------------------------------------------------------------------------


async def test_a_recording_is_heard_masked_and_measured(
    store: Store, archive: Archive, intake: Intake, tmp_path: Path
) -> None:
    call = CALLS[2]
    sound = flac([track(SOUND / call["files"][party]) for party in PARTIES]).getvalue()
    interaction_id, recording_id = await record(store, archive, intake, sound=sound, answered=0)
    lines = "\n".join(word for phrase in call["phrases"] for word in phrase["text"].split())
    async with store.begin() as connection:
        await masks.save_rule(connection, MaskRule(id=0, name="Всё", kind=MaskKind.WORDS, text=lines))
    settings = Settings(data_dir=tmp_path, transcribe=TranscribeSettings(model=TINY_DEMO, threads=1))
    transcriber = Transcriber(store, archive, settings)
    await transcriber.transcribe(recording_id)
    await transcriber.transcribe(recording_id, round=1)
    await transcriber.close()
    found = await shown(store, interaction_id)
    assert found.round == 1, "asked again, the same model has another transcript"
    assert any(MASK in one.text for one in found.utterances)
    marks = await masks_of(store, found.id)
    assert {(one.why, one.rule) for one in marks} == {("rule", "Всё")}
    async with store.begin() as connection:
        talk = (await talks.list_talks(connection, [recording_id]))[recording_id]
        assert len((await retranscribing.list_versions(connection, [recording_id]))[recording_id]) == 2
    assert min(talk.talk_ms) > 500
    assert talk.silence_ms + sum(talk.talk_ms) - talk.together_ms == pytest.approx(talk.length_ms, abs=5)
