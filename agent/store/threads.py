"""Threads of mail: two mails belong together when one id connects them, else by `agent.store.subjects`.

Either holds or not whatever the order of arrival, so a thread is the union of all mails that are so connected.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import BigInteger, bindparam, delete, select, text, update
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.store import subjects
from agent.store.engine import is_any
from agent.store.schema import message, thread, thread_reference, thread_subject
from agent.store.subjects import Trail

_LOCK = text("SELECT count(pg_advisory_xact_lock(key)) FROM unnest(:keys) AS key").bindparams(
    bindparam("keys", type_=ARRAY(BigInteger))
)

_NEW_IDS = text("SELECT nextval(pg_get_serial_sequence('thread', 'id')) FROM generate_series(1, :count)")
_START = text(
    "INSERT INTO thread (id, subject) OVERRIDING SYSTEM VALUE"
    " SELECT id, subject FROM jsonb_to_recordset(:rows) AS r(id bigint, subject text)"
).bindparams(bindparam("rows", type_=JSONB))

_REFER = text(
    "INSERT INTO thread_reference (message_id, thread_id)"
    " SELECT message_id, thread_id FROM jsonb_to_recordset(:rows) AS r(message_id text, thread_id bigint)"
    " ON CONFLICT DO NOTHING"
).bindparams(bindparam("rows", type_=JSONB))


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A message that wants its thread: its own id and those it names, without brackets; any may be empty."""

    ids: tuple[str, ...]
    subject: str
    trail: Trail | None = None


@dataclass(slots=True, eq=False)
class _Group:
    """Messages of a batch that belong together: their ids, their places in the batch, the threads they touch."""

    ids: set[str]
    places: list[int]
    threads: set[int] = field(default_factory=set)


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
    trails = [one.trail for one in wanted]
    keys = {_lock_key(one) for one in ids} | {_lock_key(key) for one in trails if one is not None for key in one.keys}
    await connection.execute(_LOCK, {"keys": sorted(keys)})
    while True:
        known = await _find_threads(connection, ids)
        near = await subjects.find_threads(connection, trails)
        groups = _groups(wanted, known, near)
        touched = {one for group in groups for one in group.threads}
        to_merge = {one for group in groups if len(group.threads) > 1 for one in group.threads}
        held = await _hold_threads(connection, to_merge, alone=True)
        held |= await _hold_threads(connection, touched - to_merge, alone=False)
        is_still_so = held == touched and known == await _find_threads(connection, ids)
        if is_still_so and near == await subjects.find_threads(connection, trails):
            break  # else somebody, through other ids, merged one of them away before we held it
    found = await _settle(connection, wanted, groups, known)
    by_thread: dict[int, list[Trail]] = defaultdict(list)
    for thread_id, trail in zip(found, trails, strict=True):
        if trail is not None:
            by_thread[thread_id].append(trail)
    await subjects.save_trails(connection, by_thread)
    return found


async def _settle(
    connection: AsyncConnection, wanted: Sequence[Wanted], groups: Sequence[_Group], known: Mapping[str, int]
) -> list[int]:
    """Start, merge and note threads; the thread of each place."""
    found = [0] * len(wanted)
    references: dict[str, int] = {}
    starting = [wanted[group.places[0]].subject for group in groups if not group.threads]
    new = iter(await _start_threads(connection, starting))
    for group in groups:
        thread_id = min(group.threads) if group.threads else next(new)
        if len(group.threads) > 1:
            await _merge(connection, thread_id, sorted(group.threads - {thread_id}))
        references |= dict.fromkeys(sorted(group.ids - known.keys()), thread_id)
        for place in group.places:
            found[place] = thread_id
    await _add_references(connection, references)
    return found


def _groups(wanted: Sequence[Wanted], known: Mapping[str, int], near: Mapping[int, set[int]]) -> list[_Group]:
    """Messages that one id, one thread or their trails connect."""
    parent = list(range(len(wanted)))

    def root(place: int) -> int:
        while parent[place] != place:
            parent[place] = parent[parent[place]]
            place = parent[place]
        return place

    threads: list[set[int]] = []
    first_with: dict[str | int, int] = {}
    for place, one in enumerate(wanted):
        ids = {each for each in one.ids if each}
        threads.append({known[each] for each in ids if each in known} | near.get(place, set()))
        marks: tuple[str | int, ...] = (*ids, *threads[place])
        for mark in marks:
            parent[root(place)] = root(first_with.setdefault(mark, place))
    for place, other in subjects.neighbours([one.trail for one in wanted]):
        parent[root(place)] = root(other)
    groups: dict[int, _Group] = {}
    for place, one in enumerate(wanted):
        group = groups.setdefault(root(place), _Group(set(), []))
        group.ids |= {each for each in one.ids if each}
        group.places.append(place)
        group.threads |= threads[place]
    return list(groups.values())


def _lock_key(message_id: str) -> int:
    return int.from_bytes(hashlib.sha256(b"thread " + message_id.encode()).digest()[:8], "big", signed=True)


async def _find_threads(connection: AsyncConnection, ids: Sequence[str]) -> dict[str, int]:
    query = select(thread_reference.c.message_id, thread_reference.c.thread_id)
    rows = await connection.execute(query.where(is_any(thread_reference.c.message_id, ids)))
    return {row.message_id: row.thread_id for row in rows}


async def _hold_threads(connection: AsyncConnection, ids: set[int], *, alone: bool) -> set[int]:
    """Those that still exist, kept from being merged away until the transaction ends; ``alone``: also from growing."""
    if not ids:
        return set()
    query = select(thread.c.id).where(is_any(thread.c.id, ids)).order_by(thread.c.id)
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
        await connection.execute(_REFER, {"rows": rows})


async def _merge(connection: AsyncConnection, oldest: int, others: Sequence[int]) -> None:
    for table in (thread_reference, thread_subject, message):
        await connection.execute(update(table).where(table.c.thread_id.in_(others)).values(thread_id=oldest))
    await connection.execute(delete(thread).where(thread.c.id.in_(others)))
