"""Lists of cards taken in on PostgreSQL: foreseen as they come out, in pieces, and never twice."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from agent.intake import Intake
from agent.model import LinkState
from agent.settings import Settings
from agent.store import cardimports, cards, employees, links, notes
from agent.store.engine import Store
from linker import importing
from linker.csvcards import guess_plan
from linker.importing import CardImporter, preview
from linker.link import Linker
from tests.unit.linking import captured_call, do_link_jobs, parties_of

LIST = """ФИО;Телефон;Почта;Компания;Ответственный;Статус;Примечание
Петров Иван;8 916 000-00-01;petrov@client.example.org;Ромашка;Анна;в работе;любит чай
Петров И.;+7 916 000-00-01;ivan@client.example.org;;;;
Сидоров;8 916 000-00-02;;Ромашка;Неизвестный;;
Двоякий;8 916 000-00-03;;;;;
Без номера;нет;;;;;
Без номера;;;;;;
""".encode("cp1251")


@pytest.fixture
async def linker(store: Store) -> Linker:
    async with store.begin() as connection:
        tables = "interaction, client_card, employee, evidence, procrastinate_jobs, card_import, relink_run"
        await connection.execute(text(f"TRUNCATE {tables} RESTART IDENTITY CASCADE"))
        await employees.insert_employee(connection, "Анна")
    linker = Linker(store, Settings())
    async with store.begin() as connection:
        for name in ("Один", "Другой"):
            card_id = await cards.insert_card(connection, name)
            identity = linker.identity("8 916 000-00-03")
            assert identity is not None
            await cards.insert_contact_point(connection, card_id, identity)
    return linker


async def upload(store: Store, content: bytes = LIST) -> int:
    async with store.begin() as connection:
        plan = guess_plan(content).to_json()
        return await cardimports.keep_import(connection, "clients.csv", content, plan, "vera")


async def take_in(store: Store, linker: Linker, import_id: int) -> dict[str, object]:
    importer = CardImporter(store, linker)
    async with store.begin() as connection:
        await cardimports.begin(connection, import_id)
    while True:
        await importer.take_in(import_id)
        async with store.begin() as connection:
            one = await cardimports.find_import(connection, import_id)
        assert one is not None
        if one.content is None:
            return dict(one.report)


async def test_a_dry_run_foresees_what_comes_and_writes_nothing(store: Store, linker: Linker) -> None:
    import_id = await upload(store)
    async with store.begin() as connection:
        one = await cardimports.find_import(connection, import_id)
        assert one is not None
        foreseen = await preview(connection, one, linker)
        count = text("SELECT count(*) FROM client_card")
        assert (await connection.execute(count)).scalar_one() == 2
    assert [each.outcome for each in foreseen.rows] == ["new", "filled", "new", "left_out", "new", "filled"]
    done = await take_in(store, linker, import_id)
    told = foreseen.tally.to_json()
    assert {name: done[name] for name in ("rows", "new", "filled", "left_out", "problems")} == told
    assert (told["rows"], told["new"], told["filled"], told["left_out"]) == (6, 3, 2, 1)
    assert told["problems"] == [
        "line 4: no employee is called Неизвестный",
        "line 5: its numbers are on several cards: Двоякий",
        "line 6: нет is no number",
    ]


async def test_a_row_becomes_a_card_with_all_it_says(store: Store, linker: Linker) -> None:
    await take_in(store, linker, await upload(store))
    async with store.begin() as connection:
        named = await cardimports.find_by_name(connection, ["Петров Иван"], "person")
        card = await cards.find_card(connection, named["Петров Иван"])
        assert card is not None
        company = await cards.find_card(connection, card.company_id or 0)
        written = await notes.list_notes(connection, card.id)
    assert company is not None
    assert (card.stage, card.responsible_id, card.origin, company.name, company.kind) == (
        "в работе",
        1,
        "csv",
        "Ромашка",
        "company",
    )
    assert [str(one.identity) for one in card.contact_points] == [
        "+79160000001",
        "petrov@client.example.org",
        "ivan@client.example.org",
    ]
    assert [(one.text, one.by) for one in written] == [("любит чай", "vera")]


async def test_the_same_list_twice_makes_nothing_twice(store: Store, linker: Linker) -> None:
    await take_in(store, linker, await upload(store))
    query = text("SELECT (SELECT count(*) FROM client_card), (SELECT count(*) FROM contact_point)")
    async with store.begin() as connection:
        before = (await connection.execute(query)).one()
    again = await take_in(store, linker, await upload(store))
    async with store.begin() as connection:
        assert (await connection.execute(query)).one() == before
    assert (again["new"], again["filled"], again["left_out"]) == (0, 5, 1)


async def test_a_list_in_pieces_killed_in_between(
    store: Store, linker: Linker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "_PIECE", 7)
    lines = "".join(f"Клиент {n};8 916 000-01-{n:02}\n" for n in range(40))
    import_id = await upload(store, f"Имя;Телефон\n{lines}".encode())
    importer = CardImporter(store, linker)
    await importer.take_in(import_id)  # nobody has said yes
    async with store.begin() as connection:
        assert await cardimports.begin(connection, import_id)
        assert not await cardimports.begin(connection, import_id)
    save = importer._save

    async def broken(*arguments: object, **more: object) -> None:
        await save(*arguments, **more)  # type: ignore[arg-type]
        raise RuntimeError("killed")

    await importer.take_in(import_id)
    with monkeypatch.context() as patch:
        patch.setattr(importer, "_save", broken)
        with pytest.raises(RuntimeError):
            await importer.take_in(import_id)
    done = await take_in(store, linker, import_id)
    assert (done["rows"], done["new"]) == (40, 40)
    await importer.take_in(import_id)
    async with store.begin() as connection:
        assert (await connection.execute(text("SELECT count(*) FROM client_card"))).scalar_one() == 42


async def test_the_past_of_a_list_follows(store: Store, intake: Intake, linker: Linker) -> None:
    who = parties_of("+7 916 000-00-02 > 101", "call")
    number = await intake.open_call(captured_call("past", who))
    await do_link_jobs(store, linker)
    await take_in(store, linker, await upload(store))
    await do_link_jobs(store, linker)
    async with store.begin() as connection:
        (made,) = await links.list_links(connection, [number])
    assert made.state is LinkState.LINKED
