"""What a CRM must be able to do for us: the Protocol, its scorecard, and the ways in which it may fail.

How a connector is called (`linker.deliver`, `linker.mirror`):

- One task a card at a time, several cards at once, in one process a connector. Nothing else speaks to the CRM.
- Before `log_call` or `log_mail` it is committed that an attempt begins. Whenever an attempt has begun whose answer is
  not known, `find_logged` is asked first, so the connector must write ``key`` into what it makes, in a field by which
  the CRM finds it (or into its text, if that can be searched), **in the same request that makes it**.
- ``attach_*``, ``update`` and ``withdraw`` may be repeated: they look at what is there, or replace it. What they made
  is named in ``Logged.details``, which is kept; a crash may lose it, so look by name or key before adding it again.
- ``update`` gives the whole activity again: card, employee, times. A CRM that cannot move an object makes a new one and
  takes the old away, and returns the new `Logged`. Of a foreign object only what was missing or wrong is touched.
- ``read_changes("")`` begins at the beginning. Pages are bounded (about 500 objects). The same page read twice must do
  no harm, so a cursor may overlap; it must never skip.
- Numbers and addresses come normalised. A card's identities are given back normalised, by `linker.normalize`.
- A connector keeps limits by itself as far as they are documented (`linker.crm.transport.Pace`), and raises `CrmLimit`
  when the CRM says so nevertheless.

Errors say who must act. Any other exception is a bug of ours: it is tried a few times and then shown as one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from agent.errors import CardlineError, Misconfigured, Unavailable
from agent.model import Identity
from linker.crm.facts import (
    Activity,
    CallToLog,
    CardToCreate,
    Changes,
    CrmCard,
    CrmStage,
    CrmUser,
    ExternalId,
    Finding,
    Logged,
    MailToLog,
    RecordingToAttach,
    Sought,
    TranscriptToAttach,
)


class CrmUnreachable(Unavailable):
    """It does not answer, or answers 5xx. Whether the request was carried out is not known."""


LIMIT_SECONDS = 60.0


class CrmLimit(Unavailable):
    """Too many requests. ``retry_after`` is in seconds; None: it did not say."""

    def __init__(self, what: str, *, retry_after: float | None = None) -> None:
        super().__init__(what)
        self.retry_after = retry_after

    @property
    def seconds(self) -> float:
        """For how long it is to be left alone."""
        return self.retry_after if self.retry_after is not None else LIMIT_SECONDS


class CrmAuthFailed(Misconfigured):
    """Key, password or token are refused: nothing goes on until a person acts."""

    remedy = "Check the keys of this [[crm]] in cardline.toml with `cardline crm check`."


class CrmRightsMissing(Misconfigured):
    """We are let in and may not do this one thing."""

    remedy = "Give the user or application of this [[crm]] the right in the CRM, then `cardline crm retry`."


class CrmGone(CardlineError):
    """The card, or what we logged, is no more over there."""

    remedy = "Put the entry on another card, or make the card anew in the CRM and try again."


class CrmRefused(CardlineError):
    """The CRM understands and refuses what we say; saying it again does not help. ``remedy`` must be given."""


class Capability(StrEnum):
    """What may be asked of a connector."""

    FIND_CARDS = "find_cards"
    CREATE_CARDS = "create_cards"
    LOG_CALLS = "log_calls"
    LOG_MAILS = "log_mails"
    FIND_LOGGED = "find_logged"  # by our key, so that nothing is logged twice
    FIND_FOREIGN = "find_foreign"  # what another integration has logged: enrich mode
    LINK_RECORDING = "link_recording"
    UPLOAD_RECORDING = "upload_recording"
    TRANSCRIPT = "transcript"
    UPDATE = "update"
    WITHDRAW = "withdraw"
    LIST_USERS = "list_users"
    READ_CARDS = "read_cards"
    READ_DEALS = "read_deals"
    STAGE_HISTORY = "stage_history"
    READ_DELETIONS = "read_deletions"
    READ_MERGES = "read_merges"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scorecard:
    """What a connector does, with a word on how, and why not the rest. Every capability stands in one of the two."""

    does: Mapping[Capability, str]
    lacks: Mapping[Capability, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        both, none = self.does.keys() & self.lacks.keys(), set(Capability) - self.does.keys() - self.lacks.keys()
        assert not both and not none, f"each capability once: {sorted(both | none)}"

    def can(self, capability: Capability) -> bool:
        """Whether it may be asked; otherwise the call must not be made."""
        return capability in self.does


class Crm(Protocol):
    """One account of a CRM. All may raise `CrmUnreachable`, `CrmLimit`, `CrmAuthFailed` and `CrmRightsMissing`."""

    @property
    def scorecard(self) -> Scorecard:
        """What it does."""
        ...

    async def check(self) -> Sequence[Finding]:
        """Prove each right that is needed and leave no traces; name other integrations that log calls or mails."""
        ...

    async def list_users(self) -> Sequence[CrmUser]:
        """Everybody who may be responsible for something."""
        ...

    async def find_cards(self, identities: Sequence[Identity]) -> Sequence[CrmCard]:
        """Cards with one of these numbers or addresses, at most a few dozen. However the CRM writes numbers."""
        ...

    async def create_card(self, card: CardToCreate) -> ExternalId:
        """A new card. Called after `find_cards` found none; look for ``key`` first, as an answer may have been lost."""
        ...

    async def find_logged(self, sought: Sought) -> Logged | None:
        """What we have logged under that key, wherever it stands by now."""
        ...

    async def find_foreign(self, activity: Activity) -> Logged | None:
        """The same call or mail logged by somebody else: number, employee and time within a minute; Message-ID."""
        ...

    async def log_call(self, call: CallToLog) -> Logged:
        """Put it on the card, once.

        Raises:
            CrmGone: the card is no more. CrmRefused: as it says.
        """
        ...

    async def log_mail(self, mail: MailToLog) -> Logged:
        """Put it on the card, once; never send it.

        Raises:
            CrmGone: the card is no more. CrmRefused: as it says.
        """
        ...

    async def attach_recording(self, logged: Logged, call: CallToLog, recording: RecordingToAttach) -> Logged:
        """Upload it or leave the link; what was attached before is replaced."""
        ...

    async def attach_transcript(self, logged: Logged, call: CallToLog, transcript: TranscriptToAttach) -> Logged:
        """What was attached before is replaced."""
        ...

    async def update(self, logged: Logged, activity: Activity) -> Logged:
        """What is there becomes what it should be: another card, another employee, other times.

        Raises:
            CrmGone: what we logged is no more; a person deleted it over there, and it stays deleted.
        """
        ...

    async def withdraw(self, logged: Logged) -> None:
        """Take away everything we made of it, recording and transcript too. That it is gone already is fine.

        Of a foreign object only what we added goes.
        """
        ...

    async def list_stages(self) -> Sequence[CrmStage]:
        """All stages of all pipelines."""
        ...

    async def read_changes(self, cursor: str) -> Changes:
        """Cards, deals and what is gone since the cursor; a page at a time."""
        ...

    async def close(self) -> None:
        """Give connections back."""
        ...


class Vault(Protocol):
    """Where tokens survive that a CRM gives anew each time; encrypted on disk, one a connector."""

    def alone(self) -> AbstractAsyncContextManager[object]:
        """Nobody else renews them meanwhile, in whichever process."""
        ...

    async def load(self) -> Mapping[str, str]:
        """What was saved last; empty at first."""
        ...

    async def save(self, kept: Mapping[str, str]) -> None:
        """Replace it, durably, before it is used."""
        ...
