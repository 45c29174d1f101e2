"""What the database tells at once to everybody who listens (PostgreSQL's NOTIFY and LISTEN).

A notice says only where to look; it may be lost when the connection breaks. So after each (re)connect every listener is
called with None and looks at the tables for itself.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import psycopg
import structlog
from psycopg import sql
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

log = structlog.get_logger()

COMMANDS = "cardline_commands"  # payload: the host whose recorder is asked to do something
INTERACTIONS = "cardline_interactions"  # payload: id of an interaction that has changed

_PAUSES = (0.25, 5.0)  # seconds from one attempt to connect to the next, at first and at most
_CONNECT_SECONDS = 5

Hearer = Callable[[str | None], None]

_NOTIFY = text("SELECT pg_notify(:channel, :payload)")
_NOTIFY_IN_PROGRESS = text(
    "SELECT pg_notify(:channel, interaction_id::text) FROM call"
    " WHERE interaction_id = ANY(:ids) AND disposition = 'in_progress'"
)


async def notify(connection: AsyncConnection, channel: str, payload: object) -> None:
    """Tell it when the caller's transaction is committed, and not at all when it is rolled back."""
    await connection.execute(_NOTIFY, {"channel": channel, "payload": str(payload)})


async def announce_calls_in_progress(connection: AsyncConnection, interaction_ids: Sequence[int]) -> None:
    """Tell of those among the interactions that are calls now going on, as the linker has learnt who takes part."""
    await connection.execute(_NOTIFY_IN_PROGRESS, {"channel": INTERACTIONS, "ids": list(interaction_ids)})


class Notices:
    """One connection a process that does nothing but listen."""

    def __init__(self, url: str) -> None:
        """``url`` is a libpq URL."""
        self._url = url
        self._hearers: defaultdict[str, list[Hearer]] = defaultdict(list)

    def listen(self, channel: str, hear: Hearer) -> None:
        """Call ``hear`` with each payload, and with None after a (re)connect. To be said before `run`."""
        self._hearers[channel].append(hear)

    async def run(self) -> None:
        """Listen for ever; a database that goes away is waited for."""
        pause, longest = _PAUSES
        while True:
            try:
                async with await self._connect() as connection:
                    pause = _PAUSES[0]
                    for channel in self._hearers:
                        await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
                    for channel in self._hearers:
                        self._tell(channel, None)
                    async for notice in connection.notifies():
                        self._tell(notice.channel, notice.payload)
            except (psycopg.Error, OSError) as error:
                words = (str(error).splitlines() or [""])[0]
                log.warning("notices_interrupted", reason=words, retry_in_s=pause)
            await asyncio.sleep(pause)
            pause = min(pause * 2, longest)

    async def _connect(self) -> psycopg.AsyncConnection[Any]:
        """With keep-alives, so that a router that forgot the connection is noticed."""
        return await psycopg.AsyncConnection.connect(
            self._url,
            autocommit=True,
            connect_timeout=_CONNECT_SECONDS,
            keepalives_idle=10,
            keepalives_interval=5,
            keepalives_count=3,
        )

    def _tell(self, channel: str, payload: str | None) -> None:
        for hear in self._hearers[channel]:
            try:
                hear(payload)
            except Exception:
                log.exception("notice_not_taken", channel=channel)
