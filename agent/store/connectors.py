"""Rows of CRMs: since when each is told, how it goes, up to where its mirror was read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, false, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import SourceState
from agent.store.engine import AnyRow
from agent.store.schema import connector


@dataclass(frozen=True, slots=True, kw_only=True)
class Connector:
    """A CRM. ``paused_until`` is set while it is left alone: it failed too often, or asked for that."""

    id: int
    name: str
    kind: str
    since: datetime
    delivers: bool
    state: str
    problem: str
    paused_until: datetime | None
    failures: int
    succeeded: datetime | None
    cursor: str
    read: datetime | None
    read_problem: str
    is_paused: bool


def _connector(row: AnyRow) -> Connector:
    return Connector(
        id=row.id,
        name=row.name,
        kind=row.kind,
        since=row.since,
        delivers=row.delivers,
        state=row.state,
        problem=row.problem,
        paused_until=row.paused_until,
        failures=row.failures,
        succeeded=row.succeeded_at,
        cursor=row.cursor,
        read=row.read_at,
        read_problem=row.read_problem,
        is_paused=row.is_paused,
    )


def _known() -> Select[*tuple[Any, ...]]:
    """By the clock of the database, which has made the pause."""
    return select(connector, is_paused().label("is_paused"))


async def switch_on(connection: AsyncConnection, named: Sequence[tuple[str, str, bool]]) -> None:
    """Name, kind and whether it is told, of all CRMs in the settings: those new begin now, others stop being told.

    One that comes back goes on with what was to be told meanwhile of interactions it knows; a pause that an earlier
    configuration has earned is over. A name that is given to a CRM of another kind means a new one: numbers of cards
    and of what was logged mean others there, so the one before keeps its rows under a name of its own.
    """
    for name, kind, delivers in named:
        other = (connector.c.name == name) & (connector.c.kind != kind)
        former = func.concat(connector.c.name, " (", connector.c.kind, " ", connector.c.id, ")")
        await connection.execute(update(connector).where(other).values(name=former, delivers=False))
        statement = insert(connector).values(name=name, kind=kind, delivers=delivers)
        values = {"kind": kind, "delivers": delivers, "paused_until": None, "failures": 0}
        await connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_=values))
    rest = connector.c.name.not_in([name for name, _, _ in named])
    await connection.execute(update(connector).where(rest).values(delivers=False))


async def find_connector(connection: AsyncConnection, name: str) -> Connector | None:
    """One, by its name."""
    row = (await connection.execute(_known().where(connector.c.name == name))).first()
    return _connector(row) if row else None


async def list_connectors(connection: AsyncConnection) -> list[Connector]:
    """All there are and were, by name."""
    return [_connector(row) for row in await connection.execute(_known().order_by(connector.c.name))]


def is_paused() -> ColumnElement[bool]:
    """It is left alone for now."""
    return func.coalesce(connector.c.paused_until > func.now(), false())


async def pause(
    connection: AsyncConnection, connector_id: int, *, seconds: float, state: SourceState, problem: str
) -> None:
    """Leave it alone for a while, and say why. Of several that ask for it at once the longest holds."""
    values = {
        "paused_until": func.greatest(connector.c.paused_until, func.now() + timedelta(seconds=seconds)),
        "state": state.value,
        "problem": problem,
    }
    await connection.execute(update(connector).where(connector.c.id == connector_id).values(**values))


async def note_failure(connection: AsyncConnection, connector_id: int) -> int:
    """One more request in a row that was not answered; returns how many by now."""
    statement = update(connector).where(connector.c.id == connector_id).values(failures=connector.c.failures + 1)
    return int((await connection.execute(statement.returning(connector.c.failures))).scalar_one())


async def note_success(connection: AsyncConnection, connector_id: int) -> None:
    """It has answered, so it is not away; what it has asked for at the same time (`pause`) holds. Noted once a second
    at most, since all deliveries of a connector would wait for each other here."""
    values = {"failures": 0, "succeeded_at": func.now(), "state": SourceState.RUNNING.value, "problem": ""}
    is_news = or_(
        connector.c.failures > 0,
        connector.c.succeeded_at.is_(None),
        connector.c.succeeded_at < func.now() - timedelta(seconds=1),
        connector.c.state != SourceState.RUNNING.value,
    )
    mine = update(connector).where(connector.c.id == connector_id, is_news, ~is_paused())
    await connection.execute(mine.values(paused_until=None, **values))


async def resume(connection: AsyncConnection, connector_id: int) -> None:
    """A person has put it right: go on at once."""
    values = {"paused_until": None, "failures": 0, "problem": "", "state": SourceState.CONNECTING.value}
    await connection.execute(update(connector).where(connector.c.id == connector_id).values(**values))


async def save_cursor(connection: AsyncConnection, connector_id: int, cursor: str) -> None:
    """The mirror was read up to there, in the transaction that keeps what was read."""
    values = {"cursor": cursor, "read_at": func.now(), "read_problem": ""}
    await connection.execute(update(connector).where(connector.c.id == connector_id).values(**values))


async def save_read_problem(connection: AsyncConnection, connector_id: int, problem: str) -> None:
    """The mirror could not be read; it stays as it is."""
    await connection.execute(
        update(connector).where(connector.c.id == connector_id).values(read_problem=problem, read_at=func.now())
    )


async def load_secrets(connection: AsyncConnection, name: str) -> bytes | None:
    """What `save_secrets` kept, sealed."""
    found: bytes | None = (
        await connection.execute(select(connector.c.secrets).where(connector.c.name == name))
    ).scalar_one_or_none()
    return found


async def save_secrets(connection: AsyncConnection, name: str, sealed: bytes) -> None:
    """Keep it in place of what was kept before."""
    await connection.execute(update(connector).where(connector.c.name == name).values(secrets=sealed))
