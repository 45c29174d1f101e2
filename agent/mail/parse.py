"""The bytes of a mail to a `ParsedMessage`. Pure: bytes in, facts out, no clock, no disk, no network.

Hostile input is the normal case, so `agent.mail.parse_child` runs this in a process with limits. Python's compat32
policy is used because the newer one raises on real mail; whatever cannot be read is noted in ``problems``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent.errors import Unreadable
from agent.mail import headers as header
from agent.mail.body import LONGEST_TEXT, Body, read_attachments, read_lines, tidy
from agent.mail.classify import classify, kept_headers
from agent.mail.forwards import attached_original
from agent.mail.invitations import read_invitations
from agent.mail.journals import open_journal
from agent.mail.layout import Line
from agent.mail.originals import read_originals
from agent.mail.parts import Part, part_bytes, part_name, read_message, walk
from agent.mail.protection import read_protection
from agent.mail.protocol import Effort
from agent.mail.quotes import find_spans
from agent.mail.reports import read_report
from agent.mail.sniffing import PROGRAM
from agent.mail.text import one_line
from agent.mail.wrappings import open_wrappings
from agent.model import CapturedParty, MessageCategory
from agent.model_mail import (
    ParsedAttachment,
    ParsedInvitation,
    ParsedMessage,
    ParsedOriginal,
    Protection,
    SpanKind,
    TextSpan,
)

INSIDE = 10_000
"""From here on a part's number counts within the mail that a journal report or a forward wraps."""

_HEADER_BYTES = 512 * 1024


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
    sender = _sender(parties)
    content = _read_content(parts, sender, effort)
    sent, date_problem = header.read_date(headers)
    message_id, id_problem = header.read_message_id(headers)
    category, reason = classify(
        headers,
        media_type=parts[0].media_type,
        sender=sender,
        null_return_path=_has_null_return_path(headers, envelope),
        has_invitation=any(part.media_type in ("text/calendar", "application/ics") for part in parts),
    )
    return ParsedMessage(
        logical_key=_logical_key(
            [message_id, sender.lower(), sent.isoformat() if sent else header.first(headers, "date")],
            headers,
            parties,
            content.own_text,
            content.attachments,
        ),
        message_id=message_id,
        in_reply_to=header.read_ids(headers.get("in-reply-to", ())),
        references=header.read_ids(headers.get("references", ())),
        subject=header.read_subject(headers),
        sent=sent,
        parties=parties,
        category=category,
        category_reason=reason,
        text=content.text,
        html=content.html,
        attachments=content.attachments,
        problems=tuple(
            one_line(problem, 300)
            for problem in (*_NOT_READ[effort], cut, *party_problems, date_problem, id_problem, *content.problems)
            if problem
        ),
        spans=content.spans,
        originals=content.originals,
        invitations=content.invitations,
        protection=content.protection,
        headers=kept_headers(headers),
        report=read_report(parts, headers, content.originals, content.own_text)
        if category is MessageCategory.BOUNCE
        else None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Content:
    """Everything below the header. ``own_text`` is the text without the words of attached mails."""

    own_text: str
    text: str
    spans: tuple[TextSpan, ...]
    html: str
    attachments: tuple[ParsedAttachment, ...]
    originals: tuple[ParsedOriginal, ...]
    invitations: tuple[ParsedInvitation, ...]
    protection: Protection | None
    problems: tuple[str, ...]


def _read_content(parts: Sequence[Part], sender: str, effort: Effort) -> _Content:
    problems: dict[str, None] = {}
    is_full = effort is Effort.FULL
    found = open_wrappings(parts) if is_full else list(parts)
    body: Body = read_lines(found, problems, with_html=is_full)
    own_text = "\n".join(line.text for line in body.lines)
    originals, original_lines = read_originals(found) if is_full else ((), [])
    text, spans = _with_originals(own_text, find_spans(body.lines), original_lines)
    invitations, calendar_problem = read_invitations(found) if is_full else ((), None)
    protection, protection_problem = read_protection(found, sender) if is_full else (None, None)
    attachments = read_attachments(found)
    return _Content(
        own_text=own_text,
        text=text,
        spans=spans,
        html=body.html,
        attachments=attachments,
        originals=originals,
        invitations=invitations,
        protection=protection,
        problems=(
            *problems,
            *filter(None, (calendar_problem, protection_problem)),
            *(_disguise(one) for one in attachments if one.sniffed_type == PROGRAM and not _admits(one)),
        ),
    )


def _with_originals(
    own_text: str, spans: tuple[TextSpan, ...], lines: Sequence[Line]
) -> tuple[str, tuple[TextSpan, ...]]:
    """The text with the words of attached mails after it, as a span of their own."""
    appended = "\n".join(line.text for line in tidy(lines))
    start = len(own_text) + 2 * bool(own_text)
    if not appended or start >= LONGEST_TEXT:
        return own_text, spans
    text = (f"{own_text}\n\n{appended}" if own_text else appended)[:LONGEST_TEXT]
    return text, (*spans, TextSpan(kind=SpanKind.ORIGINAL, start=start, end=len(text)))


def _admits(one: ParsedAttachment) -> bool:
    is_named_so = one.name.lower().endswith((".exe", ".dll", ".scr", ".com", ".cpl", ".ocx", ".sys"))
    return is_named_so and not one.media_type.startswith(("image/", "text/", "audio/", "video/", "application/pdf"))


def _disguise(one: ParsedAttachment) -> str:
    return f"the attachment {one.name} is a Windows program, whatever its name or type says"


def extract_part(raw: bytes, part: int) -> tuple[bytes, str, str]:
    """Bytes, file name and media type of one part, numbered as in ``ParsedAttachment.part``.

    Raises:
        Unreadable: the mail has no such part.
    """
    if part >= INSIDE:
        return take_part(all_parts(unwrapped(raw)), part - INSIDE)
    parts: Sequence[Part] = walk(read_message(raw)[0])
    return take_part(parts if 0 <= part < len(parts) else open_wrappings(parts), part)


def all_parts(raw: bytes) -> Sequence[Part]:
    """All parts of a mail, those inside of wrappings too: for who wants many of them."""
    return open_wrappings(walk(read_message(raw)[0]))


def take_part(parts: Sequence[Part], part: int) -> tuple[bytes, str, str]:
    """The same as `extract_part`, of a mail that was taken apart already."""
    if not 0 <= part < len(parts):
        raise Unreadable(f"The mail has no part {part}.")
    found = parts[part]
    return part_bytes(found), part_name(found), one_line(found.media_type, 100)


def unwrapped(raw: bytes) -> bytes:
    """The mail within a journal report or a forward, whose parts are numbered from `INSIDE` on.

    Raises:
        Unreadable: no mail is wrapped in this one.
    """
    journal = open_journal(raw)
    place = journal.original if journal is not None else attached_original(raw)
    if place is None:
        raise Unreadable("No mail is wrapped in this one.")
    return place.content(raw)


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
