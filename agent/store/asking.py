"""Several statements in one trip to the server and back, for work of which most is waiting for answers.

They go one behind the other without waiting (pipeline mode,
https://www.postgresql.org/docs/current/libpq-pipeline-mode.html), and the server does them in this order. Each sees
what was committed before it began (READ COMMITTED), so one behind a lock sees what the lock has waited for; behind one
that fails none is done. The transaction is the caller's (`agent.store.engine.Store.begin`), and so is whatever he
executes before and after.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic, TypeVar, overload

import psycopg
from psycopg import AsyncCursor
from psycopg.errors import PipelineAborted
from psycopg.pq import TransactionStatus
from psycopg.rows import namedtuple_row
from sqlalchemy import Dialect, TextClause
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

Answer = TypeVar("Answer")
Other = TypeVar("Other")
Third = TypeVar("Third")
_Driver = psycopg.AsyncConnection[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Query(Generic[Answer]):
    """A statement with its values, and how its rows are read."""

    statement: TextClause
    values: Mapping[str, object]
    read: Callable[[Sequence[Any]], Answer]


@overload
async def ask(connection: AsyncConnection, one: Query[Answer], /, *, commit: bool = ...) -> tuple[Answer]: ...
@overload
async def ask(
    connection: AsyncConnection, one: Query[Answer], other: Query[Other], /, *, commit: bool = ...
) -> tuple[Answer, Other]: ...
@overload
async def ask(
    connection: AsyncConnection,
    one: Query[Answer],
    other: Query[Other],
    third: Query[Third],
    /,
    *,
    commit: bool = ...,
) -> tuple[Answer, Other, Third]: ...
async def ask(connection: AsyncConnection, *queries: Query[Any], commit: bool = False) -> tuple[Any, ...]:
    """The answers, in the order of the queries. BEGIN goes along with the first of a transaction; ``commit``: these
    are its last, and COMMIT goes along with them.

    Raises:
        sqlalchemy.exc.DBAPIError: as `AsyncConnection.execute` has it.
    """
    return tuple(await ask_all(connection, queries, commit=commit))


async def ask_all(connection: AsyncConnection, queries: Sequence[Query[Any]], *, commit: bool = False) -> list[Any]:
    """The same of as many as there are."""
    driver = _driver_of(connection)
    try:
        cursors = await _send(driver, connection.dialect, queries, commit=commit)
    except psycopg.Error as error:
        cause = _cause(error)
        if driver.closed:
            await connection.invalidate(cause)
        raise DBAPIError.instance(
            None, None, cause, psycopg.Error, hide_parameters=True, connection_invalidated=driver.closed
        ) from cause
    except BaseException as error:  # given up half-way: what the server still has to say is for nobody
        await connection.invalidate(error)
        raise
    return [one.read(await each.fetchall()) for one, each in zip(queries, cursors, strict=True)]


async def _send(
    driver: _Driver, dialect: Dialect, queries: Sequence[Query[Any]], *, commit: bool
) -> list[AsyncCursor[Any]]:
    is_first = driver.pgconn.transaction_status == TransactionStatus.IDLE
    if len(queries) == 1 and not is_first and not commit:
        return [await _execute(driver, dialect, queries[0])]
    if is_first:
        await driver.set_autocommit(True)  # or psycopg sends a BEGIN of its own, and waits for its answer
    async with driver.pipeline():
        if is_first:
            await driver.execute("BEGIN")
        cursors = [await _execute(driver, dialect, one) for one in queries]
        if commit:
            await driver.execute("COMMIT")
    if commit:
        await driver.set_autocommit(False)
    return cursors


async def _execute(driver: _Driver, dialect: Dialect, one: Query[Any]) -> AsyncCursor[Any]:
    statement, processors = _compiled(one.statement, dialect)
    values = dict(one.values)
    for name, process in processors:
        values[name] = process(values[name])
    return await driver.cursor(row_factory=namedtuple_row).execute(statement, values)


@lru_cache(maxsize=256)
def _compiled(statement: TextClause, dialect: Dialect) -> tuple[bytes, Sequence[tuple[str, Callable[[Any], Any]]]]:
    """As SQLAlchemy would send it, with what it would do to values."""
    made = statement.compile(dialect=dialect)
    processors = (
        (name, process)
        for name, one in made.binds.items()
        if (process := one.type.dialect_impl(dialect).bind_processor(dialect)) is not None
    )
    return made.string.encode(), tuple(processors)


def _driver_of(connection: AsyncConnection) -> _Driver:
    assert connection.sync_connection is not None
    driver = connection.sync_connection.connection.driver_connection
    assert isinstance(driver, psycopg.AsyncConnection)
    return driver


def _cause(error: psycopg.Error) -> psycopg.Error:
    """Of statements behind one that failed it is only told that they were not done."""
    while isinstance(error, PipelineAborted) and isinstance(error.__context__, psycopg.Error):
        error = error.__context__
    return error
