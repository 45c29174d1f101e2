"""What a person said once for all: whose a number is, that it is private, that it concerns nobody; and the policies of
our own lines for unknown numbers. Nothing is deleted: a rule is revoked, and says by whom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import Select, delete, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import Identity, IdentityKind
from agent.store.engine import AnyRow
from agent.store.schema import client_card, line_policy, link, link_rule


class RuleDecision(StrEnum):
    """What a rule says of an identity."""

    CARD = "card"  # it is this client's, whoever else has it
    PRIVATE = "private"  # nothing with it is logged anywhere
    IGNORE = "ignore"  # a supplier, spam: on no card, and nobody is asked


class UnknownPolicy(StrEnum):
    """What becomes of a number that is on no card."""

    PROPOSE = "propose"  # it waits on the page «To be sorted»
    CREATE = "create"  # a card is made
    IGNORE = "ignore"  # it is on no card, and nobody is asked


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkRule:
    """A person's decision about an identity, in force until it is revoked."""

    id: int
    identity: Identity
    decision: RuleDecision
    card_id: int | None
    card_name: str
    note: str
    made_by: str
    made: datetime
    revoked_by: str = ""
    revoked: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LinePolicy:
    """What becomes of unknown numbers at one of our lines: an extension, a number or an address of ours."""

    id: int
    identity: Identity
    unknown: UnknownPolicy
    made_by: str
    made: datetime


def _rule(row: AnyRow) -> LinkRule:
    return LinkRule(
        id=row.id,
        identity=Identity(kind=IdentityKind(row.kind), value=row.value),
        decision=RuleDecision(row.decision),
        card_id=row.client_card_id,
        card_name=row.name or "",
        note=row.note,
        made_by=row.made_by,
        made=row.made_at,
        revoked_by=row.revoked_by or "",
        revoked=row.revoked_at,
    )


def _rules() -> Select[*tuple[object, ...]]:
    return select(link_rule, client_card.c.name).outerjoin(client_card, client_card.c.id == link_rule.c.client_card_id)


async def make_rule(
    connection: AsyncConnection,
    identity: Identity,
    decision: RuleDecision,
    *,
    by: str,
    card_id: int | None = None,
    note: str = "",
) -> int:
    """From now on it is so; a rule that said otherwise of this identity is revoked. Returns the new rule's id."""
    await connection.execute(
        update(link_rule)
        .where(link_rule.c.kind == identity.kind, link_rule.c.value == identity.value, link_rule.c.revoked_at.is_(None))
        .values(revoked_at=func.now(), revoked_by=by)
    )
    values = {"kind": identity.kind, "value": identity.value, "decision": decision, "client_card_id": card_id}
    statement = insert(link_rule).values(**values, note=note, made_by=by).returning(link_rule.c.id)
    return int((await connection.execute(statement)).scalar_one())


async def revoke_rule(connection: AsyncConnection, rule_id: int, *, by: str) -> Identity | None:
    """It holds no more. Returns what it was about; None where there is no such rule in force."""
    statement = (
        update(link_rule)
        .where(link_rule.c.id == rule_id, link_rule.c.revoked_at.is_(None))
        .values(revoked_at=func.now(), revoked_by=by)
        .returning(link_rule.c.kind, link_rule.c.value)
    )
    row = (await connection.execute(statement)).first()
    return Identity(kind=IdentityKind(row.kind), value=row.value) if row else None


async def list_rules(
    connection: AsyncConnection, *, card_id: int | None = None, revoked: bool = False, limit: int = 500
) -> list[LinkRule]:
    """Rules in force, or those that were revoked, the newest first; of one card, or of all."""
    query = _rules().where(link_rule.c.revoked_at.is_not(None) if revoked else link_rule.c.revoked_at.is_(None))
    if card_id is not None:
        query = query.where(link_rule.c.client_card_id == card_id)
    rows = await connection.execute(query.order_by(link_rule.c.id.desc()).limit(limit))
    return [_rule(row) for row in rows if row.value]


async def count_links_by(connection: AsyncConnection, rule_ids: Sequence[int]) -> dict[int, int]:
    """How many entries stand where they stand by each of these rules."""
    query = select(link.c.link_rule_id, func.count().label("entries")).where(link.c.link_rule_id.in_(rule_ids))
    return {row.link_rule_id: row.entries for row in await connection.execute(query.group_by(link.c.link_rule_id))}


async def save_policy(connection: AsyncConnection, identity: Identity, unknown: UnknownPolicy, *, by: str) -> None:
    """What becomes of unknown numbers at this line from now on."""
    values = {"kind": identity.kind, "value": identity.value, "unknown": unknown, "made_by": by}
    statement = upsert(line_policy).values(**values)
    new = {"unknown": unknown, "made_by": by, "made_at": func.now()}
    await connection.execute(
        statement.on_conflict_do_update(index_elements=[line_policy.c.kind, line_policy.c.value], set_=new)
    )


async def remove_policy(connection: AsyncConnection, policy_id: int) -> bool:
    """The default holds for this line again."""
    statement = delete(line_policy).where(line_policy.c.id == policy_id).returning(line_policy.c.id)
    return (await connection.execute(statement)).first() is not None


async def list_policies(connection: AsyncConnection) -> list[LinePolicy]:
    """All of them, by line."""
    rows = await connection.execute(select(line_policy).order_by(line_policy.c.kind, line_policy.c.value))
    return [
        LinePolicy(
            id=row.id,
            identity=Identity(kind=IdentityKind(row.kind), value=row.value),
            unknown=UnknownPolicy(row.unknown),
            made_by=row.made_by,
            made=row.made_at,
        )
        for row in rows
    ]
