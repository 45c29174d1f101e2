"""The bytes of a mail to a `ParsedMessage`. Pure: bytes in, facts out, no clock, no disk, no network.

Hostile input is the normal case, so `agent.mail.parse_child` runs this in a process with limits. Python's compat32
policy is used because the newer one raises on real mail; whatever cannot be read is noted in ``problems``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from agent.errors import Unreadable
from agent.mail import headers as header
from agent.mail.body import Part, part_bytes, part_name, read_attachments, read_body, read_message, walk
from agent.mail.classify import classify
from agent.mail.text import one_line
from agent.model import CapturedParty, ParsedAttachment, ParsedMessage

_HEADER_BYTES = 512 * 1024


class Effort(StrEnum):
    """How much of a mail is read: less after the reading of all of it ended in a crash or took too long."""

    FULL = "full"
    NO_HTML = "no_html"
    HEADER = "header"


_NOT_READ = {
    Effort.FULL: (),
    Effort.NO_HTML: ("reading all of it took too much, so of its HTML only the words were kept",),
    Effort.HEADER: ("reading all of it took too much, so only its header was read",),
}


def parse(raw: bytes, envelope: Mapping[str, Any], *, effort: Effort = Effort.FULL) -> ParsedMessage:
    """Read a mail. ``envelope`` is what the source kept beside the bytes (`agent.model.CapturedMail`).

    Raises:
        Unreadable: there is nothing to read, not even a header.
    """
    if not raw.strip():
        raise Unreadable("The mail is empty.")
    message, cut = read_message(_header_of(raw) if effort is Effort.HEADER else raw)
    parts = walk(message)
    headers = header.read_headers(message)
    parties, party_problems = header.read_parties(headers, envelope)
    body = read_body(parts, with_html=effort is Effort.FULL)
    attachments = read_attachments(parts)
    sent, date_problem = header.read_date(headers)
    message_id, id_problem = header.read_message_id(headers)
    category, reason = classify(
        headers,
        media_type=parts[0].media_type,
        sender=_sender(parties),
        null_return_path=_has_null_return_path(headers, envelope),
        has_invitation=any(part.media_type in ("text/calendar", "application/ics") for part in parts),
    )
    return ParsedMessage(
        logical_key=_logical_key(
            [message_id, _sender(parties).lower(), sent.isoformat() if sent else header.first(headers, "date")],
            headers,
            parties,
            body.text,
            attachments,
        ),
        message_id=message_id,
        in_reply_to=header.read_ids(headers.get("in-reply-to", ())),
        references=header.read_ids(headers.get("references", ())),
        subject=header.read_subject(headers),
        sent=sent,
        parties=parties,
        category=category,
        category_reason=reason,
        text=body.text,
        html=body.html,
        attachments=attachments,
        problems=tuple(
            one_line(problem, 300)
            for problem in (*_NOT_READ[effort], cut, *party_problems, date_problem, id_problem, *body.problems)
            if problem
        ),
    )


def extract_part(raw: bytes, part: int) -> tuple[bytes, str, str]:
    """Bytes, file name and media type of one part, numbered as in ``ParsedAttachment.part``.

    Raises:
        Unreadable: the mail has no such part.
    """
    parts = walk(read_message(raw)[0])
    if not 0 <= part < len(parts):
        raise Unreadable(f"The mail has no part {part}.")
    found: Part = parts[part]
    return part_bytes(found), part_name(found), one_line(found.media_type, 100)


def _header_of(raw: bytes) -> bytes:
    """The header of the mail as a mail of plain text without a body."""
    top = raw[:_HEADER_BYTES].lstrip(b"\r\n")
    ends = [end for end in (top.find(b"\r\n\r\n"), top.find(b"\n\n")) if end >= 0]
    return top[: min(ends)] + b"\r\n" if ends else top


def _sender(parties: Sequence[CapturedParty]) -> str:
    return next((party.value for party in parties if party.position == "from"), "")


def _has_null_return_path(headers: header.Headers, envelope: Mapping[str, Any]) -> bool:
    return envelope.get("mail_from") == "" or header.first(headers, "return-path") == "<>"


def _logical_key(
    stable: list[str],
    headers: header.Headers,
    parties: Sequence[CapturedParty],
    text: str,
    attachments: Sequence[ParsedAttachment],
) -> str:
    """Equal for the copies of one mail, whose bytes differ (journal, several mailboxes, Sent).

    ``stable`` is the Message-ID together with sender and date, for some senders use one id for all their mail.
    Without an id, all counts that survives the way: people, subject, words and attachments too.
    """
    if not stable[0]:
        people = sorted(
            f"{party.position} {party.value.lower()}" for party in parties if party.position in ("to", "cc")
        )
        stable = [*stable, *people, header.read_subject(headers), " ".join(text.split())]
        stable += [attachment.sha256 for attachment in attachments]
    return hashlib.sha256("\n".join(stable).encode("utf-8", "replace")).hexdigest()
