"""What is said to a CRM and what it answers, as frozen facts; pure. Times are aware, durations are seconds.

A connector writes ``key`` of a call or mail into the object it makes, so that it can be found again by it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from agent.model import Direction, Disposition, Identity, Role


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalId:
    """An object over there: ``kind`` is the CRM's own word for its type (contact, lead, party), ``id`` as text."""

    kind: str
    id: str

    def __str__(self) -> str:
        return f"{self.kind} {self.id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """What a CRM made of a call or mail; kept by us and given back for all that comes later.

    ``details`` is the connector's own: ids of further objects it made (the file, the note with the transcript).
    ``is_foreign``: another integration has logged it, so only what is missing is added, and nothing is taken away.
    """

    id: ExternalId
    details: Mapping[str, str] = field(default_factory=dict)
    is_foreign: bool = False


# --- What is told ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class CallToLog:
    """A call that ended. ``employee`` is the CRM's user id, None where nobody is credited or he has no user there.

    ``phone`` is the client's number (E.164, or as the source gave it; empty: hidden), ``line`` our extension or
    number. ``conversation`` joins the calls that one conversation became. ``page_url`` is our page of it, or empty.
    ``title`` says in the configured language what it was: connectors show it where the CRM wants a subject.
    """

    key: str
    card: ExternalId
    employee: str | None
    direction: Direction
    disposition: Disposition
    started: datetime
    answered: datetime | None
    ended: datetime
    phone: str
    line: str = ""
    conversation: str = ""
    page_url: str = ""
    title: str = ""

    @property
    def talk_seconds(self) -> int:
        """From the answer to the end; 0 where nobody answered."""
        return max(0, round((self.ended - self.answered).total_seconds())) if self.answered is not None else 0

    @property
    def ring_seconds(self) -> int:
        """From the first ring to the answer, or to the end."""
        return max(0, round(((self.answered or self.ended) - self.started).total_seconds()))


@dataclass(frozen=True, slots=True, kw_only=True)
class MailParty:
    """``position`` is from, to or cc."""

    position: str
    address: str
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MailToLog:
    """A mail. ``message_id`` has no angle brackets; ``text`` is its new words, without what it quotes, and is empty
    where only the fact is told. ``thread`` is the same for all mails of a conversation."""

    key: str
    card: ExternalId
    employee: str | None
    direction: Direction
    sent: datetime
    message_id: str
    subject: str
    text: str
    parties: tuple[MailParty, ...] = ()
    attachments: tuple[str, ...] = ()
    thread: str = ""
    page_url: str = ""


Activity = CallToLog | MailToLog


@dataclass(frozen=True, slots=True, kw_only=True)
class Sought:
    """What may have been logged by an attempt whose answer was lost; nothing else of it may be known any more.

    ``card`` is where it was to stand, ``at`` when the call began or the mail was sent.
    """

    key: str
    is_call: bool
    card: ExternalId
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingToAttach:
    """The sound of a call: an HTTPS link that lives until it is revoked, and the bytes where a CRM stores them.

    ``url`` is empty where links are not possible (web.public_url is not set). ``read`` gives the whole mp3, a few MB
    an hour; it raises `agent.errors.CardlineError` where the recording is gone.
    """

    url: str
    file_name: str
    seconds: int
    media_type: str = "audio/mpeg"
    read: Callable[[], Awaitable[bytes]] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One utterance: seconds from the beginning of the recording."""

    side: Role
    start: float
    end: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TranscriptToAttach:
    """Who said what. ``names`` are those of both sides, as shown."""

    language: str
    said: tuple[Said, ...]
    names: Mapping[Role, str] = field(default_factory=dict)

    def as_text(self) -> str:
        """A line an utterance: ``00:12 Anna: …``."""
        lines = []
        for one in self.said:
            minutes, seconds = divmod(int(one.start), 60)
            lines.append(f"{minutes:02}:{seconds:02} {self.names.get(one.side, one.side.value)}: {one.text.strip()}")
        return "\n".join(lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class CardToCreate:
    """A card that is ours and not yet theirs."""

    key: str
    name: str
    kind: str  # person or company
    identities: tuple[Identity, ...]
    responsible: str | None = None  # the CRM's user id


# --- What is read ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class CrmUser:
    """Whoever works in the CRM. ``extension`` is his inner number there."""

    id: str
    name: str
    address: str = ""
    extension: str = ""
    is_active: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class CrmCard:
    """A card over there. ``identities`` are normalised (`linker.normalize`); ``company`` is the card it belongs to."""

    id: ExternalId
    name: str
    kind: str  # person or company
    identities: tuple[Identity, ...]
    responsible: str | None = None
    company: ExternalId | None = None
    modified: datetime | None = None


class DealState(StrEnum):
    """How a sale stands."""

    OPEN = "open"
    WON = "won"
    LOST = "lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class CrmStage:
    """A step of a pipeline. ``pipeline`` may be empty where a CRM has one only."""

    pipeline: str
    id: str
    name: str
    place: int
    state: DealState = DealState.OPEN
    pipeline_name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageChange:
    """A deal came to a stage at that moment."""

    stage: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CrmDeal:
    """A sale. ``history`` is what the CRM tells of it now: entries we know already are no news."""

    id: ExternalId
    card: ExternalId | None
    title: str
    pipeline: str
    stage: str
    state: DealState
    amount: Decimal | None = None
    currency: str = ""
    source: str = ""
    loss_reason: str = ""
    created: datetime | None = None
    closed: datetime | None = None
    responsible: str | None = None
    history: tuple[StageChange, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """An object that is no more; ``merged_into`` is what took its place."""

    id: ExternalId
    merged_into: ExternalId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """A page of what changed, in the order it changed. ``cursor`` is where to go on, as the connector words it;
    ``is_last``: there is no more for now."""

    cursor: str
    cards: Sequence[CrmCard] = ()
    deals: Sequence[CrmDeal] = ()
    gone: Sequence[Gone] = ()
    is_last: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of `cardline crm check`: ``level`` is ok, warning or fault; the text of the latter two has a remedy."""

    subject: str
    level: str
    text: str
