"""Threads of mail: two mails belong together when one id connects them, in whatever order they arrive."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import BigInteger, bindparam, delete, select, text, update
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.store.schema import message, thread, thread_reference

_LOCK = text("SELECT count(pg_advisory_xact_lock(key)) FROM unnest(:keys) AS key").bindparams(
    bindparam("keys", type_=ARRAY(BigInteger))
)

_NEW_IDS = text("SELECT nextval(pg_get_serial_sequence('thread', 'id')) FROM generate_series(1, :count)")
_START = text(
    "INSERT INTO thread (id, subject) OVERRIDING SYSTEM VALUE"
    " SELECT id, subject FROM jsonb_to_recordset(:rows) AS r(id bigint, subject text)"
).bindparams(bindparam("rows", type_=JSONB))


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A message that wants its thread: its own id and those it names, without brackets; any may be empty."""

    ids: tuple[str, ...]
    subject: str


@dataclass(slots=True, eq=False)
class _Group:
    """Messages of a batch that belong together: their ids, their places in the batch."""

    ids: set[str]
    places: list[int]


async def find_or_merge_thread(
    connection: AsyncConnection, *, own_id: str, referenced_ids: Sequence[str], subject: str
) -> int:
    """The thread of one message; see `find_or_merge_threads`."""
    (found,) = await find_or_merge_threads(connection, [Wanted(ids=(own_id, *referenced_ids), subject=subject)])
    return found


async def find_or_merge_threads(connection: AsyncConnection, wanted: Sequence[Wanted]) -> list[int]:
    """The threads of messages, in their order.

    A message that connects threads merges them into the oldest. Safe under concurrency: whoever names the same id
    waits until the other's transaction has ended, so call it once in a transaction.
    """
    ids = sorted({one for each in wanted for one in each.ids if one})
    await connection.execute(_LOCK, {"keys": sorted({_lock_key(one) for one in ids})})
    while True:
        known = await _find_threads(connection, ids)
        groups = _groups(wanted, known)
        threads = [{known[one] for one in group.ids if one in known} for group in groups]
        to_merge = {one for each in threads if len(each) > 1 for one in each}
        held = await _hold_threads(connection, to_merge, alone=True)
        held |= await _hold_threads(connection, set(known.values()) - to_merge, alone=False)
        if held == set(known.values()) and known == await _find_threads(connection, ids):
            break  # else somebody, through other ids, merged one of them away before we held it
    found = [0] * len(wanted)
    references: dict[str, int] = {}
    new = iter(
        await _start_threads(
            connection,
            [wanted[group.places[0]].subject for group, each in zip(groups, threads, strict=True) if not each],
        )
    )
    for group, each in zip(groups, threads, strict=True):
        thread_id = min(each) if each else next(new)
        if len(each) > 1:
            await _merge(connection, thread_id, sorted(each - {thread_id}))
        references |= dict.fromkeys(sorted(group.ids - known.keys()), thread_id)
        for place in group.places:
            found[place] = thread_id
    await _add_references(connection, references)
    return found


def _groups(wanted: Sequence[Wanted], known: Mapping[str, int]) -> list[_Group]:
    """Messages that one id connects, or one thread that several of their ids are known in."""
    groups: list[_Group] = []
    by_mark: dict[str | int, _Group] = {}
    for place, one in enumerate(wanted):
        group = _Group({each for each in one.ids if each}, [place])
        marks: list[str | int] = [*group.ids, *(known[each] for each in group.ids if each in known)]
        for mark in marks:
            other = by_mark.get(mark)
            if other is not None and other is not group:
                larger, smaller = (other, group) if len(other.ids) >= len(group.ids) else (group, other)
                larger.ids |= smaller.ids
                larger.places += smaller.places
                moved: list[str | int] = [*smaller.ids, *(known[each] for each in smaller.ids if each in known)]
                by_mark.update(dict.fromkeys(moved, larger))
                if smaller in groups:
                    groups.remove(smaller)
                group = larger
        by_mark.update(dict.fromkeys(marks, group))
        if group not in groups:
            groups.append(group)
    for group in groups:
        group.places.sort()
    return groups


def _lock_key(message_id: str) -> int:
    return int.from_bytes(hashlib.sha256(b"thread " + message_id.encode()).digest()[:8], "big", signed=True)


async def _find_threads(connection: AsyncConnection, ids: Sequence[str]) -> dict[str, int]:
    query = select(thread_reference.c.message_id, thread_reference.c.thread_id)
    rows = await connection.execute(query.where(thread_reference.c.message_id.in_(ids)))
    return {row.message_id: row.thread_id for row in rows}


async def _hold_threads(connection: AsyncConnection, ids: set[int], *, alone: bool) -> set[int]:
    """Those that still exist, kept from being merged away until the transaction ends; ``alone``: also from growing."""
    if not ids:
        return set()
    query = select(thread.c.id).where(thread.c.id.in_(ids)).order_by(thread.c.id)
    return set((await connection.execute(query.with_for_update(key_share=not alone, read=not alone))).scalars())


async def _start_threads(connection: AsyncConnection, subjects: Sequence[str]) -> list[int]:
    if not subjects:
        return []
    ids = [int(one) for one in (await connection.execute(_NEW_IDS, {"count": len(subjects)})).scalars()]
    rows = [{"id": one, "subject": subject} for one, subject in zip(ids, subjects, strict=True)]
    await connection.execute(_START, {"rows": rows})
    return ids


async def _add_references(connection: AsyncConnection, references: Mapping[str, int]) -> None:
    rows = [{"message_id": one, "thread_id": thread_id} for one, thread_id in references.items()]
    if rows:
        await connection.execute(insert(thread_reference).on_conflict_do_nothing(), rows)


async def _merge(connection: AsyncConnection, oldest: int, others: Sequence[int]) -> None:
    for table in (thread_reference, message):
        await connection.execute(update(table).where(table.c.thread_id.in_(others)).values(thread_id=oldest))
    await connection.execute(delete(thread).where(thread.c.id.in_(others)))
