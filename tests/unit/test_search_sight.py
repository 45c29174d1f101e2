"""Searches and what somebody may see, against a plain reference: every row asked by itself, by `agent.store.rights`."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, text

from agent.model import LinkState, UserRole
from agent.store import notes, searching, sight
from agent.store.engine import Store
from agent.store.rights import Tenure, Viewer, is_visible_card, is_visible_interaction
from agent.store.schema import client_card, interaction
from agent.store.searching import Filters
from agent.store.searchquery import parse_query
from agent.store.sight import sight_of
from tests.unit.search_world import ADMINISTRATOR, NOON, SearchWorld

_WORDS = ("добрый", "день", "заказ", "склад", "мебель", "квазар")
_TYPED = (
    "добрый",
    "добрый день",
    '"добрый день"',
    '"день добрый" заказ',
    "заказ -склад",
    'заказ -"добрый день"',
    "-склад",
    "квазар мебель",
    "заказ*",
    "7000",
    '"добрый день" 7000',
    "",
)


@pytest.fixture
async def world(store: Store) -> SearchWorld:
    """Empty again for each test; nothing is remembered of another's."""
    async with store.begin() as connection:
        await connection.execute(
            text(
                "TRUNCATE interaction, client_card, employee, thread, blob, search_entry, search_due,"
                " procrastinate_jobs CASCADE"
            )
        )
    sight._known.clear()
    return SearchWorld(store)


async def _people(world: SearchWorld) -> tuple[list[int], list[Viewer]]:
    """Employees, and who looks: each by himself, a team with dates, one who sees nobody's, and all."""
    employees = [await world.employee(name) for name in ("Анна", "Иван", "Ольга", "Пётр")]
    manager, supervisor = UserRole.MANAGER, UserRole.SUPERVISOR
    middle = NOON - timedelta(days=40)
    viewers = [Viewer(account_id=n, role=manager, employee_id=one) for n, one in enumerate(employees)]
    team = (
        Tenure(employee_id=employees[0], until=middle),
        Tenure(employee_id=employees[1], since=middle),
        Tenure(employee_id=employees[2]),
    )
    viewers.append(Viewer(account_id=10, role=supervisor, employee_id=None, all_teams=False, colleagues=team))
    viewers.append(Viewer(account_id=11, role=manager, employee_id=employees[3], colleagues=team[:2]))
    viewers.append(Viewer(account_id=12, role=manager, employee_id=None))
    return employees, [*viewers, ADMINISTRATOR]


async def _fill(world: SearchWorld, chosen: random.Random, employees: Sequence[int]) -> None:
    cards = [await world.card(f"К{n}", responsible=chosen.choice([None, *employees])) for n in range(6)]
    states = [LinkState.LINKED] * 8 + [LinkState.PRIVATE]
    for n in range(60):
        said = [" ".join(chosen.choices(_WORDS[:5], k=4)) for _ in range(2)]
        said += ["квазар"] if n % 17 == 3 else []
        of: dict[str, Any] = {
            "employee": chosen.choice([None, None, *employees]),
            "card": chosen.choice([None, *cards]),
            "started": NOON - timedelta(days=2 * n, minutes=chosen.randrange(60)),
        }
        if n % 3:
            await world.call(
                *said, phone=f"+7900{chosen.choice(('7000', '1234'))}{n:03}", state=chosen.choice(states), **of
            )
        else:
            category = chosen.choice(["conversation"] * 5 + ["private"])
            files = [("a.pdf", chosen.choice(_WORDS))] if chosen.random() < 0.3 else ()
            await world.mail(said[0], said[1], category=category, files=files, **of)
    async with world.store.begin() as connection:
        for card in cards:
            await notes.add_note(connection, card, " ".join(chosen.choices(_WORDS, k=3)), by="anna")
    await world.index()


async def _seen(world: SearchWorld, viewer: Viewer) -> tuple[list[int], list[int]]:
    async with world.store.begin() as connection:
        entries = select(interaction.c.id).where(is_visible_interaction(viewer, interaction.c.id))
        cards = select(client_card.c.id).where(is_visible_card(viewer, client_card.c.id))
        return (
            sorted((await connection.execute(entries)).scalars()),
            sorted((await connection.execute(cards)).scalars()),
        )


async def _sighted(world: SearchWorld, viewer: Viewer) -> tuple[list[int], list[int]]:
    async with world.store.begin() as connection:
        seen = await sight_of(connection, viewer)
        entries = f"{seen.beginning} x AS (SELECT) SELECT i.id FROM interaction i WHERE {seen.of_interaction('i.id')}"
        cards = f"{seen.beginning} x AS (SELECT) SELECT c.id FROM client_card c WHERE {seen.of_card('c.id')}"
        return (
            sorted((await connection.execute(text(entries), seen.values)).scalars()),
            sorted((await connection.execute(text(cards), seen.values)).scalars()),
        )


@pytest.mark.parametrize("seed", range(2))
async def test_a_sight_shows_what_rights_show(world: SearchWorld, seed: int) -> None:
    """Also where what shows a remembered card is gone, and never a card or an entry that is somebody's no more."""
    chosen = random.Random(seed)
    employees, viewers = await _people(world)
    await _fill(world, chosen, employees)
    before = [await _sighted(world, one) for one in viewers]
    assert before == [await _seen(world, one) for one in viewers]
    for _ in range(4):
        async with world.store.begin() as connection:
            values = {"one": chosen.choice([None, *employees]), "turn": chosen.randrange(4)}
            for change in (
                "UPDATE party SET employee_id = :one WHERE employee_id IS NOT NULL AND id % 4 = :turn",
                "UPDATE client_card SET responsible_id = :one WHERE id % 4 = :turn",
            ):
                await connection.execute(text(change), values)
            await connection.execute(text("DELETE FROM link WHERE id % 11 = :turn"), {"turn": values["turn"]})
        for viewer, (_, cards_before) in zip(viewers, before, strict=True):
            (entries, cards), (all_entries, all_cards) = await _sighted(world, viewer), await _seen(world, viewer)
            assert set(entries) <= set(all_entries), viewer
            assert set(cards_before) & set(all_cards) <= set(cards) <= set(all_cards), viewer
        sight._known.clear()
        before = [await _sighted(world, one) for one in viewers]
        assert before == [await _seen(world, one) for one in viewers]
        assert any(entries for entries, _ in before[:-2])


async def _reference(world: SearchWorld, viewer: Viewer, typed: str, filters: Filters) -> list[int]:
    """Rows of the index, the newest first, each asked by itself."""
    entries, cards = await _seen(world, viewer)
    async with world.store.begin() as connection:
        question = await searching.ask(connection, parse_query(typed))
        sql = """
            SELECT e.id, e.part, e.interaction_id, n.client_card_id AS card, i.kind, e.started_at,
                e.words @@ CAST(:exact AS tsquery) AS has, EXISTS (
                    SELECT FROM search_entry o WHERE o.interaction_id = e.interaction_id AND o.part <> e.part
                        AND o.words @@ CAST(:negative AS tsquery)) AS has_not,
                ARRAY(SELECT employee_id FROM party p WHERE p.interaction_id = e.interaction_id) AS employees,
                ARRAY(SELECT client_card_id FROM link l WHERE l.interaction_id = e.interaction_id) AS cards
            FROM search_entry e LEFT JOIN interaction i ON i.id = e.interaction_id
                LEFT JOIN card_note n ON n.id = e.card_note_id
            ORDER BY e.started_at DESC, e.id DESC
        """
        values = {"exact": question.words.exact, "negative": question.words.negative}
        rows = (await connection.execute(text(sql), values)).all()
    found = []
    for row in rows:
        if row.interaction_id is None:
            fits = row.card in cards and not filters.are_any
        else:
            fits = row.interaction_id in entries
            fits = fits and filters.kind in ("", row.kind) and filters.employee_id in (None, *row.employees)
            fits = fits and filters.card_id in (None, *row.cards)
        has = row.has if question.words.exact else row.part == 0
        is_whole = question.has_words or row.part == 0
        if fits and has and is_whole and not (question.words.negative and row.has_not):
            found.append(row.id)
    return found if not question.is_empty or filters.are_any else []


@pytest.mark.parametrize("seed", range(2))
async def test_what_is_found_is_what_a_look_at_every_row_finds(
    world: SearchWorld, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Whatever the looks are: whole, by weeks, or a few rows each; and however many hits are wanted."""
    chosen = random.Random(seed)
    employees, viewers = await _people(world)
    await _fill(world, chosen, employees)
    asked = chosen.sample([(one, typed) for one in viewers for typed in _TYPED], 36)
    for viewer, typed in asked:
        filters = chosen.choice(
            (Filters(), Filters(), Filters(kind="call"), Filters(employee_id=employees[0]), Filters(kind="message"))
        )
        expected = await _reference(world, viewer, typed, filters)
        for few in (False, True):
            with monkeypatch.context() as patch:
                if few:
                    patch.setattr(searching, "_RARE", -1)
                    patch.setattr(searching, "_ENOUGH", 1)
                    patch.setattr(searching, "_MANY", 3)
                    patch.setattr(searching, "_DEAR", 20)
                    patch.setattr(searching, "_FEWEST", 2)
                patch.setattr(searching, "_PATIENCE", 600.0)
                assert await _all(world, viewer, typed, filters, chosen.choice((2, 7, 200))) == expected, (
                    viewer,
                    typed,
                )


async def _all(world: SearchWorld, viewer: Viewer, typed: str, filters: Filters, most: int) -> list[int]:
    """Page after page; those that are ranked are put back into the order of time."""
    found: list[int] = []
    start = None
    async with world.store.begin() as connection:
        question = await searching.ask(connection, parse_query(typed))
        while True:
            ranked = most != 7
            page = await searching.find(connection, viewer, question, filters, start=start, most=most, ranked=ranked)
            assert len(page.hits) <= most
            assert page.reached is None
            hits = sorted(page.hits, key=lambda one: (one.started, one.id), reverse=True)
            assert ranked or list(page.hits) == hits
            found += [one.id for one in hits]
            if page.next_start is None:
                return found
            start = page.next_start
