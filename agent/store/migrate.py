"""Brings the database to the schema of this version; run at every start, a no-op when there is nothing to do."""

from __future__ import annotations

import asyncio
from pathlib import Path

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Connection, create_engine, pool, text
from sqlalchemy.exc import OperationalError

from agent.errors import DatabaseUnavailable, Misconfigured
from agent.store.engine import first_line, sqlalchemy_url
from agent.store.schema import metadata

_LOCK = 0x4D4947
_OLDEST_SERVER = 16


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes.update(connection=connection, metadata=metadata, include_object=_is_ours)
    return config


def _upgrade(url: str) -> None:
    engine = create_engine(sqlalchemy_url(url), poolclass=pool.NullPool)
    with engine.begin() as connection:
        version = int(connection.execute(text("SHOW server_version_num")).scalar_one()) // 10000
        if version < _OLDEST_SERVER:
            raise Misconfigured(
                f"The database server is PostgreSQL {version}.",
                remedy=f"Use PostgreSQL {_OLDEST_SERVER} or newer, or leave database.url empty for the embedded one.",
            )
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})  # one of many starting processes
        command.upgrade(_config(connection), "head")


async def migrate(url: str) -> None:
    """Upgrade the database at ``url`` (a libpq URL) to the newest revision, in one transaction.

    Raises:
        Misconfigured: the server is too old.
        DatabaseUnavailable: it does not answer; nothing was changed.
    """
    try:
        await asyncio.to_thread(_upgrade, url)
    except OperationalError as error:
        raise DatabaseUnavailable(f"The database does not answer: {first_line(error)}.") from error


def differences(url: str) -> list[object]:
    """What the migrated database lacks or has beside `agent.store.schema`; the tests want it empty."""
    engine = create_engine(sqlalchemy_url(url), poolclass=pool.NullPool)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"include_object": _is_ours})
        return list(compare_metadata(context, metadata))


def _is_ours(thing: object, name: str | None, kind: str, reflected: bool, compare_to: object) -> bool:
    return not (name or "").startswith("procrastinate")
