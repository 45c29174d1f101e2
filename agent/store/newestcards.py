"""The cards with the newest contact, found from the newest entries backwards, and not by looking at every card.

Entries are walked by an index of their time; each card they lead to is asked about once, newest first, until a page is
full. So a page costs what stands on it, however many cards there are. Whoever sees one card in a hundred would walk for
long: that is noticed after the first hundred, and the caller looks at what is the viewer's instead.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import exists, func, literal, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.store.engine import is_any
from agent.store.rights import Viewer, is_visible_bare_card, is_visible_card
from agent.store.schema import client_card, link

_FIRST_LOOK = 200  # entries; each further look at twice as many
_MOST_WALKED = 25_000
_CHUNK = 100  # cards whose rights are asked for together
_MOST_ASKED = 1_500  # cards whose rights a page may cost


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Dated:
    """A card, and the moment by which it is ordered."""

    moment: datetime
    id: int


async def list_newest(
    connection: AsyncConnection, viewer: Viewer, *, after: Dated | None, limit: int
) -> list[Dated] | None:
    """The next cards that the viewer sees, by their last contact, or by when they were made where there was none. None
    where walking would take too long."""
    found: list[Dated] = []
    asked = 0
    async for chunk in _cards(connection, after):
        if chunk is None:
            return None
        found += await _seen(connection, viewer, chunk)
        asked += len(chunk)
        if len(found) >= limit:
            break
        if asked * limit > _MOST_ASKED * len(found):
            return None
    floor = found[limit - 1].moment if len(found) >= limit else None
    found += await _untouched(connection, viewer, after=after, floor=floor, limit=limit)
    return sorted(found, reverse=True)[:limit]


async def _cards(connection: AsyncConnection, after: Dated | None) -> AsyncIterator[list[Dated] | None]:
    """Cards with their last contact, the newest first, a chunk at a time; None: enough was walked."""
    known: set[int] = set()
    waiting: list[Dated] = []
    at, look, walked, is_more = after, _FIRST_LOOK, 0, True
    while is_more:
        entries = await _entries(connection, at, look)
        walked += len(entries)
        is_more = len(entries) == look
        at = entries[-1] if is_more else None
        fresh = _fresh(entries, known)
        waiting += fresh if after is None else await _not_newer(connection, fresh)
        while len(waiting) >= _CHUNK or (waiting and not is_more):
            yield waiting[:_CHUNK]
            waiting = waiting[_CHUNK:]
        if is_more and walked > _MOST_WALKED:
            yield None
            return
        look *= 2


def _fresh(entries: Sequence[Dated], known: set[int]) -> list[Dated]:
    """Each card with its newest entry, in order; noted as known."""
    newest: dict[int, Dated] = {}
    for one in entries:
        if one.id not in known:
            newest.setdefault(one.id, one)
    known.update(newest)
    return list(newest.values())


async def _entries(connection: AsyncConnection, after: Dated | None, limit: int) -> list[Dated]:
    columns = (link.c.started_at, link.c.client_card_id)
    query = select(*columns).where(link.c.client_card_id.is_not(None))
    if after is not None:
        query = query.where(tuple_(*columns) < tuple_(literal(after.moment), literal(after.id)))
    rows = await connection.execute(query.order_by(*(one.desc() for one in columns)).limit(limit))
    return [Dated(moment=row.started_at, id=row.client_card_id) for row in rows]


async def _not_newer(connection: AsyncConnection, cards: Sequence[Dated]) -> list[Dated]:
    """Those whose last contact this is: the others stood on an earlier page."""
    if not cards:
        return []
    last = select(func.max(link.c.started_at)).where(link.c.client_card_id == client_card.c.id).scalar_subquery()
    query = select(client_card.c.id, last.label("last")).where(is_any(client_card.c.id, [one.id for one in cards]))
    known = {row.id: row.last for row in await connection.execute(query)}
    return [one for one in cards if known.get(one.id) == one.moment]


async def _seen(connection: AsyncConnection, viewer: Viewer, cards: Sequence[Dated]) -> list[Dated]:
    query = select(client_card.c.id).where(
        is_any(client_card.c.id, [one.id for one in cards]),
        client_card.c.merged_into_id.is_(None),
        is_visible_card(viewer, client_card.c.id),
    )
    seen = set((await connection.execute(query)).scalars())
    return [one for one in cards if one.id in seen]


async def _untouched(
    connection: AsyncConnection, viewer: Viewer, *, after: Dated | None, floor: datetime | None, limit: int
) -> list[Dated]:
    """Cards on which nothing stands, the newest first, down to the moment ``floor``."""
    made = (client_card.c.created_at, client_card.c.id)
    query = select(*made).where(
        client_card.c.merged_into_id.is_(None),
        is_visible_bare_card(viewer),
        ~exists(select(link.c.id).where(link.c.client_card_id == client_card.c.id)),
    )
    if after is not None:
        query = query.where(tuple_(*made) < tuple_(literal(after.moment), literal(after.id)))
    if floor is not None:
        query = query.where(client_card.c.created_at >= floor)
    rows = await connection.execute(query.order_by(*(one.desc() for one in made)).limit(limit))
    return [Dated(moment=row.created_at, id=row.id) for row in rows]
