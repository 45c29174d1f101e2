"""Journal reports: what Exchange, Exchange Online and Google write about a mail, with the mail itself attached. Pure.

The report is a multipart mail whose first part lists the envelope, one field a line, and whose attachment is the
original, unaltered (Microsoft, "Journaling in Exchange Online", section "Journal reports"). It alone knows who was in
Bcc and who got the mail through a group. Large mails give several reports, each with some of the recipients.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from agent.mail.headers import Headers, first, read_addresses, read_headers
from agent.mail.parts import part_bytes, read_message, walk
from agent.mail.slices import Slice, attached_mails, whole
from agent.mail.text import decode_bytes, one_line
from agent.model_mail import JournalRecipient

_MARKS = ("x-ms-journal-report", "x-ms-exchange-organization-journal-report")
_IDENTIFIERS = ("content-identifier", "content-identifer")  # Exchange 2007 and 2010 misspell it
_FIELD = re.compile(r"\s{0,4}([A-Za-z-]{2,20})\s{0,4}:(.{0,2000})")
_PASSED_ON = re.compile(r",\s*(Expanded|Forwarded)\s*:", re.IGNORECASE)
_RECIPIENTS = ("to", "cc", "bcc", "recipient")
_OLD_LIST = "recipients"  # Exchange 2003: a heading, then an address a line
_MOST_LINES = 20_000
_MOST_RECIPIENTS = 10_000
_DEEPEST = 3
_WORDS_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Journal:
    """A report: who is said to have sent the original, to whom it went, and where the original lies in the bytes."""

    by: str
    sender: str
    subject: str
    message_id: str
    recipients: tuple[JournalRecipient, ...]
    original: Slice


def says_journal(headers: Headers) -> bool:
    """Whether a mail calls itself a journal report."""
    if any(name in headers for name in _MARKS):
        return True
    return any(first(headers, name).lower() == "exjournalreport" for name in _IDENTIFIERS)


def open_journal(raw: bytes, *, marked_only: bool = False) -> Journal | None:
    """The report in these bytes, None where they are none.

    A report that could not be delivered comes back within a delivery report, and is found in there. ``marked_only``:
    only a mail that calls itself a report is one; otherwise its build decides: the first words are ``Sender:``.
    """
    at, place = 0, whole(raw)
    for _ in range(_DEEPEST):
        headers = read_headers(read_message(raw[place.begin : place.body])[0])
        is_marked, is_returned = says_journal(headers), place.media_type == "multipart/report"
        if marked_only and not is_marked and not is_returned:
            return None
        mails = attached_mails(raw, place)
        if not mails:
            return None
        fields = list(_fields(raw, place, mails[0])) if is_marked or not marked_only else []
        names = [name for name, _ in fields]
        if {"sender", "message-id"} <= set(names) and (is_marked or names[0] == "sender"):
            return _journal(headers, fields, mails[0], at)
        if not is_returned or not mails[0].is_verbatim:
            return None
        inner = raw[mails[0].body : mails[0].end]
        at, raw, place = at + mails[0].body, inner, whole(inner)
    return None


def _journal(headers: Headers, fields: Sequence[tuple[str, str]], original: Slice, at: int) -> Journal:
    values = dict(reversed(fields))
    moved = Slice(
        media_type=original.media_type,
        encoding=original.encoding,
        begin=original.begin + at,
        body=original.body + at,
        end=original.end + at,
    )
    return Journal(
        by=next((address for _, address in read_addresses(first(headers, "from"))), ""),
        sender=_address(values["sender"]),
        subject=one_line(values.get("subject", ""), 1000),
        message_id=values["message-id"].strip().strip("<>"),
        recipients=tuple(_recipients(fields)),
        original=moved,
    )


def _fields(raw: bytes, report: Slice, original: Slice) -> Iterator[tuple[str, str]]:
    """The lines of the report: name in lower case, value. All that stands before the original is read for them."""
    before = raw[report.begin : min(original.begin, report.begin + _WORDS_BYTES)]
    words = next((part for part in walk(read_message(before)[0]) if part.media_type == "text/plain"), None)
    if words is None:
        return
    text, _ = decode_bytes(part_bytes(words), words.parameter("charset") or None)
    heading = ""
    for line in text.strip().splitlines()[:_MOST_LINES]:
        found = _FIELD.match(line)
        if found is not None:
            name, value = found[1].lower(), found[2].strip()
            heading = name if not value else ""
            yield name, value
        elif heading == _OLD_LIST and "@" in line:
            yield "recipient", line.strip()
        elif not heading:
            yield "", line


def _recipients(fields: Sequence[tuple[str, str]]) -> Iterator[JournalRecipient]:
    """Each once: the first line that names an address says how it was reached."""
    seen: set[tuple[str, str]] = set()
    for name, value in fields:
        if name not in _RECIPIENTS or len(seen) >= _MOST_RECIPIENTS:
            continue
        pieces = _PASSED_ON.split(value)
        address = _address(pieces[0])
        if not address or (name, address.lower()) in seen:
            continue
        seen.add((name, address.lower()))
        ways = {kind.lower(): _address(way) for kind, way in zip(pieces[1::2], pieces[2::2], strict=False)}
        yield JournalRecipient(
            field=name, address=address, expanded=ways.get("expanded", ""), forwarded=ways.get("forwarded", "")
        )


def _address(value: str) -> str:
    """The one address of a value; what is none, such as a name without one, is left out."""
    return next((address for _, address in read_addresses(value)), "")
