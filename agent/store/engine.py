"""The connection to PostgreSQL: one `Store` a process, every statement inside a transaction it opens."""

from __future__ import annotations

import json
import re
import select
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from psycopg import AsyncConnection as DriverConnection
from psycopg.errors import ProgramLimitExceeded
from psycopg.types.string import StrDumperUnknown
from sqlalchemy import ARRAY, ColumnElement, Row, any_, event, literal, text
from sqlalchemy.exc import DBAPIError, DisconnectionError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from agent.errors import DatabaseUnavailable

# A row of whatever columns its query names.
AnyRow = Row[*tuple[Any, ...]]

_CONNECT_SECONDS = 5
_IDLE_SECONDS = 1.0
_IDLE_SINCE = "idle_since"
_DO_NOT_WAIT = text("SET LOCAL synchronous_commit = off")
_NUL_IN_JSON = re.compile(r"\\\\|\\u0000")
_encode = json.JSONEncoder(ensure_ascii=False).encode


def storable(text: str) -> str:
    """``text`` as PostgreSQL can hold it: NUL and lone surrogates are replaced.

    Only broken senders make them, and those must not keep a call or a mail out of the history.
    """
    if "\0" in text:
        text = text.replace("\0", "\ufffd")
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _dumps(value: object) -> str:
    made = _encode(value)
    if "\\u0000" in made:
        made = _NUL_IN_JSON.sub(lambda found: "\ufffd" if found[0] == "\\u0000" else found[0], made)
    return storable(made)


class _Text(StrDumperUnknown):
    """Every text on its way to the server."""

    def dump(self, obj: str) -> bytes:
        return storable(obj).encode()


class Store:
    """Gives transactions. A database that is away raises `DatabaseUnavailable`, so that callers need no SQL words."""

    def __init__(self, url: str, *, pool_size: int = 10) -> None:
        """``url`` is a libpq URL (``postgresql://…``), as `cardline.toml` and psycopg have it."""
        self.url = url
        self._engine: AsyncEngine = create_async_engine(
            sqlalchemy_url(url),
            pool_size=pool_size,
            max_overflow=pool_size,
            pool_timeout=_CONNECT_SECONDS,
            json_serializer=_dumps,
            connect_args={"connect_timeout": _CONNECT_SECONDS},
        )
        event.listen(self._engine.sync_engine, "connect", _prepare)
        event.listen(self._engine.sync_engine, "checkin", _note_idle)
        event.listen(self._engine.sync_engine, "checkout", self._ask_if_idle)

    @asynccontextmanager
    async def begin(self, *, redoable: bool = False) -> AsyncIterator[AsyncConnection]:
        """A connection in a transaction: committed at the end of the block, rolled back when it raises.

        ``redoable``: its commit does not wait for the disk. Only for work that a job in the same database does again,
        and of which nobody outside hears before something later was committed the ordinary way: a crash may undo the
        last half second of such commits, always the newest, never one before another (synchronous_commit = off,
        https://www.postgresql.org/docs/current/wal-async-commit.html).

        Raises:
            DatabaseUnavailable: the server cannot be reached, or went away before the commit was confirmed.
        """
        try:
            async with self._engine.begin() as connection:
                if redoable:
                    await connection.execute(_DO_NOT_WAIT)
                yield connection
        except (OperationalError, InterfaceError, PoolTimeout, OSError) as error:
            if isinstance(getattr(error, "orig", None), ProgramLimitExceeded):
                raise  # too long or too much for any server: trying again does not help
            raise DatabaseUnavailable(f"The database does not answer: {first_line(error)}.") from error
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
            raise DatabaseUnavailable(f"The database went away: {first_line(error)}.") from error

    def _ask_if_idle(self, connection: Any, record: ConnectionPoolEntry, _proxy: object) -> None:
        """Whether the server is still there, before a connection is used again; if not, the pool opens another one.

        A connection that was used a moment ago has no word of the server waiting, unless it was ended. To ask the
        server each time (pool_pre_ping) would be every tenth of all round trips.
        """
        driver: DriverConnection[Any] = connection.driver_connection
        is_fresh = time.monotonic() - record.info.get(_IDLE_SINCE, 0.0) < _IDLE_SECONDS
        if is_fresh and not driver.closed and not _has_word(driver):
            return
        dialect = self._engine.dialect
        try:
            dialect.do_ping(connection)
        except dialect.loaded_dbapi.Error as error:
            raise DisconnectionError from error

    async def close(self) -> None:
        """Give all connections back."""
        await self._engine.dispose()


def _has_word(driver: DriverConnection[Any]) -> bool:
    """Whether something of the server waits to be read."""
    poll = select.poll()  # select() takes no descriptors past 1023
    poll.register(driver.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def _note_idle(connection: Any, record: ConnectionPoolEntry) -> None:
    record.info[_IDLE_SINCE] = time.monotonic()
    if connection is not None and connection.autocommit and not connection.closed:
        connection.autocommit = False  # where `agent.store.asking` has begun the transaction


def _prepare(connection: Any, _record: object) -> None:
    driver: DriverConnection[Any] = connection.driver_connection
    driver.adapters.register_dumper(str, _Text)


def sqlalchemy_url(url: str) -> str:
    """The same URL with the driver named, as SQLAlchemy wants it."""
    scheme, _, rest = url.partition("://")
    return f"postgresql+psycopg://{rest}" if scheme in ("postgresql", "postgres") else url


def is_any(column: ColumnElement[Any], values: Iterable[Any]) -> ColumnElement[bool]:
    """``column`` is one of ``values``, which travel as one array: the same statement however many there are, so that
    neither SQLAlchemy spells it out nor PostgreSQL plans it each time."""
    return column == any_(literal(list(values), ARRAY(column.type)))


def first_line(error: Exception) -> str:
    """What the server or the driver said, without the query and its values."""
    cause = getattr(error, "orig", None) or error
    return (str(cause).strip().splitlines() or [type(cause).__name__])[0].rstrip(".")
