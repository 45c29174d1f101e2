"""Statements that share a trip: in order, each with what was committed before it, in the transaction of the caller."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from agent.errors import DatabaseUnavailable
from agent.store.asking import Query, ask
from agent.store.engine import Store
from tests.postgres import PostgresForTests


@pytest.fixture
async def one_connection(postgres: PostgresForTests) -> AsyncIterator[Store]:
    """What was left behind on it is met by whoever comes next."""
    store = Store(await postgres.new_database(), pool_size=1)
    async with store.begin() as connection:
        await connection.execute(text("CREATE TABLE thing (id int PRIMARY KEY, name text)"))
        await connection.execute(text("INSERT INTO thing VALUES (1, 'one')"))
    yield store
    await store.close()


def number(statement: str, **values: object) -> Query[int]:
    return Query(statement=text(statement), values=values, read=lambda rows: rows[0].n)


def put(thing: int) -> Query[int]:
    return number("INSERT INTO thing VALUES (:id, 'more') RETURNING id AS n", id=thing)


HOLD = number("SELECT id AS n FROM thing WHERE id = 1 FOR UPDATE")
COUNT = number("SELECT count(*) AS n FROM thing")
NAME: Query[str] = Query(
    statement=text("SELECT name FROM thing WHERE id = 1"), values={}, read=lambda rows: rows[0].name
)


async def count(store: Store) -> int:
    async with store.begin() as connection:
        return int((await connection.execute(text("SELECT count(*) FROM thing"))).scalar_one())


async def test_answers_come_in_order_and_each_sees_what_was_before(one_connection: Store) -> None:
    async with one_connection.begin() as connection:
        assert await ask(connection, put(2), COUNT) == (2, 2)
        assert (await connection.execute(text("SELECT count(*) FROM thing"))).scalar_one() == 2
        assert await ask(connection, COUNT) == (2,)
    assert await count(one_connection) == 2


async def test_all_of_a_block_is_one_transaction(one_connection: Store) -> None:
    for thing in range(2, 22):  # often enough for statements to be prepared, which a rollback takes back
        with pytest.raises(ZeroDivisionError):
            async with one_connection.begin() as connection:
                if thing % 2:
                    await connection.execute(text("INSERT INTO thing VALUES (100, '')"))
                await ask(connection, put(thing), COUNT)
                await connection.execute(text("INSERT INTO thing VALUES (101, '')"))
                raise ZeroDivisionError
    assert await count(one_connection) == 1


async def test_whoever_comes_next_on_the_connection_has_a_transaction(one_connection: Store) -> None:
    for commit in (False, True):
        async with one_connection.begin() as connection:
            await ask(connection, COUNT, commit=commit)
        with pytest.raises(ZeroDivisionError):
            async with one_connection.begin() as connection:
                await connection.execute(text("INSERT INTO thing VALUES (2, '')"))
                raise ZeroDivisionError
    assert await count(one_connection) == 1


async def test_the_last_of_a_transaction_are_committed_with_it(one_connection: Store) -> None:
    with pytest.raises(ZeroDivisionError):
        async with one_connection.begin() as connection:
            await connection.execute(text("INSERT INTO thing VALUES (2, '')"))
            assert await ask(connection, put(3), COUNT, commit=True) == (3, 3)
            await connection.execute(text("INSERT INTO thing VALUES (4, '')"))  # a transaction of its own
            raise ZeroDivisionError
    assert await count(one_connection) == 3


async def test_what_stands_behind_a_lock_sees_what_the_lock_waited_for(postgres: PostgresForTests) -> None:
    store = Store(await postgres.new_database())
    async with store.begin() as connection:
        await connection.execute(text("CREATE TABLE thing (id int PRIMARY KEY, name text)"))
        await connection.execute(text("INSERT INTO thing VALUES (1, 'one')"))

    async def asked() -> tuple[int, str]:
        async with store.begin() as connection:
            return await ask(connection, HOLD, NAME)

    async with store.begin() as connection:
        await connection.execute(text("UPDATE thing SET name = 'changed' WHERE id = 1"))
        waiting = asyncio.create_task(asked())
        await _until_somebody_waits(store)
    assert await waiting == (1, "changed")
    await store.close()


async def _until_somebody_waits(store: Store) -> None:
    query = text(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    while True:
        async with store.begin() as connection:
            if (await connection.execute(query)).scalar_one():
                return
        await asyncio.sleep(0.01)


async def test_behind_one_that_fails_nothing_is_done(one_connection: Store) -> None:
    for _ in range(20):  # its fault is told, whatever of the others was told first
        with pytest.raises(IntegrityError, match="thing_pkey"):
            async with one_connection.begin() as connection:
                await ask(connection, put(1), put(2), commit=True)
        with pytest.raises(IntegrityError, match="thing_pkey"):
            async with one_connection.begin() as connection:
                await ask(connection, put(2), put(1), commit=True)
    assert await count(one_connection) == 1


async def test_a_session_that_was_ended_is_away_and_the_next_one_works(one_connection: Store) -> None:
    end = number("SELECT pg_terminate_backend(pg_backend_pid())::int AS n")
    for queries in ((end, COUNT), (COUNT, end)):
        with pytest.raises(DatabaseUnavailable):
            async with one_connection.begin() as connection:
                await ask(connection, *queries, commit=True)
        assert await count(one_connection) == 1


async def test_whoever_gives_up_on_the_way_leaves_nothing(postgres: PostgresForTests) -> None:
    url = await postgres.new_database()
    holder, store = Store(url), Store(url, pool_size=1)
    async with holder.begin() as connection:
        await connection.execute(text("CREATE TABLE thing (id int PRIMARY KEY, name text)"))
        await connection.execute(text("INSERT INTO thing VALUES (1, 'one')"))

    async def asked() -> None:
        async with store.begin() as connection:
            await ask(connection, put(2), HOLD, commit=True)

    async with holder.begin() as connection:
        await ask(connection, HOLD)
        waiting = asyncio.create_task(asked())
        await _until_somebody_waits(holder)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert await count(store) == 1
    await holder.close()
    await store.close()


async def test_a_deadlock_is_worth_another_try(one_connection: Store) -> None:
    await one_connection.close()
    store = Store(one_connection.url)
    async with store.begin() as connection:
        await ask(connection, put(2), COUNT)
    both_hold_one = asyncio.Barrier(2)

    async def lock(first: int, second: int) -> bool:
        hold = text("SELECT id AS n FROM thing WHERE id = :id FOR UPDATE")
        one, other = (Query(statement=hold, values={"id": each}, read=len) for each in (first, second))
        try:
            async with store.begin() as connection:
                await ask(connection, one)
                await both_hold_one.wait()
                await ask(connection, other, COUNT, commit=True)
        except DatabaseUnavailable:
            return False
        return True

    assert sorted(await asyncio.gather(lock(1, 2), lock(2, 1))) == [False, True]
    await store.close()
