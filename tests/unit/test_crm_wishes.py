"""Wishes follow links in one statement, and no version is raised where a CRM would be told nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest
from sqlalchemy import text

from agent.model import LinkState
from agent.store import cards, deliveries, employees, links, outbox, undelivered
from agent.store.links import Link
from linker.crm.protocol import CrmRefused
from tests.unit.crm_world import PETROVA, World, soon, world
from tests.web_world import extension, phone

__all__ = ["world"]


@dataclass(slots=True)
class Wishes:
    """One interaction, three cards; rows of wishes as they were, and what `outbox.want` makes of them."""

    world: World
    number: int
    started: datetime

    async def made(
        self, on: tuple[int, ...], *wishes: dict[str, Any], since: timedelta = timedelta(), delivers: bool = True
    ) -> list[tuple[int, int, bool, int, str]]:
        """Place of the row, card, withdrawn, version, state of all rows afterwards; new rows have place 0."""
        async with self.world.store.begin() as connection:
            await connection.execute(text("DELETE FROM delivery"))
            await connection.execute(text("DELETE FROM link"))
            values = {"since": self.started + since, "delivers": delivers}
            await connection.execute(text("UPDATE connector SET since = :since, delivers = :delivers"), values)
            for card in on:
                row = {"id": self.number, "card": card, "at": self.started}
                insert = """INSERT INTO link (interaction_id, client_card_id, started_at, state, reason)
                            VALUES (:id, :card, :at, 'linked', 'so')"""
                await connection.execute(text(insert), row)
            for place, one in enumerate(wishes, 1):
                insert = """INSERT INTO delivery (connector_id, interaction_id, client_card_id, started_at, key, state,
                                                  withdrawn)
                            SELECT id, :number, :card, :at, :key, :state, :withdrawn FROM connector"""
                row = {"number": self.number, "at": self.started, "key": str(place), "state": "done", **one}
                await connection.execute(text(insert), {"withdrawn": False, **row})
            await outbox.want(connection, [self.number])
            rows = await connection.execute(text("SELECT * FROM delivery ORDER BY id"))
            return [
                (int(r.key) if r.key.isdigit() else 0, r.client_card_id, r.withdrawn, r.wanted, r.state) for r in rows
            ]


async def test_wishes_follow_links(world: World) -> None:
    a, b, c = world.petrova, world.works, await world.builder.card("Third", phone("+74950000009"))
    started = soon()
    wishes = Wishes(world, await world.builder.call(PETROVA, "101", started), started)
    made, later = wishes.made, timedelta(days=1)
    assert await made((a,)) == [(0, a, False, 1, "waiting")]
    assert await made((a,), since=later) == []
    assert await made((a,), delivers=False) == []
    assert await made((a, b), {"card": a}, since=later) == [(1, a, False, 1, "done"), (0, b, False, 1, "waiting")]
    assert await made((b,), {"card": a}) == [(1, b, False, 2, "waiting")], "moved"
    assert await made((b,), {"card": a}, delivers=False) == [(1, b, False, 2, "waiting")]
    assert await made((), {"card": a}) == [(1, a, True, 2, "waiting")]
    assert await made((b,), {"card": a}, {"card": b}) == [(1, a, True, 2, "waiting"), (2, b, False, 1, "done")]
    assert await made((b, c), {"card": a}) == [(1, b, False, 2, "waiting"), (0, c, False, 1, "waiting")]
    assert await made((), {"card": a, "withdrawn": True}) == [(1, a, True, 1, "done")]
    assert await made((a,), {"card": a, "withdrawn": True}) == [(1, a, False, 2, "waiting")], "wanted again"
    assert await made((a,), {"card": a, "state": "dropped"}) == [(1, a, False, 1, "dropped")]
    assert await made((b,), {"card": a, "state": "dropped"}) == [(1, b, False, 2, "waiting")]
    assert await made((a,), {"card": a, "state": "failed"}) == [(1, a, False, 1, "failed")]
    swapped = await made((a, b), {"card": b, "withdrawn": True}, {"card": c})
    assert swapped == [(1, b, False, 2, "waiting"), (2, a, False, 2, "waiting")]


@contextmanager
def _counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Statements that go to the server, whoever sends them."""
    sent: list[str] = []
    execute = psycopg.AsyncCursor.execute

    async def counting(self: Any, query: Any, *args: Any, **named: Any) -> Any:
        sent.append(str(query))
        return await execute(self, query, *args, **named)

    with monkeypatch.context() as patch:
        patch.setattr(psycopg.AsyncCursor, "execute", counting)
        yield sent


async def _versions(world: World) -> list[tuple[int, str]]:
    return [(row.wanted, row.state) for row in await world.rows()]


async def _due(world: World) -> list[str]:
    async with world.store.begin() as connection:
        return await deliveries.list_due(connection, settle=10)


async def test_where_nothing_has_changed_no_version_is_raised_and_nobody_is_woken(world: World) -> None:
    call = await world.builder.call(PETROVA, "101", soon())
    assert await _due(world) == ["office"]
    await world.deliver()
    before = await world.rows()
    for _ in range(3):
        await world.builder.linker.link([call])
    async with world.store.begin() as connection:
        assert await outbox.want(connection, [call], whatever_age=True) == 0
    assert await world.rows() == before, "not even touched"
    assert await _due(world) == []


async def test_what_a_crm_would_be_told_otherwise_is_a_new_version(world: World) -> None:
    at = soon()
    call = await world.builder.call(PETROVA, "101", at)
    await world.deliver()
    async with world.store.begin() as connection:
        boris = await employees.insert_employee(connection, "Boris")
        (held,) = await employees.find_holders(connection, [extension("101")])
        await world.builder.linker.remove_employee_identity(connection, held)
        await world.builder.linker.add_employee_identity(connection, boris, extension("101"))
    await world.builder.linker.link([call])
    assert await _versions(world) == [(2, "waiting")], "who was on the phone"
    await world.deliver()
    await world.builder.linker.link([call])
    assert await _versions(world) == [(2, "done")]
    async with world.store.begin() as connection:
        mine = Link(
            interaction_id=call,
            card_id=world.petrova,
            started=at,
            state=LinkState.LINKED,
            reason="so",
            decided_by="anna",
        )
        await links.decide_link(connection, mine)
    assert await _versions(world) == [(2, "done")], "the same card, now by a person"
    async with world.store.begin() as connection:
        await links.decide_link(connection, replace(mine, card_id=world.works))
    assert await _versions(world) == [(3, "waiting")], "another card"


async def test_wishes_cost_one_statement(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = [await world.builder.call(PETROVA, "101", soon(minute * 60)) for minute in range(3)]
    for given in (calls, calls[:1]):
        async with world.store.begin() as connection:
            await connection.execute(text("SELECT 1"))
            with _counted(monkeypatch) as sent:
                await outbox.want(connection, given)
            assert len(sent) == 1
            with _counted(monkeypatch) as sent:
                await outbox.stir(connection, given)
            assert len(sent) == 1
    with _counted(monkeypatch) as sent:
        await world.builder.linker.link(calls)
    told = [one for one in sent if "delivery" in one]
    assert len(told) == 1, "to decide again costs one statement more where there is a CRM"


async def test_a_card_that_gains_a_number_is_looked_for_again(world: World) -> None:
    newcomer = await world.builder.card("Newcomer", phone("+74950000009"))
    await world.builder.call("+74950000009", "101", soon())
    world.crm.refusals.append(CrmRefused("The CRM has no card for Newcomer.", remedy="Make it there."))
    await world.deliver()
    assert await _versions(world) == [(1, "failed")]
    await world.builder.linker.add_contact_point(newcomer, phone("+74950000010"))
    async with world.store.begin() as connection:
        assert await undelivered.list_failed(connection) == []
        assert await cards.find_card(connection, newcomer) is not None
