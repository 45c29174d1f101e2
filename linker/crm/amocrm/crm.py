"""amoCRM behind `linker.crm.protocol.Crm`: what is told to it. What is read of it: `linker.crm.amocrm.reading`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import structlog

from agent.errors import CardlineError
from agent.model import Identity, IdentityKind
from agent.settings import Settings
from agent.settings_crm import CrmSettings
from linker.crm.amocrm import notes
from linker.crm.amocrm.api import PAGE, Api, embedded
from linker.crm.amocrm.reading import Reading
from linker.crm.amocrm.scorecard import SCORECARD
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
from linker.crm.protocol import CrmAuthFailed, CrmGone, CrmRefused, CrmUnreachable, Scorecard
from linker.crm.shapes import as_object, id_of, last_digits, whole, words
from linker.crm.wording import erased, one_line

log = structlog.get_logger()

PATHS = {"contact": "contacts", "company": "companies", "lead": "leads"}
_CODES = {"PHONE": IdentityKind.PHONE, "EMAIL": IdentityKind.ADDRESS}
_MOST_PAGES = 20
_CLOCKS = timedelta(hours=26)  # amoCRM stamps by its own clock, which may be hours wrong
_NEAR_SECONDS = 60


class AmoCrm:
    """One account. ``by_number``: calls go through ``POST /api/v4/calls`` where that finds the right card."""

    def __init__(self, settings: CrmSettings, installation: Settings, api: Api, *, by_number: bool) -> None:
        self._language = settings.language
        self._timezone = settings.timezone
        self._api = api
        self._by_number = by_number
        self._reading = Reading(api, installation)

    @property
    def scorecard(self) -> Scorecard:
        """What it does."""
        return SCORECARD

    async def list_users(self) -> Sequence[CrmUser]:
        """Everybody."""
        return await self._reading.list_users()

    async def find_cards(self, identities: Sequence[Identity]) -> Sequence[CrmCard]:
        """Contacts and companies."""
        return await self._reading.find_cards(identities)

    async def list_stages(self) -> Sequence[CrmStage]:
        """Of all pipelines."""
        return await self._reading.list_stages()

    async def read_changes(self, cursor: str) -> Changes:
        """By time of change; deletions and stages by events."""
        return await self._reading.read_changes(cursor)

    async def close(self) -> None:
        """Close connections."""
        await self._api.close()

    async def check(self) -> Sequence[Finding]:
        """Reads only: who we are, what may be seen, who else logs calls."""
        try:
            account = await self._api.get("account")
        except (CrmAuthFailed, CrmUnreachable, CrmGone, CrmRefused) as error:
            return [Finding(subject="login", level="fault", text=str(error))]
        found = [Finding(subject="login", level="ok", text=f"Let in to {words(account.get('name')) or 'the account'}.")]
        for path, name in (
            ("contacts", "contacts"),
            ("companies", "companies"),
            ("leads", "leads"),
            ("users", "users"),
        ):
            try:
                await self._api.rows(path, name, {"limit": 1})
                found.append(Finding(subject=path, level="ok", text="May be read."))
            except CardlineError as error:
                found.append(Finding(subject=path, level="fault", text=str(error)))
        return [*found, *await self._others()]

    async def _others(self) -> list[Finding]:
        query = {"limit": PAGE, "order": {"updated_at": "desc"}, "filter": {"note_type": list(notes.CALL_TYPES)}}
        sources: set[str] = set()
        for path in ("contacts", "companies"):
            for row in await self._api.rows(f"{path}/notes", "notes", query):
                sources.add(words(as_object(row.get("params")).get("source")))
        text = "logs calls as well. Set enrich = true, so that no call stands there twice, or switch it off."
        return [
            Finding(subject="other integrations", level="warning", text=f"{one} {text}")
            for one in sorted(sources - {notes.SERVICE, ""})
        ]

    async def create_card(self, card: CardToCreate) -> ExternalId:
        """A contact or a company. API v4 keeps no key of ours, so one with the same number or address is taken."""
        if card.identities and (known := await self._reading.find_cards(card.identities)):
            return known[0].id
        kind = "company" if card.kind == "company" else "contact"
        fields = [
            {"field_code": code, "values": [{"value": one.value, "enum_code": "WORK"} for one in values]}
            for code, sort in _CODES.items()
            if (values := [one for one in card.identities if one.kind is sort])
        ]
        made: dict[str, Any] = {"name": one_line(card.name)[:250] or "—", "request_id": card.key}
        if fields:
            made["custom_fields_values"] = fields
        if card.responsible and card.responsible.isdecimal():
            made["responsible_user_id"] = int(card.responsible)
        answer = await self._api.send("POST", PATHS[kind], [made])
        return ExternalId(kind=kind, id=_first_id(answer, PATHS[kind]))

    # --- What was logged ----------------------------------------------------------------------------------------------

    async def find_logged(self, sought: Sought) -> Logged | None:
        """On the card where it was to stand, and on its leads where calls may go there."""
        places = await self._places(sought.card) if sought.is_call and self._by_number else [sought.card]
        kinds = notes.CALL_TYPES if sought.is_call else (notes.COMMON,)
        since = int((sought.at - _CLOCKS).timestamp())
        for place in places:
            try:
                found = await self._find_note(place, sought.key, kinds, since)
            except CrmGone:
                continue
            if found is not None:
                return _logged(place, found)
        return None

    async def _places(self, card: ExternalId) -> list[ExternalId]:
        if card.kind == "lead":
            return [card]
        row = await self._api.get(f"{_path(card)}", {"with": "leads"})
        leads = [ExternalId(kind="lead", id=id_of(one.get("id"))) for one in embedded(row, "leads")]
        return [card, *leads[:20]]

    async def _find_note(
        self, card: ExternalId, key: str, kinds: Iterable[str], since: int = 0
    ) -> dict[str, Any] | None:
        chosen: dict[str, Any] = {"note_type": list(kinds)}
        if since > 0:
            chosen["updated_at"] = {"from": since}
        for page in range(1, _MOST_PAGES + 1):
            query = {"limit": PAGE, "page": page, "order": {"id": "desc"}, "filter": chosen}
            rows = await self._api.rows(f"{_path(card)}/notes", "notes", query)
            for row in rows:
                if notes.is_marked(row, key):
                    return row
            if len(rows) < PAGE:
                break
        return None

    async def find_foreign(self, activity: Activity) -> Logged | None:
        """A call of the card or its leads by number and time (widgets stamp its begin or its end)."""
        if not isinstance(activity, CallToLog) or not last_digits(activity.phone):
            return None
        since = int((activity.started - _CLOCKS).timestamp())
        query = {"limit": PAGE, "order": {"id": "desc"}}
        chosen = {"note_type": list(notes.CALL_TYPES), "updated_at": {"from": since}}
        for place in await self._places(activity.card):
            for row in await self._api.rows(f"{_path(place)}/notes", "notes", {**query, "filter": chosen}):
                if _is_same_call(row, activity):
                    return replace(_logged(place, row), is_foreign=True)
        return None

    # --- Telling ------------------------------------------------------------------------------------------------------

    async def log_call(self, call: CallToLog) -> Logged:
        """On the card; by the number first where that is wanted."""
        if self._by_number and last_digits(call.phone) and (found := await self._log_by_number(call)):
            return found
        return await self._add(call.card, notes.call_note(call, link=""))

    async def _log_by_number(self, call: CallToLog) -> Logged | None:
        """None where amoCRM knows nobody by the number, or put it elsewhere: what it made there is emptied."""
        places = await self._places(call.card)
        answer = await self._api.send("POST", "calls", [notes.call_by_number(call)])
        made = embedded(answer, "calls")
        if not made:
            return None
        kind = words(made[0].get("entity_type")).removesuffix("s").replace("companie", "company")
        place = ExternalId(kind=kind, id=id_of(made[0].get("entity_id")))
        row = await self._find_note(place, call.key, notes.CALL_TYPES) if kind in PATHS else None
        if row is None:
            raise CrmUnreachable("amoCRM has taken the call and does not show it yet.")
        logged = _logged(place, row)
        if place in places:
            return logged
        await self._empty(logged.id.id, place, words(row.get("note_type")))
        return None

    async def log_mail(self, mail: MailToLog) -> Logged:
        """A note in words; nothing is sent."""
        note = notes.mail_note(mail, language=self._language, timezone=self._timezone)
        return await self._add(mail.card, note)

    async def _add(self, card: ExternalId, note: Mapping[str, Any]) -> Logged:
        answer = await self._api.send("POST", f"{_path(card)}/notes", [note])
        made = {"id": _first_id(answer, "notes"), "note_type": note["note_type"]}
        return _logged(card, made)

    async def attach_recording(self, logged: Logged, call: CallToLog, recording: RecordingToAttach) -> Logged:
        """The link, in the call itself. A foreign call keeps its own sound."""
        place, note = _place(logged), await self._note(logged)
        params = as_object(note.get("params"))
        if logged.is_foreign:
            if words(params.get("link")) and "link" not in logged.details:
                return logged
            fresh: dict[str, Any] = {"note_type": note.get("note_type"), "params": {**params, "link": recording.url}}
        else:
            fresh = _without_stamp(notes.call_note(call, link=recording.url))
        await self._api.send("PATCH", f"{_path(place)}/notes/{logged.id.id}", fresh)
        return _with(logged, link="1")

    async def attach_transcript(self, logged: Logged, call: CallToLog, transcript: TranscriptToAttach) -> Logged:
        """A note beside the call; a second one takes the words of the first."""
        place, note = _place(logged), notes.transcript_note(transcript, call)
        number = logged.details.get("transcript", "")
        if not number:
            since = int((call.started - _CLOCKS).timestamp())
            row = await self._find_note(place, notes.transcript_key(call.key), (notes.COMMON,), since)
            number = id_of(row.get("id")) if row else ""
        if number:
            await self._api.send("PATCH", f"{_path(place)}/notes/{number}", note)
        else:
            number = (await self._add(place, note)).id.id
        return _with(logged, transcript=number)

    # --- What changes later -------------------------------------------------------------------------------------------

    async def update(self, logged: Logged, activity: Activity) -> Logged:
        """In place while the card stays; a note cannot be moved, so elsewhere it is made anew. Foreign ones stay."""
        if logged.is_foreign:
            return logged
        note = await self._note(logged)
        if not await self._stands_right(logged, activity.card):
            return await self._move(logged, note, activity)
        link = words(as_object(note.get("params")).get("link"))
        await self._api.send(
            "PATCH", f"{_path(_place(logged))}/notes/{logged.id.id}", _without_stamp(self._fresh(activity, link))
        )
        return logged

    async def _stands_right(self, logged: Logged, card: ExternalId) -> bool:
        place = _place(logged)
        return place == card or (place.kind == "lead" and place in await self._places(card))

    async def _move(self, logged: Logged, note: Mapping[str, Any], activity: Activity) -> Logged:
        """First the new ones, looked for in case that an earlier attempt has made them; then the old are emptied."""
        link, place = words(as_object(note.get("params")).get("link")), _place(logged)
        is_call = isinstance(activity, CallToLog)
        known = await self._find_note(activity.card, activity.key, notes.CALL_TYPES if is_call else (notes.COMMON,))
        made = _logged(activity.card, known) if known else await self._add(activity.card, self._fresh(activity, link))
        if link:
            made = _with(made, link="1")
        if number := logged.details.get("transcript", ""):
            words_of = await self._api.get(f"{_path(place)}/notes/{number}")
            key = notes.transcript_key(activity.key)
            there = await self._find_note(activity.card, key, (notes.COMMON,))
            text = {"note_type": notes.COMMON, "params": as_object(words_of.get("params"))}
            fresh = id_of(there.get("id")) if there else (await self._add(activity.card, text)).id.id
            made = _with(made, transcript=fresh)
        await self.withdraw(logged)
        return made

    def _fresh(self, activity: Activity, link: str) -> dict[str, Any]:
        if isinstance(activity, CallToLog):
            return notes.call_note(activity, link=link)
        return notes.mail_note(activity, language=self._language, timezone=self._timezone)

    async def withdraw(self, logged: Logged) -> None:
        """Emptied, since nothing can be deleted; of a foreign call our link and transcript."""
        place, number = _place(logged), logged.details.get("transcript", "")
        if number:
            await self._empty(number, place, notes.COMMON)
        if not logged.is_foreign:
            await self._empty(logged.id.id, place, logged.details.get("type", notes.COMMON))
        elif "link" in logged.details:
            note = await self._api.get(f"{_path(place)}/notes/{logged.id.id}")
            if note:
                params = {**as_object(note.get("params")), "link": ""}
                body = {"note_type": note.get("note_type"), "params": params}
                await self._api.send("PATCH", f"{_path(place)}/notes/{logged.id.id}", body)

    async def _empty(self, number: str, place: ExternalId, kind: str) -> None:
        blank = {"uniq": "", "duration": 0, "source": notes.SERVICE, "link": "", "phone": "", "call_result": ""}
        params: dict[str, Any] = {**blank, "call_result": erased(self._language)}
        if kind == notes.COMMON:
            params = {"text": erased(self._language)}
        try:
            await self._api.send("PATCH", f"{_path(place)}/notes/{number}", {"note_type": kind, "params": params})
        except CrmGone:
            log.info("already_gone", note=number)

    async def _note(self, logged: Logged) -> dict[str, Any]:
        found = await self._api.get(f"{_path(_place(logged))}/notes/{logged.id.id}")
        if not found:
            raise CrmGone("The note is no more in amoCRM.")
        return found


def _path(card: ExternalId) -> str:
    if card.kind not in PATHS or not card.id.isdecimal():
        raise CrmGone(f"amoCRM has no cards of the kind {card.kind}.")
    return f"{PATHS[card.kind]}/{card.id}"


def _logged(place: ExternalId, note: Mapping[str, Any]) -> Logged:
    details = {"card_kind": place.kind, "card": place.id, "type": words(note.get("note_type"))}
    return Logged(id=ExternalId(kind="note", id=id_of(note.get("id"))), details=details)


def _place(logged: Logged) -> ExternalId:
    return ExternalId(kind=logged.details.get("card_kind", ""), id=logged.details.get("card", ""))


def _with(logged: Logged, **details: str) -> Logged:
    return replace(logged, details={**logged.details, **details})


def _without_stamp(note: Mapping[str, Any]) -> dict[str, Any]:
    """A change may name another employee, not another time of making."""
    return {name: note[name] for name in ("note_type", "params", "responsible_user_id") if name in note}


def _first_id(answer: Mapping[str, Any], name: str) -> str:
    made = embedded(answer, name)
    number = id_of(made[0].get("id")) if made else ""
    if not number:
        raise CrmUnreachable("amoCRM does not say what it has made.")
    return number


def _is_same_call(row: Mapping[str, Any], call: CallToLog) -> bool:
    params, at = as_object(row.get("params")), whole(row.get("created_at"))
    edges = (call.started.timestamp(), call.ended.timestamp())
    is_near = any(abs(at - edge) <= _NEAR_SECONDS for edge in edges)
    by = id_of(row.get("responsible_user_id")) or id_of(row.get("created_by"))
    is_his = call.employee is None or not by or by == call.employee
    number = last_digits(words(params.get("phone")))
    is_ours = words(params.get("source")) == notes.SERVICE
    return is_near and is_his and not is_ours and bool(number) and number == last_digits(call.phone)
