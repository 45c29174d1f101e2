"""One embedded PostgreSQL for the whole test run, and a migrated database of its own for whoever asks.

The schema is migrated once, into a template; a fresh database is a copy of it (``CREATE DATABASE … TEMPLATE``), which
takes a fraction of a second. The server is the one that ships, run by `agent.store.postgres`, but it syncs nothing:
what survives a crash is tried on servers of their own (`tests/peer/test_embedded_postgres.py`, `tests/acceptance`).
"""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path

import psycopg

from agent.store.migrate import migrate
from agent.store.postgres import EmbeddedPostgres

_TEMPLATE = "template_cardline"


class PostgresForTests:
    """Start it once, then ask for databases; all of them go with the folder."""

    def __init__(self, folder: Path) -> None:
        self._server = EmbeddedPostgres(folder)
        self._numbers = itertools.count(1)

    async def start(self) -> None:
        """Start the server and migrate the template; where that fails no server is left."""
        await self._server.start()
        try:
            for setting in ("fsync", "synchronous_commit", "full_page_writes"):
                await self._execute(f"ALTER SYSTEM SET {setting} = off")
            await self._execute("SELECT pg_reload_conf()")
            await self._execute(f"CREATE DATABASE {_TEMPLATE}")
            await migrate(self._url_of(_TEMPLATE))
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """End the server."""
        await self._server.stop()

    async def new_database(self) -> str:
        """The libpq URL of an empty database with today's schema."""
        name = f"test_{next(self._numbers)}"
        await self._execute(f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE}")
        return self._url_of(name)

    def _url_of(self, database: str) -> str:
        return self._server.url.replace("///cardline?", f"///{database}?", 1)

    async def _execute(self, statement: str) -> None:
        def run() -> None:
            with psycopg.connect(self._server.url, autocommit=True) as connection:
                connection.execute(statement.encode())

        await asyncio.to_thread(run)
