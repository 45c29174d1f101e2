"""Answers to requests that carry an Idempotency-Key, so that a repeated request makes nothing twice.

The key is claimed in the transaction that does the work: both are kept or neither. Who repeats it at the same moment
waits for the first.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.store.schema import api_reply

_KEPT = text("now() - interval '24 hours'")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What was answered; ``is_same`` says whether the request was word for word this one."""

    status: int
    location: str
    content: str
    is_same: bool


async def claim(connection: AsyncConnection, owner: str, key: str, request: bytes) -> Reply | None:
    """None: it is new, and the caller goes on and says `keep`. Keys are forgotten after a day."""
    await connection.execute(delete(api_reply).where(api_reply.c.at < _KEPT))
    values = {"owner": owner, "key": key, "request": request, "status": 0}
    statement = insert(api_reply).values(**values).on_conflict_do_nothing().returning(api_reply.c.id)
    if (await connection.execute(statement)).first() is not None:
        return None
    query = select(api_reply).where(api_reply.c.owner == owner, api_reply.c.key == key)
    row = (await connection.execute(query)).one()
    return Reply(status=row.status, location=row.location, content=row.content, is_same=row.request == request)


async def keep(connection: AsyncConnection, owner: str, key: str, *, status: int, location: str, content: str) -> None:
    """What was answered: ids and addresses, never what was written."""
    mine = update(api_reply).where(api_reply.c.owner == owner, api_reply.c.key == key)
    await connection.execute(mine.values(status=status, location=location, content=content, at=func.now()))
