"""The connection: what is away is told apart from what is wrong, and no text of a stranger breaks a statement."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from agent.errors import DatabaseUnavailable
from agent.store.engine import Store, _dumps, sqlalchemy_url, storable
from tests.postgres import PostgresForTests


async def _execute(store: Store, statement: str, **values: object) -> object:
    async with store.begin() as connection:
        result = await connection.execute(text(statement), values)
        return result.scalar() if result.returns_rows else None


async def test_a_block_that_raises_leaves_nothing(store: Store) -> None:
    with pytest.raises(ZeroDivisionError):
        async with store.begin() as connection:
            await connection.execute(text("INSERT INTO team (name) VALUES ('Sales')"))
            raise ZeroDivisionError
    assert await _execute(store, "SELECT count(*) FROM team") == 0


async def test_only_what_can_be_done_again_does_not_wait_for_the_disk(postgres: PostgresForTests) -> None:
    url = await postgres.new_database()
    before = Store(url)
    name = await _execute(before, "SELECT current_database()")
    await _execute(
        before, f'ALTER DATABASE "{name}" SET synchronous_commit = on'
    )  # the cluster of the tests has it off
    await before.close()
    store = Store(url, pool_size=1)
    found = []
    for redoable in (False, True, False):  # over one connection
        async with store.begin(redoable=redoable) as connection:
            found.append((await connection.execute(text("SHOW synchronous_commit"))).scalar_one())
    await store.close()
    assert found == ["on", "off", "on"]


async def test_what_is_wrong_is_not_called_away(store: Store) -> None:
    with pytest.raises(DBAPIError):
        await _execute(store, "SELECT * FROM no_such_table")
    with pytest.raises(IntegrityError):
        await _execute(store, "INSERT INTO call (interaction_id, disposition) VALUES (-1, 'answered')")
    await _execute(store, "CREATE TABLE long (name text PRIMARY KEY)")
    with pytest.raises(OperationalError):  # the same statement fails for ever: no reason to say "later"
        await _execute(store, "INSERT INTO long SELECT string_agg(md5(n::text), '') FROM generate_series(1, 400) n")


async def test_a_session_that_was_ended_is_away_and_the_next_one_works(store: Store) -> None:
    with pytest.raises(DatabaseUnavailable):
        async with store.begin() as connection:
            await connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
    assert await _execute(store, "SELECT 1") == 1


async def test_idle_sessions_that_were_ended_are_replaced_unseen(store: Store) -> None:
    await asyncio.gather(*(_execute(store, "SELECT pg_sleep(0.05)") for _ in range(5)))
    await _execute(
        store,
        "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )
    assert await asyncio.gather(*(_execute(store, "SELECT 1") for _ in range(5))) == [1] * 5


async def test_a_deadlock_is_worth_another_try(store: Store) -> None:
    await _execute(store, "INSERT INTO team (name) VALUES ('one'), ('two')")
    both_hold_one = asyncio.Barrier(2)

    async def lock(first: str, second: str) -> bool:
        try:
            async with store.begin() as connection:
                query = text("SELECT 1 FROM team WHERE name = :name FOR UPDATE")
                await connection.execute(query, {"name": first})
                await both_hold_one.wait()
                await connection.execute(query, {"name": second})
        except DatabaseUnavailable:
            return False
        return True

    assert sorted(await asyncio.gather(lock("one", "two"), lock("two", "one"))) == [False, True]


async def test_nobody_there() -> None:
    store = Store("postgresql:///cardline?host=/nonexistent&user=cardline")
    with pytest.raises(DatabaseUnavailable, match=r"^The database does not answer: .*nonexistent"):
        await _execute(store, "SELECT 1")
    await store.close()


def test_urls() -> None:
    assert sqlalchemy_url("postgresql://u:p@h/d") == "postgresql+psycopg://u:p@h/d"
    assert sqlalchemy_url("postgres://u:p@h/d") == "postgresql+psycopg://u:p@h/d"


def test_storable_keeps_what_is_good() -> None:
    assert storable("Иванов 😀") == "Иванов 😀"
    assert storable("a\0b\udc80") == "a\ufffdb?"


_pieces = st.sampled_from(["\0", "\\", "u0000", "\ud800", "\udfff", '"']) | st.text(max_size=3)
_letters = st.lists(_pieces, max_size=8).map("".join)
_values = st.recursive(
    st.none() | st.integers(0, 9) | _letters, lambda inner: st.lists(inner) | st.dictionaries(_letters, inner)
)


def _cleaned(value: object) -> object:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, list):
        return [_cleaned(one) for one in value]
    if isinstance(value, dict):
        return {storable(name): _cleaned(one) for name, one in value.items()}
    return value


@given(_values)
@settings(max_examples=300, deadline=None)
def test_json_loses_nothing_but_what_cannot_be_stored(value: object) -> None:
    assert json.loads(_dumps(value)) == _cleaned(value)


async def test_any_text_goes_through(store: Store) -> None:
    for odd in ("\0", "\ud800", "\\u0000", "a'b\"c", "%s %(x)s :x", "😀" * 10, ""):
        assert await _execute(store, "SELECT CAST(:odd AS text)", odd=odd) == storable(odd)
        assert await _execute(store, "SELECT (CAST(:odd AS text[]))[2]", odd=["x", odd]) == storable(odd)
