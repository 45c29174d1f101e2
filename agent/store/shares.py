"""Links to recordings that a CRM was given; of each token only a digest is kept, so the database lets nobody listen."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.store.schema import connector, delivery, recording_share


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A link that leads somewhere."""

    id: int
    recording_id: int
    delivery_id: int
    connector: str


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


async def share(connection: AsyncConnection, recording_id: int, delivery_id: int) -> str:
    """A new token; the one that this delivery had for this recording opens nothing any more."""
    token = secrets.token_urlsafe(24)
    values = {"token_hash": _hash(token), "revoked_at": None, "created_at": func.now()}
    statement = insert(recording_share).values(recording_id=recording_id, delivery_id=delivery_id, **values)
    await connection.execute(
        statement.on_conflict_do_update(index_elements=["recording_id", "delivery_id"], set_=values)
    )
    return token


async def find_share(connection: AsyncConnection, token: str) -> Share | None:
    """What a token opens, unless it was revoked or its delivery withdrawn."""
    query = (
        select(recording_share.c.id, recording_share.c.recording_id, recording_share.c.delivery_id, connector.c.name)
        .join(delivery, delivery.c.id == recording_share.c.delivery_id)
        .join(connector, connector.c.id == delivery.c.connector_id)
        .where(
            recording_share.c.token_hash == _hash(token), recording_share.c.revoked_at.is_(None), ~delivery.c.withdrawn
        )
    )
    row = (await connection.execute(query)).first()
    if row is None:
        return None
    return Share(id=row.id, recording_id=row.recording_id, delivery_id=row.delivery_id, connector=row.name)


async def revoke(connection: AsyncConnection, delivery_id: int, *, but: int | None = None) -> int:
    """Links of this delivery open nothing from now on, ``but`` those to that recording; returns how many did."""
    mine = (recording_share.c.delivery_id == delivery_id) & recording_share.c.revoked_at.is_(None)
    if but is not None:
        mine &= recording_share.c.recording_id != but
    done = await connection.execute(update(recording_share).where(mine).values(revoked_at=func.now()))
    return done.rowcount
