"""BlueSales behind `linker.crm.protocol.Crm`: all that it is told stands in the comment of the customer.

A comment is read and written as a whole, so what a person saves in the second between is lost. Nothing else is offered;
it is the reason why BlueSales has the fewest capabilities.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from agent.errors import CardlineError
from agent.model import Identity, IdentityKind
from agent.settings import Settings
from agent.settings_crm import CrmSettings
from linker.crm.bluesales.api import Api
from linker.crm.bluesales.blocks import LONGEST_BLOCK, drop_block, find_block, put_block
from linker.crm.bluesales.scorecard import SCORECARD
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
from linker.crm.protocol import CrmGone, CrmUnreachable, Scorecard
from linker.crm.shapes import Identifier, as_object, id_of, objects, whole, words
from linker.crm.wording import Told, cut, describe_call, describe_mail, one_line

CUSTOMER = "customer"
_PAGE = 500
_OVERLAP = 20  # rows of the page before: what was deleted meanwhile must not let others be skipped


class BlueSales:
    """One account."""

    def __init__(self, settings: CrmSettings, installation: Settings, api: Api, sweep_minutes: float) -> None:
        self._language = settings.language
        self._zone = settings.timezone
        self._api = api
        self._identify = Identifier(installation)
        self._sweep = sweep_minutes * 60
        self._writing = asyncio.Lock()  # two entries of one customer at once would lose one

    @property
    def scorecard(self) -> Scorecard:
        """What it does."""
        return SCORECARD

    async def close(self) -> None:
        """Close connections."""
        await self._api.close()

    async def check(self) -> Sequence[Finding]:
        """Reads only."""
        findings = []
        for command, body in (("users.get", {}), ("customers.get", {"pageSize": 1, "startRowNumber": 0})):
            try:
                await self._api.ask(command, body)
                findings.append(Finding(subject=command, level="ok", text="Allowed."))
            except CardlineError as error:
                findings.append(Finding(subject=command, level="fault", text=str(error)))
                break
        return findings

    async def list_users(self) -> Sequence[CrmUser]:
        """Everybody."""
        found = await self._api.ask("users.get")
        rows = found.get("users", found.get("rows"))
        if not isinstance(rows, list):
            raise CrmUnreachable("What answers is no list of BlueSales.")
        return [
            CrmUser(
                id=words(row.get("login")) or id_of(row.get("id")),
                name=words(row.get("fullName")) or words(row.get("name")),
                address=words(row.get("email")),
            )
            for row in objects(rows)
            if words(row.get("login")) or id_of(row.get("id"))
        ]

    async def find_cards(self, identities: Sequence[Identity]) -> Sequence[CrmCard]:
        """By number only: there is no filter for addresses."""
        wanted = {one for one in identities if one.kind is IdentityKind.PHONE}
        found: dict[ExternalId, CrmCard] = {}
        for one in list(wanted)[:10]:
            body = {"phone": one.value.lstrip("+"), "pageSize": 50, "startRowNumber": 0}
            for card in map(self._card, await self._customers(body)):
                if one in card.identities:
                    found[card.id] = card
        return list(found.values())

    async def create_card(self, card: CardToCreate) -> ExternalId:
        """A customer; by number it is found again where an answer was lost."""
        if known := await self.find_cards(card.identities):
            return known[0].id
        made: dict[str, Any] = {"fullName": one_line(card.name)[:200] or "—"}
        for one in card.identities:
            if one.kind is IdentityKind.PHONE:
                made.setdefault("phone", one.value.lstrip("+"))
            elif one.kind is IdentityKind.ADDRESS:
                made.setdefault("email", one.value)
        if card.responsible:
            made["manager"] = {"login": card.responsible, "name": ""}
        answer = await self._api.ask("customers.add", made)
        number = id_of(answer.get("id"))
        if not number:
            raise CrmUnreachable("BlueSales does not say what it has made.")
        return ExternalId(kind=CUSTOMER, id=number)

    # --- Telling ------------------------------------------------------------------------------------------------------

    async def find_logged(self, sought: Sought) -> Logged | None:
        """In the comment of that customer."""
        try:
            comment = await self._comment(sought.card)
        except CrmGone:
            return None
        return _logged(sought.card, sought.key) if find_block(comment, sought.key) is not None else None

    async def find_foreign(self, activity: Activity) -> Logged | None:
        """Nobody else logs calls in BlueSales."""
        return None

    async def log_call(self, call: CallToLog) -> Logged:
        """A block of the comment."""
        return await self._log(call)

    async def log_mail(self, mail: MailToLog) -> Logged:
        """A block of the comment."""
        return await self._log(mail)

    async def _log(self, activity: Activity) -> Logged:
        logged = _logged(activity.card, activity.key)
        await self._rewrite(activity.card, lambda comment: put_block(comment, activity.key, self._text(activity)))
        return logged

    async def attach_recording(self, logged: Logged, call: CallToLog, recording: RecordingToAttach) -> Logged:
        """A line of the block."""
        await self._retell(logged, lambda told: replace(told, recording=recording.url))
        return logged

    async def attach_transcript(self, logged: Logged, call: CallToLog, transcript: TranscriptToAttach) -> Logged:
        """The end of the block, as far as there is room."""
        await self._retell(logged, lambda told: replace(told, transcript=transcript.as_text()))
        return logged

    async def update(self, logged: Logged, activity: Activity) -> Logged:
        """In place, or out of one comment and into the other; into the new one first."""
        place = _place(logged)
        before = find_block(await self._comment(place), activity.key)
        if before is None:
            raise CrmGone("Somebody has deleted the entry from the comment.")
        told = Told.read(before) if isinstance(activity, CallToLog) else None
        text = self._text(activity, told)
        await self._rewrite(activity.card, lambda comment: put_block(comment, activity.key, text))
        if place != activity.card:
            await self.withdraw(logged)
        return _logged(activity.card, activity.key)

    async def withdraw(self, logged: Logged) -> None:
        """The block goes."""
        try:
            await self._rewrite(_place(logged), lambda comment: drop_block(comment, logged.id.id))
        except CrmGone:
            return

    def _text(self, activity: Activity, told: Told | None = None) -> str:
        if isinstance(activity, CallToLog):
            head = describe_call(activity, language=self._language, timezone=self._zone)
            return (told or Told(head="")).with_head(head).text(most=LONGEST_BLOCK)
        return cut(describe_mail(activity, language=self._language, timezone=self._zone), LONGEST_BLOCK)

    async def _retell(self, logged: Logged, change: Callable[[Told], Told]) -> None:
        key = logged.id.id

        def rewritten(comment: str) -> str:
            block = find_block(comment, key)
            if block is None:
                raise CrmGone("Somebody has deleted the entry from the comment.")
            return put_block(comment, key, change(Told.read(block)).text(most=LONGEST_BLOCK))

        await self._rewrite(_place(logged), rewritten)

    async def _rewrite(self, card: ExternalId, change: Callable[[str], str]) -> None:
        async with self._writing:
            before = await self._comment(card)
            after = change(before)
            if after != before:
                await self._api.ask("customers.update", {"id": whole(card.id), "comments": after})

    async def _comment(self, card: ExternalId) -> str:
        for row in await self._customers({"ids": [whole(card.id)], "pageSize": 1, "startRowNumber": 0}):
            if card.kind == CUSTOMER and id_of(row.get("id")) == card.id:
                comment = row.get("comments")
                return comment if isinstance(comment, str) else ""
        raise CrmGone("The customer is no more in BlueSales.")

    async def _customers(self, body: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Whatever answers in place of a list says of nobody that he is gone."""
        return objects((await self._page(body))["customers"])

    async def _page(self, body: Mapping[str, Any]) -> dict[str, Any]:
        found = await self._api.ask("customers.get", body)
        if not isinstance(found.get("customers"), list):
            raise CrmUnreachable("What answers is no list of BlueSales.")
        return found

    # --- Reading ------------------------------------------------------------------------------------------------------

    async def list_stages(self) -> Sequence[CrmStage]:
        """None: orders of BlueSales are those of a shop."""
        return []

    async def read_changes(self, cursor: str) -> Changes:
        """All customers in sweeps, 500 at a time; the next one begins after options.sweep_minutes."""
        at = as_object(json.loads(cursor)) if cursor else {}
        if at.get("due", 0) > time.time():
            return Changes(cursor=cursor)
        start = max(0, whole(at.get("start")) - _OVERLAP)
        found = await self._page({"pageSize": _PAGE, "startRowNumber": start})
        rows = objects(found.get("customers"))
        is_last = len(rows) < _PAGE and whole(found.get("notReturnedCount")) == 0
        following = {"due": time.time() + self._sweep} if is_last else {"start": start + len(rows)}
        return Changes(cursor=json.dumps(following), cards=[self._card(row) for row in rows], is_last=is_last)

    def _card(self, row: Mapping[str, Any]) -> CrmCard:
        manager = as_object(row.get("manager"))
        return CrmCard(
            id=ExternalId(kind=CUSTOMER, id=id_of(row.get("id"))),
            name=words(row.get("fullName")) or "—",
            kind="person",
            identities=self._identify([row.get("phone"), as_object(row.get("whatsApp")).get("id")], [row.get("email")]),
            responsible=words(manager.get("login")) or id_of(manager.get("id")) or None,
        )


def _logged(card: ExternalId, key: str) -> Logged:
    return Logged(id=ExternalId(kind="comment", id=key), details={"card": card.id})


def _place(logged: Logged) -> ExternalId:
    return ExternalId(kind=CUSTOMER, id=logged.details.get("card", ""))
