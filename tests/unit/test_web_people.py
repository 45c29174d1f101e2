"""Who is who on the pages: extensions proposed and answered by one click, people who come and go, calls corrected."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from agent.archive.blobs import Archive
from agent.intake import Intake
from agent.model import Disposition, Identity, IdentityKind
from agent.store import employees, interactions, proposals
from agent.store.engine import Store
from agent.web.extensions import read_list
from linker.link import Linker
from tests.unit.calls_told import told
from tests.unit.linking import do_link_jobs
from tests.unit.web_pages import HOSTILE, people, server, world
from tests.web_world import NOW, Browser, Builder, World, settings_for

__all__ = ["people", "server", "world"]


@pytest.fixture
def linker(store: Store) -> Linker:
    return Linker(store, settings_for("."))


async def offer(store: Store, *offered: tuple[str, str]) -> None:
    async with store.begin() as connection:
        await proposals.offer(connection, "asterisk:office", offered)


async def holders(store: Store, extension: str) -> list[tuple[str, str, datetime | None, datetime | None]]:
    async with store.begin() as connection:
        held = await employees.find_holders(connection, [Identity(kind=IdentityKind.EXTENSION, value=extension)])
    return [(one.name, one.label, one.valid_from, one.valid_to) for one in held]


async def audited(store: Store, action: str) -> list[dict[str, Any]]:
    query = "SELECT subject FROM audit_entry WHERE action = :action ORDER BY id"
    async with store.begin() as connection:
        return [row.subject for row in await connection.execute(text(query), {"action": action})]


@pytest.mark.parametrize(
    ("pasted", "pairs"),
    [
        ("101, Анна Петрова\n102;Иван\n", [("101", "Анна Петрова"), ("102", "Иван")]),
        ('Имя\tНомер\n"Анна ""Аня"" Петрова"\t101\n', [("101", 'Анна "Аня" Петрова')]),
        ("101 Anna Ivanova\n102\n\n", [("101", "Anna Ivanova"), ("102", "")]),
        ('"Petrova, Anna",101', [("101", "Petrova, Anna")]),
        ("no numbers\nat all", []),
        ('"never closed, 101', []),
    ],
)
def test_a_pasted_list_is_read_however_it_is_separated(pasted: str, pairs: list[tuple[str, str]]) -> None:
    assert read_list(pasted) == pairs


async def test_a_list_becomes_proposals(people: dict[str, Browser], store: Store) -> None:
    admin = people["admin"]
    assert await admin.post("/extensions/list", list=f"301, {HOSTILE}\n302; Зоя") == 303
    assert await admin.post("/extensions/list", list="nothing here") == 400
    _, page = await admin.get("/employees")
    assert 'id="proposal-301"' in page
    assert "Зоя" in page
    assert "<script>alert(1)" not in page
    assert (await audited(store, "proposals_pasted"))[-1] == {"lines": 2}


async def test_one_click_makes_an_employee_of_a_proposal(people: dict[str, Browser], store: Store) -> None:
    await offer(store, ("311", "Раиса Новая"))
    admin = people["admin"]
    assert await admin.post("/extensions", extension="311", holder="new", name="") == 400
    assert await admin.post("/extensions", extension="311", holder="new", name="Раиса Новая") == 303
    assert await holders(store, "311") == [("Раиса Новая", "", None, None)]
    _, page = await admin.get("/employees")
    assert 'id="proposal-311"' not in page
    assert "Раиса Новая" in page


async def test_one_click_gives_it_to_whom_the_source_names(
    people: dict[str, Browser], store: Store, world: World
) -> None:
    await offer(store, ("312", "иван  СИДОРОВ"))
    admin = people["admin"]
    _, page = await admin.get("/employees")
    proposal = page.partition('id="proposal-312"')[2].partition("</form>")[0]
    assert f'<option value="{world.ivan}" selected>' in proposal
    assert await admin.post("/extensions", extension="312", holder="employee", employee=str(world.ivan)) == 303
    assert await holders(store, "312") == [("Иван Сидоров", "", None, None)]


async def test_an_extension_that_is_taken_moves_on_a_day_only(
    people: dict[str, Browser], store: Store, world: World
) -> None:
    admin, form = people["admin"], {"extension": "313", "holder": "employee", "employee": str(world.ivan)}
    assert await admin.post("/extensions", **{**form, "holder": "new", "name": "Первая"}) == 303
    assert await admin.post("/extensions", **form) == 400
    assert await admin.post("/extensions", **form, valid_from="when it suits") == 400
    assert len(await holders(store, "313")) == 1
    assert await admin.post("/extensions", **form, valid_from="2026-03-01") == 303
    first, second = await holders(store, "313")
    assert (first[0], first[3]) == ("Первая", second[2])
    assert second[2] is not None


async def test_after_a_gap_the_next_one_begins_where_the_last_ended(people: dict[str, Browser], store: Store) -> None:
    admin = people["admin"]
    await admin.post("/extensions", extension="314", holder="new", name="Ушедшая")
    (row,) = await _rows(store, "SELECT id FROM employee_identity WHERE value = '314'")
    assert await admin.post(f"/identities/{row.id}/end", valid_to="") == 400
    assert await admin.post(f"/identities/{row.id}/end", valid_to="2026-02-01") == 303
    assert (await audited(store, "employee_identity_ended"))[-1]["identity"] == "314"
    assert await admin.post("/extensions", extension="314", holder="new", name="Новая") == 303
    first, second = await holders(store, "314")
    assert first[3] == second[2] is not None


async def test_a_fax_is_nobodys(people: dict[str, Browser], store: Store) -> None:
    admin = people["admin"]
    assert await admin.post("/extensions", extension="315", holder="nobody", name=" Факс  офиса ") == 303
    assert await holders(store, "315") == [("", "Факс офиса", None, None)]
    _, page = await admin.get("/employees")
    assert "Факс офиса" in page.partition('id="shared"')[2]
    assert (await audited(store, "extension_shared"))[-1] == {"employee_id": None, "identity": "315"}


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({"extension": "", "holder": "nobody"}, 400),
        ({"extension": "nobody at all", "holder": "nobody"}, 400),
        ({"extension": "31\x006", "holder": "nobody"}, 400),
        ({"extension": "316", "holder": "everybody"}, 400),
        ({"extension": "316", "holder": "employee", "employee": "one"}, 400),
        ({"extension": "316", "holder": "employee", "employee": "9" * 30}, 400),
        ({"extension": "316", "holder": "employee", "employee": "999999"}, 404),
    ],
)
async def test_a_form_that_makes_no_sense_changes_nothing(
    form: dict[str, str], status: int, people: dict[str, Browser], store: Store
) -> None:
    assert await people["admin"].post("/extensions", **form) == status
    assert await holders(store, "316") == []


async def test_an_employee_is_renamed_and_a_mistake_removed(
    people: dict[str, Browser], store: Store, world: World
) -> None:
    admin = people["admin"]
    assert await admin.post("/employees", name="Опечатка") == 303
    (row,) = await _rows(store, "SELECT id FROM employee WHERE name = 'Опечатка'")
    assert await admin.post(f"/employees/{row.id}/name", name="  ") == 400
    assert await admin.post(f"/employees/{row.id}/name", name="Верная") == 303
    assert await admin.post("/employees/999999/name", name="Никто") == 404
    assert await audited(store, "employee_renamed") == [
        {"employee_id": row.id, "before": "Опечатка", "after": "Верная"}
    ]
    await admin.post(f"/employees/{row.id}/identities", value="317")
    (held,) = await _rows(store, "SELECT id FROM employee_identity WHERE value = '317'")
    assert await admin.post(f"/identities/{held.id}/remove") == 303
    assert await admin.post(f"/identities/{held.id}/remove") == 404
    assert await holders(store, "317") == []


async def test_calls_of_an_unknown_extension_are_a_note_with_its_remedy(
    people: dict[str, Browser], store: Store, archive: Archive, intake: Intake, linker: Linker
) -> None:
    builder = Builder(store, archive, intake, settings_for("."))
    builder._number = 7000
    ids = [await builder.call("+74950000011", "318", NOW - timedelta(hours=n)) for n in range(2)]
    await offer(store, ("318", "Новенькая"))
    admin = people["admin"]
    _, page = await admin.get("/unsorted")
    note = page.partition('id="extension-318"')[2].partition("</section>")[0]
    assert "Новенькая" in note
    assert all(f"/interactions/{one}" in note for one in ids)
    for name in ("boss", "anna"):
        assert 'id="extension-318"' not in (await people[name].get("/unsorted"))[1], "only he can answer"
    await do_link_jobs(store, linker)
    form = {"extension": "318", "holder": "new", "name": "Новенькая", "back": "unsorted"}
    assert await admin.post("/extensions", **form) == 303
    assert 'id="extension-318"' not in (await admin.get("/unsorted"))[1]
    await do_link_jobs(store, linker)
    async with store.begin() as connection:
        found = await interactions.list_parties(connection, ids)
    assert all(one[1].employee_id is not None for one in found.values())


# --- Corrections of calls ---------------------------------------------------------------------------------------------


async def _rows(store: Store, query: str, **values: Any) -> list[Any]:
    async with store.begin() as connection:
        return list((await connection.execute(text(query), values)).all())


async def test_what_was_taken_for_one_call_is_parted_and_united_again(
    people: dict[str, Browser], store: Store, intake: Intake
) -> None:
    ended: dict[str, Any] = {"ended": datetime(2026, 3, 2, 10, tzinfo=UTC), "disposition": Disposition.ANSWERED}
    first = await intake.open_call(replace(told("asterisk:office +74950000099 > 101 @0 ^5"), **ended))
    assert await intake.open_call(replace(told("provider:uis +74950000099 > 101 @1 ^5"), **ended)) == first
    boss = people["boss"]
    _, page = await boss.get(f"/interactions/{first}")
    parts = re.findall(r"/evidence/(\d+)/separate", page)
    assert len(parts) == 2
    assert "separate" not in (await people["anna"].get(f"/interactions/{first}"))[1]
    assert await people["anna"].post(f"/evidence/{parts[1]}/separate") == 403
    assert await boss.post(f"/evidence/{parts[1]}/separate") == 303
    assert await boss.post(f"/evidence/{parts[1]}/separate") == 404
    (row,) = await _rows(store, "SELECT interaction_id FROM evidence WHERE id = :id", id=int(parts[1]))
    other = row.interaction_id
    assert other != first
    assert (await audited(store, "call_separated"))[-1]["new_interaction_id"] == other
    _, page = await boss.get(f"/interactions/{other}")
    assert f'name="other" value="{first}"' in page
    assert "separate" not in page
    assert await boss.post(f"/interactions/{other}/unite", other="999999") == 404
    assert await boss.post(f"/interactions/{other}/unite", other="x") == 400
    assert await boss.post(f"/interactions/{other}/unite", other=str(first)) == 303
    assert (await boss.get(f"/interactions/{other}"))[0] == 404
    assert (await audited(store, "calls_united"))[-1] == {"interaction_id": first, "absorbed": other}


async def test_a_call_of_a_shared_phone_is_credited_by_hand(
    people: dict[str, Browser], store: Store, archive: Archive, intake: Intake, linker: Linker, world: World
) -> None:
    assert await people["admin"].post("/extensions", extension="319", holder="nobody", name="Приёмная") == 303
    builder = Builder(store, archive, intake, settings_for("."))
    builder._number = 8000
    number = await builder.call("+74950000011", "319", NOW)
    boss = people["boss"]
    _, page = await boss.get(f"/interactions/{number}")
    assert "внутренний номер 319 общий (Приёмная): никому не засчитан" in page
    (party,) = re.findall(r'name="party" value="(\d+)"', page)
    path = f"/interactions/{number}/credit"
    assert await people["anna"].post(path, party=party, employee=str(world.ivan)) == 403
    assert await boss.post(path, party=party, employee="999999") == 404
    assert await boss.post(path, party="1", employee=str(world.ivan)) == 404
    assert await boss.post(path, party=party, employee=str(world.ivan)) == 303
    await do_link_jobs(store, linker)
    _, page = await boss.get(f"/interactions/{number}")
    assert "никому не засчитан" not in page
    assert "Иван Сидоров" in page.partition('class="parties"')[2].partition("</p>")[0]
    assert (await people["ivan"].get(f"/interactions/{number}"))[0] == 200, "now it is his to see"
    assert await boss.post(path, party=party, employee="") == 303
    await do_link_jobs(store, linker)
    assert "никому не засчитан" in (await boss.get(f"/interactions/{number}"))[1]
    assert [one["employee_id"] for one in await audited(store, "call_credited")] == [world.ivan, None]
