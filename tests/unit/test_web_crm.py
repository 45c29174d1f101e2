"""What a CRM could not be told, on the pages: told again or left untold, by who sees the whole company."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import delete, select, update

from agent.store import connectors, outbox
from agent.store.engine import Store
from agent.store.schema import audit_entry, connector, delivery
from tests.unit.web_pages import HOSTILE, Tags, people, server, world
from tests.web_world import NOW, Browser, World

__all__ = ["people", "server", "world"]


@pytest.fixture
async def given_up(store: Store, world: World) -> AsyncIterator[list[int]]:
    """Two deliveries that were given up."""
    async with store.begin() as connection:
        await connectors.switch_on(connection, [("sales", "amocrm", True)])
        await outbox.want(connection, [world.marias_call, world.camomiles_call], whatever_age=True)
        values = {"state": "failed", "failure": "Refused", "problem": f"Нет {HOSTILE}", "remedy": "x", "tried_at": NOW}
        rows = await connection.execute(update(delivery).values(**values).returning(delivery.c.id))
        found = sorted(rows.scalars())
    yield found
    async with store.begin() as connection:
        await connection.execute(delete(delivery))
        await connection.execute(delete(connector))


async def _states(store: Store) -> dict[int, str]:
    async with store.begin() as connection:
        rows = await connection.execute(select(delivery.c.id, delivery.c.state))
        return {row.id: row.state for row in rows}


async def test_on_the_page_of_crms(people: dict[str, Browser], store: Store, given_up: list[int]) -> None:
    boss, (first, second) = people["boss"], given_up
    _, text = await boss.get("/crm")
    assert Tags(text).bad == []
    assert set(re.findall(r'name="delivery" value="(\d+)" formaction="/crm/drop"', text)) == set(map(str, given_up))
    assert await boss.post("/crm/drop", delivery=str(second)) == 303
    assert await _states(store) == {first: "failed", second: "dropped"}
    assert await boss.post("/crm/drop", delivery=str(second)) == 404, "it is given up no more"
    for wrong in ("", "x", "-1", "٣", "9" * 30):
        assert await boss.post("/crm/drop", delivery=wrong) == 400, wrong
    assert await boss.post("/crm/retry", delivery=str(first)) == 303
    assert await _states(store) == {first: "waiting", second: "dropped"}
    _, text = await boss.get("/crm?done=crm_dropped")
    assert "Передаваться не будет" in text
    assert "Решено не передавать: 1" in text
    assert await boss.post("/crm/retry") == 303
    assert (await _states(store))[second] == "dropped", "all that was given up is not what was left untold"
    async with store.begin() as connection:
        acts = select(audit_entry.c.subject).where(audit_entry.c.action == "delivery_dropped")
        assert list((await connection.execute(acts)).scalars()) == [{"delivery_id": second}]


async def test_among_what_waits(people: dict[str, Browser], store: Store, given_up: list[int]) -> None:
    boss, (first, second) = people["boss"], given_up
    _, text = await boss.get("/unsorted?sort=undelivered")
    assert Tags(text).bad == []
    assert len(re.findall(r'name="answer" value="forget"', text)) == 2
    for number, answer in ((first, "again"), (second, "forget")):
        assert await boss.post("/unsorted/delivery", delivery=str(number), answer="") == 400
        assert await boss.post("/unsorted/delivery", delivery=str(number), answer=answer) == 303
        assert await boss.post("/unsorted/delivery", delivery=str(number), answer=answer) == 404
    assert await _states(store) == {first: "waiting", second: "dropped"}
    assert await people["anna"].post("/unsorted/delivery", delivery=str(first), answer="again") == 403
    assert await people["anna"].post("/crm/drop", delivery=str(first)) == 403
