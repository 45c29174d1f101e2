"""What tells cards apart that one number could mean: threads and conversations, open deals, the last talk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import Text

from agent.model import Identity, IdentityKind
from agent.store.asking import Query

INHERITED = "inherited: "
"""How the reason begins by which an interaction has its card from its thread or conversation."""

_IDS = bindparam("ids", type_=ARRAY(BigInteger))


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """A link of an interaction, met through its thread or conversation. ``identities`` are those of the outside."""

    interaction_id: int
    thread_id: int | None
    conversation_key: str | None
    card_id: int | None
    card_name: str
    started: datetime
    is_inherited: bool
    identities: tuple[Identity, ...]


_RELATIONS = text(
    """
    WITH kin AS (
        SELECT n.interaction_id, n.thread_id, NULL::text AS conversation_key
        FROM unnest(:threads) AS t(id) CROSS JOIN LATERAL (
            SELECT m.interaction_id, m.thread_id FROM message m
            WHERE m.thread_id = t.id AND m.category = 'conversation' ORDER BY m.interaction_id DESC LIMIT :most) AS n
        UNION ALL
        SELECT n.id, NULL, n.conversation_key
        FROM unnest(:conversations) AS t(key) CROSS JOIN LATERAL (
            SELECT i.id, i.conversation_key FROM interaction i
            WHERE i.conversation_key = t.key ORDER BY i.id DESC LIMIT :most) AS n
    )
    SELECT kin.*, l.client_card_id, c.name, l.started_at,
        l.decided_by = 'rule' AND l.reason LIKE :inherited AS inherited,
        (SELECT jsonb_agg(jsonb_build_array(p.identity_kind, p.identity_value)) FROM party p
         WHERE p.interaction_id = kin.interaction_id AND p.role = 'client' AND p.identity_value IS NOT NULL) AS outside
    FROM kin JOIN link l ON l.interaction_id = kin.interaction_id AND l.state IN ('linked', 'unknown', 'ambiguous')
        LEFT JOIN client_card c ON c.id = l.client_card_id
    ORDER BY l.started_at, kin.interaction_id, l.id
    """
).bindparams(bindparam("threads", type_=ARRAY(BigInteger)), bindparam("conversations", type_=ARRAY(Text)))


def relations_of(threads: Sequence[int], conversations: Sequence[str], *, most: int = 100) -> Query[list[Relation]]:
    """The newest entries of these threads and conversations as they are linked now, the oldest of them first."""
    values = {"threads": list(threads), "conversations": list(conversations), "inherited": f"{INHERITED}%"}
    return Query(
        statement=_RELATIONS, values=values | {"most": most}, read=lambda rows: [_relation(row) for row in rows]
    )


def _relation(row: Any) -> Relation:
    return Relation(
        interaction_id=row.interaction_id,
        thread_id=row.thread_id,
        conversation_key=row.conversation_key,
        card_id=row.client_card_id,
        card_name=row.name or "",
        started=row.started_at,
        is_inherited=row.inherited,
        identities=tuple(Identity(kind=IdentityKind(kind), value=value) for kind, value in row.outside or ()),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """An interaction whose number is on several cards: what tells them apart?"""

    interaction_id: int
    at: datetime
    identity: Identity
    card_ids: tuple[int, ...]


_SURE = 80  # per cent: what stands less surely on a card tells nothing of other entries

_DEALS = text(
    """
    SELECT c.client_card_id AS card_id, array_agg(DISTINCT u.employee_id) AS employees
    FROM crm_card c JOIN deal d ON d.crm_card_id = c.id AND d.state = 'open' AND d.gone_at IS NULL
        LEFT JOIN crm_user u ON u.connector_id = d.connector_id AND u.external_id = d.responsible
    WHERE c.client_card_id = ANY(:ids) GROUP BY c.client_card_id
    """
).bindparams(_IDS)


async def list_open_deals(connection: AsyncConnection, card_ids: Sequence[int]) -> Mapping[int, frozenset[int]]:
    """Cards that have open deals in a CRM, with the employees responsible for those."""
    rows = await connection.execute(_DEALS, {"ids": list(card_ids)})
    return {row.card_id: frozenset(one for one in row.employees if one is not None) for row in rows}


_TALKS = text(
    """
    SELECT q.id, q.card, talk.started_at,
        ARRAY(SELECT p.employee_id FROM party p
              WHERE p.interaction_id = talk.interaction_id AND p.employee_id IS NOT NULL) AS employees
    FROM jsonb_to_recordset(:rows) AS q(id bigint, at timestamptz, kind text, value text, card bigint)
    CROSS JOIN LATERAL (
        SELECT near.* FROM (
            SELECT l.started_at, l.interaction_id, l.decided_by FROM link l
            WHERE l.client_card_id = q.card AND l.started_at < q.at
                AND (l.confidence >= :sure OR l.decided_by <> 'rule')
            ORDER BY l.started_at DESC, l.interaction_id DESC LIMIT 30) AS near
        WHERE near.decided_by <> 'rule'
           OR NOT EXISTS (SELECT FROM party p WHERE p.interaction_id = near.interaction_id
                          AND p.identity_kind = q.kind AND p.identity_value = q.value)
           OR EXISTS (SELECT FROM party p JOIN contact_point c ON c.kind = p.identity_kind
                          AND c.value = p.identity_value AND c.client_card_id = q.card
                      WHERE p.interaction_id = near.interaction_id
                          AND (p.identity_kind, p.identity_value) <> (q.kind, q.value))
        ORDER BY near.started_at DESC, near.interaction_id DESC LIMIT 1) AS talk
    """
).bindparams(bindparam("rows", type_=JSONB))


async def list_last_talks(
    connection: AsyncConnection, questions: Sequence[Question]
) -> dict[int, dict[int, tuple[datetime, frozenset[int]]]]:
    """By interaction and card: the last entry of the card before it, and who of us took part. One that is on the card
    by the shared number alone is no sign: it would be its own reason."""
    rows = [
        {"id": one.interaction_id, "at": one.at.isoformat(), "kind": one.identity.kind, "value": one.identity.value,
         "card": card}
        for one in questions for card in one.card_ids
    ]  # fmt: skip
    found: dict[int, dict[int, tuple[datetime, frozenset[int]]]] = {}
    for row in await connection.execute(_TALKS, {"rows": rows, "sure": _SURE}):
        found.setdefault(row.id, {})[row.card] = (row.started_at, frozenset(row.employees))
    return found


async def list_to_follow(connection: AsyncConnection, interaction_ids: Sequence[int], *, most: int = 200) -> list[int]:
    """Others of the same threads and conversations that rules left without a card, or that have it by inheritance: they
    are to be looked at again, as these have changed."""
    query = text(
        """
        SELECT DISTINCT l.interaction_id FROM (
            SELECT other.interaction_id AS id FROM message m JOIN message other ON other.thread_id = m.thread_id
            WHERE m.interaction_id = ANY(:ids)
            UNION
            SELECT other.id FROM interaction i JOIN interaction other ON other.conversation_key = i.conversation_key
            WHERE i.id = ANY(:ids)) AS near
        JOIN link l ON l.interaction_id = near.id AND l.decided_by = 'rule'
        WHERE (l.state IN ('unknown', 'ambiguous') OR l.reason LIKE :inherited) AND NOT l.interaction_id = ANY(:ids)
        ORDER BY l.interaction_id LIMIT :most
        """
    ).bindparams(_IDS)
    rows = await connection.execute(query, {"ids": list(interaction_ids), "most": most, "inherited": f"{INHERITED}%"})
    return list(rows.scalars())
