"""Cards and decisions on the pages: written on, merged, split, imported, corrected, remembered and revoked."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import quote

import pytest
from aiohttp import FormData
from sqlalchemy import text

from agent.archive.blobs import Archive
from agent.intake import Intake
from agent.model import Identity, IdentityKind, LinkState
from agent.store import cards, links, notes
from agent.store.engine import Store
from linker.importing import CardImporter
from linker.link import Linker
from tests.unit.linking import do_link_jobs
from tests.unit.web_pages import HOSTILE, people, server, world
from tests.web_world import CAMOMILE, NOW, Browser, Builder, World, phone, settings_for

__all__ = ["people", "server", "world"]

_numbers = iter(range(10_000_200, 10_000_900))


@pytest.fixture
def builder(store: Store, archive: Archive, intake: Intake, world: World) -> Builder:
    builder = Builder(store, archive, intake, settings_for("."))
    builder._number = next(_numbers) * 100
    return builder


def number() -> str:
    return f"+7495{next(_numbers) % 10_000_000:07}"


async def states(store: Store, *ids: int) -> list[tuple[LinkState, int | None]]:
    async with store.begin() as connection:
        made = await links.list_links(connection, ids)
    return [(one.state, one.card_id) for one in sorted(made, key=lambda one: one.interaction_id)]


async def audited(store: Store, action: str) -> list[dict[str, Any]]:
    query = "SELECT subject FROM audit_entry WHERE action = :action ORDER BY id"
    async with store.begin() as connection:
        return [row.subject for row in await connection.execute(text(query), {"action": action})]


async def point_of(store: Store, card_id: int, value: str) -> int:
    async with store.begin() as connection:
        card = await cards.find_card(connection, card_id)
    assert card is not None
    return next(one.id for one in card.contact_points if one.identity.value == value)


# --- A card -----------------------------------------------------------------------------------------------------------


async def test_a_card_by_hand(people: dict[str, Browser], store: Store) -> None:
    own = number()
    anna = people["anna"]
    assert await anna.post("/cards", name="", kind="person") == 303
    assert "card_wrong" in (await _place(anna, "/cards", name="X", kind="person", contact="nonsense"))
    place = await _place(anna, "/cards", name=f"Новый {HOSTILE}", kind="person", contact=own)
    status, page = await anna.get(place)
    assert status == 200
    assert "<script>alert(1)" not in page
    assert (await people["ivan"].get(place))[0] == 404, "it is Anna's client"
    assert (await audited(store, "card_created"))[-1]["card_id"] == int(place.rpartition("/")[2])


async def test_a_box_that_names_a_card_offers_what_its_reader_may_see(
    people: dict[str, Browser], builder: Builder
) -> None:
    own = number()
    place = await _place(people["anna"], "/cards", name="Полярная Сова", kind="person", contact=own)
    offered = [f"Полярная Сова №{place.rpartition('/')[2]}"]
    for words in ("полярная", "Сова", own[2:]):
        for who in ("anna", "boss"):
            assert json.loads((await people[who].get(f"/cards/suggested?q={quote(words)}"))[1]) == offered
        assert json.loads((await people["ivan"].get(f"/cards/suggested?q={quote(words)}"))[1]) == []
    assert json.loads((await people["boss"].get("/cards/suggested?q=%20п"))[1]) == [], "one letter says nothing"
    assert json.loads((await people["boss"].get("/cards/suggested"))[1]) == []
    call = await builder.call(number(), "101", NOW)
    _, page = await people["boss"].get(f"/interactions/{call}")
    assert 'data-choices="/cards/suggested"' in page
    assert "Полярная" not in page
    assert await people["boss"].post(f"/interactions/{call}/card", decision="card", card=offered[0]) == 303
    assert "Полярная" in (await people["boss"].get(f"/interactions/{call}"))[1]


async def _place(browser: Browser, path: str, **form: str) -> str:
    data = {**form, "csrf": await browser.token()}
    async with browser.http.post(path, data=data, allow_redirects=False) as answer:
        assert answer.status == 303, await answer.text()
        return answer.headers["Location"]


async def test_a_card_is_changed_and_tells_its_way(people: dict[str, Browser], builder: Builder, store: Store) -> None:
    card = await builder.card("Старое имя", phone(number()))
    boss, path = people["boss"], f"/cards/{card}"
    form = {"name": "Новое имя", "kind": "person", "company": "ООО Новая", "responsible": "1", "stage": "в работе"}
    assert await boss.post(path, **form) == 303
    assert await boss.post(path, **{**form, "stage": "клиент"}) == 303
    assert await boss.post(path, **{**form, "responsible": "999999"}) == 400
    assert await boss.post(path, **{**form, "kind": "robot"}) == 400
    _, page = await boss.get(path)
    assert "Новое имя" in page
    assert "ООО Новая" in page
    assert "клиент" in page
    async with store.begin() as connection:
        assert [one.stage for one in await notes.list_stages(connection, card)] == ["клиент", "в работе"]
        found = await cards.find_card(connection, card)
    assert found is not None
    assert await _company_name(store, found.company_id) == "ООО Новая"
    assert (await audited(store, "card_changed"))[0]["before"]["name"] == "Старое имя"
    assert await people["anna"].post(path, **form) in (303, 404)
    assert await people["nobody"].post(path, **form) == 404


async def _company_name(store: Store, card_id: int | None) -> str:
    async with store.begin() as connection:
        found = await cards.find_card(connection, card_id or 0)
    return found.name if found else ""


async def test_contact_points_come_and_go_with_their_past(
    people: dict[str, Browser], builder: Builder, store: Store
) -> None:
    own, boss = number(), people["boss"]
    card, call = await builder.card("Контактный"), await builder.call(own, "101", NOW)
    assert await boss.post(f"/cards/{card}/contact-points", value="nonsense") == 303
    assert await boss.post(f"/cards/{card}/contact-points", value=own, label="моб.") == 303
    await do_link_jobs(store, builder.linker)
    assert await states(store, call) == [(LinkState.LINKED, card)]
    point = await point_of(store, card, own)
    assert await people["nobody"].post(f"/cards/{card}/contact-points/remove", point=str(point)) == 404
    assert await boss.post(f"/cards/{card}/contact-points/remove", point=str(point)) == 303
    assert await boss.post(f"/cards/{card}/contact-points/remove", point=str(point)) == 404
    assert await states(store, call) == [(LinkState.UNKNOWN, None)]


async def test_notes_are_kept_as_they_were_written(people: dict[str, Browser], world: World, store: Store) -> None:
    anna, boss, path = people["anna"], people["boss"], f"/cards/{world.maria}"
    assert await anna.post(f"{path}/notes", text="  ") == 400
    assert await boss.post(f"{path}/notes", text=f"Любит чай {HOSTILE}\nи кофе") == 303
    _, page = await anna.get(path)
    assert "Любит чай" in page
    assert "<script>alert(1)" not in page
    async with store.begin() as connection:
        (note,) = await notes.list_notes(connection, world.maria)
    assert await anna.post(f"{path}/notes/remove", note=str(note.id)) == 404, "it is another's"
    assert await people["ivan"].post(f"{path}/notes", text="x") == 404
    assert await boss.post(f"{path}/notes/remove", note=str(note.id)) == 303


async def test_cards_are_merged_kept_apart_and_split(
    people: dict[str, Browser], builder: Builder, store: Store
) -> None:
    shared, own, boss = number(), number(), people["boss"]
    first, second = (
        await builder.card("Двойник", phone(shared)),
        await builder.card("Двойняк", phone(shared), phone(own)),
    )
    call = await builder.call(own, "101", NOW)
    for path in ("/duplicates", f"/cards/{first}"):
        _, page = await boss.get(path)
        assert "Двойняк" in page, path
    assert await people["anna"].post(f"/cards/{first}/merge", other=str(second)) == 403
    assert await boss.post(f"/cards/{first}/merge", other=str(first)) == 409
    assert await boss.post(f"/cards/{first}/merge", other="999999") == 404
    assert await boss.post(f"/cards/{first}/merge", other=str(second)) == 303
    assert await states(store, call) == [(LinkState.LINKED, first)]
    async with boss.http.get(f"/cards/{second}", allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (303, f"/cards/{first}")
    _, page = await boss.get(f"/cards/{first}")
    merge = re.search(r"/merges/(\d+)/undo", page)
    assert merge is not None
    assert await boss.post(f"/merges/{merge[1]}/undo") == 303
    assert await boss.post(f"/merges/{merge[1]}/undo") == 409
    await do_link_jobs(store, builder.linker)
    assert await states(store, call) == [(LinkState.LINKED, second)]
    assert await boss.post(f"/cards/{first}/distinct", other=str(second), back="duplicates") == 303
    assert "Двойняк" not in (await boss.get("/duplicates"))[1]
    point = await point_of(store, second, own)
    assert await boss.post(f"/cards/{second}/split", name="", point=str(point)) == 303
    assert await boss.post(f"/cards/{second}/split", name="Сын", point=str(point)) == 303
    ((state, son),) = await states(store, call)
    assert state is LinkState.LINKED
    assert son not in (first, second)


# --- Decisions --------------------------------------------------------------------------------------------------------


async def test_a_decision_is_remembered_shown_and_revoked(
    people: dict[str, Browser], builder: Builder, store: Store
) -> None:
    own, boss = number(), people["boss"]
    first, second = await builder.card("Оба-1", phone(own)), await builder.card("Оба-2", phone(own))
    call = await builder.call(own, "101", NOW)
    form = {"kind": "phone", "value": own, "card": f"№{second}"}
    assert await boss.post("/unsorted/decision", **form) == 303
    later = await builder.call(own, "101", NOW)
    assert await states(store, call, later) == [(LinkState.LINKED, second)] * 2
    _, page = await boss.get(f"/interactions/{later}")
    assert "так решил(а) boss" in page
    _, page = await boss.get("/decisions")
    rule = re.search(rf'id="rule-(\d+)">\s*<p><b>{re.escape(_shown(own))}', page)
    assert rule is not None
    assert "Оба-2" in (await boss.get(f"/cards/{second}"))[1]
    assert await people["anna"].post(f"/decisions/{rule[1]}/revoke") == 403
    assert await boss.post(f"/decisions/{rule[1]}/revoke") == 303
    assert await boss.post(f"/decisions/{rule[1]}/revoke") == 404
    assert await states(store, call, later) == [(LinkState.AMBIGUOUS, None)] * 2
    assert first != second
    assert (await audited(store, "link_rule_revoked"))[-1] == {"rule_id": int(rule[1])}


def _shown(value: str) -> str:
    return f"{value[:2]} {value[2:5]} {value[5:8]}-{value[8:10]}-{value[10:]}"


async def test_a_private_number_is_shown_to_nobody(people: dict[str, Browser], builder: Builder, store: Store) -> None:
    own, boss = number(), people["boss"]
    call = await builder.call(own, "101", NOW)
    form = {"kind": "phone", "value": own, "decision": "private"}
    assert await people["ivan"].post("/unsorted/aside", **form) == 404, "not his call"
    assert await people["anna"].post("/unsorted/aside", **{**form, "decision": "eat"}) == 400
    assert await people["anna"].post("/unsorted/aside", **form) == 303
    assert await states(store, call) == [(LinkState.PRIVATE, None)]
    for name in ("admin", "boss", "anna", "ivan"):
        assert (await people[name].get(f"/interactions/{call}"))[0] == 404, name
    _, page = await boss.get("/decisions")
    assert _shown(own) in page


async def test_a_supervisor_makes_rules_ahead(people: dict[str, Browser], builder: Builder, store: Store) -> None:
    boss, card = people["boss"], await builder.card("Адвокат")
    assert "identity_wrong" in await _place(boss, "/decisions", value="nonsense", decision="private")
    assert "card_not_found" in await _place(boss, "/decisions", value=number(), decision="card", card="нет такой")
    assert await boss.post("/decisions", value=number(), decision="eat") == 400
    assert (
        await boss.post("/decisions", value="@lawyer.example.net", decision="private", note=f"тайна {HOSTILE}") == 303
    )
    assert await boss.post("/decisions", value=number(), decision="card", card=f"Адвокат №{card}") == 303
    _, page = await boss.get("/decisions")
    assert "lawyer.example.net" in page
    assert "<script>alert(1)" not in page
    _, mail = await builder.mail(("", "counsel@lawyer.example.net"), ("Иван", "ivan@example.com"), NOW, "Дело", "Тайна")
    assert await states(store, mail) == [(LinkState.PRIVATE, None)]


async def test_an_entry_is_moved_by_hand_and_goes_back(
    people: dict[str, Browser], builder: Builder, world: World, store: Store
) -> None:
    boss, anna = people["boss"], people["anna"]
    path = f"/interactions/{world.marias_call}/card"
    assert await people["ivan"].post(path, decision="card", card=f"№{world.camomile}") == 404
    assert await anna.post(path, decision="eat") == 400
    assert "card_not_found" in await _place(anna, path, decision="card", card=f"№{world.camomile}")
    assert await boss.post(path, decision="card", card=f"№{world.camomile}") == 303
    assert await states(store, world.marias_call) == [(LinkState.LINKED, world.camomile)]
    await builder.linker.link([world.marias_call])
    assert await states(store, world.marias_call) == [(LinkState.LINKED, world.camomile)]
    _, page = await boss.get(f"/interactions/{world.marias_call}")
    assert 'value="rules"' in page
    assert await boss.post(path, decision="ignore") == 303
    assert await states(store, world.marias_call) == [(LinkState.IGNORED, None)]
    assert await boss.post(path, decision="rules") == 303
    assert await states(store, world.marias_call) == [(LinkState.LINKED, world.maria)]


async def test_an_entry_is_moved_and_so_is_its_number_from_now_on(
    people: dict[str, Browser], builder: Builder, store: Store
) -> None:
    own, boss = number(), people["boss"]
    card, ids = await builder.card("Секретарь"), [await builder.call(own, "101", NOW) for _ in range(2)]
    path = f"/interactions/{ids[0]}/card"
    assert await boss.post(path, decision="card", card=f"№{card}", always="+70000000000") == 303
    assert await states(store, *ids) == [(LinkState.LINKED, card), (LinkState.UNKNOWN, None)]
    assert await boss.post(path, decision="card", card=f"№{card}", always=own) == 303
    assert await states(store, *ids) == [(LinkState.LINKED, card)] * 2


async def test_policies_of_lines(people: dict[str, Browser], builder: Builder, store: Store) -> None:
    admin = people["admin"]
    assert await people["boss"].post("/line-policies", line="109", unknown="create") == 403
    assert "identity_wrong" in await _place(admin, "/line-policies", line="nonsense", unknown="create")
    assert await admin.post("/line-policies", line="109", unknown="eat") == 400
    assert await admin.post("/line-policies", line="109", unknown="create") == 303
    own = number()
    await builder.call(own, "109", NOW)
    async with store.begin() as connection:
        identity = Identity(kind=IdentityKind.PHONE, value=own)
        (made,) = await cards.find_candidates(connection, [identity])
        (policy,) = (await connection.execute(text("SELECT id FROM line_policy WHERE value = '109'"))).scalars()
    assert made.card_name == own
    assert await admin.post(f"/line-policies/{policy}/remove") == 303
    assert await admin.post(f"/line-policies/{policy}/remove") == 404


# --- Lists ------------------------------------------------------------------------------------------------------------


async def upload(browser: Browser, content: bytes, name: str = "clients.csv") -> tuple[int, str, str]:
    form = FormData()
    form.add_field("csrf", await browser.token())
    form.add_field("list", content, filename=name, content_type="text/csv")
    async with browser.http.post("/cards/import", data=form, allow_redirects=False) as answer:
        return answer.status, answer.headers.get("Location", ""), await answer.text()


async def test_a_list_is_looked_at_read_otherwise_and_taken_in(
    people: dict[str, Browser], store: Store, builder: Builder
) -> None:
    boss, own = people["boss"], number()
    content = f"Имя;Телефон;Прочее\n{HOSTILE};{own};x\nИзвестный;{CAMOMILE};y\n".encode("cp1251")
    status, place, _ = await upload(boss, content, f"{HOSTILE}.csv")
    assert status == 303
    _, page = await boss.get(place)
    assert "<script>alert(1)" not in page
    assert "Новых карточек: 1. Дополнится: 1." in page
    plan = {"encoding": "cp1251", "separator": ";", "heading": "on"}
    assert await _post_columns(boss, place, plan, ["name", "phone", "note"]) == 303
    assert await _post_columns(boss, place, {**plan, "encoding": "utf-7"}, []) == 400
    assert await _post_columns(boss, place, plan, ["password"]) == 400
    assert (await people["anna"].get(place))[0] == 403
    assert await boss.post(f"{place}/apply") == 303
    assert await boss.post(f"{place}/apply") == 409
    await CardImporter(store, Linker(store, settings_for("."))).take_in(int(place.rpartition("/")[2]))
    _, page = await boss.get(place)
    assert "Загружено." in page
    async with store.begin() as connection:
        identity = Identity(kind=IdentityKind.PHONE, value=own)
        (made,) = await cards.find_candidates(connection, [identity])
        assert [one.text for one in await notes.list_notes(connection, made.card_id)] == ["x"]
    async with boss.http.get("/cards/export.csv") as answer:
        exported = (await answer.read()).decode("utf-8-sig")
    assert own in exported
    assert (await audited(store, "cards_exported")) != []


async def _post_columns(browser: Browser, place: str, plan: dict[str, str], columns: list[str]) -> int:
    data = [("csrf", await browser.token()), *plan.items(), *(("column", one) for one in columns)]
    async with browser.http.post(place, data=FormData(data), allow_redirects=False) as answer:
        return answer.status


async def test_what_is_no_list_is_refused_in_words(people: dict[str, Browser]) -> None:
    for content in (b"", b"\0\0", b"PK\3\4\0\0"):
        status, _, page = await upload(people["boss"], content)
        assert status == 400
        assert 'role="alert"' in page
    assert (await upload(people["anna"], b"a;b"))[0] == 403
    assert await people["boss"].post("/cards/import") == 400
    assert (await upload(people["boss"], b"name;phone\n" + b"x;1\n" * 30_000))[0] == 303, "larger than other forms"
