"""Cards by their names and numbers, for the short list above what was found."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from agent.store.asking import Query, ask
from agent.store.rights import Viewer
from agent.store.searching import fold
from agent.store.searchlooks import statement
from agent.store.searchquery import number_digits
from agent.store.sight import Sight, sight_of

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


async def find_cards(connection: AsyncConnection, viewer: Viewer, typed: str, *, limit: int = 6) -> list[FittingCard]:
    """Those that the viewer may see, with the newest contact first."""
    (found,) = await ask(connection, fitting(await sight_of(connection, viewer), typed, limit=limit))
    return found


def fitting(sight: Sight, typed: str, *, limit: int = 6) -> Query[list[FittingCard]]:
    """The same for a statement that goes along with others: cards of which beginnings of words of the name fit, a part
    of a number in any notation, or the beginning of an address; none where too little was typed."""
    ways, points, values = _ways(typed)
    if not ways:
        return Query(statement=statement("SELECT WHERE false"), values={}, read=lambda _: [])
    # Each by itself, which an index answers; an index answers none of them together.
    chosen = " UNION ".join(
        f"(SELECT c.id FROM client_card c WHERE {one} AND c.merged_into_id IS NULL LIMIT {_MOST_FITTING})"  # noqa: S608
        for one in ways
    )
    first = f"({points}) DESC, " if points else ""
    sql = f"""
        {sight.beginning} fitting AS MATERIALIZED ({chosen}),
        newest AS MATERIALIZED (
            SELECT f.id, (SELECT max(l.started_at) FROM link l WHERE l.client_card_id = f.id) AS last FROM fitting f)
        SELECT c.id, c.name, c.kind, n.last, (
            SELECT p.value FROM contact_point p WHERE p.client_card_id = c.id ORDER BY {first}p.id LIMIT 1) AS contact
        FROM (SELECT * FROM newest ORDER BY last DESC NULLS LAST, id DESC OFFSET 0) AS n
            JOIN client_card c ON c.id = n.id
        WHERE {sight.of_card("n.id")} ORDER BY n.last DESC NULLS LAST, n.id DESC LIMIT :limit
    """  # noqa: S608 - our own words
    return Query(statement=statement(sql), values={**values, **sight.values, "limit": limit}, read=_read)


def _read(rows: Sequence[Any]) -> list[FittingCard]:
    return [
        FittingCard(id=row.id, name=row.name, kind=row.kind, contact=row.contact or "", last_contact=row.last)
        for row in rows
    ]


def _ways(typed: str) -> tuple[list[str], str, dict[str, object]]:
    """Conditions on a card ``c``, the one on a contact point ``p``, and what they name."""
    ways: list[str] = []
    points, values = _fits_point(typed)
    words = re.findall(r"\w+", fold(typed))
    if words and len("".join(words)) >= _FEWEST_LETTERS:
        ways.append("to_tsvector('simple', translate(lower(c.name), 'ё', 'е')) @@ CAST(:name_words AS tsquery)")
        values["name_words"] = " & ".join(f"'{one}':*" for one in words[:8])
    if points:
        ways.append(f"c.id IN (SELECT p.client_card_id FROM contact_point p WHERE {points})")  # noqa: S608
    return ways, points, values


def _fits_point(typed: str) -> tuple[str, dict[str, object]]:
    ways: list[str] = []
    values: dict[str, object] = {}
    for number, digits in enumerate(number_digits(typed.strip())):
        has = f"number_parts(p.value) @> CAST(:parts{number} AS text[])"  # by the index, in any order
        ways.append(f"p.kind = 'phone' AND {has} AND strpos(p.value, CAST(:digits{number} AS text)) > 0")
        values |= {
            f"parts{number}": sorted({digits[at : at + 4] for at in range(len(digits) - 3)}),
            f"digits{number}": digits,
        }
    if re.fullmatch(r"\S*[@.]\S*", typed.strip()) and len(typed.strip()) > _FEWEST_LETTERS:
        ways.append("p.kind IN ('address', 'domain') AND starts_with(p.value, CAST(:address AS text))")
        values["address"] = typed.strip().lower().lstrip("@")
    return (f"({') OR ('.join(ways)})" if ways else ""), values
