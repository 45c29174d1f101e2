"""Cards by their names and numbers, for the short list above what was found."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Text, cast, func, literal, or_, select, text, union
from sqlalchemy.dialects.postgresql import ARRAY, TSQUERY
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.store.rights import Viewer, is_visible_card
from agent.store.schema import client_card, contact_point, link
from agent.store.searching import fold
from agent.store.searchquery import number_digits

_MOST_FITTING = 400
_FEWEST_LETTERS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class FittingCard:
    """A card whose name, number or address fits; ``contact`` is the one that fits, else its first."""

    id: int
    name: str
    kind: str
    contact: str
    last_contact: datetime | None


def fits_card(typed: str) -> ColumnElement[bool] | None:
    """The condition on `client_card`: beginnings of words of its name, a part of a number in any notation, or the
    beginning of an address. None where too little was typed."""
    ways = _ways(typed)
    return or_(*ways) if ways else None


def _ways(typed: str) -> list[ColumnElement[bool]]:
    """Each by itself, which an index answers; an index answers none of them together."""
    ways: list[ColumnElement[bool]] = []
    words = re.findall(r"\w+", fold(typed))
    if words and len("".join(words)) >= _FEWEST_LETTERS:
        named = func.to_tsvector(
            text("'simple'"), func.translate(func.lower(client_card.c.name), text("'ё'"), text("'е'"))
        )
        ways.append(named.op("@@")(cast(" & ".join(f"'{one}':*" for one in words[:8]), TSQUERY)))
    points = _fits_point(typed)
    if points is not None:
        ways.append(client_card.c.id.in_(select(contact_point.c.client_card_id).where(points)))
    return ways


def _fits_point(typed: str) -> ColumnElement[bool] | None:
    value = contact_point.c.value
    ways = []
    for digits in number_digits(typed.strip()):
        parts = sorted({digits[at : at + 4] for at in range(len(digits) - 3)})
        fits = func.number_parts(value).op("@>")(literal(parts, ARRAY(Text))) & value.contains(digits)
        ways.append((contact_point.c.kind == "phone") & fits)
    if re.fullmatch(r"\S*[@.]\S*", typed.strip()) and len(typed.strip()) > _FEWEST_LETTERS:
        starts = value.startswith(typed.strip().lower().lstrip("@"), autoescape=True)
        ways.append(contact_point.c.kind.in_(["address", "domain"]) & starts)
    return or_(*ways) if ways else None


async def find_cards(connection: AsyncConnection, viewer: Viewer, typed: str, *, limit: int = 6) -> list[FittingCard]:
    """Those that the viewer may see, with the newest contact first."""
    fitting = [
        select(client_card.c.id).where(one, client_card.c.merged_into_id.is_(None)).limit(_MOST_FITTING).subquery()
        for one in _ways(typed)
    ]
    if not fitting:
        return []
    chosen = (
        union(*(select(one.c.id) for one in fitting)).cte("fitting").prefix_with("MATERIALIZED", dialect="postgresql")
    )
    last = select(func.max(link.c.started_at)).where(link.c.client_card_id == client_card.c.id).scalar_subquery()
    point = select(contact_point.c.value).where(contact_point.c.client_card_id == client_card.c.id)
    points = _fits_point(typed)
    order = [points.desc()] if points is not None else []
    contact = point.order_by(*order, contact_point.c.id).limit(1).scalar_subquery()
    query = (
        select(client_card.c.id, client_card.c.name, client_card.c.kind, contact.label("contact"), last.label("last"))
        .join(chosen, chosen.c.id == client_card.c.id)
        .where(is_visible_card(viewer, client_card.c.id))
        .order_by(last.desc().nulls_last(), client_card.c.id.desc())
        .limit(limit)
    )
    return [
        FittingCard(id=row.id, name=row.name, kind=row.kind, contact=row.contact or "", last_contact=row.last)
        for row in await connection.execute(query)
    ]
