"""A CRM in memory that keeps state and fails as told: before doing anything, or after it has done it, silently.

It breaks where the Protocol is broken: logging a key twice without having been asked for it shows as two objects.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

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
from linker.crm.protocol import Capability, CrmGone, CrmUnreachable, Scorecard


@dataclass(slots=True)
class Thing:
    """What is on a card over there."""

    number: int
    activity: Activity
    recordings: list[RecordingToAttach] = field(default_factory=list)
    transcripts: list[TranscriptToAttach] = field(default_factory=list)


class MemoryCrm:
    """``fails`` and ``loses`` are shares of all requests; ``refusals`` are raised first, one a request; while it is
    ``away`` nothing is done."""

    def __init__(
        self, *, fails: float = 0.0, loses: float = 0.0, seed: int = 1, lacks: Sequence[Capability] = ()
    ) -> None:
        self._dice = random.Random(seed)
        self._fails, self._loses = fails, loses
        self.refusals: deque[Exception] = deque()
        self.away = False
        self.requests: Counter[str] = Counter()
        self.things: dict[int, Thing] = {}
        self.order: list[str] = []
        self.cards: dict[str, CrmCard] = {}
        self.foreign: dict[str, int] = {}  # message id or phone -> number of a thing
        self.users: list[CrmUser] = []
        self.changes: deque[Changes] = deque()
        self._by_key: dict[str, list[int]] = {}
        self._scorecard = Scorecard(
            does={one: "in memory" for one in Capability if one not in lacks}, lacks=dict.fromkeys(lacks, "a test")
        )

    @property
    def scorecard(self) -> Scorecard:
        return self._scorecard

    async def _request(self, name: str) -> bool:
        """Whether the answer gets lost after it is done."""
        self.requests[name] += 1
        await asyncio.sleep(0)
        if self.refusals:
            raise self.refusals.popleft()
        if self.away or self._dice.random() < self._fails:
            raise CrmUnreachable("The CRM answers 503.")
        return self._dice.random() < self._loses

    @staticmethod
    def _answer(is_lost: bool) -> None:
        if is_lost:
            raise CrmUnreachable("The connection broke.")

    def on(self, card: str) -> list[Thing]:
        """What stands on a card, in order."""
        return [one for one in self.things.values() if one.activity.card.id == card]

    def copies(self) -> Counter[str]:
        """How often each key is there."""
        return Counter({key: len(numbers) for key, numbers in self._by_key.items() if numbers})

    async def check(self) -> Sequence[Finding]:
        return [Finding(subject="memory", level="ok", text="It answers.")]

    async def list_users(self) -> Sequence[CrmUser]:
        self._answer(await self._request("list_users"))
        return self.users

    async def find_cards(self, identities: Sequence[Identity]) -> Sequence[CrmCard]:
        self._answer(await self._request("find_cards"))
        return [one for one in self.cards.values() if set(identities) & set(one.identities)]

    async def create_card(self, card: CardToCreate) -> ExternalId:
        lost = await self._request("create_card")
        number = f"made-{card.key}"
        self.cards[number] = CrmCard(
            id=ExternalId(kind="contact", id=number), name=card.name, kind=card.kind, identities=card.identities
        )
        self._answer(lost)
        return self.cards[number].id

    async def find_logged(self, sought: Sought) -> Logged | None:
        self._answer(await self._request("find_logged"))
        numbers = self._by_key.get(sought.key)
        return _logged(numbers[0]) if numbers else None

    async def find_foreign(self, activity: Activity) -> Logged | None:
        self._answer(await self._request("find_foreign"))
        sign = activity.phone if isinstance(activity, CallToLog) else activity.message_id
        number = self.foreign.get(sign)
        return replace(_logged(number), is_foreign=True) if number is not None else None

    async def log_call(self, call: CallToLog) -> Logged:
        return await self._log(call)

    async def log_mail(self, mail: MailToLog) -> Logged:
        return await self._log(mail)

    async def _log(self, activity: Activity) -> Logged:
        lost = await self._request("log")
        if self.cards and activity.card.id not in self.cards:
            raise CrmGone("The card is no more.")
        number = self.add(activity)
        self._by_key.setdefault(activity.key, []).append(number)
        self.order.append(activity.key)
        self._answer(lost)
        return _logged(number)

    def add(self, activity: Activity) -> int:
        """Something is on a card, whoever put it there."""
        number = len(self.things) + 1
        self.things[number] = Thing(number=number, activity=activity)
        return number

    def _thing(self, logged: Logged) -> Thing:
        thing = self.things.get(int(logged.id.id))
        if thing is None:
            raise CrmGone("It was deleted.")
        return thing

    async def attach_recording(self, logged: Logged, call: CallToLog, recording: RecordingToAttach) -> Logged:
        lost = await self._request("attach_recording")
        if recording.read is not None:
            assert await recording.read()
        self._thing(logged).recordings[:] = [recording]
        self._answer(lost)
        return logged

    async def attach_transcript(self, logged: Logged, call: CallToLog, transcript: TranscriptToAttach) -> Logged:
        lost = await self._request("attach_transcript")
        self._thing(logged).transcripts[:] = [transcript]
        self._answer(lost)
        return logged

    async def update(self, logged: Logged, activity: Activity) -> Logged:
        lost = await self._request("update")
        thing = self._thing(logged)
        if not logged.is_foreign:
            thing.activity = activity
        self._answer(lost)
        return logged

    async def withdraw(self, logged: Logged) -> None:
        lost = await self._request("withdraw")
        number = int(logged.id.id)
        if not logged.is_foreign:
            self.things.pop(number, None)
            for numbers in self._by_key.values():
                if number in numbers:
                    numbers.remove(number)
        self._answer(lost)

    def delete(self, number: int) -> None:
        """A person deletes it over there."""
        self.things.pop(number)

    async def list_stages(self) -> Sequence[CrmStage]:
        return ()

    async def read_changes(self, cursor: str) -> Changes:
        self._answer(await self._request("read_changes"))
        return self.changes.popleft() if self.changes else Changes(cursor=cursor)

    async def close(self) -> None:
        """Nothing is held."""


def _logged(number: int, **details: Any) -> Logged:
    return Logged(id=ExternalId(kind="call", id=str(number)), details=details)
