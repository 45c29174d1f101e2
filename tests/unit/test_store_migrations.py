"""Migrations: the schema in code and the one in the database are the same, however many start at once."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import psycopg
import pytest
from alembic import command

from agent.errors import DatabaseUnavailable, Misconfigured
from agent.store import migrate as migrate_module
from agent.store.migrate import differences, migrate
from tests.postgres import PostgresForTests


@pytest.fixture
async def empty_url(postgres: PostgresForTests) -> str:
    """A database with nothing in it."""
    url = await postgres.new_database()
    name = url.split("///")[1].split("?")[0]
    other = url.replace(f"///{name}?", "///cardline?")

    def recreate() -> None:
        with psycopg.connect(other, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name}".encode())
            connection.execute(f"CREATE DATABASE {name}".encode())

    await asyncio.to_thread(recreate)
    return url


def _tables(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()
    assert row is not None
    return int(row[0])


async def test_code_and_database_agree_after_migrating_twice(empty_url: str) -> None:
    assert await asyncio.to_thread(_tables, empty_url) == 0
    assert await asyncio.to_thread(differences, empty_url) != []
    await migrate(empty_url)
    assert await asyncio.to_thread(differences, empty_url) == []
    count = await asyncio.to_thread(_tables, empty_url)
    await migrate(empty_url)
    assert await asyncio.to_thread(_tables, empty_url) == count


async def test_processes_that_start_at_once(empty_url: str) -> None:
    script = f"import asyncio; from agent.store.migrate import migrate; asyncio.run(migrate({empty_url!r}))"
    processes = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", script, stderr=asyncio.subprocess.PIPE)
        for _ in range(3)
    ]
    for process in processes:
        _, words = await process.communicate()
        assert process.returncode == 0, words.decode()
    assert await asyncio.to_thread(differences, empty_url) == []


async def test_a_migration_that_breaks_leaves_nothing(empty_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = command.upgrade

    def upgrade_then_break(*arguments: Any) -> None:
        real(*arguments)
        raise RuntimeError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(command, "upgrade", upgrade_then_break)
        with pytest.raises(RuntimeError):
            await migrate(empty_url)
    assert await asyncio.to_thread(_tables, empty_url) == 0
    await migrate(empty_url)
    assert await asyncio.to_thread(differences, empty_url) == []


async def test_a_server_that_is_too_old_is_refused_by_its_version(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate_module, "_OLDEST_SERVER", 99)
    with pytest.raises(Misconfigured, match=r"The database server is PostgreSQL 1\d\. Use PostgreSQL 99 or newer"):
        await migrate(empty_url)
    assert await asyncio.to_thread(_tables, empty_url) == 0


async def test_a_server_that_is_away_is_waited_for_by_its_name() -> None:
    with pytest.raises(DatabaseUnavailable, match="does not answer"):
        await migrate("postgresql:///cardline?host=/nonexistent&user=cardline")
