"""Turns: of all processes that may do a thing, one does it at a time, for as long as it lives and no longer.

A turn is an advisory lock of a session
(https://www.postgresql.org/docs/current/explicit-locking.html#ADVISORY-LOCKS) on a connection of its own, outside of
any transaction. The server gives it up as soon as the session is gone: with the process that is killed, at once. A
process that only stands still keeps its turn.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg

from agent.errors import DatabaseUnavailable
from agent.store.engine import first_line

DELIVER, RENEW = 0x44454C56, 0x52454E57
"""What turns are taken for: telling a CRM, renewing its tokens. Each turn is also of a connector."""

_CONNECT_SECONDS = 5


class Turn:
    """Of one thing, as it was given to us."""

    def __init__(self, session: psycopg.AsyncConnection[Any]) -> None:
        self._session = session

    async def ensure(self) -> None:
        """Make sure that it is still ours, before a thing is begun for which that must be so.

        Raises:
            DatabaseUnavailable: the session is gone, and the turn with it.
        """
        try:
            await self._session.execute("SELECT 1")
        except psycopg.Error as error:
            raise DatabaseUnavailable(f"A turn was lost with its session: {first_line(error)}.") from error


@asynccontextmanager
async def take(url: str, what: int, number: int, *, wait: bool = False) -> AsyncIterator[Turn | None]:
    """The turn for ``what`` of the row ``number``; None where somebody else has it. ``wait``: until he has not.

    Raises:
        DatabaseUnavailable: the server cannot be reached.
    """
    try:
        session = await psycopg.AsyncConnection.connect(
            url,
            autocommit=True,
            connect_timeout=_CONNECT_SECONDS,
            keepalives_idle=10,
            keepalives_interval=5,
            keepalives_count=3,
        )
    except psycopg.Error as error:
        raise DatabaseUnavailable(f"The database does not answer: {first_line(error)}.") from error
    try:
        yield Turn(session) if await _lock(session, what, number, wait=wait) else None
    finally:
        await session.close()


async def _lock(session: psycopg.AsyncConnection[Any], what: int, number: int, *, wait: bool) -> bool:
    key = {"what": what, "number": number & 0x7FFFFFFF}
    try:
        if wait:
            await session.execute("SELECT pg_advisory_lock(%(what)s::int, %(number)s::int)", key)
            return True
        rows = await session.execute("SELECT pg_try_advisory_lock(%(what)s::int, %(number)s::int)", key)
        found = await rows.fetchone()
        return bool(found and found[0])
    except psycopg.Error as error:
        raise DatabaseUnavailable(f"The database went away: {first_line(error)}.") from error


IS_TAKEN = """
    EXISTS (SELECT FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database
            WHERE datname = current_database() AND locktype = 'advisory' AND granted
                  AND classid::bigint = {what} AND objid::bigint = {number})"""
"""Whether somebody has that turn now; a condition for SQL."""
