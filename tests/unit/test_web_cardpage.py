"""The client card over HTTP: tasks and promises, a filtered history, an entry taken off, private by hand."""

from __future__ import annotations

import re
from datetime import date, timedelta
from html import unescape

import pytest
from sqlalchemy import update

from agent.archive.blobs import Archive
from agent.intake import Intake
from agent.model import Disposition, LinkState
from agent.store import cardhistory, erasures, links, search, tasks
from agent.store.cardhistory import HistoryFilter
from agent.store.clients import Position
from agent.store.engine import Store
from agent.store.rights import Viewer
from agent.store.schema import interaction
from agent.store.searchindex import Indexer
from agent.web.cards import HISTORY_SIZE, write_position
from tests.unit.web_pages import HOSTILE, M, Tags, people, server, world
from tests.web_world import NOW, Browser, Builder, World, phone, settings_for

__all__ = ["people", "server", "world"]

TODAY = NOW.astimezone().date()


@pytest.fixture(scope="module")
def builder(store: Store, archive: Archive, intake: Intake, world: World) -> Builder:
    builder = Builder(store, archive, intake, settings_for("."))
    builder._number = 20_000
    return builder


async def _tasks_of(store: Store, card_id: int, *, is_done: bool = False) -> list[tasks.Task]:
    async with store.begin() as connection:
        return await tasks.list_of_cards(connection, [card_id], is_done=is_done)


# --- Tasks ------------------------------------------------------------------------------------------------------------


async def test_a_promise_is_noted_stands_on_top_is_late_and_is_done_by_a_click(
    people: dict[str, Browser], world: World, store: Store
) -> None:
    anna, card = people["anna"], f"/cards/{world.maria}"
    _, page = await anna.get(f"{card}?promise={world.marias_call}")
    assert f'name="interaction" value="{world.marias_call}"' in page
    late = (TODAY - timedelta(days=1)).isoformat()
    form = {"text": f"Прислать счёт {HOSTILE}", "due": late, "employee": "1", "interaction": str(world.marias_call)}
    assert await anna.post(f"{card}/tasks", **form) == 303
    assert await anna.post(f"{card}/tasks", text="Позвонить", due="", employee="") == 303
    _, page = await anna.get(card)
    assert Tags(page).bad == []
    assert page.index("Прислать счёт") < page.index("Позвонить"), "what has a day comes first"
    assert "просрочено" in page
    first, second = await _tasks_of(store, world.maria)
    assert (first.interaction_id, first.employee_id, first.made_by) == (world.marias_call, 1, "anna")
    assert await anna.post(f"/tasks/{second.id}", text="Написать", due="2030-01-01", employee="1") == 303
    assert await anna.post(f"/tasks/{first.id}/done", back="/tasks?list=mine") == 303
    assert await anna.post(f"/tasks/{first.id}/done") == 303, "said twice it is done once"
    (kept,) = await _tasks_of(store, world.maria)
    assert (kept.text, kept.due) == ("Написать", date(2030, 1, 1))
    (done,) = await _tasks_of(store, world.maria, is_done=True)
    assert done.done_by == "anna"
    assert await anna.post(f"/tasks/{first.id}/open") == 303
    assert len(await _tasks_of(store, world.maria)) == 2


async def test_lists_of_tasks_are_mine_everybodys_late_and_done(
    people: dict[str, Browser], world: World, store: Store
) -> None:
    today = TODAY
    async with store.begin() as connection:
        hers = await tasks.add_task(connection, world.maria, "Дело Анны", by="boss", employee_id=1, due=today)
        his = await tasks.add_task(
            connection, world.camomile, "Дело Ивана", by="boss", employee_id=2, due=today - timedelta(days=3)
        )
        foreign = await tasks.add_task(connection, world.camomile, "Чужая карточка", by="boss", employee_id=1)
    anna, ivan, boss = people["anna"], people["ivan"], people["boss"]
    _, mine = await anna.get("/tasks")
    assert "Дело Анны" in mine
    assert "Чужая карточка" in mine
    assert "Ромашка" not in mine, "the task is hers, the card is not hers to see"
    assert "Дело Ивана" not in mine
    assert "Дело Ивана" not in (await anna.get("/tasks?list=all"))[1]
    assert "Дело Ивана" in (await boss.get("/tasks?list=late"))[1]
    assert "Дело Анны" not in (await boss.get("/tasks?list=late"))[1]
    assert "Дело Анны" in (await boss.get("/tasks?list=all"))[1]
    for who, number in ((ivan, hers), (people["nobody"], hers), (people["nobody"], his)):
        assert await who.post(f"/tasks/{number}/done") == 404
        assert await who.post(f"/tasks/{number}", text="x", due="", employee="") == 404
    assert await anna.post(f"/tasks/{foreign}/done") == 303
    assert "Чужая карточка" in (await boss.get("/tasks?list=done"))[1]
    for path in ("/tasks?list=nonsense", "/tasks?start=x", "/tasks?start=99999999999"):
        assert (await anna.get(path))[0] == 200


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({"text": " "}, 400),
        ({"text": "x", "due": "yesterday"}, 400),
        ({"text": "x", "employee": "999999"}, 400),
        ({"text": "x", "employee": "x"}, 400),
        ({"text": "x", "interaction": "999999"}, 404),
        ({"text": "x" * 5000}, 303),
        ({"text": "a\0b"}, 303),
    ],
)
async def test_odd_tasks_are_refused_or_cut(
    people: dict[str, Browser], world: World, form: dict[str, str], status: int
) -> None:
    assert await people["boss"].post(f"/cards/{world.maria}/tasks", **form) == status


async def test_a_task_cannot_name_an_entry_that_is_not_his(
    people: dict[str, Browser], world: World, store: Store
) -> None:
    form = {"text": "x", "interaction": str(world.camomiles_call)}
    assert await people["anna"].post(f"/cards/{world.maria}/tasks", **form) == 404
    assert await people["ivan"].post(f"/cards/{world.maria}/tasks", text="x") == 404
    _, page = await people["anna"].get(f"/cards/{world.maria}?promise={world.camomiles_call}")
    assert 'name="interaction"' not in page


# --- History ----------------------------------------------------------------------------------------------------------


async def test_the_history_is_narrowed_by_kind_person_direction_and_day(
    people: dict[str, Browser], builder: Builder
) -> None:
    own = "+74950000611"
    card = await builder.card("Отборный", phone(own), responsible=1)
    inbound = await builder.call(own, "101", NOW - timedelta(days=1))
    outbound = await builder.call("102", own, NOW - timedelta(days=2))
    missed = await builder.call(own, "101", NOW - timedelta(days=40), talk=None, disposition=Disposition.NO_ANSWER)
    boss = people["boss"]
    await boss.post(f"/cards/{card}/notes", text="Заметка для отбора")

    async def shown(query: str) -> set[int]:
        status, page = await boss.get(f"/cards/{card}?{query}")
        assert status == 200, query
        return {int(one) for one in re.findall(r'id="entry-(\d+)"', page)}

    assert await shown("") == {inbound, outbound, missed}
    assert await shown("kind=call") == {inbound, outbound, missed}
    assert await shown("kind=missed") == {missed}
    assert await shown("kind=mail") == set()
    assert await shown("kind=note") == set()
    assert "Заметка для отбора" in (await boss.get(f"/cards/{card}?kind=note"))[1]
    assert "Заметка для отбора" not in (await boss.get(f"/cards/{card}?kind=call"))[1]
    assert await shown("who=2") == {outbound}
    assert await shown("way=outbound") == {outbound}
    day = (NOW - timedelta(days=10)).date().isoformat()
    assert await shown(f"from={day}") == {inbound, outbound}
    assert await shown(f"to={day}") == {missed}
    for odd in ("kind=x&who=x&way=x&from=x&to=9999-99-99&q=%00", "who=" + "9" * 30, "from=0001-01-01", "promise=x"):
        assert await shown(odd) == {inbound, outbound, missed}, odd


async def test_the_history_goes_on_from_page_to_page_and_nothing_is_lost_between(
    people: dict[str, Browser], builder: Builder
) -> None:
    own, many = "+74950000615", 2 * HISTORY_SIZE + 1
    card = await builder.card("Долгая", phone(own), responsible=1)
    calls = [await builder.call(own, "101", NOW - timedelta(days=3, minutes=one)) for one in range(many)]
    boss, part = people["boss"], {"X-Part": "history"}
    _, first = await boss.get(f"/cards/{card}")
    assert _entries(first) == calls[:HISTORY_SIZE]
    found, older = list(calls[:HISTORY_SIZE]), _older(first)
    while older:
        _, page = await boss.get(older, **part)
        assert Tags(page).bad == []
        assert "<html" not in page, "the entries alone"
        assert "day-name" not in page, "the day is named above them already"
        assert _entries(page) == _entries((await boss.get(older))[1]), "the link leads to the same"
        found += _entries(page)
        older = _older(page)
    assert found == calls
    assert (await people["ivan"].get(_older(first), **part))[0] == 404, "the rights of the card"
    assert (await boss.get(f"/cards/{card}?after=x", **part))[0] == 400

    newer = [await builder.call(own, "101", NOW - timedelta(hours=one)) for one in (1, 2)]
    through = _older(first).partition("after=")[2]
    _, fresh = await boss.get(f"/cards/{card}?through={through}")
    assert _entries(fresh) == newer + calls[:HISTORY_SIZE], "down to where the older ones that are shown begin"
    assert _older(fresh) == _older(first)
    later = write_position(Position(moment=NOW + timedelta(days=1), id=10**6))
    _, fresh = await boss.get(f"/cards/{card}?through={later}")
    assert _entries(fresh) == []
    assert 'class="empty"' not in fresh, "all that was on top went; older ones are on the page that asks"


def _entries(page: str) -> list[int]:
    return [int(one) for one in re.findall(r'<article class="entry[^"]*" id="entry-(\d+)"', page)]


def _older(page: str) -> str:
    found = re.search(r'rel="next" href="([^"]+)" data-older', page)
    return unescape(found[1]) if found else ""


async def test_a_company_shows_the_histories_of_its_people_together(
    people: dict[str, Browser], builder: Builder, store: Store
) -> None:
    first, second = "+74950000621", "+74950000622"
    company = await builder.card("ООО «Вместе»", kind="company")
    await builder.card("Первый Человек", phone(first), company_id=company, responsible=1)
    await builder.card("Второй Человек", phone(second), company_id=company, responsible=2)
    calls = [
        await builder.call(one, "102", NOW - timedelta(hours=9 - place)) for place, one in enumerate((first, second))
    ]
    _, page = await people["boss"].get(f"/cards/{company}")
    assert "Первый Человек" in page
    assert [int(one) for one in re.findall(r'id="entry-(\d+)"', page)] == calls[::-1], "newest first, each once"
    viewer = Viewer(account_id=0, role=M, employee_id=999_999)
    async with store.begin() as connection:
        assert await cardhistory.list_people(connection, viewer, company) == [], "people he does not see"
        found = await cardhistory.list_filtered(connection, [company], HistoryFilter())
    assert found == []


async def test_calls_of_one_conversation_stand_together(
    people: dict[str, Browser], builder: Builder, store: Store
) -> None:
    own = "+74950000631"
    card = await builder.card("Переведённый", phone(own))
    pair = [await builder.call(own, one, NOW - timedelta(hours=hours)) for one, hours in (("101", 3), ("102", 2))]
    alone = await builder.call(own, "101", NOW - timedelta(hours=1))
    async with store.begin() as connection:
        statement = update(interaction).where(interaction.c.id.in_(pair)).values(conversation_key="moved on")
        await connection.execute(statement)
    _, page = await people["boss"].get(f"/cards/{card}")
    together = page.partition('class="together"')[2]
    assert f'id="entry-{alone}"' in page.partition('class="together"')[0]
    assert all(f'id="entry-{one}"' in together for one in pair)


async def test_who_waits_for_us_is_seen_at_a_glance(people: dict[str, Browser], builder: Builder) -> None:
    own = "+74950000641"
    card = await builder.card("Ждущая", phone(own))
    await builder.call(own, "101", NOW - timedelta(hours=2), talk=None, disposition=Disposition.NO_ANSWER)
    assert "ждёт ответа" in (await people["boss"].get(f"/cards/{card}"))[1]
    await builder.call("101", own, NOW - timedelta(hours=1))
    assert "ждёт ответа" not in (await people["boss"].get(f"/cards/{card}"))[1]


# --- Taken off, private -----------------------------------------------------------------------------------------------


async def test_an_entry_is_taken_off_by_a_click_waits_and_comes_back(
    people: dict[str, Browser], builder: Builder, store: Store
) -> None:
    own = "+74950000651"
    card = await builder.card(f"Не тот {HOSTILE}", phone(own), responsible=1)
    number, boss = await builder.call(own, "101", NOW), people["boss"]
    assert await people["ivan"].post(f"/interactions/{number}/not-client", card=str(card)) == 404
    assert await boss.post(f"/interactions/{number}/not-client", card="999999") == 404
    assert await boss.post(f"/interactions/{number}/not-client", card=str(card)) == 303
    assert await boss.post(f"/interactions/{number}/not-client", card=str(card)) == 404, "it is not there any more"
    assert f'id="entry-{number}"' not in (await boss.get(f"/cards/{card}"))[1]
    await builder.linker.link([number])  # rules leave it alone
    async with store.begin() as connection:
        (link,) = await links.list_links(connection, [number])
    assert (link.state, link.card_id, link.decided_by) == (LinkState.UNKNOWN, None, "boss")
    for who in ("boss", "anna"):
        _, page = await people[who].get("/unsorted?sort=taken_off")
        assert f"/interactions/{number}" in page
        assert Tags(page).bad == []
    assert f"/interactions/{number}" not in (await people["ivan"].get("/unsorted?sort=taken_off"))[1]
    form = {"decision": "rules", "back": "/unsorted?sort=taken_off#taken_off-0"}
    assert await boss.post(f"/interactions/{number}/card", **form) == 303
    assert f'id="entry-{number}"' in (await boss.get(f"/cards/{card}"))[1]


async def test_ones_own_entry_is_made_private_and_only_he_takes_that_back(
    people: dict[str, Browser], builder: Builder, store: Store
) -> None:
    own = "+74950000661"
    card = await builder.card("Частная", phone(own), responsible=1)
    number, anna = await builder.call(own, "101", NOW), people["anna"]
    path = f"/interactions/{number}"
    assert await anna.post(f"{path}/private") == 400, "without the second yes"
    for who in ("admin", "boss", "ivan"):
        assert await people[who].post(f"{path}/private", confirm="1") == 404, f"{who} took no part in it"
    assert await anna.post(f"{path}/private", confirm="1") == 303
    for who in ("admin", "boss", "anna"):
        assert (await people[who].get(path))[0] == 404, who
        assert f'id="entry-{number}"' not in (await people[who].get(f"/cards/{card}"))[1]
    await builder.linker.link([number])
    assert (await anna.get(path))[0] == 404, "rules do not undo it"
    assert path in (await anna.get("/private"))[1]
    assert path not in (await people["admin"].get("/private"))[1]
    assert await people["admin"].post(f"{path}/public") == 404
    assert await anna.post(f"{path}/public") == 303
    assert (await anna.get(path))[0] == 200


async def test_the_theme_is_remembered(people: dict[str, Browser]) -> None:
    anna = people["anna"]
    assert 'data-theme="auto"' in (await anna.get("/cards"))[1]
    assert (await anna.get("/theme/dark?next=/tasks"))[0] == 303
    assert 'data-theme="dark"' in (await anna.get("/cards"))[1]
    assert (await anna.get("/theme/blue"))[0] == 404
    assert (await anna.get("/theme/auto"))[0] == 303


async def test_the_navigation_is_that_of_the_role(people: dict[str, Browser]) -> None:
    for name, there, missing in (
        ("anna", ("/cards", "/live", "/tasks", "/unsorted"), ("/employees", "/crm", "/accounts")),
        ("admin", ("/cards", "/live", "/tasks", "/unsorted"), ()),
    ):
        _, page = await people[name].get("/tasks")
        for path in there:
            assert f'href="{path}"' in page, f"{path} as {name}"
        for path in missing:
            assert f'href="{path}"' not in page, f"{path} as {name}"


async def test_the_history_is_narrowed_to_words(
    people: dict[str, Browser], builder: Builder, store: Store, world: World
) -> None:
    async with store.begin() as connection:
        await search.refill(connection)
    await Indexer(store).index()
    boss, card = people["boss"], f"/cards/{world.maria}"
    await boss.post(f"{card}/notes", text="Просила доставку утром")

    async def shown(words: str) -> tuple[bool, bool]:
        async with boss.http.get(card, params={"q": words}) as answer:
            assert answer.status == 200
            page = await answer.text()
        return f'id="entry-{world.marias_call}"' in page, "Просила доставку утром" in page

    assert await shown("доставка") == (True, False), "in any form of the word, but notes as they are written"
    assert await shown("доставку утром") == (False, True)
    assert await shown("самолёт") == (False, False)
    for odd in ("и", '"', "-", "' OR 1=1", "%", "x" * 500):
        await shown(odd)


async def test_tasks_move_with_a_merge_come_back_and_go_with_an_erasure(
    people: dict[str, Browser], builder: Builder, store: Store
) -> None:
    shared = "+74950000671"
    first, second = await builder.card("Остаётся", phone(shared)), await builder.card("Уходит", phone(shared))
    async with store.begin() as connection:
        number = await tasks.add_task(connection, second, "Дело уходящей", by="boss")
    boss = people["boss"]
    assert await boss.post(f"/cards/{first}/merge", other=str(second)) == 303
    assert [one.id for one in await _tasks_of(store, first)] == [number]
    undo = re.search(r"/merges/(\d+)/undo", (await boss.get(f"/cards/{first}"))[1])
    assert undo is not None
    assert await boss.post(undo[0]) == 303
    assert [one.id for one in await _tasks_of(store, second)] == [number]
    async with store.begin() as connection:
        await erasures.wipe_card(connection, second)
    assert await _tasks_of(store, second) == []


async def test_what_is_private_is_found_and_shared_no_more(
    people: dict[str, Browser], builder: Builder, store: Store, world: World
) -> None:
    own = "+74950000681"
    await builder.card("Тайная", phone(own), responsible=1)
    number, anna = await builder.call(own, "101", NOW - timedelta(days=1)), people["anna"]
    recording = await builder.recording(
        number, NOW - timedelta(days=1), b"fLaC" + bytes(99), 1, said=[(0, 1, "сокровище")]
    )
    async with store.begin() as connection:
        await search.refill(connection)
    await Indexer(store).index()
    assert f"/interactions/{number}" in (await anna.get("/find?q=сокровище"))[1]
    assert (await anna.get(f"/recordings/{recording}"))[0] == 200
    assert await anna.post(f"/interactions/{number}/private", confirm="1") == 303
    for who in ("admin", "boss", "anna"):
        assert f"/interactions/{number}" not in (await people[who].get("/find?q=сокровище"))[1], who
        assert (await people[who].get(f"/recordings/{recording}"))[0] == 404, who
