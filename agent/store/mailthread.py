"""A conversation of mails as the page of one of them shows it, and where its copies and proofs are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import BigInteger, func, literal, select, true
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.store.engine import is_any
from agent.store.rights import Viewer, is_visible_interaction
from agent.store.schema import attachment, interaction, mailbox_copy, message, party, seal

MOST_MAILS = 200
_SNIPPET = 200  # characters


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadMail:
    """A mail of a conversation in one line: from whom, the beginning of its words, how many files."""

    id: int
    started: datetime
    direction: str
    subject: str
    sender: str
    address: str
    snippet: str
    files: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyInMailbox:
    """Where a copy lies, or lay: ``gone`` is when it was no longer seen there."""

    mailbox: str
    folder: str
    gone: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CoveringSeal:
    """The first seal that vouches for a link of the chain."""

    number: int
    sealed: datetime


async def list_thread(connection: AsyncConnection, viewer: Viewer, thread_id: int) -> list[ThreadMail]:
    """The newest mails of a conversation that exist for the viewer, the oldest of them first."""
    sender = (
        select(party.c.name, party.c.value)
        .where(party.c.interaction_id == message.c.interaction_id, party.c.position == "from")
        .order_by(party.c.ordinal)
        .limit(1)
        .lateral("sender")
    )
    files = select(func.count()).where(attachment.c.interaction_id == message.c.interaction_id).scalar_subquery()
    query = (
        select(
            message.c.interaction_id,
            interaction.c.started_at,
            interaction.c.direction,
            message.c.subject,
            sender.c.name,
            sender.c.value,
            func.left(message.c.text, _SNIPPET).label("snippet"),
            files.label("files"),
        )
        .select_from(message.join(interaction, interaction.c.id == message.c.interaction_id).outerjoin(sender, true()))
        .where(message.c.thread_id == thread_id, is_visible_interaction(viewer, message.c.interaction_id))
        .order_by(interaction.c.started_at.desc(), message.c.interaction_id.desc())
        .limit(MOST_MAILS)
    )
    rows = (await connection.execute(query)).all()
    return [
        ThreadMail(
            id=row.interaction_id,
            started=row.started_at,
            direction=row.direction or "unknown",
            subject=row.subject,
            sender=row.name or row.value or "",
            address=row.value or "",
            snippet=" ".join(row.snippet.split()),
            files=row.files,
        )
        for row in reversed(rows)
    ]


async def list_copies(connection: AsyncConnection, evidence_ids: Sequence[int]) -> Mapping[int, list[CopyInMailbox]]:
    """Where in mailboxes the copies of each piece of evidence lie."""
    query = (
        select(mailbox_copy.c.evidence_id, mailbox_copy.c.mailbox, mailbox_copy.c.folder, mailbox_copy.c.gone_at)
        .where(is_any(mailbox_copy.c.evidence_id, evidence_ids))
        .order_by(mailbox_copy.c.mailbox, mailbox_copy.c.folder, mailbox_copy.c.uid)
        .limit(100)
    )
    found: dict[int, list[CopyInMailbox]] = {}
    for row in await connection.execute(query):
        copy = CopyInMailbox(mailbox=row.mailbox, folder=row.folder, gone=row.gone_at)
        found.setdefault(row.evidence_id, []).append(copy)
    return found


async def list_seals(connection: AsyncConnection, sequences: Sequence[int]) -> Mapping[int, CoveringSeal]:
    """By place in the chain; what came after the last seal is not in the answer."""
    places = select(func.unnest(literal(list(sequences), ARRAY(BigInteger))).label("sequence")).subquery("places")
    first = (
        select(seal.c.number, seal.c.sealed_at)
        .where(seal.c.length >= places.c.sequence)
        .order_by(seal.c.number)
        .limit(1)
        .lateral("first")
    )
    query = select(places.c.sequence, first.c.number, first.c.sealed_at).select_from(places.join(first, true()))
    return {
        row.sequence: CoveringSeal(number=row.number, sealed=row.sealed_at) for row in await connection.execute(query)
    }
