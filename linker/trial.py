"""What rules would make of the newest mails, without changing any: so a rule is tried before it is saved."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import MessageCategory
from agent.store import rules
from agent.store.rules import MailFacts, MailRule, Sorted
from linker.rules import Domains, sort_mail
from linker.sorting import find_domains

MAILS = 1000
_SHOWN = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A mail that would become something else."""

    interaction_id: int
    started: datetime | None
    sender: str
    subject: str
    before: MessageCategory
    after: MessageCategory
    tags: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """How many of the newest mails would change. Private ones are counted and never among the examples."""

    mails: int
    moves: Mapping[tuple[MessageCategory, MessageCategory], int]
    tags_gained: Mapping[str, int]
    tags_lost: Mapping[str, int]
    examples: tuple[Example, ...]


async def try_rules(connection: AsyncConnection, tried: Sequence[MailRule], *, limit: int = MAILS) -> Trial:
    """The newest mails by these rules, beside what they are now."""
    facts = await rules.list_facts(connection, await rules.list_newest_mails(connection, limit))
    domains = await find_domains(connection, facts)
    return await asyncio.to_thread(_compare, facts, tried, domains)


def _compare(facts: Sequence[MailFacts], tried: Sequence[MailRule], domains: Domains) -> Trial:
    moves: Counter[tuple[MessageCategory, MessageCategory]] = Counter()
    gained: Counter[str] = Counter()
    lost: Counter[str] = Counter()
    examples: list[Example] = []
    for one in sorted(facts, key=lambda each: each.interaction_id, reverse=True):
        after = sort_mail(one, tried, domains)
        tags = {tag for tag, _ in after.tags}
        gained.update(tags - set(one.tags))
        lost.update(set(one.tags) - tags)
        if after.category is not one.category:
            moves[one.category, after.category] += 1
        is_open = one.category is not MessageCategory.PRIVATE
        if is_open and (after.category is not one.category or tags != set(one.tags)) and len(examples) < _SHOWN:
            examples.append(_example(one, after))
    return Trial(mails=len(facts), moves=moves, tags_gained=gained, tags_lost=lost, examples=tuple(examples))


def _example(one: MailFacts, after: Sorted) -> Example:
    reasons = [after.reason] if after.category is not one.category else []
    reasons += [reason for tag, reason in after.tags if tag not in one.tags]
    return Example(
        interaction_id=one.interaction_id,
        started=one.started,
        sender=one.senders[0] if one.senders else "",
        subject=one.subject,
        before=one.category,
        after=after.category,
        tags=tuple(tag for tag, _ in after.tags),
        reason="; ".join(reasons),
    )
