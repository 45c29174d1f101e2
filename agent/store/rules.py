"""Rules that sort mail, what they look at, and what they decided; the deciding itself is `linker.rules`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import Direction, MessageCategory
from agent.store.engine import AnyRow
from agent.store.schema import interaction, mail_rule, message

_WORDS = 20_000  # characters of a mail that rules look at

Conditions = Mapping[str, Sequence[str]]
"""Field → values. All fields must fit, and of each field one value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MailRule:
    """One rule: it gives a mail its category, or a tag. ``preset`` names those that come with the program."""

    id: int
    place: int
    name: str
    conditions: Conditions
    category: MessageCategory | None = None
    tag: str | None = None
    preset: str = ""
    enabled: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class MailFacts:
    """What rules look at. ``words`` are the sender's own, without what he quotes; ``marked`` is the header's word."""

    interaction_id: int
    senders: tuple[str, ...]
    recipients: tuple[str, ...]
    subject: str
    words: str
    attachments: tuple[str, ...]
    headers: Mapping[str, str]
    mailboxes: tuple[str, ...]
    folders: tuple[str, ...]
    marked: MessageCategory
    marked_reason: str
    direction: Direction | None
    category: MessageCategory
    tags: tuple[str, ...] = ()
    started: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sorted:
    """What the rules make of a mail; ``tags`` are pairs of tag and reason."""

    category: MessageCategory
    reason: str
    tags: tuple[tuple[str, str], ...] = ()
    rule_id: int | None = field(default=None, compare=False)


def _rule(row: AnyRow) -> MailRule:
    return MailRule(
        id=row.id,
        place=row.place,
        name=row.name,
        conditions=row.conditions,
        category=MessageCategory(row.category) if row.category else None,
        tag=row.tag,
        preset=row.preset,
        enabled=row.enabled,
    )


async def list_rules(connection: AsyncConnection) -> list[MailRule]:
    """All rules in their order."""
    rows = await connection.execute(select(mail_rule).order_by(mail_rule.c.place, mail_rule.c.id))
    return [_rule(row) for row in rows]


async def save_rule(connection: AsyncConnection, rule: MailRule) -> int:
    """Change a rule, or add one (its id is 0) before all others. Returns its id."""
    values: dict[str, Any] = {
        "name": rule.name,
        "enabled": rule.enabled,
        "category": rule.category,
        "tag": rule.tag,
        "conditions": {name: list(one) for name, one in rule.conditions.items()},
    }
    if rule.id:
        await connection.execute(update(mail_rule).where(mail_rule.c.id == rule.id).values(**values))
        return rule.id
    first = select(func.coalesce(func.min(mail_rule.c.place), 1) - 1).scalar_subquery()
    made = await connection.execute(insert(mail_rule).values(place=first, **values).returning(mail_rule.c.id))
    return int(made.scalar_one())


async def remove_rule(connection: AsyncConnection, rule_id: int) -> bool:
    """Forget a rule that was made here; those that come with the program can only be switched off."""
    statement = delete(mail_rule).where(mail_rule.c.id == rule_id, mail_rule.c.preset == "")
    return (await connection.execute(statement.returning(mail_rule.c.id))).first() is not None


async def lock_rules(connection: AsyncConnection) -> None:
    """Whoever changes rules by what he has read of them changes them alone, until his transaction ends."""
    await connection.execute(text("LOCK TABLE mail_rule IN SHARE ROW EXCLUSIVE MODE"))


async def move_rule(connection: AsyncConnection, rule_id: int, *, up: bool) -> None:
    """Let it change places with its neighbour."""
    await lock_rules(connection)
    order = [one.id for one in await list_rules(connection)]
    if rule_id not in order:
        return
    at = order.index(rule_id)
    other = at - 1 if up else at + 1
    if 0 <= other < len(order):
        order[at], order[other] = order[other], order[at]
    for place, number in enumerate(order, 1):
        await connection.execute(update(mail_rule).where(mail_rule.c.id == number).values(place=place))


_FACTS = text(
    f"""
    SELECT interaction_id, subject, spans,
           CASE WHEN octet_length(message.text) <= {_WORDS} THEN message.text
                ELSE left(message.text, {_WORDS}) END AS text,
           facts -> 'headers' AS headers,
           marked, marked_reason, category, tags, direction, started_at,
           ARRAY(SELECT DISTINCT e.source FROM evidence e WHERE e.interaction_id = message.interaction_id) AS sources,
           ARRAY(SELECT DISTINCT team.value FROM evidence e, jsonb_each_text(e.details -> 'teams') AS team
                 WHERE e.interaction_id = message.interaction_id) AS teams,
           ARRAY(SELECT DISTINCT e.details ->> 'folder' FROM evidence e
                 WHERE e.interaction_id = message.interaction_id AND e.details ? 'folder') AS folders,
           ARRAY(SELECT a.name FROM attachment a WHERE a.interaction_id = message.interaction_id
                 ORDER BY a.part LIMIT 100) AS files,
           ARRAY(SELECT lower(p.value) FROM party p
                 WHERE p.interaction_id = message.interaction_id AND p.position = 'from' LIMIT 10) AS senders,
           ARRAY(SELECT lower(p.value) FROM party p
                 WHERE p.interaction_id = message.interaction_id
                       AND p.position IN ('to', 'cc', 'bcc', 'expanded', 'envelope') LIMIT 500) AS recipients
    FROM message JOIN interaction ON interaction.id = message.interaction_id
    WHERE interaction.id = ANY(:ids) AND erasure_id IS NULL
    ORDER BY interaction_id
    """  # noqa: S608 - the only thing put in is a number of ours
)


async def list_facts(connection: AsyncConnection, interaction_ids: Sequence[int]) -> list[MailFacts]:
    """What rules look at, of those among the interactions that are mails; an erased one is sorted no more."""
    rows = await connection.execute(_FACTS, {"ids": list(interaction_ids)})
    return [
        MailFacts(
            interaction_id=row.interaction_id,
            senders=tuple(row.senders),
            recipients=tuple(row.recipients),
            subject=row.subject,
            words=_own_words(row.text, row.spans),
            attachments=tuple(row.files),
            headers=row.headers or {},
            mailboxes=(*(one.removeprefix("imap:") for one in row.sources), *row.teams),
            folders=tuple(one for one in row.folders if one),
            marked=MessageCategory(row.marked),
            marked_reason=row.marked_reason,
            direction=Direction(row.direction) if row.direction else None,
            category=MessageCategory(row.category),
            tags=tuple(one[0] for one in row.tags),
            started=row.started_at,
        )
        for row in rows
    ]


def _own_words(words: str, spans: Sequence[Sequence[Any]]) -> str:
    own, at = [], 0
    for _, start, end in spans:
        own.append(words[at:start])
        at = end
    return "\n".join([*own, words[at:]])


async def list_newest_mails(connection: AsyncConnection, limit: int) -> list[int]:
    """The newest mails' ids."""
    query = (
        select(interaction.c.id)
        .join(message, message.c.interaction_id == interaction.c.id)
        .where(interaction.c.erasure_id.is_(None))
        .order_by(interaction.c.started_at.desc(), interaction.c.id.desc())
    )
    return list((await connection.execute(query.limit(limit))).scalars())


async def count_categories(connection: AsyncConnection) -> dict[MessageCategory, int]:
    """How many mails there are of each category: of private ones this number is all that anybody sees."""
    rows = await connection.execute(
        select(message.c.category, func.count().label("mails")).group_by(message.c.category)
    )
    return {MessageCategory(row.category): row.mails for row in rows}


_SAVE = text(
    """
    UPDATE message SET category = r.category, category_reason = r.reason, tags = r.tags
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(id bigint, category text, reason text, tags jsonb)
    WHERE interaction_id = r.id
          AND (message.category, message.category_reason, message.tags)
              IS DISTINCT FROM (r.category, r.reason, r.tags)
    RETURNING interaction_id
    """
)


async def save_sorted(connection: AsyncConnection, found: Mapping[int, Sorted]) -> set[int]:
    """Note what the rules decided. Returns the mails of which something is different from before."""
    if not found:
        return set()
    rows = [
        {"id": one, "category": each.category, "reason": each.reason, "tags": [list(tag) for tag in each.tags]}
        for one, each in found.items()
    ]
    return set((await connection.execute(_SAVE, {"rows": json.dumps(rows)})).scalars())
