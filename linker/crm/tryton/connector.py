"""The connector for Tryton.

A note cannot be changed once it is there (trytond/ir/note.py), so an update makes a new one and takes the old away;
the key stands in both, so that a crash between leaves nothing twice for long. Notes and files are searched on their
party only: Tryton allows nothing else to anybody who is no administrator (trytond/ir/resource.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from zoneinfo import ZoneInfo

from agent.errors import Misconfigured
from agent.model import Identity, IdentityKind
from agent.settings import Settings
from agent.settings_crm import CrmSettings
from linker.crm.facts import (
    Activity,
    CallToLog,
    CardToCreate,
    Changes,
    CrmCard,
    CrmStage,
    CrmUser,
    DealState,
    ExternalId,
    Finding,
    Logged,
    MailToLog,
    RecordingToAttach,
    Sought,
    TranscriptToAttach,
)
from linker.crm.protocol import Capability, CrmGone, CrmRefused, Scorecard, Vault
from linker.crm.tryton.notes import note_text
from linker.crm.tryton.reading import Reader, phone_pattern
from linker.crm.tryton.rpc import Rpc

PARTY, NOTE = "party", "note"
_MOST_FOUND = 50
_LONGEST_DESCRIPTION = 50_000
_STATES = {
    "lead": DealState.OPEN,
    "opportunity": DealState.OPEN,
    "converted": DealState.OPEN,
    "won": DealState.WON,
    "lost": DealState.LOST,
    "cancelled": DealState.LOST,
}
_RIGHTS = {
    "party.party": ("read", "create"),
    "ir.note": ("read", "create", "delete"),
    "ir.attachment": ("read", "create", "write", "delete"),
    "res.user": ("read",),
    "sale.opportunity": ("read",),
}

SCORECARD = Scorecard(
    does={
        Capability.FIND_CARDS: "Parties by their phones and e-mails.",
        Capability.CREATE_CARDS: "A party with its contact mechanisms.",
        Capability.LOG_CALLS: "A note on the party.",
        Capability.LOG_MAILS: "A note on the party.",
        Capability.FIND_LOGGED: "Notes of the party by the key in their last line.",
        Capability.LINK_RECORDING: "An attachment of the kind link.",
        Capability.UPLOAD_RECORDING: "An attachment with the mp3.",
        Capability.TRANSCRIPT: "An attachment with the text, which its summary shows.",
        Capability.UPDATE: "A new note in place of the old one; files move with it.",
        Capability.WITHDRAW: "Note and files are deleted.",
        Capability.LIST_USERS: "Users with their e-mail.",
        Capability.READ_CARDS: "Parties and contact mechanisms by their time of change.",
        Capability.READ_DEALS: "Opportunities, where the module sale_opportunity is active.",
        Capability.STAGE_HISTORY: "Revisions of opportunities.",
        Capability.READ_DELETIONS: "Deactivated parties. One deleted outright is noticed when something is told to it.",
        Capability.READ_MERGES: "Parties that were replaced by another one.",
    },
    lacks={Capability.FIND_FOREIGN: "No integration of Tryton logs calls or mails in a form of its own."},
)


def connect(settings: CrmSettings, whole: Settings, vault: Vault) -> Tryton:
    """Needs user and password; ``vault`` is not used, since a session is opened anew.

    Raises:
        Misconfigured: one of them is missing.
    """
    if not settings.user or not settings.password.get_secret_value():
        remedy = "Give a Tryton user's name and password; docs/crm/tryton.md says which rights he needs."
        raise Misconfigured(f"crm.{settings.name}: user and password must be given.", remedy=remedy)
    return Tryton(settings, whole)


class Tryton:
    """One database of Tryton."""

    def __init__(self, settings: CrmSettings, whole: Settings) -> None:
        self._settings = settings
        self._zone = ZoneInfo(settings.timezone)
        self._rpc = Rpc(settings)
        self._reader = Reader(self._rpc, region=whole.region, extension_digits=whole.extension_digits)
        self._names: dict[str, str] = {}

    @property
    def scorecard(self) -> Scorecard:
        """What it does."""
        return SCORECARD

    async def close(self) -> None:
        """Give connections back."""
        await self._rpc.close()

    # --- Who and what is there ----------------------------------------------------------------------------------------

    async def check(self) -> Sequence[Finding]:
        """Asks for the rights as Tryton's own client does; nothing is written."""
        found = await self._rpc.call("ir.model.access", "get_access", list(_RIGHTS))
        findings = [Finding(subject="login", level="ok", text=f"Tryton lets {self._settings.user} in.")]
        for model, wanted in _RIGHTS.items():
            has = found.get(model) or {}
            lacking = [one for one in wanted if not has.get(one)]
            is_optional = model == "sale.opportunity"
            text = f"May {', '.join(wanted)}."
            if lacking:
                text = f"May not {', '.join(lacking)}. Give the user a group with this right (Administration, Users)."
            level = "ok" if not lacking else "warning" if is_optional else "fault"
            findings.append(Finding(subject=model, level=level, text=text))
        return findings

    async def list_users(self) -> Sequence[CrmUser]:
        """Users; names are kept for the notes."""
        fields = ["name", "login", "email", "active"]
        rows = await self._rpc.call("res.user", "search_read", [["active", "in", [True, False]]], 0, 1000, None, fields)
        users = [
            CrmUser(
                id=str(row["id"]),
                name=row["name"] or row["login"] or "",
                address=(row["email"] or "").lower(),
                is_active=bool(row["active"]),
            )
            for row in rows
        ]
        self._names = {one.id: one.name for one in users}
        return users

    async def find_cards(self, identities: Sequence[Identity]) -> Sequence[CrmCard]:
        """By the digits of a phone in any notation, and by the address in any case."""
        clauses: list[Any] = ["OR"]
        for one in identities:
            if one.kind is IdentityKind.ADDRESS:
                clauses.append([["type", "=", "email"], ["value", "ilike", one.value]])
            elif one.kind is IdentityKind.PHONE:
                clauses.append([["type", "!=", "email"], ["value", "like", phone_pattern(one.value)]])
        if len(clauses) == 1:
            return ()
        rows = await self._rpc.call("party.contact_mechanism", "search_read", clauses, 0, _MOST_FOUND, None, ["party"])
        cards = await self._reader.cards(sorted({row["party"] for row in rows}))
        wanted = set(identities)
        return [card for card in cards if wanted & set(card.identities)]

    async def create_card(self, card: CardToCreate) -> ExternalId:
        """The key is kept in the comment of the first contact mechanism, so that a lost answer is made good."""
        mechanisms = [
            {"type": "email" if one.kind is IdentityKind.ADDRESS else "phone", "value": one.value, "comment": card.key}
            for one in card.identities
            if one.kind in (IdentityKind.ADDRESS, IdentityKind.PHONE)
        ]
        made = await self._rpc.call(
            "party.contact_mechanism", "search_read", [["comment", "=", card.key]], 0, 1, None, ["party"]
        )
        if made:
            return ExternalId(kind=PARTY, id=str(made[0]["party"]))
        values = (
            {"name": card.name, "contact_mechanisms": [["create", mechanisms]]} if mechanisms else {"name": card.name}
        )
        (number,) = await self._rpc.call("party.party", "create", [values])
        return ExternalId(kind=PARTY, id=str(number))

    # --- Notes --------------------------------------------------------------------------------------------------------

    async def find_logged(self, sought: Sought) -> Logged | None:
        """On the party, or on the one that has taken its place."""
        for party in await self._reader.heirs(int(sought.card.id)):
            notes = await self._notes(party, sought.key)
            if notes:
                return _logged(notes[-1]["id"], party, sought.key)
        return None

    async def find_foreign(self, activity: Activity) -> Logged | None:
        """There are none, see the scorecard."""
        return None

    async def log_call(self, call: CallToLog) -> Logged:
        """A note."""
        return await self._log(call)

    async def log_mail(self, mail: MailToLog) -> Logged:
        """A note."""
        return await self._log(mail)

    async def _log(self, activity: Activity) -> Logged:
        party = int(activity.card.id)
        number = await self._write_note(party, await self._text(activity))
        return _logged(number, party, activity.key)

    async def _write_note(self, party: int, text: str) -> int:
        try:
            (number,) = await self._rpc.call(
                "ir.note", "create", [{"resource": f"party.party,{party}", "message": text}]
            )
        except CrmRefused:
            if await self._reader.is_there(party):
                raise
            raise CrmGone("The party is no more in Tryton.") from None
        return int(number)

    async def _text(self, activity: Activity) -> str:
        if activity.employee is not None and activity.employee not in self._names:
            await self.list_users()
        name = self._names.get(activity.employee or "", "")
        return note_text(activity, employee=name, language=self._settings.language, zone=self._zone)

    async def _notes(self, party: int, key: str) -> list[dict[str, Any]]:
        domain = [["resource", "=", f"party.party,{party}"], ["message", "like", f"%{key}"]]
        order = [["id", "ASC"]]
        found: list[dict[str, Any]] = await self._rpc.call(
            "ir.note", "search_read", domain, 0, _MOST_FOUND, order, ["message"]
        )
        return found

    async def update(self, logged: Logged, activity: Activity) -> Logged:
        """The note as it should be, where it should be; older ones with the key go."""
        before, party = int(logged.details["party"]), int(activity.card.id)
        old = await self._notes(before, activity.key)
        if not old and not await self._notes(party, activity.key):
            raise CrmGone("The note was deleted in Tryton.")
        text = await self._text(activity)
        there = old if before == party else await self._notes(party, activity.key)
        right = next((one["id"] for one in there if one["message"] == text), None)
        if right is None:
            right = await self._write_note(party, text)
        stale = [one["id"] for one in (*old, *there) if one["id"] != right]
        await self._delete("ir.note", sorted(set(stale)))
        if before != party:
            for row in await self._files(before, activity.key):
                await self._rpc.call("ir.attachment", "write", [row["id"]], {"resource": f"party.party,{party}"})
        return Logged(id=ExternalId(kind=NOTE, id=str(right)), details={**logged.details, "party": str(party)})

    async def withdraw(self, logged: Logged) -> None:
        """Note and files; whoever is gone already is fine."""
        party, key = int(logged.details["party"]), logged.details["key"]
        for heir in await self._reader.heirs(party):
            await self._delete("ir.note", [one["id"] for one in await self._notes(heir, key)])
            await self._delete("ir.attachment", [one["id"] for one in await self._files(heir, key)])

    async def _delete(self, model: str, ids: Sequence[int]) -> None:
        for number in ids:
            try:
                await self._rpc.call(model, "delete", [number])
            except CrmGone:
                continue

    # --- Files --------------------------------------------------------------------------------------------------------

    async def attach_recording(self, logged: Logged, call: CallToLog, recording: RecordingToAttach) -> Logged:
        """A file of its own: the mp3, or a link to it."""
        values: dict[str, Any] = {"type": "link", "link": recording.url, "data": None}
        if recording.read is not None:
            values = {"type": "data", "data": await recording.read(), "link": None}
        await self._attach(logged, "mp3", recording.file_name, values)
        return logged

    async def attach_transcript(self, logged: Logged, call: CallToLog, transcript: TranscriptToAttach) -> Logged:
        """A text file; the same text as its description, which Tryton shows and searches."""
        text = transcript.as_text()
        name = f"{call.started.astimezone(self._zone):%Y-%m-%d-%H%M%S}.txt"
        values = {"type": "data", "data": text.encode(), "description": text[:_LONGEST_DESCRIPTION]}
        await self._attach(logged, "txt", name, values)
        return logged

    async def _attach(self, logged: Logged, kind: str, name: str, values: Mapping[str, Any]) -> None:
        """One file of a kind: what is there is changed."""
        party, key = int(logged.details["party"]), logged.details["key"]
        full = f"{name.rpartition('.')[0]} {key}.{kind}"
        there = [one for one in await self._files(party, key) if one["name"].endswith(f".{kind}")]
        if there:
            await self._rpc.call("ir.attachment", "write", [there[0]["id"]], {**values, "name": full})
            await self._delete("ir.attachment", [one["id"] for one in there[1:]])
            return
        if not await self._reader.is_there(party):
            raise CrmGone("The party is no more in Tryton.")
        row = {**values, "resource": f"party.party,{party}", "name": full}
        await self._rpc.call("ir.attachment", "create", [row])

    async def _files(self, party: int, key: str) -> list[dict[str, Any]]:
        domain = [["resource", "=", f"party.party,{party}"], ["name", "like", f"%{key}%"]]
        order = [["id", "ASC"]]
        found: list[dict[str, Any]] = await self._rpc.call(
            "ir.attachment", "search_read", domain, 0, _MOST_FOUND, order, ["name"]
        )
        return found

    # --- The mirror ---------------------------------------------------------------------------------------------------

    async def list_stages(self) -> Sequence[CrmStage]:
        """Tryton's opportunities have states, the same for everybody."""
        return [
            CrmStage(pipeline="", id=name, name=name, place=place, state=state)
            for place, (name, state) in enumerate(_STATES.items())
        ]

    async def read_changes(self, cursor: str) -> Changes:
        """Parties, then opportunities."""
        return await self._reader.read_changes(cursor, _STATES)


def _logged(note: int, party: int, key: str) -> Logged:
    return Logged(id=ExternalId(kind=NOTE, id=str(note)), details={"party": str(party), "key": key})
