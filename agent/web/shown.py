"""What templates show of a history: the nouns, made by `agent.web.entries`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from agent.model import Identity, LinkState, Mark
from agent.store.messages import Attachment, Returned


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A party as it is shown: a name if there is one, and the number or address."""

    name: str
    contact: str
    is_employee: bool
    is_hidden: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One utterance: whose it is (None: the recording does not tell the parties apart), and where it begins, in
    seconds. ``machine`` is what was understood where ``corrected_by`` has put it right."""

    is_employee: bool | None
    who: str
    start: float
    end: float
    text: str
    channel: int = 0
    id: int = 0
    machine: str = ""
    corrected_by: str = ""
    corrected_at: datetime | None = None
    interrupts: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """Who is heard on a channel of a recording."""

    channel: int
    name: str
    is_employee: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sound:
    """A recording with its player and what was said; ``waiting`` is a key of the texts when nothing can be shown.

    ``mixed``: all parties are heard on one channel, or on several alike. ``is_copy``: another recorder had the same
    talk, and has it fuller; nobody wants to read it twice. ``is_excerpt``: ``lines`` are only the beginning of what was
    said.
    """

    id: int
    seconds: float
    size: int
    gaps: tuple[tuple[float, float, str], ...]
    marks: tuple[Mark, ...]
    truncated: bool
    mixed: bool
    is_copy: bool
    lines: tuple[Line, ...]
    model: str
    language: str
    waiting: str
    started: datetime
    voices: tuple[Voice, ...]
    is_erased: bool = False
    transcript_id: int = 0
    understood: datetime | None = None
    is_excerpt: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why an entry stands where it stands."""

    card_id: int | None
    state: LinkState
    text: str
    by_person: bool
    confidence: int = 100
    rule_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallView:
    """A call. ``silence`` is a key of the texts that says why there is no recording, if there is none."""

    id: int
    started: datetime
    ended: datetime | None
    direction: str
    outcome: str
    ring_seconds: float | None
    talk_seconds: float | None
    employees: tuple[Person, ...]
    clients: tuple[Person, ...]
    sounds: tuple[Sound, ...]
    silence: str
    truncated: bool
    flags: tuple[str, ...]
    reasons: tuple[Reason, ...]
    copies: int
    conversation: str = ""

    kind = "call"


@dataclass(frozen=True, slots=True, kw_only=True)
class MailView:
    """A mail. ``pieces`` is its text in order, each piece with what it is: ``own`` is shown, the rest is folded."""

    id: int
    started: datetime
    direction: str
    subject: str
    thread_id: int
    thread_subject: str
    people: Mapping[str, tuple[Person, ...]]
    pieces: tuple[tuple[str, str], ...]
    protection: str
    signer: str
    has_html: bool
    attachments: tuple[Attachment, ...]
    category: str
    category_reason: str
    flags: tuple[str, ...]
    reasons: tuple[Reason, ...]
    copies: int
    tags: tuple[tuple[str, str], ...] = ()
    returned: tuple[Returned, ...] = ()

    kind = "mail"


@dataclass(frozen=True, slots=True, kw_only=True)
class MeetingView:
    """A meeting. ``confirmed`` and ``reason`` are reasons; ``answers`` are what each attendee has answered."""

    id: int
    started: datetime
    ended: datetime | None
    direction: str
    subject: str
    location: str
    state: str
    reason: str
    confirmed: str
    moved_from: datetime | None
    is_all_day: bool
    is_recurring: bool
    is_past: bool
    said: str
    people: tuple[tuple[Person, str], ...]
    flags: tuple[str, ...]
    reasons: tuple[Reason, ...]
    copies: int

    kind = "meeting"


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteView:
    """What somebody wrote on a card, at its time in the history. ``card_id`` is the card it was written on."""

    id: int
    card_id: int
    started: datetime
    text: str
    by: str

    kind = "note"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallsView:
    """Calls of one conversation, newest first: passed on, or dialled anew within it."""

    started: datetime
    calls: tuple[CallView, ...]

    kind = "calls"


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadView:
    """Mails of one conversation, newest first, at the time of the newest."""

    subject: str
    started: datetime
    mails: tuple[MailView, ...]

    kind = "thread"


View = CallView | MailView | MeetingView
Item = View | ThreadView | CallsView | NoteView


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """What happened on one day of the reader's calendar."""

    moment: datetime
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What people are called: employees by id, clients by identity where the page is about one of them."""

    employees: Mapping[int, str]
    clients: Mapping[Identity, str]
