"""What virtual PBXs told: stored as it came, once, and read into calls later."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import and_, bindparam, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.store.engine import AnyRow
from agent.store.schema import notification, provider_call

HOOK, POLL = "hook", "poll"
STORED, READ, IGNORED, UNREADABLE = "stored", "read", "ignored", "unreadable"
WAITING, OPEN, ENDED = "waiting", "open", "ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One thing a provider said. ``origin`` is HOOK for a request of its own, POLL for a line of its statistics."""

    provider: str
    origin: str
    body: bytes
    tail: str = ""
    query: str = ""
    content_type: str = ""

    @property
    def digest(self) -> bytes:
        """Equal for the same thing said again, which providers do until they are answered."""
        found = hashlib.sha256()
        for part in (self.origin, self.tail, self.query, self.body):
            data = part.encode(errors="replace") if isinstance(part, str) else part
            found.update(len(data).to_bytes(8, "big") + data)
        return found.digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredNotification:
    """The same with its number, when it came, and what became of it."""

    id: int
    told: Told
    received: datetime
    state: str
    call_key: str | None


async def insert_notifications(connection: AsyncConnection, told: Sequence[Told]) -> list[int]:
    """Store what is new of this; returns the new rows' ids in order."""
    rows: dict[tuple[str, bytes], Mapping[str, Any]] = {}
    for one in told:
        digest = one.digest
        rows[one.provider, digest] = {
            "provider": one.provider,
            "digest": digest,
            "origin": one.origin,
            "tail": one.tail,
            "query": one.query,
            "content_type": one.content_type,
            "body": one.body,
            "state": STORED,
        }
    if not rows:
        return []
    ordered = [rows[key] for key in sorted(rows)]  # two writers of the same things wait for each other in one order
    statement = insert(notification).values(ordered).on_conflict_do_nothing().returning(notification.c.id)
    return sorted((await connection.execute(statement)).scalars())


async def list_notifications(connection: AsyncConnection, ids: Sequence[int]) -> list[StoredNotification]:
    """These."""
    query = select(notification).where(notification.c.id.in_(ids)).order_by(notification.c.id)
    return [_stored(row) for row in await connection.execute(query)]


async def list_of_call(connection: AsyncConnection, provider: str, call_key: str) -> list[StoredNotification]:
    """Everything that was told of a call."""
    query = (
        select(notification)
        .where(notification.c.provider == provider, notification.c.call_key == call_key)
        .order_by(notification.c.id)
    )
    return [_stored(row) for row in await connection.execute(query)]


async def mark_notifications(connection: AsyncConnection, marks: Sequence[tuple[int, str, str | None]]) -> None:
    """Note state and call of each: (id, state, call key)."""
    statement = (
        update(notification)
        .where(notification.c.id == bindparam("b_id"))
        .values(state=bindparam("b_state"), call_key=bindparam("b_key"))
    )
    if marks:
        rows = [{"b_id": number, "b_state": state, "b_key": key} for number, state, key in sorted(marks)]
        await connection.execute(statement, rows)


async def note_call(connection: AsyncConnection, provider: str, call_key: str, *, told_at: datetime) -> None:
    """Something was told of this call; one that has ended stays so."""
    statement = insert(provider_call).values(provider=provider, call_key=call_key, state=WAITING, told_at=told_at)
    columns = provider_call.c
    latest = func.greatest(columns.told_at, statement.excluded.told_at)
    await connection.execute(
        statement.on_conflict_do_update(
            index_elements=[columns.provider, columns.call_key], set_={"told_at": latest}, where=columns.state != ENDED
        )
    )


async def settle_call(connection: AsyncConnection, provider: str, call_key: str, state: str) -> None:
    """The call stands in the history: OPEN, or ENDED for good."""
    columns = provider_call.c
    is_it = and_(columns.provider == provider, columns.call_key == call_key, columns.state != ENDED)
    await connection.execute(update(provider_call).where(is_it).values(state=state))


async def list_silent(
    connection: AsyncConnection, provider: str, *, before: datetime, limit: int = 200
) -> list[tuple[str, datetime]]:
    """Open calls of which nothing was told since: key, and when last."""
    columns = provider_call.c
    query = (
        select(columns.call_key, columns.told_at)
        .where(columns.provider == provider, columns.state == OPEN, columns.told_at < before)
        .order_by(columns.told_at)
        .limit(limit)
    )
    return [(row.call_key, row.told_at) for row in await connection.execute(query)]


async def count_waiting(connection: AsyncConnection, provider: str, *, before: datetime) -> int:
    """Calls of which something was told, before that time, and never who and when."""
    columns = provider_call.c
    query = select(func.count()).where(columns.provider == provider, columns.state == WAITING, columns.told_at < before)
    return int((await connection.execute(query)).scalar_one())


async def count_notifications(connection: AsyncConnection, provider: str) -> dict[str, int]:
    """How many there are in each state."""
    query = (
        select(notification.c.state, func.count().label("number"))
        .where(notification.c.provider == provider)
        .group_by(notification.c.state)
    )
    return {row.state: row.number for row in await connection.execute(query)}


async def list_forgotten(
    connection: AsyncConnection, names: Sequence[str], *, before: datetime, limit: int = 200
) -> list[int]:
    """Stored ones of these providers that no job has read for long, as after a job that was given up."""
    query = (
        select(notification.c.id)
        .where(notification.c.state == STORED, notification.c.received_at < before, notification.c.provider.in_(names))
        .order_by(notification.c.id)
        .limit(limit)
    )
    return list((await connection.execute(query)).scalars())


def _stored(row: AnyRow) -> StoredNotification:
    told = Told(
        provider=row.provider,
        origin=row.origin,
        body=bytes(row.body),
        tail=row.tail,
        query=row.query,
        content_type=row.content_type,
    )
    return StoredNotification(id=row.id, told=told, received=row.received_at, state=row.state, call_key=row.call_key)
