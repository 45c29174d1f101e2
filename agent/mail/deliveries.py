"""What was delivered to a message: the mail itself, or the one within a journal report or a forward. Pure.

Evidence is the delivery as it came, sealed whole. What it wraps is not sealed a second time but named by its place and
digest there (`agent.model_mail.Wrapping`): the bytes are the same, one proof vouches for both, an erasure takes both.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from agent.errors import Unreadable
from agent.mail import headers as header
from agent.mail.dates import zone_of
from agent.mail.doors import DOORS, Door
from agent.mail.forwards import Quoted, attached_original, quoted_original, says_forward
from agent.mail.journals import Journal, open_journal
from agent.mail.parse import INSIDE, parse
from agent.mail.parts import read_message
from agent.mail.protocol import Effort
from agent.mail.slices import Slice, whole
from agent.model import CapturedParty, IdentityKind
from agent.model_mail import JournalRecipient, ParsedMessage, Wrapping, WrappingKind

_ORIGINAL_RECIPIENT = ("x-gm-original-to", "x-original-to", "envelope-to", "x-envelope-to")
"""Where Google, Postfix, Exim and others write for whom a copy was, one a copy."""


def read_delivery(raw: bytes, envelope: Mapping[str, Any], *, effort: Effort = Effort.FULL) -> ParsedMessage:
    """Read what was delivered. ``envelope`` is what the source kept beside the bytes.

    A report of a journal is opened where it came to a journal address, or where none is named; a forward where it came
    to a drop address and to nobody else. At any other address a mail is what it is.

    Raises:
        Unreadable: there is nothing to read, not even a header.
    """
    doors = _doors(envelope)
    own = {**envelope, "rcpt_to": [one for one in _recipients(envelope) if one.lower() not in doors]}
    is_journal = Door.JOURNAL in doors.values()
    if is_journal or (not doors and "rcpt_to" in envelope):
        journal = open_journal(raw, marked_only=not is_journal)
        if journal is not None and (message := _of_journal(raw, journal, effort)) is not None:
            return _without(message, doors)
    outer = parse(raw, own, effort=effort)
    if is_journal:
        outer = _with_original_recipients(outer, raw)
    if Door.DROP in doors.values() and _goes_to_doors_only(outer, doors):
        return _without(_of_forward(raw, outer, effort) or outer, doors)
    return _without(outer, doors)


# --- A journal report -----------------------------------------------------------------------------------------------


def _of_journal(raw: bytes, journal: Journal, effort: Effort) -> ParsedMessage | None:
    message = _inner(raw, journal.original, effort)
    if message is None:
        return None
    wrapping = _wrapping(WrappingKind.JOURNAL, journal.by, raw, journal.original)
    parties = _with_journal(message.parties, journal)
    return replace(message, parties=parties, wrapping=replace(wrapping, recipients=journal.recipients))


def _with_journal(parties: Sequence[CapturedParty], journal: Journal) -> tuple[CapturedParty, ...]:
    """The header's people, then whom only the report knows."""
    named = {one.value.lower() for one in parties if one.position != "reply_to"}
    more = []
    if journal.sender and not any(one.position == "from" for one in parties):
        more.append(_party("from", journal.sender))
        named.add(journal.sender.lower())
    for one in journal.recipients:
        if one.address.lower() not in named:
            named.add(one.address.lower())
            more.append(_party(_position(one), one.address))
    return (*parties, *more)


def _position(one: JournalRecipient) -> str:
    if one.field == "bcc":
        return "bcc"
    return "expanded" if one.expanded or one.forwarded else "envelope"


# --- A forward ------------------------------------------------------------------------------------------------------


def _goes_to_doors_only(outer: ParsedMessage, doors: Mapping[str, str]) -> bool:
    """Who forwards a mail to a client and puts the drop address into Bcc has written to the client."""
    return all(one.value.lower() in doors for one in outer.parties if one.position in ("to", "cc"))


def _of_forward(raw: bytes, outer: ParsedMessage, effort: Effort) -> ParsedMessage | None:
    by = next((one for one in outer.parties if one.position == "from"), None)
    place = attached_original(raw)
    if place is not None and (message := _inner(raw, place, effort)) is not None:
        message = replace(message, wrapping=_wrapping(WrappingKind.ATTACHED, by.value if by else "", raw, place))
        return _forwarded(message, by)
    if outer.originals or not says_forward(outer.subject, outer.text):
        return None  # of several attached mails none is the one that is meant; they are shown with the forward
    zone = zone_of(header.first(_headers(raw), "date"))
    quoted = quoted_original(outer.text, zone=zone)
    return _forwarded(_told(outer, quoted, by), by) if quoted is not None else None


def _told(outer: ParsedMessage, quoted: Quoted, by: CapturedParty | None) -> ParsedMessage:
    """The original as the words tell it; all words are kept, those of whoever forwards too.

    Without a Message-ID its key is what is told of it, so that a second forward of the same mail is no second entry.
    """
    told = [
        next(one.value.lower() for one in quoted.parties if one.position == "from"),
        quoted.sent.isoformat() if quoted.sent is not None else "",
        quoted.subject.lower(),
        " ".join(quoted.words.replace(">", " ").split()),
    ]
    return replace(
        outer,
        logical_key=hashlib.sha256("\n".join(["forwarded", *told]).encode("utf-8", "replace")).hexdigest(),
        message_id="",
        references=tuple(dict.fromkeys((*outer.references, *outer.in_reply_to, *filter(None, [outer.message_id])))),
        in_reply_to=(),
        subject=quoted.subject or outer.subject,
        sent=quoted.sent,
        parties=quoted.parties,
        wrapping=Wrapping(kind=WrappingKind.QUOTED, by=by.value if by else ""),
    )


def _forwarded(message: ParsedMessage, by: CapturedParty | None) -> ParsedMessage:
    """Whoever forwards a mail took part in it, if only in Bcc."""
    if by is None or by.value.lower() in {one.value.lower() for one in message.parties}:
        return message
    return replace(message, parties=(*message.parties, replace(by, position="envelope")))


# --- Both -----------------------------------------------------------------------------------------------------------


def _inner(raw: bytes, place: Slice, effort: Effort) -> ParsedMessage | None:
    """The mail in a part, its parts numbered so that nobody takes them for those of the delivery."""
    try:
        message = parse(place.content(raw), {}, effort=effort)
    except Unreadable:
        return None
    return replace(
        message,
        attachments=tuple(replace(one, part=one.part + INSIDE) for one in message.attachments),
        originals=tuple(replace(one, part=one.part + INSIDE) for one in message.originals),
        invitations=tuple(replace(one, part=one.part + INSIDE) for one in message.invitations),
    )


def _wrapping(kind: WrappingKind, by: str, raw: bytes, place: Slice) -> Wrapping:
    digest = hashlib.sha256(place.content(raw)).hexdigest()
    if not place.is_verbatim:
        return Wrapping(kind=kind, by=by, sha256=digest)
    return Wrapping(kind=kind, by=by, offset=place.body, size=place.end - place.body, sha256=digest)


def _with_original_recipients(message: ParsedMessage, raw: bytes) -> ParsedMessage:
    """For whom a copy was, where the server that made it says so in its header."""
    headers = _headers(raw)
    named = {one.value.lower() for one in message.parties}
    found: dict[str, CapturedParty] = {}
    for name in _ORIGINAL_RECIPIENT:
        for value in headers.get(name, ()):
            for _, address in header.read_addresses(value):
                if address.lower() not in named:
                    found.setdefault(address.lower(), _party("envelope", address))
    return replace(message, parties=(*message.parties, *found.values())) if found else message


def _headers(raw: bytes) -> header.Headers:
    return header.read_headers(read_message(raw[: whole(raw).body])[0])


def _party(position: str, address: str) -> CapturedParty:
    return CapturedParty(position=position, kind=IdentityKind.ADDRESS, value=address)


def _without(message: ParsedMessage, doors: Mapping[str, str]) -> ParsedMessage:
    """Our own doors took no part in what people wrote to each other."""
    if not doors:
        return message
    return replace(message, parties=tuple(one for one in message.parties if one.value.lower() not in doors))


def _doors(envelope: Mapping[str, Any]) -> dict[str, str]:
    found = envelope.get(DOORS)
    return {str(address).lower(): str(door) for address, door in found.items()} if isinstance(found, dict) else {}


def _recipients(envelope: Mapping[str, Any]) -> Iterable[str]:
    found = envelope.get("rcpt_to", ())
    return [str(one) for one in found] if isinstance(found, list | tuple) else []
