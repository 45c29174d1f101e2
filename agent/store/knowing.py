"""What is known of identities, in one statement for a whole batch: who of us held them, which cards have them, what
people have said of them, and the policies of our lines. Each look-up goes by an index, however many cards there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import Text

from agent.model import Identity, IdentityKind
from agent.store.asking import Query, ask
from agent.store.cards import Candidate, ContactPoint
from agent.store.employees import EmployeeIdentity
from agent.store.linkrules import LinkRule, RuleDecision, UnknownPolicy

MOST_CARDS = 51
"""Cards of one identity that are looked at: past fifty it is a number of nobody (`linker.rank.SHARED_BY_MANY`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """By identity; what is not known is not there."""

    holders: Mapping[Identity, list[EmployeeIdentity]]
    candidates: Mapping[Identity, list[Candidate]]
    rules: Mapping[Identity, LinkRule]
    policies: Mapping[Identity, UnknownPolicy]


_FIND = text(
    """
    WITH wanted AS MATERIALIZED (SELECT DISTINCT kind, value FROM unnest(:kinds, :values) AS w(kind, value))
    SELECT 'card' AS what, w.kind, w.value, c.id, c.name, c.kind AS word, c.label, c.company_id AS first,
           c.responsible_id AS second, NULL::timestamptz AS since, NULL::timestamptz AS until
    FROM wanted w CROSS JOIN LATERAL (
        SELECT card.id, card.name, card.kind, card.company_id, card.responsible_id, p.label
        FROM contact_point p JOIN client_card card ON card.id = p.client_card_id AND card.merged_into_id IS NULL
        WHERE p.kind = w.kind AND p.value = w.value ORDER BY card.id LIMIT :most) AS c
    UNION ALL
    SELECT 'holder', w.kind, w.value, h.id, e.name, NULL, h.label, h.employee_id, NULL, h.valid_from, h.valid_to
    FROM wanted w JOIN employee_identity h ON h.kind = w.kind AND h.value = w.value
        LEFT JOIN employee e ON e.id = h.employee_id
    UNION ALL
    SELECT 'rule', w.kind, w.value, r.id, r.made_by, r.decision, r.note, coalesce(c.merged_into_id, c.id), NULL,
           r.made_at, NULL
    FROM wanted w JOIN link_rule r ON r.kind = w.kind AND r.value = w.value AND r.revoked_at IS NULL
        LEFT JOIN client_card c ON c.id = r.client_card_id
    UNION ALL
    SELECT 'policy', kind, value, id, made_by, unknown, '', NULL, NULL, NULL, NULL FROM line_policy
    ORDER BY what, id
    """
).bindparams(bindparam("kinds", type_=ARRAY(Text)), bindparam("values", type_=ARRAY(Text)))


def known_of(identities: Sequence[Identity]) -> Query[Known]:
    """All that is known of these."""
    kinds, values = [one.kind.value for one in identities], [one.value for one in identities]
    return Query(statement=_FIND, values={"kinds": kinds, "values": values, "most": MOST_CARDS}, read=_known)


async def find_known(connection: AsyncConnection, identities: Sequence[Identity]) -> Known:
    """The same, asked alone."""
    (known,) = await ask(connection, known_of(identities))
    return known


def _known(rows: Sequence[Any]) -> Known:
    holders: dict[Identity, list[EmployeeIdentity]] = {}
    candidates: dict[Identity, list[Candidate]] = {}
    rules: dict[Identity, LinkRule] = {}
    policies: dict[Identity, UnknownPolicy] = {}
    for row in rows:
        identity = Identity(kind=IdentityKind(row.kind), value=row.value)
        if row.what == "card":
            candidates.setdefault(identity, []).append(_candidate(row, identity))
        elif row.what == "holder":
            holders.setdefault(identity, []).append(_holder(row, identity))
        elif row.what == "rule":
            rules[identity] = _rule(row, identity, row.since)
        else:
            policies[identity] = UnknownPolicy(row.word)
    return Known(holders=holders, candidates=candidates, rules=rules, policies=policies)


def _candidate(row: Any, identity: Identity) -> Candidate:
    return Candidate(
        card_id=row.id,
        card_name=row.name,
        card_kind=row.word,
        contact_point=ContactPoint(card_id=row.id, identity=identity, label=row.label),
        company_id=row.first,
        responsible_id=row.second,
    )


def _holder(row: Any, identity: Identity) -> EmployeeIdentity:
    return EmployeeIdentity(
        id=row.id,
        employee_id=row.first,
        name=row.name or "",
        identity=identity,
        label=row.label,
        valid_from=row.since,
        valid_to=row.until,
    )


def _rule(row: Any, identity: Identity, made: datetime) -> LinkRule:
    return LinkRule(
        id=row.id,
        identity=identity,
        decision=RuleDecision(row.word),
        card_id=row.first,
        card_name="",
        note=row.label,
        made_by=row.name,
        made=made,
    )
