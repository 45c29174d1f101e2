"""Bitrix24 behind `linker.crm.protocol.Crm`: what is told to it. What is read of it: `linker.crm.bitrix24.reading`."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import structlog

from agent.model import Identity
from agent.settings import Settings
from agent.settings_crm import CrmSettings
from linker.crm.bitrix24 import fields
from linker.crm.bitrix24.api import Api, Command
from linker.crm.bitrix24.checking import check
from linker.crm.bitrix24.reading import Reading
from linker.crm.bitrix24.scorecard import APPLICATION, WEBHOOK
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
from linker.crm.protocol import CrmGone, CrmRefused, Scorecard
from linker.crm.shapes import as_object, id_of, last_digits, moment, objects, whole, words
from linker.crm.wording import Told, one_line, subject_of

log = structlog.get_logger()

_NEAR = timedelta(minutes=1)
_AROUND = timedelta(minutes=3)
_MOST_PAGES = 20
_SELECT = ["ID", "OWNER_ID", "OWNER_TYPE_ID", "SUBJECT", "COMPLETED", "ORIGINATOR_ID", "ORIGIN_ID", "COMMUNICATIONS"]


class Bitrix24:
    """One portal."""

    def __init__(self, settings: CrmSettings, installation: Settings, api: Api) -> None:
        self._language = settings.language
        self._timezone = settings.timezone
        self._api = api
        self._reading = Reading(api, installation)
        self._own_user = ""

    @property
    def scorecard(self) -> Scorecard:
        """What it does."""
        return APPLICATION if self._api.is_application else WEBHOOK

    async def check(self) -> Sequence[Finding]:
        """Rights, telephony and other integrations that log calls."""
        return await check(self._api)

    async def list_users(self) -> Sequence[CrmUser]:
        """Everybody, those who have left too."""
        return await self._reading.list_users()

    async def find_cards(self, identities: Sequence[Identity]) -> Sequence[CrmCard]:
        """Contacts, companies and leads."""
        return await self._reading.find_cards(identities)

    async def list_stages(self) -> Sequence[CrmStage]:
        """Of all pipelines of deals."""
        return await self._reading.list_stages()

    async def read_changes(self, cursor: str) -> Changes:
        """All by number first, then what changed since by time."""
        return await self._reading.read_changes(cursor)

    async def close(self) -> None:
        """Close connections."""
        await self._api.close()

    async def create_card(self, card: CardToCreate) -> ExternalId:
        """A contact or a company; by its ORIGIN_ID it is found again."""
        kind = "company" if card.kind == "company" else "contact"
        origin = {"ORIGINATOR_ID": fields.ORIGINATOR, "ORIGIN_ID": card.key}
        found = await self._api.page(f"crm.{kind}.list", {"filter": origin, "select": ["ID"], "start": -1})
        for row in objects(found.rows):
            return ExternalId(kind=kind, id=id_of(row.get("ID")))
        name = one_line(card.name)[:250] or "—"
        made = await self._api.call(
            f"crm.{kind}.add",
            {
                "fields": {
                    **origin,
                    ("TITLE" if kind == "company" else "NAME"): name,
                    "OPENED": "Y",
                    **({"ASSIGNED_BY_ID": card.responsible} if card.responsible else {}),
                    **self._reading.multifields(card.identities),
                },
                "params": {"REGISTER_SONET_EVENT": "N"},
            },
        )
        return ExternalId(kind=kind, id=id_of(made))

    # --- What was logged ----------------------------------------------------------------------------------------------

    async def find_logged(self, sought: Sought) -> Logged | None:
        """By EXTERNAL_CALL_ID among the calls of those minutes, or by ORIGIN_ID."""
        if sought.is_call and self._api.is_application:
            for row in await self._statistics(sought.at):
                if row.get("EXTERNAL_CALL_ID") == sought.key and id_of(row.get("CRM_ACTIVITY_ID")):
                    return _of_statistics(row)
        origin = {"ORIGINATOR_ID": fields.ORIGINATOR, "ORIGIN_ID": sought.key}
        page = await self._api.page("crm.activity.list", {"filter": origin, "select": _SELECT, "start": -1})
        for row in objects(page.rows):
            found = _of_activity(row)
            if not sought.is_call and row.get("COMPLETED") != "Y":
                await self._api.call("crm.activity.update", {"id": found.id.id, "fields": {"COMPLETED": "Y"}})
            return found
        return None

    async def find_foreign(self, activity: Activity) -> Logged | None:
        """A call in the statistics of another application; a mail by time, subject and address."""
        if isinstance(activity, CallToLog):
            for row in await self._statistics(activity.started):
                if _is_same_call(row, activity) and not words(row.get("EXTERNAL_CALL_ID")).startswith("cardline-"):
                    return _foreign(row)
            return None
        around = {
            "TYPE_ID": fields.TYPE_MAIL,
            ">=START_TIME": _iso(activity.sent - _NEAR),
            "<=START_TIME": _iso(activity.sent + _NEAR),
        }
        for row in await self._pages("crm.activity.list", {"filter": around, "select": _SELECT}):
            if row.get("ORIGINATOR_ID") != fields.ORIGINATOR and _is_same_mail(row, activity, self._language):
                return replace(_of_activity(row), is_foreign=True)
        return None

    async def _statistics(self, at: datetime) -> list[dict[str, Any]]:
        params: dict[str, Any] = {
            "FILTER": {">=CALL_START_DATE": _iso(at - _AROUND), "<=CALL_START_DATE": _iso(at + _AROUND)},
            "SORT": "ID",
            "ORDER": "ASC",
        }
        return await self._pages("voximplant.statistic.get", params)

    async def _pages(self, method: str, params: dict[str, Any]) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        for _ in range(_MOST_PAGES):
            page = await self._api.page(method, params)
            rows += objects(page.rows)
            if page.next is None:
                break
            params = {**params, "start": page.next}
        return rows

    # --- Calls --------------------------------------------------------------------------------------------------------

    async def log_call(self, call: CallToLog) -> Logged:
        """With the telephony; as an activity for a webhook, or where the number is hidden."""
        user = await self._user(call)
        if self._api.is_application and fields.dialled(call):
            return await self._register(call, user)
        activity = fields.call_activity(call, user, language=self._language, timezone=self._timezone)
        return await self._add(call.card, activity)

    async def _register(self, call: CallToLog, user: str) -> Logged:
        """In one request, so that an answer that is lost leaves a finished call or none.

        The card is asked for first: without it Bitrix24 would look for another one by the number.
        """
        fields.entity_type(call.card)
        commands: dict[str, Command] = {
            "card": (f"crm.{call.card.kind}.get", {"id": call.card.id}),
            "call": ("telephony.externalCall.register", fields.register(call, user)),
            "done": ("telephony.externalCall.finish", fields.finish(call, user, "$result[call][CALL_ID]")),
        }
        if call.page_url:
            page = {"id": "$result[done][CRM_ACTIVITY_ID]", "fields": {"DESCRIPTION": call.page_url}}
            commands["page"] = ("crm.activity.update", page)
        batch = await self._api.batch(commands, halt=True)
        for name in ("card", "call"):
            batch[name]
        row = as_object(batch["done"])
        if not id_of(row.get("CRM_ACTIVITY_ID")):
            raise CrmRefused(
                "Bitrix24 has taken the call and made no activity of it.",
                remedy="Let its telephony save calls in the CRM, then try again.",
            )
        return _of_statistics({**row, "CALL_ID": as_object(batch["call"]).get("CALL_ID")})

    async def attach_recording(self, logged: Logged, call: CallToLog, recording: RecordingToAttach) -> Logged:
        """Uploaded, or fetched by Bitrix24 from the link; an activity has it as its file, or the link in its text."""
        call_id = logged.details.get("call", "")
        if not call_id and recording.read is not None:
            return await self._put_file(logged, recording.file_name, await recording.read())
        if not call_id:
            return await self._retell(logged, call, recording=recording.url)
        if "their_file" in logged.details:
            return logged
        params = {"CALL_ID": call_id, "FILENAME": recording.file_name}
        if recording.read is None:
            found = await self._api.call("telephony.externalCall.attachRecord", {**params, "RECORD_URL": recording.url})
        else:
            place = as_object(await self._api.call("telephony.externalCall.attachRecord", params))
            url, field = words(place.get("uploadUrl")), words(place.get("fieldName")) or "file"
            found = await self._api.upload(url, field, recording.file_name, await recording.read())
        return _with(logged, file=id_of(as_object(found).get("FILE_ID")))

    async def attach_transcript(self, logged: Logged, call: CallToLog, transcript: TranscriptToAttach) -> Logged:
        """With the call; without a registered one in the text of the activity."""
        call_id = logged.details.get("call", "")
        if not call_id:
            return await self._retell(logged, call, transcript=transcript.as_text())
        said = fields.messages(transcript)
        if not said or "their_transcript" in logged.details:
            return logged
        found = await self._api.call("telephony.call.attachTranscription", {"CALL_ID": call_id, "MESSAGES": said})
        return _with(logged, transcript=id_of(as_object(found).get("TRANSCRIPT_ID")))

    async def _put_file(self, logged: Logged, name: str, content: bytes) -> Logged:
        encoded = await asyncio.to_thread(base64.b64encode, content)
        changed = {"FILES": [{"fileData": [name, encoded.decode()]}]}
        await self._api.call("crm.activity.update", {"id": logged.id.id, "fields": changed})
        return logged

    async def _retell(self, logged: Logged, call: CallToLog, *, recording: str = "", transcript: str = "") -> Logged:
        """One more part in the text of an activity. Of a foreign one the text stays, and ours comes after it."""
        row = await self._activity(logged.id.id)
        told = Told.read(str(row.get("DESCRIPTION") or ""))
        if not logged.is_foreign:
            told = told.with_head(Told.read(self._activity_fields(call, "")["DESCRIPTION"]).head)
        told = replace(told, recording=recording or told.recording, transcript=transcript or told.transcript)
        await self._api.call("crm.activity.update", {"id": logged.id.id, "fields": {"DESCRIPTION": told.text()}})
        return logged

    # --- Mails --------------------------------------------------------------------------------------------------------

    async def log_mail(self, mail: MailToLog) -> Logged:
        """Made as not completed, so that it is not sent, and completed then; never in a batch (`Api.batch`)."""
        activity = self._activity_fields(mail, await self._user(mail))
        logged = await self._add(mail.card, activity)
        await self._api.call("crm.activity.update", {"id": logged.id.id, "fields": {"COMPLETED": "Y"}})
        return logged

    async def _add(self, card: ExternalId, activity: Any) -> Logged:
        await self._api.call(f"crm.{card.kind}.get", {"id": card.id})
        made = await self._api.call("crm.activity.add", {"fields": activity})
        details = {"card_kind": card.kind, "card": card.id}
        return Logged(id=ExternalId(kind="activity", id=id_of(made)), details=details)

    # --- What changes later -------------------------------------------------------------------------------------------

    async def update(self, logged: Logged, activity: Activity) -> Logged:
        """Another card by its bindings, employee and times by its fields. Of a foreign one only the card."""
        row = await self._activity(logged.id.id)
        logged = await self._move(logged, row, activity.card)
        if logged.is_foreign:
            return logged
        told = Told.read(str(row.get("DESCRIPTION") or ""))
        changed = self._activity_fields(activity, await self._user(activity), told)
        for fixed in ("OWNER_TYPE_ID", "OWNER_ID", "TYPE_ID", "COMPLETED", "SETTINGS", "ORIGINATOR_ID", "ORIGIN_ID"):
            changed.pop(fixed, None)
        if logged.details.get("call"):  # made by the telephony, which has its own words and knows the number
            times = ("RESPONSIBLE_ID", "START_TIME", "END_TIME")
            changed = {name: changed[name] for name in times}
        await self._api.call("crm.activity.update", {"id": logged.id.id, "fields": changed})
        return logged

    async def _move(self, logged: Logged, row: dict[str, Any], card: ExternalId) -> Logged:
        kinds = {number: kind for kind, number in fields.ENTITY_TYPES.items()}
        before = (kinds.get(whole(row.get("OWNER_TYPE_ID")), ""), id_of(row.get("OWNER_ID")))
        if before == (card.kind, card.id):
            return _with(logged, card_kind=card.kind, card=card.id)
        await self._api.call(f"crm.{card.kind}.get", {"id": card.id})
        target = fields.entity_type(card)
        if before[0] == card.kind:
            both = {"sourceEntityTypeId": target, "sourceEntityId": before[1]}
            both |= {"targetEntityTypeId": target, "targetEntityId": card.id}
            await self._api.call("crm.activity.binding.move", {"activityId": logged.id.id, **both})
        else:
            ours = {"activityId": logged.id.id, "entityTypeId": target, "entityId": card.id}
            await self._api.call("crm.activity.binding.add", ours)
            old = {"entityTypeId": id_of(row.get("OWNER_TYPE_ID")), "entityId": before[1]}
            await self._api.call("crm.activity.binding.delete", {"activityId": logged.id.id, **old})
        return _with(logged, card_kind=card.kind, card=card.id)

    async def withdraw(self, logged: Logged) -> None:
        """The activity, the file and the words; of a foreign one what we added."""
        call_id, file = logged.details.get("call", ""), logged.details.get("file", "")
        if call_id and logged.details.get("transcript"):
            blank = [{"SIDE": "User", "START_TIME": 0, "STOP_TIME": 1, "MESSAGE": "—"}]
            await self._quietly("telephony.call.attachTranscription", {"CALL_ID": call_id, "MESSAGES": blank})
        if file:
            await self._quietly("disk.file.delete", {"id": file})
        if not logged.is_foreign:
            await self._quietly("crm.activity.delete", {"id": logged.id.id})
        elif not call_id:
            await self._clear(logged)

    async def _clear(self, logged: Logged) -> None:
        try:
            told = Told.read(str((await self._activity(logged.id.id)).get("DESCRIPTION") or ""))
        except CrmGone:
            return
        await self._quietly("crm.activity.update", {"id": logged.id.id, "fields": {"DESCRIPTION": told.head}})

    async def _quietly(self, method: str, params: dict[str, Any]) -> None:
        try:
            await self._api.call(method, params)
        except CrmGone:
            log.info("already_gone", method=method)

    # --- Small things -------------------------------------------------------------------------------------------------

    async def _activity(self, number: str) -> dict[str, Any]:
        return as_object(await self._api.call("crm.activity.get", {"id": number}))

    def _activity_fields(self, activity: Activity, user: str, told: Told | None = None) -> dict[str, Any]:
        if isinstance(activity, CallToLog):
            made: dict[str, Any] = fields.call_activity(
                activity, user, language=self._language, timezone=self._timezone, told=told
            )
        else:
            made = fields.mail_activity(activity, user, language=self._language, timezone=self._timezone)
        return made

    async def _user(self, activity: Activity) -> str:
        """Bitrix24 wants somebody for everything: where nobody is credited it is the user of the application."""
        if activity.employee:
            return activity.employee
        if not self._own_user:
            self._own_user = id_of(as_object(await self._api.call("profile")).get("ID"))
        return self._own_user


def _iso(at: datetime) -> str:
    return at.isoformat(timespec="seconds")


def _of_statistics(row: dict[str, Any]) -> Logged:
    details = {
        "call": words(row.get("CALL_ID")),
        "card_kind": words(row.get("CRM_ENTITY_TYPE")).lower(),
        "card": id_of(row.get("CRM_ENTITY_ID")),
        "file": id_of(row.get("RECORD_FILE_ID")),
        "transcript": id_of(row.get("TRANSCRIPT_ID")),
    }
    known = {name: value for name, value in details.items() if value}
    return Logged(id=ExternalId(kind="activity", id=id_of(row.get("CRM_ACTIVITY_ID"))), details=known)


def _foreign(row: dict[str, Any]) -> Logged:
    """File and transcript are not ours to take away; one that is there is not replaced."""
    found = _of_statistics(row)
    ours = {name: value for name, value in found.details.items() if name not in ("file", "transcript")}
    theirs = {f"their_{name}": found.details[name] for name in ("file", "transcript") if name in found.details}
    return replace(found, details={**ours, **theirs}, is_foreign=True)


def _of_activity(row: dict[str, Any]) -> Logged:
    kinds = {str(number): kind for kind, number in fields.ENTITY_TYPES.items()}
    details = {"card_kind": kinds.get(id_of(row.get("OWNER_TYPE_ID")), ""), "card": id_of(row.get("OWNER_ID"))}
    return Logged(id=ExternalId(kind="activity", id=id_of(row.get("ID"))), details=details)


def _is_same_call(row: dict[str, Any], call: CallToLog) -> bool:
    started = moment(row.get("CALL_START_DATE"))
    is_near = started is not None and abs(started - call.started) <= _NEAR
    user = id_of(row.get("PORTAL_USER_ID"))
    is_his = call.employee is None or not user or user == call.employee
    number = last_digits(words(row.get("PHONE_NUMBER")))
    return (
        is_near and is_his and bool(number) and number == last_digits(call.phone) and bool(row.get("CRM_ACTIVITY_ID"))
    )


def _is_same_mail(row: dict[str, Any], mail: MailToLog, language: str) -> bool:
    addresses = {words(one.get("VALUE")).lower() for one in objects(row.get("COMMUNICATIONS"))}
    is_theirs = not addresses or bool(addresses & {one.address.lower() for one in mail.parties})
    return is_theirs and one_line(words(row.get("SUBJECT"))) == subject_of(mail, language)


def _with(logged: Logged, **details: str) -> Logged:
    known = {name: value for name, value in details.items() if value}
    return replace(logged, details={**logged.details, **known})
