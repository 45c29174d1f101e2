"""Messages: one row for each mail however many copies of it came, with its thread and attachments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import func, literal, select
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import MessageCategory
from agent.model_mail import SpanKind, TextSpan
from agent.store.engine import AnyRow, is_any
from agent.store.schema import attachment, message


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A part of a mail; its bytes are cut out of the sealed mail when asked for. ``part`` counts in walking order."""

    id: int
    interaction_id: int
    part: int
    name: str
    media_type: str
    size: int
    sha256: str
    sniffed_type: str = ""
    content_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A stored mail."""

    interaction_id: int
    thread_id: int
    message_id: str
    subject: str
    category: MessageCategory
    category_reason: str
    text: str
    html: str
    has_html: bool
    spans: tuple[TextSpan, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    tags: tuple[tuple[str, str], ...] = ()  # tag and reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Returned:
    """A mail that came back: ``about`` is the mail that did, ``failed`` whom it did not reach, with the diagnosis."""

    about: int
    interaction_id: int
    failed: tuple[tuple[str, str], ...]


def message_of(row: Any, *, html: str) -> Message:
    """From a row with the columns of a message; its HTML is unpacked already."""
    return Message(
        interaction_id=row.interaction_id,
        thread_id=row.thread_id,
        message_id=row.message_id,
        subject=row.subject,
        category=MessageCategory(row.category),
        category_reason=row.category_reason,
        text=row.text,
        html=html,
        has_html=row.has_html,
        spans=tuple(TextSpan(kind=SpanKind(kind), start=start, end=end) for kind, start, end in row.spans),
        facts=row.facts,
        tags=tuple((tag, reason) for tag, reason in row.tags),
    )


_WITHOUT_HTML = [column for column in message.c if column is not message.c.html]
_ATTACHMENT = [attachment.c[name] for name in Attachment.__slots__]  # not its words, which may be long


def _attachment(row: AnyRow) -> Attachment:
    return Attachment(**{name: getattr(row, name) for name in Attachment.__slots__})


async def list_messages(
    connection: AsyncConnection, interaction_ids: Sequence[int], *, html: bool = True
) -> list[Message]:
    """These messages; ``html`` only where it is to be shown: it may be long, and lies packed."""
    told = message.c.html if html else literal("").label("html")
    query = select(*_WITHOUT_HTML, told, (func.length(message.c.html) > 0).label("has_html"))
    rows = await connection.execute(query.where(is_any(message.c.interaction_id, interaction_ids)))
    return [message_of(row, html=row.html) for row in rows]


async def list_attachments(connection: AsyncConnection, interaction_ids: Sequence[int]) -> list[Attachment]:
    """The attachments of these messages, in the order of their parts."""
    query = select(*_ATTACHMENT).where(is_any(attachment.c.interaction_id, interaction_ids))
    rows = await connection.execute(query.order_by(attachment.c.interaction_id, attachment.c.part))
    return [_attachment(row) for row in rows]


async def find_attachment(connection: AsyncConnection, attachment_id: int) -> Attachment | None:
    """One attachment."""
    row = (await connection.execute(select(*_ATTACHMENT).where(attachment.c.id == attachment_id))).first()
    return _attachment(row) if row else None
