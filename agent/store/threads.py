"""Threads of mail: two mails belong together when one id connects them, in whatever order they arrive."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from sqlalchemy import BigInteger, bindparam, delete, select, text, update
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.store.schema import message, thread, thread_reference

_LOCK = text("SELECT count(pg_advisory_xact_lock(key)) FROM unnest(:keys) AS key").bindparams(
    bindparam("keys", type_=ARRAY(BigInteger))
)


async def find_or_merge_thread(
    connection: AsyncConnection, *, own_id: str, referenced_ids: Sequence[str], subject: str
) -> int:
    """The thread of a message that has ``own_id`` and names ``referenced_ids``; ids without brackets, may be empty.

    A message that connects threads merges them into the oldest. Safe under concurrency: whoever names the same id
    waits until the other's transaction has ended, so call it once in a transaction.
    """
    ids = sorted({one for one in (own_id, *referenced_ids) if one})
    await connection.execute(_LOCK, {"keys": sorted({_lock_key(one) for one in ids})})
    while True:
        known = await _find_threads(connection, ids)
        if not known:
            return await _start_thread(connection, ids, subject)
        held = await _hold_threads(connection, known)
        if held == known == await _find_threads(connection, ids):
            break  # else somebody, through other ids, merged one of them away before we held it
    oldest, *others = sorted(known)
    if others:
        await _merge(connection, oldest, others)
    await _add_references(connection, oldest, ids)
    return oldest


def _lock_key(message_id: str) -> int:
    return int.from_bytes(hashlib.sha256(b"thread " + message_id.encode()).digest()[:8], "big", signed=True)


async def _find_threads(connection: AsyncConnection, ids: Sequence[str]) -> set[int]:
    query = select(thread_reference.c.thread_id).where(thread_reference.c.message_id.in_(ids)).distinct()
    return set((await connection.execute(query)).scalars())


async def _hold_threads(connection: AsyncConnection, ids: set[int]) -> set[int]:
    """Those that still exist, kept from being merged away until the transaction ends."""
    only_one = len(ids) == 1
    query = select(thread.c.id).where(thread.c.id.in_(ids)).order_by(thread.c.id)
    return set((await connection.execute(query.with_for_update(key_share=only_one, read=only_one))).scalars())


async def _start_thread(connection: AsyncConnection, ids: Sequence[str], subject: str) -> int:
    created: int = (
        await connection.execute(insert(thread).values(subject=subject).returning(thread.c.id))
    ).scalar_one()
    await _add_references(connection, created, ids)
    return created


async def _add_references(connection: AsyncConnection, thread_id: int, ids: Sequence[str]) -> None:
    if ids:
        rows = [{"message_id": one, "thread_id": thread_id} for one in ids]
        await connection.execute(insert(thread_reference).values(rows).on_conflict_do_nothing())


async def _merge(connection: AsyncConnection, oldest: int, others: Sequence[int]) -> None:
    for table in (thread_reference, message):
        await connection.execute(update(table).where(table.c.thread_id.in_(others)).values(thread_id=oldest))
    await connection.execute(delete(thread).where(thread.c.id.in_(others)))
