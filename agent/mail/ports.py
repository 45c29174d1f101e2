"""What the mail side needs from the rest of the service, as protocols: the store can be a real one or one in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from agent.model import CapturedMail, MailboxPosition, SourceState
from agent.model_mail import ParsedMessage


class EvidenceStore(Protocol):
    """Takes bytes for good: when it returns, they are on disk and committed (`agent.intake.Intake`)."""

    async def store_evidence(
        self, mails: Sequence[CapturedMail], *, position: MailboxPosition | None = None
    ) -> list[int]:
        """Seal and commit ``mails`` and ``position`` together; raises `agent.errors.Unavailable` to be tried again."""
        ...


class DeliveryStore(Protocol):
    """The same for what is delivered to us (`agent.intake.Intake`)."""

    async def store_deliveries(self, mails: Sequence[CapturedMail]) -> list[int]:
        """Seal and commit ``mails``, whose keys were just made; raises `agent.errors.Unavailable` to be tried again."""
        ...


class MessageStore(Protocol):
    """Takes what was read of an evidence (`agent.intake.Intake`)."""

    async def accept_messages(self, read: Sequence[tuple[int, ParsedMessage]]) -> Mapping[int, int]:
        """Store messages, all or none; evidence → interaction. Doing it twice changes nothing."""
        ...

    async def reject_evidence(self, evidence_id: int, problem: str) -> None:
        """Flag the evidence as unreadable for the reason ``problem``, in words for a person."""
        ...


OnState = Callable[[str, SourceState, str], None]
"""Told, from any thread, when the state of a mailbox changes: mailbox, state, what a person should read about it."""

PROBLEM = "problem"
"""Key of a mail's envelope under which a source says, in words, why it could not get the bytes."""
