"""What virtual PBXs told: stored as it came, once, and read into calls later."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Text, case, column, func, select, text, tuple_, update, values
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.store.engine import AnyRow
from agent.store.schema import evidence, interaction, notification, provider_call

HOOK, POLL = "hook", "poll"
STORED, READ, IGNORED, UNREADABLE = "stored", "read", "ignored", "unreadable"
WAITING, OPEN, ENDED = "waiting", "open", "ended"


CallKey = tuple[str, str]
"""A provider's name, and its name of the call."""


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


_INSERT = text(
    """
    INSERT INTO notification (provider, digest, origin, tail, query, content_type, body, state)
    SELECT provider, digest, origin, tail, query, content_type, body, 'stored'
    FROM unnest(CAST(:provider AS text[]), CAST(:digest AS bytea[]), CAST(:origin AS text[]), CAST(:tail AS text[]),
                CAST(:query AS text[]), CAST(:content_type AS text[]), CAST(:body AS bytea[]))
         AS told (provider, digest, origin, tail, query, content_type, body)
    ON CONFLICT DO NOTHING
    RETURNING id
    """
)


async def insert_notifications(connection: AsyncConnection, told: Sequence[Told]) -> list[int]:
    """Store what is new of this; returns the new rows' ids in order."""
    unique = {(one.provider, one.digest): one for one in told}
    ordered = sorted(unique)  # two writers of the same things wait for each other in one order
    columns: dict[str, list[Any]] = {
        name: [getattr(unique[key], name) for key in ordered]
        for name in ("provider", "digest", "origin", "tail", "query", "content_type", "body")
    }
    return sorted((await connection.execute(_INSERT, columns)).scalars()) if ordered else []


async def claim_stored(
    connection: AsyncConnection, ids: Sequence[int], names: Sequence[str], *, most: int
) -> list[StoredNotification]:
    """Those of these that nobody has read yet, and others of these providers that wait and that nobody reads now, up
    to ``most``; they are held until the end of the transaction."""
    mine = select(notification).where(notification.c.id.in_(ids), notification.c.state == STORED)
    found = [_stored(row) for row in await connection.execute(mine.order_by(notification.c.id).with_for_update())]
    if len(found) < most:
        others = select(notification).where(
            notification.c.state == STORED, notification.c.id.not_in(ids), notification.c.provider.in_(names)
        )
        free = others.order_by(notification.c.id).limit(most - len(found)).with_for_update(skip_locked=True)
        found += [_stored(row) for row in await connection.execute(free)]
    return found


async def list_interrupted(
    connection: AsyncConnection, names: Sequence[str], *, before: datetime, limit: int = 200
) -> list[CallKey]:
    """Calls of these providers that were not made with all that was told of them by then: their job was killed."""
    columns = provider_call.c
    query = (
        select(columns.provider, columns.call_key)
        .where(columns.read_upto < columns.noted_upto, columns.told_at < before, columns.provider.in_(names))
        .order_by(columns.told_at)
        .limit(limit)
    )
    return [(row.provider, row.call_key) for row in await connection.execute(query)]


async def list_of_calls(
    connection: AsyncConnection, keys: Sequence[CallKey]
) -> dict[CallKey, list[StoredNotification]]:
    """Everything that was told of these calls."""
    found: dict[CallKey, list[StoredNotification]] = {key: [] for key in keys}
    is_one = tuple_(notification.c.provider, notification.c.call_key).in_(list(keys))
    for row in await connection.execute(select(notification).where(is_one).order_by(notification.c.id)):
        found[row.provider, row.call_key].append(_stored(row))
    return found


async def mark_notifications(connection: AsyncConnection, marks: Sequence[tuple[int, str, str | None]]) -> None:
    """Note state and call of each: (id, state, call key)."""
    rows = values(column("id", BigInteger), column("state", Text), column("call_key", Text), name="mark").data(
        list(marks)
    )
    if marks:
        statement = update(notification).where(notification.c.id == rows.c.id)
        await connection.execute(statement.values(state=rows.c.state, call_key=rows.c.call_key))


async def note_calls(connection: AsyncConnection, told: Mapping[CallKey, tuple[int, datetime]]) -> None:
    """Something was told of these calls: the last notification's id, and when it came."""
    if not told:
        return
    rows = [
        {"provider": name, "call_key": key, "state": WAITING, "noted_upto": number, "told_at": at}
        for (name, key), (number, at) in sorted(told.items())
    ]
    statement, columns = insert(provider_call).values(rows), provider_call.c
    changes = {name: func.greatest(columns[name], statement.excluded[name]) for name in ("noted_upto", "told_at")}
    await connection.execute(
        statement.on_conflict_do_update(index_elements=[columns.provider, columns.call_key], set_=changes)
    )


async def settle_call(connection: AsyncConnection, key: CallKey, *, state: str | None, upto: int) -> None:
    """The call was made with all notifications up to this id, and is OPEN, ENDED for good, or still none (None)."""
    columns = provider_call.c
    statement = update(provider_call).where(columns.provider == key[0], columns.call_key == key[1])
    changes: dict[str, Any] = {"read_upto": func.greatest(columns.read_upto, upto)}
    if state is not None:
        changes["state"] = case((columns.state == ENDED, columns.state), else_=state)
    await connection.execute(statement.values(**changes))


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


async def list_quiet(connection: AsyncConnection, keys: Sequence[CallKey], *, before: datetime) -> list[CallKey]:
    """Those of these calls that have ended and of which nothing was told since ``before``."""
    columns = provider_call.c
    query = select(columns.provider, columns.call_key).where(
        tuple_(columns.provider, columns.call_key).in_(list(keys)), columns.state == ENDED, columns.told_at <= before
    )
    return [(row.provider, row.call_key) for row in await connection.execute(query)]


async def lock_living_call(connection: AsyncConnection, source: str, key: str) -> int | None:
    """The interaction that a call became, which stays so until the transaction ends; None where it was erased."""
    query = select(evidence.c.interaction_id).where(evidence.c.source == source, evidence.c.key == key)
    found = (await connection.execute(query.with_for_update())).scalar_one_or_none()
    alive = select(interaction.c.id).where(interaction.c.id == found, interaction.c.erasure_id.is_(None))
    return (await connection.execute(alive.with_for_update(read=True))).scalar_one_or_none()  # no erasure meanwhile


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
