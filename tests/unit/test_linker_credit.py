"""Whose call it was: shared phones credit nobody and say why, a person credits by hand, and nothing disappears."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import text

from agent.intake import Intake
from agent.model import Identity, IdentityKind
from agent.settings import Settings
from agent.store import employees, interactions, unsorted
from agent.store.engine import Store
from linker.link import Linker
from tests.unit.linking import NOON, captured_call, do_link_jobs, parties_of

CLIENT = "+7 916 000-00-01"


@pytest.fixture
async def linker(store: Store) -> Linker:
    async with store.begin() as connection:
        tables = "interaction, evidence, client_card, employee, employee_identity, procrastinate_jobs"
        await connection.execute(text(f"TRUNCATE {tables} RESTART IDENTITY CASCADE"))
    return Linker(store, Settings(region="RU", extension_digits=5))


def extension(value: str) -> Identity:
    return Identity(kind=IdentityKind.EXTENSION, value=value)


async def employ(store: Store, linker: Linker, name: str, *held: str) -> int:
    async with store.begin() as connection:
        number = await employees.insert_employee(connection, name)
        for one in held:
            await linker.add_employee_identity(connection, number, extension(one))
    return number


async def call(store: Store, intake: Intake, linker: Linker, key: str, who: str, days: int = 0) -> int:
    started = NOON + timedelta(days=days)
    number = await intake.open_call(captured_call(key, parties_of(who, "call"), started=started))
    await do_link_jobs(store, linker)
    return number


async def ours(store: Store, number: int) -> tuple[int | None, tuple[str, ...], int]:
    """Who of us is credited, the flags, and the party's id."""
    async with store.begin() as connection:
        (found,) = await interactions.find_interactions(connection, [number])
        parties = (await interactions.list_parties(connection, [number]))[number]
    return parties[1].employee_id, found.flags, parties[1].id


async def test_a_shared_phone_credits_nobody_until_a_person_says_so(
    store: Store, intake: Intake, linker: Linker
) -> None:
    dina, egor = await employ(store, linker, "Dina", "104"), await employ(store, linker, "Egor", "104")
    number = await call(store, intake, linker, "a", f"{CLIENT} > 104")
    shared = ("extension 104 is shared by Dina, Egor: nobody is credited",)
    who, flags, party = await ours(store, number)
    assert (who, flags) == (None, shared)
    async with store.begin() as connection:
        assert await interactions.credit_party(connection, party, dina, "vera") == number
        await linker.relink(connection, [number])
    await do_link_jobs(store, linker)
    assert await ours(store, number) == (dina, (), party)
    await linker.link([number])
    assert (await ours(store, number))[0] == dina, "what a person said stays"
    async with store.begin() as connection:
        await interactions.credit_party(connection, party, egor, "vera")
    assert (await ours(store, number))[0] == egor
    async with store.begin() as connection:
        await interactions.credit_party(connection, party, None, "vera")
    await linker.link([number])
    assert await ours(store, number) == (None, shared, party)


async def test_only_who_is_nobody_can_be_credited_by_hand(store: Store, intake: Intake, linker: Linker) -> None:
    anna = await employ(store, linker, "Anna", "101")
    number = await call(store, intake, linker, "b", f"{CLIENT} > 101")
    async with store.begin() as connection:
        client, mine = (await interactions.list_parties(connection, [number]))[number]
        for one in (client.id, mine.id, 10**9):
            assert await interactions.credit_party(connection, one, anna, "vera") is None


async def test_a_later_snapshot_does_not_undo_what_a_person_said(store: Store, intake: Intake, linker: Linker) -> None:
    dina = await employ(store, linker, "Dina", "104")
    await employ(store, linker, "Egor", "104")
    number = await call(store, intake, linker, "c", f"{CLIENT} > 104")
    async with store.begin() as connection:
        await interactions.credit_party(connection, (await ours(store, number))[2], dina, "vera")
    ended = captured_call("c", parties_of(f"{CLIENT} > 104", "call"), ended=NOON + timedelta(minutes=1))
    await intake.close_call(ended)
    await do_link_jobs(store, linker)
    assert (await ours(store, number))[0] == dina


async def test_an_extension_given_by_mistake_is_taken_back(store: Store, intake: Intake, linker: Linker) -> None:
    await employ(store, linker, "Anna", "101")
    number = await call(store, intake, linker, "d", f"{CLIENT} > 101")
    async with store.begin() as connection:
        (held,) = await employees.find_holders(connection, [extension("101")])
        await linker.remove_employee_identity(connection, held)
    assert await do_link_jobs(store, linker) == 1
    assert (await ours(store, number))[:2] == (None, ("extension 101 belongs to no employee",))


async def test_who_left_is_credited_up_to_that_day(store: Store, intake: Intake, linker: Linker) -> None:
    anna = await employ(store, linker, "Anna", "101")
    before = await call(store, intake, linker, "e", f"{CLIENT} > 101")
    after = await call(store, intake, linker, "f", f"{CLIENT} > 101", days=2)
    async with store.begin() as connection:
        (held,) = await employees.find_holders(connection, [extension("101")])
        await linker.end_employee_identity(connection, held, NOON + timedelta(days=1))
    await do_link_jobs(store, linker)
    assert [(await ours(store, one))[0] for one in (before, after)] == [anna, None]


async def test_calls_of_nobodys_extension_wait_with_their_number(store: Store, intake: Intake, linker: Linker) -> None:
    ids = [await call(store, intake, linker, f"g{n}", f"{CLIENT} > 117", days=n) for n in range(3)]
    await call(store, intake, linker, "h", "117 > 118", days=1)
    await employ(store, linker, "Anna", "101")
    await call(store, intake, linker, "i", f"{CLIENT} > 101")
    async with store.begin() as connection:
        found = await unsorted.list_nobodys(connection)
    assert [(one.extension, one.count, one.since, one.newest) for one in found] == [
        ("117", 4, NOON, NOON + timedelta(days=2)),
        ("118", 1, NOON + timedelta(days=1), NOON + timedelta(days=1)),
    ]
    assert found[0].interaction_ids[0] == ids[2]
    anna = await employ(store, linker, "Vera", "117")
    async with store.begin() as connection:
        await linker.add_employee_identity(connection, None, extension("118"), label="fax")
        assert await unsorted.list_nobodys(connection) == [], "the note goes at once"
    await do_link_jobs(store, linker)
    assert [(await ours(store, one))[0] for one in ids] == [anna] * 3
