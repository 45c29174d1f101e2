"""Finding, on a real PostgreSQL: word forms, numbers, filters, rights, pages that stay as they are, and the job."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from agent import jobs
from agent.model import LinkState, UserRole
from agent.store import changes, comments, joining, notes, search, searching
from agent.store.engine import Store
from agent.store.rights import Viewer
from agent.store.searchindex import Indexer
from agent.store.searching import Filters
from agent.store.searchlooks import Seen
from agent.store.searchquery import parse_query
from agent.store.searchshown import match_words
from tests.unit.search_world import ADMINISTRATOR, NOON, SearchWorld


@pytest.fixture
async def world(store: Store) -> SearchWorld:
    """Empty again for each test."""
    async with store.begin() as connection:
        await connection.execute(
            text(
                "TRUNCATE interaction, client_card, employee, thread, blob, search_entry, search_due,"
                " procrastinate_jobs CASCADE"
            )
        )
    return SearchWorld(store)


async def test_forms_of_words_in_both_languages(world: SearchWorld) -> None:
    one = await world.call("Мы подписали договоры на доставку мебели", "Ёлки привезём вовремя, всё оплачено")
    two = await world.call("Please send the invoices for our chairs", "We are delivering tomorrow")
    await world.index()
    for typed in ("договор", "ДОГОВОРА", "доставка", "елка", "ёлки", "все оплачено", "оплачено договором"):
        assert await world.ids(typed) == [one], typed
    for typed in ("invoice", "Chair", "deliver", "invoicing"):
        assert await world.ids(typed) == [two], typed
    sofas = [await world.call(said) for said in ("хочу диван", "нет диванов", "о диване")]
    await world.index()
    for typed in ("диван", "диванов", "Диваны"):
        assert await world.ids(typed) == sofas, typed
    assert await world.ids("самолёт") == []
    assert await world.ids("договор invoice") == []


async def test_words_between_marks_that_are_not_ascii(world: SearchWorld) -> None:
    """The embedded database has the locale C, in which PostgreSQL takes «Ромашка» for a word of its own."""
    one = await world.call("ООО «Ромашка» — клиент…", "цена\u00a05€, “да”")
    two = await world.mail("№12 «Василёк»", "„Лютик“ – наш·друг\u2028точка", files=[("«Смета».pdf", "«шкаф»—стол")])
    await world.index()
    for typed in ("ромашка", "«Ромашка»", "клиент", "цена", "цены", "ромашки -василек", '"цена 5"'):
        assert await world.ids(typed) == [one], typed
    for typed in ("василек", "Лютик", "друг", "точка", "смета", "шкаф", "столы", "василёк — лютик"):
        assert await world.ids(typed) == [two], typed
    assert await world.ids("—") == []


async def test_phrases_minus_and_beginnings(world: SearchWorld) -> None:
    one = await world.call("бесплатная доставка завтра")
    two = await world.call("доставка платная", "сборка бесплатная")
    await world.index()
    assert await world.ids("доставка бесплатная") == [one, two]
    assert await world.ids('"бесплатная доставка"') == [one]
    assert await world.ids("доставка -сборка") == [one]
    assert await world.ids('доставка -"бесплатная доставка"') == [two]
    assert await world.ids("-сборка") == [one]
    assert await world.ids("беспл*") == [one, two]
    assert await world.ids("и в на") == []
    assert await world.ids("и в на доставка") == [one, two]


async def test_a_minus_means_the_whole_interaction_with_its_files(world: SearchWorld) -> None:
    one = await world.mail("Смета", "Смета во вложении", files=[("скидки.pdf", "Скидка десять процентов, смета")])
    two = await world.mail("Смета", "Без вложений")
    await world.index()
    assert await world.ids("смета") == [one, two]
    assert await world.ids("смета -скидка") == [two]


async def test_mails_own_words_before_quoted_ones_and_their_files(world: SearchWorld) -> None:
    text_ = "Стулья не нужны.\n\n> Предлагаем кресла и столы.\nАнна"
    start = text_.index(">")
    answer = await world.mail("Re: мебель", text_, spans=[("quoted", start, text_.index("Анна"))])
    offer = await world.mail("Мебель", "Предлагаем кресла и столы", files=[("Прайс-лист.xlsx", "шкафы тумбы")])
    await world.index()
    found = await world.find("кресла")
    assert [one.interaction_id for one in found.hits] == [offer, answer]
    assert await world.ids("стулья") == [answer]
    hits = (await world.find("тумба")).hits
    assert [(one.interaction_id, one.file) for one in hits] == [(offer, 0)]
    assert {one.file for one in (await world.find("прайс")).hits} == {0}
    assert await world.ids("maria@client.example.org") == [answer, offer]
    assert await world.ids("Мария") == [answer, offer]


async def test_numbers_by_any_part_in_any_form(world: SearchWorld) -> None:
    one = await world.call("алло", phone="+79161234567")
    two = await world.call("счёт 4512 готов", phone="+74950000012")
    await world.index()
    for typed in ("+7 (916) 123-45-67", "8 916 123 45 67", "9161234567", "123-45-67", "1234", "89161", "916 123"):
        assert await world.ids(typed) == [one], typed
    assert await world.ids("4512") == [two]
    assert await world.ids("0000012 счёт") == [two]
    assert await world.ids("1234 счёт") == []
    assert await world.ids("9167654321") == []
    async with world.store.begin() as connection:
        sql = "SELECT tsvector_to_array(words) FROM search_entry WHERE interaction_id = :of"
        lexemes = (await connection.execute(text(sql), {"of": one})).scalar_one()
    ends = [f"#{'79161234567'[at:]}" for at in range(8)]
    assert sorted(lexemes) == sorted((*ends, "алл", next(word for word in lexemes if word.startswith("@w"))))


async def test_filters(world: SearchWorld) -> None:
    anna = await world.employee("Анна")
    card = await world.card("Ромашка")
    long_call = await world.call("доставка", talk=700, employee=anna, card=card)
    short = await world.call("доставка", talk=20, direction="outbound")
    mail = await world.mail("доставка", "", tags=[("invoice", "a rule")], files=[("доставка.pdf", "")])
    await world.index()
    assert await world.ids("доставка", kind="call") == [long_call, short]
    assert await world.ids("доставка", kind="message") == [mail]
    assert [one.file for one in (await world.find("доставка", kind="file")).hits] == [0]
    assert await world.ids("доставка", direction="outbound") == [short]
    assert await world.ids("доставка", employee_id=anna) == [long_call]
    assert await world.ids("доставка", card_id=card) == [long_call]
    assert await world.ids("доставка", at_least=600) == [long_call]
    assert await world.ids("доставка", at_most=600) == [short]
    assert await world.ids("доставка", tag="invoice") == [mail]
    assert await world.ids("доставка", tag="conversation") == [mail]
    middle = NOON - timedelta(hours=2)
    assert await world.ids("доставка", since=middle) == [long_call, short]
    assert await world.ids("доставка", until=middle) == [mail]
    assert await world.ids("", kind="call") == [long_call, short]
    assert await world.ids("", employee_id=anna) == [long_call]
    assert await world.ids("") == []


async def test_rights_hold_for_every_hit(world: SearchWorld) -> None:
    anna, ivan = await world.employee("Анна"), await world.employee("Иван")
    hers, his = await world.card("Мария", responsible=anna), await world.card("Ромашка", responsible=ivan)
    own = await world.call("общее слово", employee=anna, card=hers)
    on_card = await world.mail("общее слово", "", card=hers)
    await world.call("общее слово", employee=ivan, card=his)
    private = await world.mail("общее слово", "", category="private", card=hers)
    hidden = await world.call("общее слово", employee=anna, state=LinkState.PRIVATE)
    viewer = Viewer(account_id=2, role=UserRole.MANAGER, employee_id=anna)
    nobody = Viewer(account_id=3, role=UserRole.MANAGER, employee_id=None)
    async with world.store.begin() as connection:
        await notes.add_note(connection, hers, "Слово её", by="anna")
        await notes.add_note(connection, his, "Слово его", by="ivan")
    await world.index()
    found = await world.find("слово", viewer)
    assert sorted(one.interaction_id for one in found.hits if one.interaction_id) == [own, on_card]
    assert len([one for one in found.hits if one.note_id]) == 1
    assert (found.next_start, found.reached) == (None, None)
    assert (await world.find("слово", nobody)).hits == ()
    everything = await world.ids("слово")
    assert private not in everything
    assert hidden not in everything
    assert len(everything) == 3
    assert await world.ids("", viewer, kind="call") == [own]
    assert await world.ids("слово", viewer, employee_id=ivan) == []
    assert await world.ids("слово", viewer, card_id=his) == []


async def test_notes_of_cards(world: SearchWorld) -> None:
    card = await world.card("Ромашка")
    async with world.store.begin() as connection:
        note = await notes.add_note(connection, card, "Просила перезвонить насчёт диванов", by="anna")
    assert [one.note_id for one in (await world.find("диван")).hits] == [note]
    assert [one.note_id for one in (await world.find("диван", kind="note")).hits] == [note]
    assert (await world.find("диван", kind="call")).hits == ()
    async with world.store.begin() as connection:
        assert await notes.remove_note(connection, card, note, by=None)
    assert (await world.find("диван")).hits == ()


async def test_pages_stay_as_they_are_while_new_ones_come(world: SearchWorld) -> None:
    made = [await world.call("обычное слово") for _ in range(12)]
    await world.index()
    async with world.store.begin() as connection:
        question = await searching.ask(connection, parse_query("слово"))
        first = await searching.find(connection, ADMINISTRATOR, question, Filters(), most=5)
    assert [one.interaction_id for one in first.hits] == made[:5]
    await world.call("обычное слово, новое", started=NOON + timedelta(hours=1))
    await world.index()
    async with world.store.begin() as connection:
        again = await searching.find(connection, ADMINISTRATOR, question, Filters(), most=5, start=first.top)
        second = await searching.find(connection, ADMINISTRATOR, question, Filters(), most=5, start=first.next_start)
        third = await searching.find(connection, ADMINISTRATOR, question, Filters(), most=5, start=second.next_start)
    assert again.hits == first.hits
    assert [one.interaction_id for one in (*second.hits, *third.hits)] == made[5:]
    assert third.next_start is None


async def test_common_words_are_looked_for_week_by_week(world: SearchWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """With few of them taken for many, the same is found, in the same order, across all weeks."""
    made = [await world.call("частое слово", started=NOON - timedelta(days=9 * n)) for n in range(40)]
    rare = await world.call("частое и редкое слово", started=NOON - timedelta(days=700))
    await world.index()
    monkeypatch.setattr(searching, "_RARE", -1)
    monkeypatch.setattr(searching, "_ENOUGH", 1)
    assert [one.interaction_id for one in (await world.find("частое")).hits if one.interaction_id != rare] == made
    assert await world.ids("частое -обычное") == sorted((*made, rare))
    assert await world.ids("редкое") == [rare]
    assert await world.ids("", kind="call", until=NOON - timedelta(days=300)) == sorted((*made[34:], rare))
    monkeypatch.setattr(searching, "_PATIENCE", -1.0)
    broken_off = await world.find("редкое")
    assert broken_off.hits == ()
    assert broken_off.reached is not None
    found, start = [], broken_off.next_start
    async with world.store.begin() as connection:
        question = await searching.ask(connection, parse_query("редкое"))
        while start is not None:
            more = await searching.find(connection, ADMINISTRATOR, question, Filters(), start=start)
            found += [one.interaction_id for one in more.hits]
            start = more.next_start
    assert found == [rare]


@pytest.mark.parametrize("typed", ["770777", "+7 495 077 07 77", "всюду"])
async def test_what_was_thought_rare_and_is_not_is_looked_for_week_by_week(
    world: SearchWorld, monkeypatch: pytest.MonkeyPatch, typed: str
) -> None:
    """Nobody knows beforehand how common a number is: our own stands in every call."""
    started = [NOON - timedelta(days=9 * n) for n in range(30)]
    made = [await world.call("всюду", phone="+74950770777", started=one) for one in started]
    await world.index()
    asked = []
    look = searching.look

    async def note(*given: Any) -> Seen:
        seen = await look(*given)
        asked.append((given[-1].rare, seen.rows))
        return seen

    monkeypatch.setattr(searching, "look", note)
    monkeypatch.setattr(searching, "_RARE", 10)
    found = [one.interaction_id for one in (await world.find(typed)).hits]
    assert found == made
    assert asked[0] == (10, 11), "no more than it takes to know"
    assert len(asked) > 1
    monkeypatch.setattr(searching, "_RARE", 30)
    asked.clear()
    assert [one.interaction_id for one in (await world.find(typed)).hits] == made
    assert asked == [(30, 30)], "rare enough: one look"


async def test_the_job_takes_what_is_due_and_may_be_killed_anywhere(
    world: SearchWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [await world.call(f"слово{number}") for number in range(7)]
    async with world.store.begin() as connection:
        await search.refill(connection)
        sql = "SELECT task_name, queue_name FROM procrastinate_jobs"
        assert [tuple(row) for row in await connection.execute(text(sql))] == [(jobs.INDEX, search.QUEUE)]
        await search.changed(connection, made[:1])
        assert len((await connection.execute(text(sql))).all()) == 1
    queue = jobs.Job(task=jobs.INDEX).queue_name
    assert (jobs.INDEX, queue, jobs.FINISHING) == (search.TASK, search.QUEUE, search.PRIORITY)
    indexer = Indexer(world.store, batch=3)
    assert await indexer.step() == 3
    assert await world.ids("слово0") == made[:1]  # the newest come first
    assert await world.ids("слово6") == []
    async with world.store.begin() as connection:
        assert (await search.backlog(connection)).waiting == 6

    async def power_cut(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("agent.store.searchindex.index_interactions", power_cut)
        with pytest.raises(KeyboardInterrupt):
            await indexer.step()
    async with world.store.begin() as connection:
        assert (await search.backlog(connection)).waiting == 6
    await indexer.index()
    assert await world.ids("слово6") == made[6:]
    async with world.store.begin() as connection:
        assert (await search.backlog(connection)).waiting == 0


async def test_the_job_does_the_work_of_those_that_wait_for_it_unless_they_are_held(world: SearchWorld) -> None:
    """Nobody is told when its lock is free."""
    sql = text("SELECT count(*) FROM procrastinate_jobs WHERE task_name = 'index' AND status = 'todo'")
    one, two = await world.call("стол"), await world.call("стул")
    async with world.store.begin() as connection:
        await search.changed(connection, [one])
    await Indexer(world.store).index()
    async with world.store.begin() as connection:
        assert (await connection.execute(sql)).scalar_one() == 0
        await search.changed(connection, [one])
    async with world.store.begin() as connection:
        await search.changed(connection, [two])  # holds the job that waits, for words that nobody else sees yet
        await Indexer(world.store).index()
    async with world.store.begin() as connection:
        assert (await connection.execute(sql)).scalar_one() == 1
    await Indexer(world.store).index()
    assert (await world.ids("стол"), await world.ids("стул")) == ([one], [two])


async def test_what_changes_is_found_anew_and_what_is_erased_no_more(world: SearchWorld) -> None:
    one = await world.call("стол")
    await world.index()
    async with world.store.begin() as connection:
        utterance = await world.one(connection, "SELECT id FROM utterance")
        sql = "INSERT INTO utterance_correction (utterance_id, text, by) VALUES (:of, 'стул', 'anna')"
        await connection.execute(text(sql), {"of": utterance})
        await search.changed(connection, [one, 10**12])
    await Indexer(world.store).index()
    assert (await world.ids("стол"), await world.ids("стул")) == ([], [one])
    async with world.store.begin() as connection:
        await search.forget(connection, [one])
    assert await world.ids("стул") == []


async def test_calls_that_turn_out_to_be_one_are_found_once(world: SearchWorld) -> None:
    kept, gone = await world.call("про шкаф"), await world.call("про диван")
    await world.index()
    async with world.store.begin() as connection:
        await connection.execute(text("DELETE FROM procrastinate_jobs"))
        await connection.execute(text("UPDATE recording SET reference = id::text"))
        await joining.absorb(connection, kept, gone)
    await Indexer(world.store).index()
    assert (await world.ids("шкаф"), await world.ids("диван")) == ([kept], [kept])


async def test_one_that_cannot_be_indexed_does_not_keep_the_others(world: SearchWorld) -> None:
    whole = " ".join(f"слово{number}" for number in range(22_000))
    huge = await world.mail("огромное", whole, files=[("много.txt", " ".join(f"w{n:x}" for n in range(40_000)))])
    other = await world.call("обычное")
    await world.index()
    assert await world.ids("обычное") == [other]
    assert await world.ids("огромное") in ([huge], [])
    async with world.store.begin() as connection:
        assert (await search.backlog(connection)).waiting == 0


async def test_which_words_are_marked(world: SearchWorld) -> None:
    async with world.store.begin() as connection:
        question = await searching.ask(connection, parse_query('договоры "всё готово" inv* -цена 4512'))
        words = {"Договором", "Догадка", "ВСЁ", "готово", "Готовый", "invoice", "цена", "4512", "<b>", "x"}
        found = await match_words(connection, words, question.lexemes, question.prefixes)
        assert found == {"Договором", "готово", "invoice", "4512"} | (found & {"ВСЁ", "Готовый"})
        assert await match_words(connection, words, question.lexemes, question.prefixes) == found


# --- Comments ---------------------------------------------------------------------------------------------------------


async def _comment(world: SearchWorld, number: int, words: str, **place: int) -> int:
    async with world.store.begin() as connection:
        sql = """INSERT INTO account (login, name, password_hash, role) VALUES ('c', 'c', '', 'manager')
                 ON CONFLICT (login) DO UPDATE SET name = 'c' RETURNING id"""
        account = await world.one(connection, sql)
        made = await comments.add_comment(connection, number, words, account_id=account, **place)
        assert made is not None
    await Indexer(world.store).index()
    return made


async def test_comments_are_words_of_their_call_until_they_are_taken_away(world: SearchWorld) -> None:
    call, mail = await world.call("про шкаф"), await world.mail("Смета", "про шкаф")
    await world.index()
    async with world.store.begin() as connection:
        recording = await world.one(connection, "SELECT id FROM recording")
    first = await _comment(world, call, "Обещал скидку, 4512", recording_id=recording, at_ms=21_000)
    await _comment(world, call, "Перезвонить")
    await _comment(world, mail, "Ждём замерщика")
    for typed in ("скидка", "скидки шкафы", '"обещал скидку"', "перезвонить", "4512"):
        assert await world.ids(typed) == [call], typed
    assert await world.ids("замерщик") == [mail]
    assert await world.ids("шкаф -скидка") == [mail], "a minus means the whole call with what was noted on it"
    async with world.store.begin() as connection:
        assert await comments.remove_comment(connection, first)
    await Indexer(world.store).index()
    assert await world.ids("скидка") == []
    assert await world.ids("перезвонить") == [call]


async def test_comments_have_the_rights_of_their_call(world: SearchWorld) -> None:
    anna, ivan = await world.employee("Анна"), await world.employee("Иван")
    hers, his = await world.call("алло", employee=anna), await world.call("алло", employee=ivan)
    hidden = await world.call("алло", employee=anna, state=LinkState.PRIVATE)
    for number in (hers, his, hidden):
        await _comment(world, number, "Скидка")
    viewer = Viewer(account_id=2, role=UserRole.MANAGER, employee_id=anna)
    assert await world.ids("скидка", viewer) == [hers]
    assert await world.ids("скидка") == [hers, his]
    assert await world.ids("скидка", Viewer(account_id=3, role=UserRole.MANAGER, employee_id=None)) == []


async def test_a_comment_is_a_change(world: SearchWorld) -> None:
    number = await world.call("алло")
    async with world.store.begin() as connection:
        before = await changes.complete_upto(connection)
    made = await _comment(world, number, "Скидка")
    async with world.store.begin() as connection:
        assert await changes.list_since(connection, before, most=10) == [number]
        after = await changes.complete_upto(connection)
    async with world.store.begin() as connection:
        assert await comments.remove_comment(connection, made)
        assert not await comments.remove_comment(connection, made)
    async with world.store.begin() as connection:
        assert await changes.list_since(connection, after, most=10) == [number]
