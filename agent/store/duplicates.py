"""Cards that may be one: they share a number, an address or a name. A person merges them or says that they are two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import TextClause, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.store.asking import Query, ask
from agent.store.schema import distinct_cards

FEW = 5
"""What is on more cards than that is shared by many people, and says nothing of two of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicate:
    """Two cards and what they share, as it stands on them."""

    first_id: int
    first_name: str
    first_made: datetime
    second_id: int
    second_name: str
    second_made: datetime
    shared: tuple[str, ...]


_PAIR = """
    SELECT a.id AS first_id, a.name AS first_name, a.created_at AS first_made, b.id AS second_id,
        b.name AS second_name, b.created_at AS second_made, pairs.shared
    FROM (SELECT first, second, array_agg(DISTINCT value ORDER BY value) AS shared FROM found GROUP BY 1, 2) AS pairs
        JOIN client_card a ON a.id = pairs.first AND a.merged_into_id IS NULL
        JOIN client_card b ON b.id = pairs.second AND b.merged_into_id IS NULL AND b.kind = a.kind
    WHERE NOT EXISTS (SELECT FROM distinct_cards d WHERE d.first_id = pairs.first AND d.second_id = pairs.second)
    ORDER BY b.id DESC, a.id DESC LIMIT :most
"""
_OF_CARD = text(
    f"""
    WITH found AS (
        SELECT least(p.client_card_id, o.client_card_id) AS first,
            greatest(p.client_card_id, o.client_card_id) AS second, p.value
        FROM contact_point p CROSS JOIN LATERAL (
            SELECT q.client_card_id FROM contact_point q
            WHERE q.kind = p.kind AND q.value = p.value AND q.client_card_id <> p.client_card_id LIMIT {FEW}) AS o
        WHERE p.client_card_id = :card AND p.kind IN ('phone', 'address')
        UNION ALL
        SELECT least(c.id, o.id), greatest(c.id, o.id), c.name
        FROM client_card c CROSS JOIN LATERAL (
            SELECT n.id FROM client_card n
            WHERE n.name = c.name AND n.id <> c.id AND n.merged_into_id IS NULL LIMIT {FEW}) AS o
        WHERE c.id = :card AND length(c.name) > 5
    )
    {_PAIR}
    """  # noqa: S608 - only a number of ours is put in
)
_OF_ALL = text(
    f"""
    WITH many AS (
        SELECT kind, value, array_agg(client_card_id ORDER BY client_card_id) AS cards FROM contact_point
        WHERE kind IN ('phone', 'address') GROUP BY kind, value HAVING count(*) BETWEEN 2 AND {FEW}
    ), namesakes AS (
        SELECT name, array_agg(id ORDER BY id) AS cards FROM client_card
        WHERE merged_into_id IS NULL AND length(name) > 5 GROUP BY name HAVING count(*) BETWEEN 2 AND {FEW}
    ), found AS (
        SELECT one AS first, other AS second, value
        FROM (SELECT value, cards FROM many UNION ALL SELECT name, cards FROM namesakes) AS shared,
            unnest(cards) AS one, unnest(cards) AS other WHERE one < other
    )
    {_PAIR}
    """  # noqa: S608
)


async def list_duplicates(
    connection: AsyncConnection, *, card_id: int | None = None, most: int = 100
) -> list[Duplicate]:
    """Pairs, the newest first: of one card, found by indexes; or of all, which looks through every card once."""
    query = duplicates_of(card_id, most) if card_id is not None else _query(_OF_ALL, {"most": most})
    (found,) = await ask(connection, query)
    return found


def duplicates_of(card_id: int, most: int = 100) -> Query[list[Duplicate]]:
    """Those of one card."""
    return _query(_OF_CARD, {"card": card_id, "most": most})


def _query(statement: TextClause, values: dict[str, int]) -> Query[list[Duplicate]]:
    return Query(statement=statement, values=values, read=_read)


def _read(rows: Sequence[Any]) -> list[Duplicate]:
    return [
        Duplicate(
            first_id=row.first_id,
            first_name=row.first_name,
            first_made=row.first_made,
            second_id=row.second_id,
            second_name=row.second_name,
            second_made=row.second_made,
            shared=tuple(row.shared),
        )
        for row in rows
    ]


async def keep_apart(connection: AsyncConnection, first: int, second: int, *, by: str) -> None:
    """A person says that they are two: nobody is asked again."""
    low, high = sorted((first, second))
    statement = insert(distinct_cards).values(first_id=low, second_id=high, by=by)
    await connection.execute(statement.on_conflict_do_nothing())
