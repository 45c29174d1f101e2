"""What can be read of a mail, as frozen facts: the nouns of `agent.model` that only mail needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from agent.model import CapturedParty, MessageCategory


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedAttachment:
    """A part of a mail that is not its text. ``part`` is its number in walking order; bytes stay in the sealed mail.
    From 10,000 on it counts within the mail that was unwrapped (`Wrapping`).

    ``media_type`` is what the sender says, ``sniffed_type`` what its bytes look like (empty: no idea). ``content_id``
    is the name by which the mail's HTML shows it (RFC 2392), without angle brackets.
    """

    part: int
    name: str
    media_type: str
    size: int
    sha256: str
    sniffed_type: str = ""
    content_id: str = ""


class SpanKind(StrEnum):
    """What a stretch of a mail's text is; what lies in no span is the sender's own new words."""

    QUOTED = "quoted"  # what was answered or forwarded within the text
    SIGNATURE = "signature"
    ORIGINAL = "original"  # the words of a mail that is attached as a mail


@dataclass(frozen=True, slots=True, kw_only=True)
class TextSpan:
    """A stretch of `ParsedMessage.text`, in characters, the end excluded. Spans are in order and do not overlap."""

    kind: SpanKind
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedOriginal:
    """A mail that came attached to this one (``message/rfc822``): forwarded, returned or journaled."""

    part: int
    message_id: str
    subject: str
    sent: datetime | None
    parties: tuple[CapturedParty, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedAttendee:
    """Somebody invited. ``status`` is PARTSTAT (RFC 5545, 3.2.12) in lower case: needs-action, accepted, declined …"""

    address: str
    name: str = ""
    status: str = "needs-action"


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedInvitation:
    """What a calendar part says of one event (RFC 5545, 5546), in UTC.

    ``method`` is REQUEST, REPLY, CANCEL, COUNTER or PUBLISH. ``recurrence_id`` names the one occurrence that is meant;
    a series is ``is_recurring`` and starts at its first. An all-day event starts and ends at midnight UTC of its days.
    """

    part: int
    method: str
    uid: str
    sequence: int
    recurrence_id: datetime | None
    start: datetime | None
    end: datetime | None
    is_all_day: bool
    is_recurring: bool
    status: str
    organizer: ParsedAttendee | None
    attendees: tuple[ParsedAttendee, ...]
    summary: str
    location: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedReport:
    """What a delivery report says (RFC 3464): the mail it is about, and whom it did not reach.

    ``failed`` is pairs of address and what the mail server said of it.
    """

    about_ids: tuple[str, ...]
    failed: tuple[tuple[str, str], ...] = ()


class ProtectionKind(StrEnum):
    """How a mail is protected by cryptography."""

    SIGNED = "signed"
    ENCRYPTED = "encrypted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Protection:
    """``method`` is S/MIME or OpenPGP. ``signer`` is who the certificate says has signed; nobody has verified it."""

    kind: ProtectionKind
    method: str
    signer: str = ""


class WrappingKind(StrEnum):
    """What a mail came within."""

    JOURNAL = "journal"  # the report of a mail server's journal
    ATTACHED = "attached"  # a forward to which it is attached
    QUOTED = "quoted"  # a forward in whose words it is told: its bytes never came


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalRecipient:
    """Whom a mail server delivered to. ``field`` is to, cc, bcc, or recipient where it does not know; ``expanded`` the
    group by which, ``forwarded`` the mailbox through which it came to them; either may be empty.
    """

    field: str
    address: str
    expanded: str = ""
    forwarded: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrapping:
    """Where the mail that was read lies in the evidence, which was sealed as it came.

    ``offset`` and ``size``: its bytes within those of the evidence, None where they are not there as they were;
    ``sha256`` is theirs. ``by`` is the address of who wrapped it.
    """

    kind: WrappingKind
    by: str = ""
    offset: int | None = None
    size: int | None = None
    sha256: str = ""
    recipients: tuple[JournalRecipient, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedMessage:
    """What could be read of a mail. Lists of message ids are without angle brackets.

    ``text`` is plain text made for reading; ``spans`` say what of it is quoted and what is the signature. ``html`` is
    safe HTML (nh3) or empty. ``problems`` say in words what was broken. ``logical_key`` is equal for all copies of the
    same mail. ``category`` is what the header says; rules decide in the end, by the ``headers`` kept for them too.
    """

    logical_key: str
    message_id: str
    in_reply_to: tuple[str, ...]
    references: tuple[str, ...]
    subject: str
    sent: datetime | None
    parties: tuple[CapturedParty, ...]
    category: MessageCategory
    category_reason: str
    text: str
    html: str
    attachments: tuple[ParsedAttachment, ...] = ()
    problems: tuple[str, ...] = ()
    spans: tuple[TextSpan, ...] = ()
    originals: tuple[ParsedOriginal, ...] = ()
    invitations: tuple[ParsedInvitation, ...] = ()
    protection: Protection | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    report: ParsedReport | None = None
    wrapping: Wrapping | None = None
