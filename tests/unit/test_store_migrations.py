"""Migrations: the schema in code and the one in the database are the same, however many start at once."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import psycopg
import pytest
from alembic import command
from sqlalchemy import create_engine

from agent.errors import DatabaseUnavailable, Misconfigured
from agent.store import migrate as migrate_module
from agent.store.engine import sqlalchemy_url
from agent.store.migrate import differences, migrate
from agent.store.told import Take, from_json
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


_BEFORE_VIEWS = """
    INSERT INTO interaction (kind, started_at, conversation_key, flags)
    VALUES ('call', '2026-03-02T09:00:00.5Z', 'talk', '{odd}'), ('message', now(), NULL, '{}');
    INSERT INTO call
    SELECT id, '2026-03-02T09:00:04Z', '2026-03-02T09:01:00Z', 'answered', false FROM interaction LIMIT 1;
    INSERT INTO evidence (source, key, received_at, state, interaction_id)
    SELECT 'siprec', 'k' || id, now(), 'read', id FROM interaction;
    INSERT INTO party (interaction_id, ordinal, position, kind, value, name, channel)
    SELECT id, 0, 'caller', 'phone', 'sip:+74950000011@192.0.2.7', '', 0 FROM interaction WHERE kind = 'call'
    UNION ALL SELECT id, 1, 'callee', 'phone', '101', 'Anna', 1 FROM interaction WHERE kind = 'call';
    INSERT INTO capture (id, interaction_id, host, state, truncated)
    SELECT 'c1', id, 'h', 'assembled', true FROM interaction WHERE kind = 'call';
"""


def _upgrade_to(url: str, revision: str) -> None:
    with create_engine(sqlalchemy_url(url)).begin() as connection:
        command.upgrade(migrate_module._config(connection), revision)


async def test_calls_of_before_there_were_views_have_one(empty_url: str) -> None:
    await asyncio.to_thread(_upgrade_to, empty_url, "0009")
    with psycopg.connect(empty_url) as connection:
        connection.execute(_BEFORE_VIEWS.encode())
    await migrate(empty_url)
    with psycopg.connect(empty_url) as connection:
        [(told,)] = connection.execute("SELECT told FROM call_view").fetchall()
        numbers = connection.execute("SELECT tail FROM call_number ORDER BY tail").fetchall()
        [(evidence_id,)] = connection.execute("SELECT evidence_id FROM capture").fetchall()
    one = from_json(told)
    assert (one.started.isoformat(), one.conversation_key) == ("2026-03-02T09:00:00.500000+00:00", "talk")
    assert (one.disposition, one.truncated, [party.value[-3:] for party in one.parties]) == (
        "answered",
        False,
        ["2.7", "101"],
    )
    assert one.takes == {"c1": Take(ended=True, cut=True)}
    assert [tail for (tail,) in numbers] == ["0000011", "101"]
    assert evidence_id is not None


_NOTED_BEFORE = """
    INSERT INTO account (login, name, password_hash, role) VALUES ('anna', 'Anna', '', 'manager');
    INSERT INTO interaction (kind, started_at) VALUES ('call', now()), ('call', now()), ('call', now());
    INSERT INTO comment (interaction_id, text, account_id, removed_at)
    SELECT i.id, 'x', a.id, CASE WHEN i.id = 3 THEN now() END FROM interaction i, account a WHERE i.id > 1;
    DELETE FROM search_due;
    DELETE FROM procrastinate_jobs;
"""


async def test_comments_of_before_are_brought_into_the_index_of_words(empty_url: str) -> None:
    await asyncio.to_thread(_upgrade_to, empty_url, "0025")
    with psycopg.connect(empty_url) as connection:
        connection.execute(_NOTED_BEFORE.encode())
    await asyncio.to_thread(_upgrade_to, empty_url, "0026")
    with psycopg.connect(empty_url) as connection:
        due = connection.execute("SELECT interaction_id FROM search_due").fetchall()
        jobs = connection.execute("SELECT task_name, queue_name FROM procrastinate_jobs").fetchall()
    assert due == [(2,)], "not what was taken away, and not calls on which nobody has noted anything"
    assert jobs == [("index", "index")]


async def test_all_words_are_indexed_anew_since_marks_are_folded(empty_url: str) -> None:
    await asyncio.to_thread(_upgrade_to, empty_url, "0026")
    with psycopg.connect(empty_url) as connection:
        connection.execute(_NOTED_BEFORE.encode())
    await migrate(empty_url)
    with psycopg.connect(empty_url) as connection:
        due = connection.execute("SELECT interaction_id FROM search_due ORDER BY interaction_id").fetchall()
        jobs = connection.execute("SELECT task_name, queue_name FROM procrastinate_jobs").fetchall()
    assert due == [(1,), (2,), (3,)]
    assert jobs == [("index", "index")]
