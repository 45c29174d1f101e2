"""Which hits of a search a viewer may see, and which of them fit what was asked for besides words."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from weakref import WeakKeyDictionary

from sqlalchemy import BigInteger, ColumnElement, Engine, and_, bindparam, cast, exists, func, or_, select, text
from sqlalchemy.dialects.postgresql import ARRAY, TSQUERY
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.store import rights
from agent.store.asking import Query, ask
from agent.store.engine import is_any
from agent.store.rights import Viewer, is_visible_card, is_visible_interaction, not_private
from agent.store.schema import call, card_note, interaction, link, message, party, search_entry

FILE, NOTE = "file", "note"  # kinds beside those of interactions
_NEAR_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What a hit must be besides; None and empty ask for nothing. Seconds are of talking; ``until`` is exclusive."""

    kind: str = ""
    direction: str = ""
    employee_id: int | None = None
    card_id: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    at_least: int | None = None
    at_most: int | None = None
    tag: str = ""

    @property
    def are_any(self) -> bool:
        """Whether anything is asked for."""
        return self != Filters()


async def permitted(
    connection: AsyncConnection, viewer: Viewer, filters: Filters, negative: str, ids: Sequence[int]
) -> set[int]:
    """Those among the hits that the viewer may see and that the filters let through; ``negative`` is what must not be
    in another part of the same interaction."""
    if viewer.sees_all and not filters.are_any and not negative:
        shown = Query(statement=_SHOWN, values={"ids": list(ids)}, read=lambda rows: {row.id for row in rows})
        (found,) = await ask(connection, shown)
        return found
    if not viewer.sees_all:
        ids = await _near(connection, viewer, ids)
    if not ids:
        return set()
    entry = search_entry.c
    note, other = card_note.alias(), search_entry.alias()
    of_interaction = and_(
        entry.interaction_id.is_not(None),
        is_visible_interaction(viewer, entry.interaction_id),
        *_conditions(filters, entry.interaction_id),
    )
    of_card = exists(
        select(note.c.id).where(note.c.id == entry.card_note_id, is_visible_card(viewer, note.c.client_card_id))
    )
    seen = [of_interaction] if filters.kind != NOTE else []
    if filters.kind == NOTE or not replace(filters, since=None, until=None).are_any:
        seen.append(and_(entry.card_note_id.is_not(None), of_card))
    query = select(entry.id).where(is_any(entry.id, ids), or_(*seen))
    if filters.kind == FILE:
        query = query.where(entry.part > 0)
    if negative:
        elsewhere = [other.c.interaction_id == entry.interaction_id, other.c.part != entry.part]
        unwanted = other.c.words.op("@@")(cast(negative, TSQUERY))
        query = query.where(~exists(select(other.c.id).where(*elsewhere, unwanted)))
    return set((await connection.execute(query)).scalars())


_SHOWN = text(
    f"""
    SELECT e.id FROM search_entry e
    WHERE e.id = ANY(:ids) AND (e.card_note_id IS NOT NULL OR ({not_private("e.interaction_id")}))
    """  # noqa: S608 - our own words
).bindparams(bindparam("ids", type_=ARRAY(BigInteger)))
_NEAR = text(
    """
    SELECT e.id, e.card_note_id IS NOT NULL OR EXISTS (
            SELECT FROM party p
            WHERE p.interaction_id = e.interaction_id AND p.employee_id = ANY(:employees)) AS is_own,
        ARRAY(SELECT l.client_card_id FROM link l
              WHERE l.interaction_id = e.interaction_id AND l.client_card_id IS NOT NULL) AS cards
    FROM search_entry e WHERE e.id = ANY(:ids)
    """
).bindparams(*(bindparam(name, type_=ARRAY(BigInteger)) for name in ("employees", "ids")))
_near_cards: WeakKeyDictionary[Engine, dict[tuple[int, ...], tuple[float, frozenset[int]]]] = WeakKeyDictionary()


async def _near(connection: AsyncConnection, viewer: Viewer, ids: Sequence[int]) -> list[int]:
    """Those that the viewer might see. The cards he might see are remembered for a minute: a card that became his since
    is found that much later, and what is his no more is refused by the conditions that follow."""
    employees = tuple(sorted({one.employee_id for one in viewer.tenures}))
    if not employees:
        return []
    engine = connection.sync_connection.engine if connection.sync_connection is not None else None
    known = _near_cards.setdefault(engine, {}) if engine is not None else {}
    kept = known.get(employees)
    if kept is None or kept[0] < time.monotonic():
        if len(known) > _MOST_VIEWERS:
            known.clear()
        kept = (time.monotonic() + _NEAR_SECONDS, await rights.list_cards_near(connection, viewer))
        known[employees] = kept
    values = {"employees": list(employees), "ids": list(ids)}
    (rows,) = await ask(connection, Query(statement=_NEAR, values=values, read=list))
    return [number for number, is_own, cards in rows if is_own or not kept[1].isdisjoint(cards)]


_MOST_VIEWERS = 200


def _conditions(filters: Filters, number: ColumnElement[int]) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    kind = filters.kind if filters.kind not in (FILE, NOTE) else ""
    if kind or filters.direction:
        ways = [interaction.c.id == number]
        ways += [interaction.c.kind == kind] if kind else []
        ways += [interaction.c.direction == filters.direction] if filters.direction else []
        found.append(exists(select(interaction.c.id).where(*ways)))
    if filters.employee_id is not None:
        own = party.alias()
        found.append(
            exists(select(own.c.id).where(own.c.interaction_id == number, own.c.employee_id == filters.employee_id))
        )
    if filters.card_id is not None:
        linked = link.alias()
        found.append(
            exists(
                select(linked.c.id).where(linked.c.interaction_id == number, linked.c.client_card_id == filters.card_id)
            )
        )
    if filters.at_least is not None or filters.at_most is not None:
        talked = func.extract("epoch", call.c.ended_at - call.c.answered_at)
        ways = [call.c.interaction_id == number]
        ways += [talked >= filters.at_least] if filters.at_least is not None else []
        ways += [talked <= filters.at_most] if filters.at_most is not None else []
        found.append(exists(select(call.c.interaction_id).where(*ways)))
    if filters.tag:
        tagged = message.c.tags.contains([[filters.tag]])
        found.append(
            exists(
                select(message.c.interaction_id).where(
                    message.c.interaction_id == number, or_(message.c.category == filters.tag, tagged)
                )
            )
        )
    return found
