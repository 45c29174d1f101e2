"""What the linker's tests share: calls and mails made of a line of text, and the link jobs that were deferred."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import text

from agent.intake import Intake
from agent.model import CapturedCall, CapturedMail, CapturedParty, IdentityKind, MessageCategory
from agent.model_mail import ParsedMessage
from agent.store.engine import Store
from linker.link import Linker

NOON = datetime(2026, 5, 5, 12, tzinfo=UTC)
_keys = itertools.count(1)


def parties_of(text_: str, kind: str) -> tuple[CapturedParty, ...]:
    """``caller > callee`` or ``from > to, to ; cc x``: "-" is nobody, "" an empty value."""
    people, *others = (part.strip() for part in text_.split(" ; " if kind == "mail" else "\n"))
    first, second = people.split(" > ")
    places = ("from", "to") if kind == "mail" else ("caller", "callee")
    named = [(places[0], first), (places[1], second), *((one.split(" ", 1)) for one in others)]
    what = IdentityKind.ADDRESS if kind == "mail" else IdentityKind.PHONE
    return tuple(
        CapturedParty(position=position, kind=what, value=value.strip() if value.strip() != '""' else "")
        for position, values in named
        for value in values.split(", ")
        if value.strip() != "-"
    )


def captured_call(key: str, parties: Sequence[CapturedParty], *, started: datetime = NOON, **more: Any) -> CapturedCall:
    return CapturedCall(source="test", key=key, started=started, parties=tuple(parties), **more)


def parsed_mail(
    key: str,
    parties: Sequence[CapturedParty],
    *,
    sent: datetime = NOON,
    category: MessageCategory = MessageCategory.CONVERSATION,
) -> ParsedMessage:
    return ParsedMessage(
        logical_key=key,
        message_id=f"{key}@example.com",
        in_reply_to=(),
        references=(),
        subject="Delivery",
        sent=sent,
        parties=tuple(parties),
        category=category,
        category_reason="it is a test",
        text="",
        html="",
    )


async def accept_mail(intake: Intake, message: ParsedMessage, *, received: datetime = NOON) -> int:
    """Its evidence sealed and its message accepted; returns the interaction's id."""
    evidence = CapturedMail(
        source="test", key=f"evidence-{next(_keys)}", raw=b"Subject: Delivery\r\n\r\n", received=received
    )
    (evidence_id,) = await intake.store_evidence([evidence])
    return await intake.accept_message(evidence_id, message)


async def take_link_jobs(store: Store) -> list[list[int]]:
    """The interactions of each link job that waits; they wait no more."""
    async with store.begin() as connection:
        rows = await connection.execute(
            text("DELETE FROM procrastinate_jobs WHERE task_name = 'link' AND status = 'todo' RETURNING id, args")
        )
        return [row.args["interaction_ids"] for row in sorted(rows, key=lambda row: row.id)]


async def do_link_jobs(store: Store, linker: Linker) -> int:
    """Do what was deferred, as a worker does; returns how many jobs there were."""
    jobs = await take_link_jobs(store)
    for ids in jobs:
        await linker.link(ids)
    return len(jobs)
