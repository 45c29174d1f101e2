"""1C behind `linker.crm.protocol.Crm`: documents of calls and mails, and the catalogues of partners and deals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import structlog

from agent.errors import CardlineError
from agent.model import Direction, Identity
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
    ExternalId,
    Finding,
    Logged,
    MailToLog,
    RecordingToAttach,
    Sought,
    TranscriptToAttach,
)
from linker.crm.onec.api import EMPTY, Api, guid, literal, local
from linker.crm.onec.reading import PARTNER, Reading
from linker.crm.onec.scorecard import SCORECARD
from linker.crm.protocol import CrmAuthFailed, CrmGone, CrmRefused, CrmUnreachable, Scorecard
from linker.crm.shapes import last_digits, words
from linker.crm.wording import Told, describe_call, describe_mail, erased, one_line, subject_of, title_of

log = structlog.get_logger()

_NEAR = timedelta(minutes=1)
_AROUND = timedelta(minutes=10)
_MOST_ROWS = 1000
_LONGEST_NAME = 100
_OPTION = {"calls": "call", "mails_in": "mail", "mails_out": "mail"}


class OneC:
    """One information base. ``names`` has what the configuration calls things (`linker.crm.onec.names`)."""

    def __init__(self, settings: CrmSettings, installation: Settings, api: Api, names: Mapping[str, str]) -> None:
        self._language = settings.language
        self._zone = settings.timezone
        self._api = api
        self._names = names
        self._reading = Reading(api, installation, names, settings.timezone)

    @property
    def scorecard(self) -> Scorecard:
        """What it does."""
        return SCORECARD

    async def list_users(self) -> Sequence[CrmUser]:
        """The catalogue of users."""
        return await self._reading.list_users()

    async def find_cards(self, identities: Sequence[Identity]) -> Sequence[CrmCard]:
        """By contact information."""
        return await self._reading.find_cards(identities)

    async def list_stages(self) -> Sequence[CrmStage]:
        """States of deals."""
        return await self._reading.list_stages()

    async def read_changes(self, cursor: str) -> Changes:
        """Partners and deals."""
        return await self._reading.read_changes(cursor)

    async def close(self) -> None:
        """Close connections."""
        await self._api.close()

    async def check(self) -> Sequence[Finding]:
        """Each object and its fields by one row; what others log, by calls of the last month without our key."""
        findings = []
        for option in ("partners", "contacts", "calls", "mails_in", "mails_out", "deals", "users"):
            name = self._names[option]
            if not name:
                continue
            try:
                rows = await self._api.rows(name, {"$top": "1"})
            except (CrmAuthFailed, CrmUnreachable) as error:
                return [Finding(subject="login", level="fault", text=str(error))]
            except CardlineError as error:
                findings.append(Finding(subject=name, level="fault", text=str(error)))
            else:
                findings.append(self._fields(option, name, rows))
        return [Finding(subject="login", level="ok", text="Let in."), *findings]

    def _fields(self, option: str, name: str, rows: Sequence[Mapping[str, Any]]) -> Finding:
        wanted = [value for field, value in self._names.items() if field.startswith(f"{_OPTION.get(option, '-')}_")]
        states = (self._names["mail_state_sent"], self._names["mail_state"] if option == "mails_in" else "")
        missing = [one for one in wanted if one and rows and one not in rows[0] and one not in states]
        if missing:
            text = f"It has no {', '.join(missing)}. `cardline crm metadata` proposes names for options."
            return Finding(subject=name, level="warning", text=text)
        return Finding(subject=name, level="ok", text="May be read.")

    async def create_card(self, card: CardToCreate) -> ExternalId:
        """A partner; by number or address it is found again where an answer was lost."""
        if card.identities and (known := await self._reading.find_cards(card.identities)):
            return known[0].id
        names = self._names
        kind = names["partner_company"] if card.kind == "company" else names["partner_person"]
        made: dict[str, Any] = {names["partner_name"]: one_line(card.name)[:_LONGEST_NAME] or "—"}
        if names["partner_kind"] and kind:
            made[names["partner_kind"]] = kind
        if card.responsible and names["partner_responsible"]:
            made[names["partner_responsible"]] = guid(card.responsible)
        table = names["contacts"].rpartition("_")[2]
        if table and card.identities:
            made[table] = self._reading.contact_rows(card.identities)
        answer = await self._api.create(names["partners"], made)
        return ExternalId(kind=PARTNER, id=_key(answer))

    # --- What was logged ----------------------------------------------------------------------------------------------

    async def find_logged(self, sought: Sought) -> Logged | None:
        """Comments may be of unlimited length, which no filter takes; so they are compared here."""
        for option in ("calls",) if sought.is_call else ("mails_in", "mails_out"):
            field = self._names[f"{_OPTION[option]}_key"]
            for row in await self._around(option, sought.at, _AROUND):
                if row.get("DeletionMark") is not True and sought.key in str(row.get(field) or ""):
                    return _logged(option, row)
        return None

    async def find_foreign(self, activity: Activity) -> Logged | None:
        """A call by number and minute, a mail by Message-ID."""
        if isinstance(activity, MailToLog):
            return await self._foreign_mail(activity)
        number = last_digits(activity.phone)
        for row in await self._around("calls", activity.started, _NEAR) if number else ():
            is_ours = "cardline-" in str(row.get(self._names["call_key"]) or "")
            who = words(row.get(self._names["call_responsible"]))
            is_his = activity.employee is None or who in ("", EMPTY, activity.employee)
            if not is_ours and is_his and last_digits(words(row.get(self._names["call_phone"]))) == number:
                return replace(_logged("calls", row), is_foreign=True)
        return None

    async def _foreign_mail(self, mail: MailToLog) -> Logged | None:
        field = self._names["mail_message_id"]
        if not field or not mail.message_id:
            return None
        for option in ("mails_in", "mails_out"):
            both = (mail.message_id, f"<{mail.message_id}>")
            filters = " or ".join(f"{field} eq {literal(one)}" for one in both)
            for row in await self._rows(option, {"$filter": filters, "$top": "5"}):
                if "cardline-" not in str(row.get(self._names["mail_key"]) or ""):
                    return replace(_logged(option, row), is_foreign=True)
        return None

    async def _around(self, option: str, at: datetime, span: timedelta) -> list[dict[str, Any]]:
        since, until = local(at - span, self._zone), local(at + span, self._zone)
        asked = f"Date ge datetime'{since}' and Date le datetime'{until}'"
        return await self._rows(option, {"$filter": asked, "$orderby": "Date desc", "$top": str(_MOST_ROWS)})

    async def _rows(self, option: str, query: Mapping[str, str]) -> list[dict[str, Any]]:
        return await self._api.rows(self._names[option], query) if self._names[option] else []

    # --- Telling ------------------------------------------------------------------------------------------------------

    async def log_call(self, call: CallToLog) -> Logged:
        """A document; its partner is asked for first, since 1C takes a reference to nothing."""
        await self._partner(call.card)
        row = await self._api.create(self._names["calls"], self._call(call, Told(head="")))
        return _logged("calls", row)

    async def log_mail(self, mail: MailToLog) -> Logged:
        """A document that is done with: an outgoing one is in the state in which 1C does not send it."""
        if mail.direction is Direction.OUTBOUND and not self._names["mail_state"]:
            raise CrmRefused(
                "Without a field for its state 1C might send this mail once more.",
                remedy="Set options.mail_state and options.mail_state_sent, or mails = false.",
            )
        await self._partner(mail.card)
        option = "mails_out" if mail.direction is Direction.OUTBOUND else "mails_in"
        row = await self._api.create(self._names[option], self._mail(mail, option))
        return _logged(option, row)

    async def _partner(self, card: ExternalId) -> None:
        row = await self._api.get(self._names["partners"], card.id)
        if row.get("DeletionMark") is True:
            raise CrmGone("The partner is marked for deletion in 1C.")

    def _call(self, call: CallToLog, told: Told) -> dict[str, Any]:
        head = describe_call(call, language=self._language, timezone=self._zone)
        return self._named(
            "call",
            call,
            {
                "Date": local(call.started, self._zone),
                self._names["call_incoming"]: call.direction is not Direction.OUTBOUND,
                self._names["call_subject"]: f"{title_of(call)} {one_line(call.phone)}".strip()[:_LONGEST_NAME],
                self._names["call_text"]: told.with_head(head).text(),
                self._names["call_phone"]: one_line(call.phone)[:_LONGEST_NAME],
                self._names["call_partner_name"]: one_line(call.phone)[:_LONGEST_NAME],
            },
        )

    def _mail(self, mail: MailToLog, option: str) -> dict[str, Any]:
        text = describe_mail(mail, language=self._language, timezone=self._zone, with_subject=False)
        fields: dict[str, Any] = {
            "Date": local(mail.sent, self._zone),
            self._names["mail_subject"]: subject_of(mail, self._language)[:_LONGEST_NAME],
            self._names["mail_text"]: text,
            self._names["mail_message_id"]: f"<{mail.message_id}>" if mail.message_id else "",
        }
        if option == "mails_out":
            fields[self._names["mail_state"]] = self._names["mail_state_sent"]
        return self._named("mail", mail, fields)

    def _named(self, prefix: str, activity: Activity, fields: Mapping[str, Any]) -> dict[str, Any]:
        """With key, employee and partner; without what has no name in this configuration."""
        made = {name: value for name, value in fields.items() if name}
        key, who, partner = (self._names[f"{prefix}_{one}"] for one in ("key", "responsible", "partner"))
        if key:
            before = str(made.get(key, ""))
            made[key] = f"{before}\n{activity.key}".strip()
        if who:
            made[who] = guid(activity.employee) if activity.employee else EMPTY
        if partner:
            made[partner] = guid(activity.card.id)
            if not partner.endswith("_Key"):  # a field of several types names the one it has
                made[f"{partner}_Type"] = f"StandardODATA.{self._names['partners']}"
        return made

    async def attach_recording(self, logged: Logged, call: CallToLog, recording: RecordingToAttach) -> Logged:
        """A line of the text."""
        return await self._retell(logged, recording=recording.url)

    async def attach_transcript(self, logged: Logged, call: CallToLog, transcript: TranscriptToAttach) -> Logged:
        """The end of the text."""
        return await self._retell(logged, transcript=transcript.as_text())

    async def _retell(self, logged: Logged, *, recording: str = "", transcript: str = "") -> Logged:
        field, place = self._names["call_text"], self._names[_option(logged)]
        row = await self._document(logged)
        told = Told.read(str(row.get(field) or ""))
        told = replace(told, recording=recording or told.recording, transcript=transcript or told.transcript)
        await self._api.change(place, logged.id.id, {field: told.text()})
        return logged

    # --- What changes later -------------------------------------------------------------------------------------------

    async def update(self, logged: Logged, activity: Activity) -> Logged:
        """In place. Of a foreign one only the partner."""
        row, option = await self._document(logged), _option(logged)
        await self._partner(activity.card)
        prefix = _OPTION[option]
        if logged.is_foreign:
            whole = self._named(prefix, activity, {})
            partner = self._names[f"{prefix}_partner"]
            fields = {name: whole[name] for name in (partner, f"{partner}_Type") if name in whole}
        elif isinstance(activity, CallToLog):
            fields = self._call(activity, Told.read(str(row.get(self._names["call_text"]) or "")))
        else:
            fields = self._mail(activity, option)
        await self._api.change(self._names[option], logged.id.id, fields)
        return logged

    async def withdraw(self, logged: Logged) -> None:
        """Words and numbers go at once; the object is marked and goes with the next clean-up of the base."""
        option = _option(logged)
        prefix = _OPTION[option]
        try:
            row = await self._document(logged)
        except CrmGone:
            return
        text = self._names[f"{prefix}_text"]
        if logged.is_foreign:
            fields: dict[str, Any] = {text: Told.read(str(row.get(text) or "")).head} if prefix == "call" else {}
        else:
            cleared = ("text", "phone", "partner_name", "message_id", "key")
            fields = {name: "" for one in cleared if (name := self._names.get(f"{prefix}_{one}", ""))}
            fields |= {self._names[f"{prefix}_subject"]: erased(self._language), "DeletionMark": True}
        fields.pop("", None)
        if fields:
            await self._api.change(self._names[option], logged.id.id, fields)

    async def _document(self, logged: Logged) -> dict[str, Any]:
        row = await self._api.get(self._names[_option(logged)], logged.id.id)
        if row.get("DeletionMark") is True:
            raise CrmGone("It is marked for deletion in 1C.")
        return row


def _option(logged: Logged) -> str:
    if logged.id.kind not in _OPTION:
        raise CrmGone("It is of no kind that is logged in 1C.")
    return logged.id.kind


def _logged(option: str, row: Mapping[str, Any]) -> Logged:
    return Logged(id=ExternalId(kind=option, id=_key(row)))


def _key(row: Mapping[str, Any]) -> str:
    found = words(row.get("Ref_Key"))
    if not found or found == EMPTY:
        raise CrmUnreachable("1C does not say what it has made.")
    return found
