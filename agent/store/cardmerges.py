"""Two cards become one, and two again; one card becomes two. No row is lost: what moves is noted by its id, so that it
can be taken back, and a card that became another one stays, without showing itself, and leads to that.

Entries that rules have put somewhere follow their numbers by themselves; those that people have put on a card move.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Column, Select, Table, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import Identity, IdentityKind
from agent.store import outbox
from agent.store.engine import AnyRow
from agent.store.schema import (
    card_merge,
    card_note,
    card_stage,
    client_card,
    contact_point,
    contact_proposal,
    crm_card,
    link,
    link_rule,
    task,
)

_FILLED = ("company_id", "responsible_id", "stage")  # taken over where the card that stays has none
_MOVED: tuple[tuple[Table, Column[int]], ...] = (
    (card_note, card_note.c.client_card_id),
    (card_stage, card_stage.c.client_card_id),
    (task, task.c.client_card_id),
    (link_rule, link_rule.c.client_card_id),
    (crm_card, crm_card.c.client_card_id),
    (client_card, client_card.c.company_id),
)
_ONCE: tuple[tuple[Table, Column[int], tuple[str, ...]], ...] = (  # a card has each of them once
    (contact_point, contact_point.c.client_card_id, ("kind", "value")),
    (contact_proposal, contact_proposal.c.client_card_id, ("kind", "value")),
    (link, link.c.client_card_id, ("interaction_id",)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Merge:
    """What was merged; ``undone_by`` is empty as long as it holds."""

    id: int
    kept_id: int
    gone_id: int
    gone_name: str
    by: str
    at: datetime
    undone_by: str = ""


async def merge_cards(connection: AsyncConnection, kept_id: int, gone_id: int, *, by: str) -> int | None:
    """``gone`` becomes part of ``kept``; the caller holds what is known (`linking.lock_knowledge`). Returns the merge's
    id; None where they are one already, or one of them is no card that can be seen."""
    rows = await _lock(connection, kept_id, gone_id)
    if len(rows) != 2:
        return None
    kept, gone = rows[kept_id], rows[gone_id]
    moved: dict[str, Any] = {table.name: await _move(connection, column, gone_id, kept_id) for table, column in _MOVED}
    moved |= {table.name: await _move_once(connection, column, same, gone_id, kept_id) for table, column, same in _ONCE}
    moved["filled"] = await _fill(connection, kept, gone)
    await connection.execute(update(client_card).where(client_card.c.id == gone_id).values(merged_into_id=kept_id))
    earlier = update(client_card).where(client_card.c.merged_into_id == gone_id).returning(client_card.c.id)
    moved["earlier"] = list((await connection.execute(earlier.values(merged_into_id=kept_id))).scalars())
    await _tell(connection, moved["link"])
    values = {"kept_id": kept_id, "gone_id": gone_id, "by": by, "moved": moved}
    return int((await connection.execute(insert(card_merge).values(**values).returning(card_merge.c.id))).scalar_one())


async def undo_merge(connection: AsyncConnection, merge_id: int, *, by: str) -> Merge | None:
    """They are two again; what has come to the card since stays with it. None where there is nothing to undo, or the
    card that stayed became part of another one meanwhile: that is undone first."""
    row = (
        await connection.execute(_merges().where(card_merge.c.id == merge_id).with_for_update(of=card_merge))
    ).first()
    if row is None or row.undone_at is not None:
        return None
    rows = await _lock(connection, row.kept_id, row.gone_id, both_seen=False)
    if rows.get(row.kept_id) is None or rows[row.gone_id].merged_into_id != row.kept_id:
        return None
    if rows[row.kept_id].merged_into_id is not None:
        return None
    moved: Mapping[str, Any] = row.moved
    for table, column in (*_MOVED, *((table, column) for table, column, _ in _ONCE)):
        await _move(connection, column, row.kept_id, row.gone_id, ids=moved.get(table.name, ()))
    for name, value in moved["filled"].items():
        mine = (client_card.c.id == row.kept_id) & (client_card.c[name] == value)
        await connection.execute(update(client_card).where(mine).values({name: "" if name == "stage" else None}))
    await connection.execute(update(client_card).where(client_card.c.id == row.gone_id).values(merged_into_id=None))
    earlier = update(client_card).where(client_card.c.id.in_(moved["earlier"]))
    await connection.execute(earlier.values(merged_into_id=row.gone_id))
    await _tell(connection, moved["link"])
    done = update(card_merge).where(card_merge.c.id == merge_id)
    await connection.execute(done.values(undone_at=func.now(), undone_by=by))
    return _merge(row)


async def _lock(connection: AsyncConnection, first: int, second: int, *, both_seen: bool = True) -> dict[int, AnyRow]:
    query = select(client_card).where(client_card.c.id.in_([first, second])).order_by(client_card.c.id)
    rows = {row.id: row for row in await connection.execute(query.with_for_update())}
    return {number: row for number, row in rows.items() if not both_seen or row.merged_into_id is None}


async def _move(
    connection: AsyncConnection, column: Column[int], source: int, target: int, *, ids: Sequence[int] | None = None
) -> list[int]:
    """Rows that belong to ``source`` belong to ``target``; returns their ids."""
    statement = update(column.table).where(column == source)
    if ids is not None:
        statement = statement.where(column.table.c.id.in_(ids))
    if column.table is client_card:
        statement = statement.where(client_card.c.id != target)  # nobody is of himself
    rows = await connection.execute(statement.values({column.name: target}).returning(column.table.c.id))
    return list(rows.scalars())


async def _move_once(
    connection: AsyncConnection, column: Column[int], same: Sequence[str], source: int, target: int
) -> list[int]:
    """The same, but what the target has already stays where it is, and leads nobody to it: its card is not looked at.
    An entry that is on both cards is taken from the one that goes."""
    own = column.table.alias("own")
    has = select(own.c.id).where(own.c[column.name] == target, *(own.c[name] == column.table.c[name] for name in same))
    statement = update(column.table).where(column == source, ~has.exists())
    rows = await connection.execute(statement.values({column.name: target}).returning(column.table.c.id))
    moved = list(rows.scalars())
    if column.table is link:
        await connection.execute(delete(link).where(column == source))
    return moved


async def _fill(connection: AsyncConnection, kept: AnyRow, gone: AnyRow) -> dict[str, Any]:
    filled = {name: value for name in _FILLED if not getattr(kept, name) and (value := getattr(gone, name))}
    if filled.get("company_id") == kept.id:
        del filled["company_id"]
    if filled:
        await connection.execute(update(client_card).where(client_card.c.id == kept.id).values(**filled))
    return filled


async def _tell(connection: AsyncConnection, link_ids: Sequence[int]) -> None:
    query = select(link.c.interaction_id).where(link.c.id.in_(link_ids))
    await outbox.want(connection, sorted(set((await connection.execute(query)).scalars())))


def _merges() -> Select[*tuple[object, ...]]:
    gone = client_card.alias("gone")
    return select(card_merge, gone.c.name.label("gone_name")).join(gone, gone.c.id == card_merge.c.gone_id)


def _merge(row: AnyRow) -> Merge:
    return Merge(
        id=row.id,
        kept_id=row.kept_id,
        gone_id=row.gone_id,
        gone_name=row.gone_name,
        by=row.by,
        at=row.at,
        undone_by=row.undone_by or "",
    )


async def list_merges(connection: AsyncConnection, card_id: int) -> list[Merge]:
    """What was merged into a card and holds, the newest first."""
    query = _merges().where(card_merge.c.kept_id == card_id, card_merge.c.undone_at.is_(None))
    return [_merge(row) for row in await connection.execute(query.order_by(card_merge.c.id.desc()))]


async def find_kept(connection: AsyncConnection, merge_id: int) -> int | None:
    """The card that stayed, in a merge that holds or held; None where there was no such merge."""
    query = select(card_merge.c.kept_id).where(card_merge.c.id == merge_id)
    found: int | None = (await connection.execute(query)).scalar_one_or_none()
    return found


async def find_successor(connection: AsyncConnection, card_id: int) -> int | None:
    """The card that this one became; None where it is itself."""
    query = select(client_card.c.merged_into_id).where(client_card.c.id == card_id)
    found: int | None = (await connection.execute(query)).scalar_one_or_none()
    return found


async def move_contact_points(
    connection: AsyncConnection, point_ids: Sequence[int], source: int, target: int
) -> list[Identity]:
    """Contact points go over to another card, as a card is split; returns which."""
    statement = (
        update(contact_point)
        .where(contact_point.c.id.in_(point_ids), contact_point.c.client_card_id == source)
        .values(client_card_id=target)
        .returning(contact_point.c.kind, contact_point.c.value)
    )
    rows = await connection.execute(statement)
    return [Identity(kind=IdentityKind(row.kind), value=row.value) for row in rows]


async def list_identities(connection: AsyncConnection, *card_ids: int) -> list[Identity]:
    """Every contact point of these cards, each once."""
    query = select(contact_point.c.kind, contact_point.c.value).where(contact_point.c.client_card_id.in_(card_ids))
    rows = await connection.execute(query.distinct())
    return [Identity(kind=IdentityKind(row.kind), value=row.value) for row in rows]
