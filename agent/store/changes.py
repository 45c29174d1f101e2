"""When an interaction last changed, so that a program fetches only what is new.

A change is noted with the clock as it happens, but becomes visible only with its commit. So whoever asks is told up to
when he has everything (`complete_upto`): the start of the oldest transaction still open. Asking from there on again
shows some changes twice and misses none.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.store.schema import interaction_change

TOUCH = """
    INSERT INTO interaction_change AS known (interaction_id, changed_at)
    SELECT id, clock_timestamp() FROM {ids} AS each(id) ORDER BY id
    ON CONFLICT (interaction_id) DO UPDATE SET changed_at = excluded.changed_at WHERE known.changed_at < now()"""
"""One change a transaction is enough. Rows are taken in order, so that two who change the same wait for each other."""

_TOUCH = text(TOUCH.format(ids="unnest(CAST(:ids AS bigint[]))"))
_COMPLETE = text(
    "SELECT coalesce(min(xact_start), clock_timestamp()) FROM pg_stat_activity"
    " WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
)


async def touch(connection: AsyncConnection, interaction_ids: Sequence[int]) -> None:
    """Something that is told of these has changed, in the caller's transaction."""
    if interaction_ids:
        await connection.execute(_TOUCH, {"ids": sorted(set(interaction_ids))})


async def complete_upto(connection: AsyncConnection) -> datetime:
    """Whatever changed before this moment can be seen now; asked before the changes are."""
    found: datetime = (await connection.execute(_COMPLETE)).scalar_one()
    return found


async def list_since(connection: AsyncConnection, since: datetime, *, most: int) -> list[int]:
    """What changed since then, the newest change first."""
    query = select(interaction_change.c.interaction_id).where(interaction_change.c.changed_at >= since)
    rows = await connection.execute(query.order_by(interaction_change.c.changed_at.desc()).limit(most))
    return list(rows.scalars())
