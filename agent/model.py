"""The nouns of Cardline as frozen facts. Every time is an aware datetime; every duration says its unit.

This module imports nothing of ours: everybody may speak these words. ARCHITECTURE.md has the glossary with the
terms that other products use for the same things.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, BinaryIO


class InteractionKind(StrEnum):
    """What sort of contact with the outside an interaction is."""

    CALL = "call"
    MESSAGE = "message"
    MEETING = "meeting"


class Direction(StrEnum):
    """Seen from the company: who began."""

    INBOUND = "inbound"
    OUTBOUND = "outbound"
    INTERNAL = "internal"


class Disposition(StrEnum):
    """How a call ended; ``IN_PROGRESS`` until it did."""

    IN_PROGRESS = "in_progress"
    ANSWERED = "answered"
    NO_ANSWER = "no_answer"
    BUSY = "busy"
    FAILED = "failed"


class IdentityKind(StrEnum):
    """What a normalised identity is made of."""

    PHONE = "phone"  # E.164 with the leading +, for example +74950000001
    EXTENSION = "extension"  # digits dialled inside the PBX
    LOGIN = "login"  # of a SIP account, user@host in lower case, or the user alone: whoever has it on whatever host
    ADDRESS = "address"  # an e-mail address, lower case, IDN domain in ASCII
    DOMAIN = "domain"  # a company's mail domain, in ASCII


class Role(StrEnum):
    """Which side of a conversation a party is on."""

    EMPLOYEE = "employee"
    CLIENT = "client"


class UserRole(StrEnum):
    """What a person who logs in may do; each role includes the following ones."""

    ADMINISTRATOR = "administrator"
    SUPERVISOR = "supervisor"
    MANAGER = "manager"


class LinkState(StrEnum):
    """What was decided about the card of an interaction."""

    LINKED = "linked"
    AMBIGUOUS = "ambiguous"
    UNKNOWN = "unknown"
    INTERNAL = "internal"
    PRIVATE = "private"
    IGNORED = "ignored"  # it concerns nobody: a supplier, spam, what a line's policy leaves alone


class MessageCategory(StrEnum):
    """What a mail is; only a conversation becomes an activity on a card."""

    CONVERSATION = "conversation"
    AUTOMATIC = "automatic"
    NEWSLETTER = "newsletter"
    BOUNCE = "bounce"
    INTERNAL = "internal"
    PRIVATE = "private"


class MeetingState(StrEnum):
    """What became of an arranged meeting; ``HELD`` once its time has passed and something confirms it."""

    PLANNED = "planned"
    MOVED = "moved"
    CANCELLED = "cancelled"
    HELD = "held"


class EvidenceState(StrEnum):
    """How far the reading of what was captured has come."""

    STORED = "stored"
    READ = "read"
    UNREADABLE = "unreadable"


class SourceState(StrEnum):
    """What a person sees of a source; each problem names who must act."""

    CONNECTING = "connecting"
    CATCHING_UP = "catching_up"  # it works; what was there before is still being taken
    RUNNING = "running"
    LOGIN_FAILED = "login_failed"
    UNREACHABLE = "unreachable"
    FOLDER_MISSING = "folder_missing"
    STOPPED = "stopped"
    DAMAGED = "damaged"  # what is stored is not what it should be


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A normalised way to reach somebody: compare identities, never raw numbers or headers."""

    kind: IdentityKind
    value: str

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class CapturedParty:
    """One side of an interaction exactly as the source named it; the linker normalises it later.

    ``position`` is ``caller``, ``callee`` or ``participant`` for a call and ``from``, ``to``, ``cc``, ``bcc``,
    ``reply_to``, ``envelope`` or ``expanded`` (it came to them through a group or another mailbox) for a mail. ``kind``
    is PHONE for whatever a telephone source gives (the linker tells an extension from a number) and ADDRESS for a mail.
    ``channel`` is the channel of the recording on which this party speaks: the caller has 0 and the callee 1.
    """

    position: str
    kind: IdentityKind
    value: str
    name: str = ""
    channel: int | None = None
    joined: datetime | None = None
    left: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CapturedCall:
    """Everything a source knows of one call by now: a snapshot, so that repeating or reordering changes nothing.

    ``source`` and ``key`` together name the call for good (``siprec``, the recording session's id). ``answered`` and
    ``ended`` are None as long as they have not happened. ``capture_id`` names the folder of packet logs, if any.
    ``flags`` say in words what was wrong with what the source sent.
    """

    source: str
    key: str
    started: datetime
    answered: datetime | None = None
    ended: datetime | None = None
    disposition: Disposition = Disposition.IN_PROGRESS
    parties: tuple[CapturedParty, ...] = ()
    conversation_key: str | None = None
    capture_id: str | None = None
    truncated: bool = False
    flags: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class MailboxPosition:
    """How much of a folder is archived: every UID from ``low_uid`` to ``high_uid`` (RFC 9051 section 2.3.1.1).

    Two marks, because the first pass goes from the newest message backwards while new ones keep coming.
    """

    mailbox: str
    folder: str
    uidvalidity: int
    low_uid: int
    high_uid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CapturedMail:
    """The bytes of one mail as they came, and how they came.

    ``source`` and ``key`` together name this piece of evidence for good. ``envelope`` keeps what the bytes do not say:
    the SMTP sender and recipients, the folder, the flags, the peer. Bytes that are too many for memory lie in ``file``,
    open at its beginning, and ``raw`` is empty.
    """

    source: str
    key: str
    raw: bytes
    received: datetime
    file: BinaryIO | None = None
    envelope: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """A stretch of a channel for which no sound came, in milliseconds from the start of the recording."""

    channel: int
    start_ms: int
    end_ms: int
    reason: str


class MarkKind(StrEnum):
    """What a mark of a recording tells."""

    EARLY_MEDIA = "early_media"  # what came before the answer: ringing, an announcement
    HOLD = "hold"
    PAUSE = "pause"  # recording was paused on purpose; ``text`` says by whom
    DTMF = "dtmf"  # a key; ``text`` names it, and is empty where only the fact was kept
    LOST = "lost"
    CODEC_CHANGE = "codec_change"
    SSRC_CHANGE = "ssrc_change"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Something that happened within a recording, in milliseconds from its start; ``channel`` None: on all of them."""

    kind: MarkKind
    channel: int | None
    start_ms: int
    end_ms: int
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """One spoken word, seconds from the start of the recording, confidence 0 to 1."""

    start: float
    end: float
    text: str
    confidence: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Utterance:
    """What one party said in one breath: seconds from the start of the recording, confidence 0 to 1. ``interrupts``:
    the other one was speaking when it began, and fell silent over it (`agent.transcribe.turns`)."""

    channel: int
    start: float
    end: float
    text: str
    confidence: float
    words: Sequence[Word] = ()
    interrupts: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedBlob:
    """A sealed file of the archive: everything needed to find, open and prove it.

    ``name`` is the SHA-256 of the stored bytes in hex. ``wrapped_key`` is the blob's data key and salt (32 bytes each)
    wrapped under master key number ``master_key`` by AES key wrap (RFC 3394); None once the blob was erased.
    ``salted_digest`` is SHA-256(salt || plain bytes). Sizes are in bytes.
    """

    name: str
    media_type: str
    plain_size: int
    stored_size: int
    salted_digest: bytes
    master_key: int
    wrapped_key: bytes | None
