"""What the page of a call says of its texts: figures, which transcript, what was masked, corrections carried over."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest
from sqlalchemy import select, text

from agent.archive.blobs import Archive
from agent.intake import Intake
from agent.model import Utterance
from agent.store import masks, retranscribing, talks, transcriptions, transcripts
from agent.store.engine import Store
from agent.store.masks import Masked
from agent.store.schema import audit_entry
from agent.store.searchindex import Indexer
from agent.store.talks import StoredTalk
from agent.transcribe.afterwards import save_dialogue
from agent.transcribe.dialogue import Dialogue
from agent.transcribe.gate import Dropped
from agent.web.shown import Voice
from agent.web.talkview import talk_view
from tests.unit.call_world import LINES, Heard, a_call_worth_hearing, with_words
from tests.unit.web_pages import HOSTILE, Tags, people, server, world
from tests.web_world import Browser, Builder, World, settings_for

__all__ = ["people", "server", "world"]


@dataclass(frozen=True, slots=True)
class Twice:
    """A call that was transcribed twice."""

    heard: Heard
    first: int
    second: int


TALK = StoredTalk(
    recording_id=0,
    length_ms=60_000,
    silence_ms=20_000,
    longest_silence_ms=11_000,
    together_ms=2000,
    talk_ms=(17_000, 25_000),
    monologue_ms=(8000, 6500),
    interruptions=(1, 0),
    first_ms=(1000, 4500),
    patience_ms=(None, 750),
    separated=True,
)


@pytest.fixture(scope="module")
def builder(store: Store, archive: Archive, intake: Intake, tmp_path_factory: pytest.TempPathFactory) -> Builder:
    found = Builder(store, archive, intake, settings_for(tmp_path_factory.getbasetemp()))
    found._number = 5000  # keys of its own beside the world's
    return found


@pytest.fixture(scope="module")
async def twice(world: World, builder: Builder, store: Store) -> Twice:
    """First by "small", with two corrections; then by "large-v3", which read one of the two lines otherwise."""
    heard = await a_call_worth_hearing(builder)
    async with store.begin() as connection:
        found = {one.recording_id: one for one in await transcripts.list_transcripts(connection, [heard.call])}
        first = found[heard.recording]
        await transcripts.correct(connection, first.utterances[3].id, "Сто тридцать тысяч с доставкой.", by="anna")
        await transcripts.correct(connection, first.utterances[4].id, f"До четверга {HOSTILE}", by="anna")
        lines = [with_words(*line) for line in LINES]
        lines[2] = Utterance(
            channel=0, start=9, end=13, text="Карта 4111 1111 1111 1111", confidence=0.9, interrupts=True
        )
        lines[4] = Utterance(channel=0, start=21, end=29, text="Хорошо.", confidence=0.9)
        dropped = (
            Dropped(channel=1, start=31, end=35, text=f"Субтитры {HOSTILE}", reason="no speech: probability 0.97"),
        )
        dialogue = Dialogue(language="ru", utterances=tuple(lines), dropped=dropped)
        second = await save_dialogue(connection, dialogue, recording_id=heard.recording, model="large-v3")
        assert second is not None
        await talks.save_talk(
            connection,
            StoredTalk(**{name: getattr(TALK, name) for name in TALK.__slots__} | {"recording_id": heard.recording}),
        )
    return Twice(heard, first.id, second)


async def page_of(browser: Browser, twice: Twice, query: str = "") -> str:
    status, page = await browser.get(f"/interactions/{twice.heard.call}{query}")
    assert status == 200
    assert Tags(page).bad == []
    return page


def plain(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


async def test_the_figures_of_the_talk_stand_beside_it(people: dict[str, Browser], twice: Twice) -> None:
    page = plain(await page_of(people["anna"], twice))
    assert "Разговор в цифрах" in page
    assert "60 % 0:25 40 % 0:17" in page, "the employee first"
    assert "0,8 с –" in page
    assert "Молчание 0:20 (33 %), самое долгое 0:11 ; одновременно 0:02" in page.replace(" ,", ",")


async def test_the_newest_is_shown_and_the_older_one_a_click_away(people: dict[str, Browser], twice: Twice) -> None:
    page = await page_of(people["anna"], twice)
    assert "large-v3" in page
    assert "Карта ••••" in page
    assert "перебивает" in page
    assert 'class="moment-interruption"' in page
    older = await page_of(people["anna"], twice, f"?transcript={twice.first}")
    assert LINES[2][3] in older
    assert "не та расшифровка" in older
    assert f'data-chosen="{twice.first}"' in older
    words = f"/recordings/{twice.heard.recording}/words"
    async with people["anna"].http.get(f"{words}?transcript={twice.first}") as answer:
        first = await answer.json()
    async with people["anna"].http.get(words) as answer:
        assert set(await answer.json()).isdisjoint(first)


async def test_another_calls_transcript_is_not_shown_here(
    people: dict[str, Browser], twice: Twice, world: World
) -> None:
    status, page = await people["ivan"].get(f"/interactions/{world.camomiles_call}?transcript={twice.second}")
    assert status == 200
    assert "Карта" not in page


async def test_what_was_masked_is_marked_and_not_played(people: dict[str, Browser], twice: Twice) -> None:
    page = await page_of(people["anna"], twice)
    assert "1111" not in page
    assert re.search(r'data-hushed="8\.85-13\.15"', page)
    assert "Скрыто в тексте: номер карты" in plain(page)


async def test_what_was_left_out_is_for_supervisors(people: dict[str, Browser], twice: Twice) -> None:
    assert "Субтитры" not in await page_of(people["anna"], twice)
    page = await page_of(people["boss"], twice)
    assert "Не вошло в текст: 1" in page
    assert "речи нет (вероятность этого 0.97)" in page


async def test_corrections_come_along_or_wait_for_somebody(
    people: dict[str, Browser], twice: Twice, store: Store
) -> None:
    page = plain(await page_of(people["anna"], twice))
    assert "Сто тридцать тысяч с доставкой." in page
    assert "Прежние исправления 1" in page
    async with store.begin() as connection:
        (waiting,) = await retranscribing.list_open(connection, [twice.second])
    path = f"/carried-corrections/{waiting.id}"
    assert await people["ivan"].post(path, take="1") == 404
    assert await people["anna"].post(path, take="1") == 303
    assert await people["anna"].post(path, take="1") == 404
    page = await page_of(people["anna"], twice)
    assert "Прежние исправления" not in page
    assert "До четверга" in page


async def test_a_supervisor_asks_again_and_chooses(people: dict[str, Browser], twice: Twice, store: Store) -> None:
    ask, show = f"/recordings/{twice.heard.recording}/transcribe", f"/transcripts/{twice.first}/show"
    for path in (ask, show):
        assert await people["anna"].post(path) == 403
    assert await people["boss"].post("/recordings/99999999/transcribe") == 404
    assert await people["boss"].post("/transcripts/99999999/show") == 404
    assert "Расшифровать ещё раз" not in await page_of(people["anna"], twice)
    assert "Расшифровать ещё раз" in await page_of(people["boss"], twice)
    assert await people["boss"].post(ask) == 303
    assert "поставлен в очередь" in await page_of(people["boss"], twice, f"?asked={twice.heard.recording}")
    async with store.begin() as connection:
        query = text("SELECT args, priority FROM procrastinate_jobs WHERE task_name = 'transcribe' ORDER BY id DESC")
        job = (await connection.execute(query)).first()
        assert job is not None
        assert job.args == {"recording_id": twice.heard.recording, "round": 1}
        assert job.priority > 0, "somebody waits for it"
        acts = select(audit_entry.c.action).order_by(audit_entry.c.id.desc()).limit(1)
        assert (await connection.execute(acts)).scalar_one() == "transcription_asked"
    assert await people["boss"].post(show) == 303
    assert LINES[2][3] in await page_of(people["anna"], twice)
    assert await people["boss"].post(f"/transcripts/{twice.second}/show") == 303


async def test_how_far_a_transcription_is(people: dict[str, Browser], twice: Twice, store: Store) -> None:
    recording = twice.heard.recording
    async with store.begin() as connection:
        await transcriptions.begin(connection, recording, model="turbo", host="here")
        await transcriptions.note(connection, recording, done=75, seconds=200, answers={})
    assert "Расшифровывается: 1:15 из 3:20 речи" in plain(await page_of(people["anna"], twice))
    async with store.begin() as connection:
        await transcriptions.forget(connection, recording)
    assert "Расшифровывается" not in await page_of(people["anna"], twice)


async def test_a_card_number_in_a_correction_is_masked_too(
    people: dict[str, Browser], twice: Twice, store: Store
) -> None:
    async with store.begin() as connection:
        found = await transcripts.list_transcripts(connection, [twice.heard.call], chosen=twice.second)
    line = next(one for one in found if one.id == twice.second).utterances[0]
    assert await people["anna"].post(f"/utterances/{line.id}", text="Моя карта 4111 1111 1111 1111") == 303
    async with store.begin() as connection:
        spoken = await transcripts.find_spoken(connection, line.id)
        assert spoken is not None
        assert spoken[2].text == "Моя карта ••••"
        await transcripts.correct(connection, line.id, line.text, by="anna")


async def test_comments_stay_where_they_are(people: dict[str, Browser], twice: Twice) -> None:
    form = {"text": "Здесь про цену", "at": "0:15", "recording": str(twice.heard.recording)}
    assert await people["anna"].post(f"/interactions/{twice.heard.call}/comments", **form) == 303
    for query in ("", f"?transcript={twice.first}"):
        page = await page_of(people["anna"], twice, query)
        assert f'data-comment data-recording="{twice.heard.recording}" data-start="15.00"' in page


async def test_a_hit_opens_at_the_second_at_which_the_word_is_said(
    people: dict[str, Browser], twice: Twice, store: Store
) -> None:
    await Indexer(store).index()
    status, page = await people["anna"].get("/find?q=пятница+свидание")
    assert status == 200
    found = {float(one) for one in re.findall(rf"/interactions/{twice.heard.call}\?at=([\d.]+)", page)}
    assert 44.3 in found, "the third of the three words of its line, in another form than that of the question"
    assert 49.0 in found


# --- Pure -------------------------------------------------------------------------------------------------------------

VOICES = (Voice(channel=0, name="Мария", is_employee=False), Voice(channel=1, name="Анна", is_employee=True))


def talk(**more: object) -> StoredTalk:
    return StoredTalk(**{name: getattr(TALK, name) for name in TALK.__slots__} | more)


@pytest.mark.parametrize(
    ("said", "shares"), [((1000, 2000), (33, 67)), ((1, 1), (50, 50)), ((0, 5), (0, 100)), ((299, 1), (100, 0))]
)
def test_shares_are_a_hundred_together(said: tuple[int, int], shares: tuple[int, int]) -> None:
    view = talk_view(talk(talk_ms=said), VOICES)
    assert view is not None
    assert tuple(one.share for one in view.voices) == shares


def test_nothing_is_said_of_parties_that_are_not_apart() -> None:
    view = talk_view(talk(separated=False, talk_ms=(9000,)), VOICES[:1])
    assert view is not None
    assert (view.is_apart, view.voices) == (False, ())
    assert talk_view(talk(talk_ms=(0, 0)), VOICES) is None
    assert talk_view(talk(length_ms=0), VOICES) is None


async def test_a_rule_that_masked_is_named(people: dict[str, Browser], twice: Twice, store: Store) -> None:
    mark = Masked(
        transcript_id=twice.second, why="rule", rule=f"Паспорт {HOSTILE}", channel=0, start_ms=100, end_ms=900
    )
    async with store.begin() as connection:
        await masks.add_masks(connection, [mark])
    assert "Скрыто в тексте: Паспорт" in plain(await page_of(people["anna"], twice))
