"""The connection to PostgreSQL: one `Store` a process, every statement inside a transaction it opens."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from sqlalchemy import Row
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from agent.errors import DatabaseUnavailable

# A row of whatever columns its query names.
AnyRow = Row[*tuple[Any, ...]]

_CONNECT_SECONDS = 5
_dumps = partial(json.dumps, ensure_ascii=False)


class Store:
    """Gives transactions. A database that is away raises `DatabaseUnavailable`, so that callers need no SQL words."""

    def __init__(self, url: str, *, pool_size: int = 10) -> None:
        """``url`` is a libpq URL (``postgresql://…``), as `cardline.toml` and psycopg have it."""
        self.url = url
        self._engine: AsyncEngine = create_async_engine(
            sqlalchemy_url(url),
            pool_size=pool_size,
            max_overflow=pool_size,
            pool_pre_ping=True,
            pool_timeout=_CONNECT_SECONDS,
            json_serializer=_dumps,
            connect_args={"connect_timeout": _CONNECT_SECONDS},
        )

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        """A connection in a transaction: committed at the end of the block, rolled back when it raises.

        Raises:
            DatabaseUnavailable: the server cannot be reached, or went away before the commit was confirmed.
        """
        try:
            async with self._engine.begin() as connection:
                yield connection
        except (OperationalError, InterfaceError, PoolTimeout, OSError) as error:
            raise DatabaseUnavailable(f"The database does not answer: {_first_line(error)}.") from error
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
            raise DatabaseUnavailable(f"The database went away: {_first_line(error)}.") from error

    async def close(self) -> None:
        """Give all connections back."""
        await self._engine.dispose()


def sqlalchemy_url(url: str) -> str:
    """The same URL with the driver named, as SQLAlchemy wants it."""
    scheme, _, rest = url.partition("://")
    return f"postgresql+psycopg://{rest}" if scheme in ("postgresql", "postgres") else url


def _first_line(error: Exception) -> str:
    cause = getattr(error, "orig", None) or error
    return (str(cause).strip().splitlines() or [type(cause).__name__])[0].rstrip(".")
