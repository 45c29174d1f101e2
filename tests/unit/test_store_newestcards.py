"""The list of clients by the newest contact: what the walk from the newest entries finds is what looking at every card
finds, page by page and for everybody."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from sqlalchemy import event, text

from agent.model import UserRole
from agent.store import clients, newestcards
from agent.store.clients import Position, list_clients
from agent.store.engine import Store
from agent.store.newestcards import Dated, list_newest
from agent.store.rights import Tenure, Viewer
from tests.unit.search_world import NOON

EMPLOYEES, CARDS, ENTRIES = 6, 150, 500


def _manager(*employees: int) -> Viewer:
    own, *others = employees
    colleagues = tuple(Tenure(employee_id=one) for one in others)
    return Viewer(account_id=1, role=UserRole.MANAGER, employee_id=own, colleagues=colleagues)


def _lead(*tenures: Tenure) -> Viewer:
    return Viewer(account_id=1, role=UserRole.SUPERVISOR, employee_id=None, all_teams=False, colleagues=tenures)


VIEWERS = {
    "administrator": Viewer(account_id=1, role=UserRole.ADMINISTRATOR, employee_id=None),
    "supervisor of all": Viewer(account_id=1, role=UserRole.SUPERVISOR, employee_id=None),
    "supervisor of a team": _lead(Tenure(employee_id=1), Tenure(employee_id=2), Tenure(employee_id=3)),
    "supervisor of who was there": _lead(
        Tenure(employee_id=1, until=NOON - timedelta(days=10)), Tenure(employee_id=4, since=NOON - timedelta(days=5))
    ),
    "supervisor of nobody": _lead(),
    "manager": _manager(1),
    "manager of a team": _manager(2, 5),
    "nobody": Viewer(account_id=1, role=UserRole.MANAGER, employee_id=None),
}


@pytest.fixture(scope="module")
async def company(store: Store) -> AsyncIterator[None]:
    """Cards with many entries, a few, and none; some merged, some entries at the same moment, some yet to come."""
    chosen = random.Random(26)
    async with store.begin() as connection:
        for number in range(1, EMPLOYEES + 1):
            values = {"id": number, "name": f"E{number}"}
            sql = "INSERT INTO employee (id, name) OVERRIDING SYSTEM VALUE VALUES (:id, :name)"
            await connection.execute(text(sql), values)
        for number in range(1, CARDS + 1):
            made = NOON - timedelta(hours=chosen.randrange(24 * 30))
            sql = """INSERT INTO client_card (id, name, responsible_id, created_at, merged_into_id)
                     OVERRIDING SYSTEM VALUE VALUES (:id, :name, :responsible, :made, :merged)"""
            responsible = chosen.choice([None, *range(1, EMPLOYEES + 1)])
            values = {"id": number, "name": f"C{number}", "responsible": responsible, "made": made}
            merged = 1 if number % 17 == 0 else None
            await connection.execute(text(sql), values | {"merged": merged})
        for number in range(1, ENTRIES + 1):
            at = NOON - timedelta(hours=chosen.randrange(-24, 24 * 30))
            card = chosen.choice([None, *range(1, 2 * CARDS // 3)])
            await connection.execute(_ENTRY, {"id": number, "at": at})
            await connection.execute(_LINK, {"id": number, "at": at, "card": card})
            for ordinal in range(2):
                employee = chosen.choice([None, None, *range(1, EMPLOYEES + 1)])
                await connection.execute(_PARTY, {"id": number, "ordinal": ordinal, "employee": employee})
    yield
    async with store.begin() as connection:
        await connection.execute(text("TRUNCATE interaction, client_card, employee CASCADE"))


_ENTRY = text("INSERT INTO interaction (id, kind, started_at) OVERRIDING SYSTEM VALUE VALUES (:id, 'call', :at)")
_LINK = text(
    "INSERT INTO link (interaction_id, client_card_id, started_at, state, reason) VALUES (:id, :card, :at, 'x', 'x')"
)
_PARTY = text(
    "INSERT INTO party (interaction_id, ordinal, position, kind, value, employee_id) "
    "VALUES (:id, :ordinal, 'caller', 'phone', '1', :employee)"
)


async def _pages(store: Store, viewer: Viewer, size: int) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    after: Position | None = None
    while True:
        async with store.begin() as connection:
            found = await list_clients(connection, viewer, after=after, limit=size)
        rows += [(one.id, one.moment, one.last_contact, one.entries) for one in found]
        if len(found) < size:
            return rows
        after = Position(moment=found[-1].moment, id=found[-1].id)


@pytest.mark.parametrize("viewer", VIEWERS.values(), ids=VIEWERS)
async def test_the_walk_finds_what_looking_at_every_card_finds(
    store: Store, company: None, viewer: Viewer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_: object, **__: object) -> None:
        return None

    with monkeypatch.context() as patch:
        patch.setattr(clients, "list_newest", never)
        expected = await _pages(store, viewer, 1000)
    is_blind = viewer.role is not UserRole.ADMINISTRATOR and not viewer.sees_all and not viewer.tenures
    assert bool(expected) is not is_blind
    monkeypatch.setattr(newestcards, "_MOST_ASKED", 10**9)
    for first, chunk, size in ((200, 100, 51), (3, 2, 7), (1, 1, 1000), (50, 7, 20)):
        monkeypatch.setattr(newestcards, "_FIRST_LOOK", first)
        monkeypatch.setattr(newestcards, "_CHUNK", chunk)
        assert await _pages(store, viewer, size) == expected, (first, chunk, size)


async def test_whoever_sees_little_is_not_walked_for(
    store: Store, company: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody, all_ = VIEWERS["nobody"], VIEWERS["administrator"]
    monkeypatch.setattr(newestcards, "_CHUNK", 5)
    async with store.begin() as connection:
        assert await list_newest(connection, nobody, after=None, limit=20) is None
        assert await list_newest(connection, all_, after=None, limit=20) is not None
        monkeypatch.setattr(newestcards, "_MOST_WALKED", 10)
        monkeypatch.setattr(newestcards, "_FIRST_LOOK", 5)
        assert await list_newest(connection, all_, after=None, limit=100) is None
    expected = await _pages(store, VIEWERS["manager"], 1000)
    monkeypatch.setattr(newestcards, "_MOST_ASKED", 0)
    assert await _pages(store, VIEWERS["manager"], 20) == expected, "some pages one way, some the other"


async def test_a_page_goes_by_indexes(store: Store, company: None) -> None:
    """No statement of it reads or sorts a whole table, were it a large one."""
    asked: list[tuple[str, object]] = []

    def note(connection: object, cursor: object, statement: str, values: object, *_: object) -> None:
        asked.append((statement, values))

    async with store.begin() as connection:
        assert connection.sync_connection is not None
        engine = connection.sync_connection.engine
        event.listen(engine, "before_cursor_execute", note)
        try:
            await list_newest(connection, VIEWERS["supervisor of a team"], after=Dated(moment=NOON, id=5), limit=20)
        finally:
            event.remove(engine, "before_cursor_execute", note)
        await connection.execute(text("SET LOCAL enable_seqscan = off"))
        plans = []
        for statement, values in asked:
            rows = await connection.exec_driver_sql(f"EXPLAIN {statement}", values)  # type: ignore[arg-type]
            plans.append("\n".join(row[0] for row in rows))
    assert "ix_link_newest" in plans[0]
    assert not [one for one in plans if "Seq Scan on link" in one or "Seq Scan on client_card" in one]
    assert "ix_client_card_newest" in plans[-1] or "ix_client_card_responsible_id" in plans[-1]
