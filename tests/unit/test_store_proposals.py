"""Extensions are proposed once, not when they are somebody's, and again when a source gives them another name."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from agent.errors import Unavailable
from agent.model import Identity, IdentityKind
from agent.settings import Settings
from agent.sip.proposing import Proposer, listers_of
from agent.store import employees, proposals
from agent.store.engine import Store
from linker.link import Linker

NOW = datetime.now(UTC)


@pytest.fixture(autouse=True)
async def empty(store: Store) -> None:
    async with store.begin() as connection:
        await connection.execute(text("TRUNCATE employee, employee_identity, extension_proposal CASCADE"))


def extension(value: str) -> Identity:
    return Identity(kind=IdentityKind.EXTENSION, value=value)


async def offer(store: Store, source: str, *offered: tuple[str, str]) -> list[tuple[str, tuple[str, ...]]]:
    """What waits after that."""
    async with store.begin() as connection:
        await proposals.offer(connection, source, offered)
        return [(one.extension, one.names) for one in await proposals.list_open(connection)]


async def give(store: Store, name: str, value: str, valid_from: datetime | None = None) -> int:
    async with store.begin() as connection:
        number = await employees.find_or_insert_employee(connection, name)
        await Linker(store, Settings()).add_employee_identity(
            connection, number, extension(value), valid_from=valid_from
        )
        return number


async def test_what_several_sources_name_is_proposed_once(store: Store) -> None:
    await offer(store, "asterisk:office", ("101", "Anna"), ("102", ""), ("9", "Lift"))
    found = await offer(store, "provider:uis", ("101", "Anna Ivanova"), ("102", "Boris"))
    assert found == [("9", ("Lift",)), ("101", ("Anna", "Anna Ivanova")), ("102", ("Boris",))]


async def test_trunks_logins_and_repetitions_are_left_out(store: Store) -> None:
    strange = [("trunk-1", "x"), ("anna", ""), ("", "y"), ("123456789", "")]
    offered = [*strange, (" 101 ", " Anna \n Ivanova "), ("101", "")]
    assert await offer(store, "asterisk:office", *offered) == [("101", ("Anna Ivanova",))]
    assert await offer(store, "asterisk:office", ("101", "")) == [("101", ("Anna Ivanova",))], "a name once known stays"


async def test_what_is_somebodys_is_not_proposed_and_what_was_waits_no_more(store: Store) -> None:
    await give(store, "Anna", "101")
    assert await offer(store, "asterisk:office", ("101", "Anna"), ("102", "Boris")) == [("102", ("Boris",))]
    await give(store, "Boris", "102")
    assert await offer(store, "asterisk:office", ("101", "Anna"), ("102", "Boris")) == []


async def test_another_name_at_the_source_is_said(store: Store) -> None:
    await give(store, "Anna", "101")
    assert await offer(store, "asterisk:office", ("101", "Anna")) == []
    assert await offer(store, "asterisk:office", ("101", " ANNA ")) == []
    assert await offer(store, "asterisk:office", ("101", "Vera")) == [("101", ("Vera",))]
    assert await offer(store, "asterisk:office", ("101", "Vera")) == [("101", ("Vera",))], "until somebody answers"
    async with store.begin() as connection:
        (proposal,) = await proposals.list_open(connection)
    assert proposal.holders == ("Anna",)
    await give(store, "Vera", "101", valid_from=NOW)
    assert await offer(store, "asterisk:office", ("101", "Vera")) == []


async def test_who_left_leaves_the_extension_to_be_proposed(store: Store) -> None:
    await give(store, "Anna", "101")
    assert await offer(store, "asterisk:office", ("101", "Anna")) == []
    linker = Linker(store, Settings())
    async with store.begin() as connection:
        (held,) = await employees.find_holders(connection, [extension("101")])
        await linker.end_employee_identity(connection, held, NOW - timedelta(days=1))
    assert await offer(store, "asterisk:office", ("101", "Anna")) == [("101", ("Anna",))]


async def test_a_shared_phone_is_not_proposed(store: Store) -> None:
    assert await offer(store, "asterisk:office", ("109", "Fax")) == [("109", ("Fax",))]
    async with store.begin() as connection:
        await Linker(store, Settings()).add_employee_identity(connection, None, extension("109"), label="fax")
    assert await offer(store, "asterisk:office", ("109", "Fax")) == []


async def test_a_later_holder_keeps_his_own_days(store: Store) -> None:
    """Somebody is entered late for the time before."""
    start = NOW - timedelta(days=10)
    await give(store, "Anna", "101")
    await give(store, "Vera", "101", valid_from=NOW)
    await give(store, "Boris", "101", valid_from=start)
    async with store.begin() as connection:
        held = await employees.find_holders(connection, [extension("101")])
    assert [(one.name, one.valid_from, one.valid_to) for one in held] == [
        ("Anna", None, NOW),
        ("Vera", NOW, None),
        ("Boris", start, NOW),
    ]


async def test_sources_are_asked_together_and_one_that_fails_costs_the_others_nothing(store: Store) -> None:
    asked = asyncio.Event()

    async def office() -> Sequence[tuple[str, str]]:
        await asked.wait()
        return [("101", "Anna")]

    async def away() -> Sequence[tuple[str, str]]:
        asked.set()
        raise Unavailable("The PBX does not answer.")

    async def broken() -> Sequence[tuple[str, str]]:
        raise ValueError("nobody foresaw this")

    await Proposer(store, {"asterisk:office": office, "provider:away": away, "provider:broken": broken}).ask()
    async with store.begin() as connection:
        (one,) = await proposals.list_open(connection)
    assert (one.extension, one.sources) == ("101", ("asterisk:office",))


async def test_without_sources_nothing_is_asked(store: Store) -> None:
    assert listers_of(Settings()) == {}
    await Proposer(store, {}).run()
