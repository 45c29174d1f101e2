"""UIS and CoMagic: bodies templated by the customer, a Data API with the report of calls, recordings by address.

Sources: the vendor's reference of the Data API (get.calls_report) and of notifications; the templates to paste stand
in docs/providers/uis.md. Their own default bodies are understood too: names are looked for however deep they lie.
Times have no zone: they are in that of the account. Nothing is signed, so a token stands in the address.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta, tzinfo
from typing import Any

from agent.model import Direction, Disposition
from agent.sip.providers.egress import ProviderRefused, ProviderUnreachable
from agent.sip.providers.fields import (
    Table,
    Words,
    fill,
    is_true,
    link,
    moment,
    needed,
    number,
    object_of,
    seconds,
    text,
    words_of,
)
from agent.sip.providers.notification import EventKind, Hook, Notification, RecordingReference
from agent.sip.providers.preset import Api, Keys, Preset, Rows, verify_token

_PAGE = 1000
_LINKS = ("full_record_file_link", "file_link")
_DIRECTIONS = {"in": Direction.INBOUND, "out": Direction.OUTBOUND}

_EVENTS = {  # ours, as in the templates, and what the vendor's own bodies have
    "start": EventKind.RINGING,
    "incoming_call": EventKind.RINGING,
    "outgoing_call": EventKind.RINGING,
    "answer": EventKind.ANSWERED,
    "call_answered": EventKind.ANSWERED,
    "end": EventKind.ENDED,
    "call_end": EventKind.ENDED,
    "lost": EventKind.ENDED,
    "lost_call": EventKind.ENDED,
    "record": EventKind.RECORDED,
    "record_call": EventKind.RECORDED,
}
_TABLE: Table = {
    "outside": (("contact_phone_number", "calling_phone_number"), number),
    "outside_name": (("contact_full_name",), text),
    "ours": (("virtual_phone_number", "called_phone_number"), number),
    "extension": (("extension_phone_number", "operator_phone_number", "employee_phone_number"), number),
    "employee": (("employee_full_name", "last_answered_employee_full_name"), text),
    "parent_key": (("communication_id",), text),
    "started": (("start_time",), moment),
    "ended": (("finish_time",), moment),
    "at": (("notification_time",), moment),
    "talk": (("talk_duration", "talk_time_duration"), seconds),
}
_TOTAL: Table = {"total": (("total_duration", "total_time_duration"), seconds)}
_FIELDS = (
    "id",
    "communication_id",
    "start_time",
    "finish_time",
    "direction",
    "is_lost",
    "contact_phone_number",
    "contact_full_name",
    "virtual_phone_number",
    "operator_phone_number",
    "last_answered_employee_full_name",
    "talk_duration",
    "total_duration",
    "full_record_file_link",
)


def read(hook: Hook, keys: Keys, zone: tzinfo) -> Notification | None:
    """One event; what kind it is stands in ``event``, else it is told by what it has."""
    words = words_of(object_of(hook.body))
    name = (words.get("event") or words.get("notification_mnemonic") or "").strip().lower()
    kind = _EVENTS.get(name) or _guess(words)
    if kind is None:
        return None
    found = _fill(words, needed(words, "call_session_id"), kind, zone)
    is_lost = name in ("lost", "lost_call") or is_true(words.get("is_lost", ""))
    return _settle(found, words, is_lost=is_lost, zone=zone)


def _guess(words: Words) -> EventKind | None:
    if any(words.get(name) for name in _LINKS):
        return EventKind.RECORDED
    return EventKind.ENDED if any(words.get(name) for name in ("total_duration", "total_time_duration")) else None


def read_row(row: Mapping[str, Any], zone: tzinfo) -> Notification | None:
    """One line of get.calls_report."""
    words = words_of(row)
    found = _fill(words, needed(words, "id"), EventKind.REPORTED, zone)
    return _settle(found, words, is_lost=is_true(words.get("is_lost", "")), zone=zone)


def _fill(words: Words, key: str, kind: EventKind, zone: tzinfo) -> Notification:
    address = next((found for name in _LINKS if (found := link(words.get(name, ""), zone))), None)
    return Notification(
        kind=kind,
        call_key=key,
        direction=_DIRECTIONS.get(words.get("direction", "").strip().lower()),
        recordings=(RecordingReference(reference=key, url=address),) if address else (),
        **fill(_TABLE, words, zone),
    )


def _settle(found: Notification, words: Words, *, is_lost: bool, zone: tzinfo) -> Notification:
    """The times of a call that has ended; the notice comes when it does, so its start lies the whole length before."""
    if found.kind not in (EventKind.ENDED, EventKind.REPORTED):
        return replace(found, talk=None)
    total = fill(_TOTAL, words, zone).get("total")
    started, ended = found.started, found.ended
    if ended is None and started is None and found.at is not None:
        ended = found.at
    if started is None and ended is not None and total is not None:
        started = ended - timedelta(seconds=total)
    if ended is None and started is not None and total is not None:
        ended = started + timedelta(seconds=total)
    status = Disposition.NO_ANSWER if is_lost or not found.talk else Disposition.ANSWERED
    return replace(found, started=started, ended=ended, status=status)


async def _call(api: Api, method: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON-RPC 2.0 call; an error of the API comes with status 200."""
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {"access_token": api.keys.secret, **parameters}}
    answer = await api.ask("POST", "", json=body)
    found = object_of(answer.body)
    error = found.get("error")
    if isinstance(error, dict):
        data = error.get("data")
        mnemonic = str(data.get("mnemonic", "")) if isinstance(data, dict) else ""
        if "token" in mnemonic or "auth" in mnemonic or "ip_not" in mnemonic or "permission" in mnemonic:
            raise ProviderRefused(f"UIS refuses the key: {mnemonic or error.get('message')}.")
        raise ProviderUnreachable(f"UIS answers: {str(error.get('message', ''))[:200]}")
    result = found.get("result")
    if answer.status != 200 or not isinstance(result, dict):
        raise ProviderUnreachable(f"UIS answers {answer.status} without a result.")
    return result


async def list_calls(api: Api, since: datetime, until: datetime) -> Rows:
    """The report of calls by their start, a thousand a request."""
    span = {"date_from": _written(since, api.zone), "date_till": _written(until, api.zone)}
    offset = 0
    while True:
        asked = {**span, "limit": _PAGE, "offset": offset, "fields": list(_FIELDS)}
        result = await _call(api, "get.calls_report", asked)
        rows = [row for row in result.get("data") or () if isinstance(row, dict)]
        yield rows
        offset += len(rows)
        if len(rows) < _PAGE:
            return


def _written(time: datetime, zone: tzinfo) -> str:
    return time.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S")


async def list_extensions(api: Api) -> list[tuple[str, str]]:
    """Employees who have an extension."""
    asked = {"limit": _PAGE, "fields": ["full_name", "extension"]}
    result = await _call(api, "get.employees", asked)
    found = []
    for one in result.get("data") or ():
        words = words_of(one) if isinstance(one, dict) else {}
        if words.get("extension_phone_number"):
            found.append((words["extension_phone_number"][:20], words.get("full_name", "")[:200]))
    return found


UIS = Preset(
    name="uis",
    title="UIS / CoMagic",
    verify=verify_token,
    read=read,
    read_row=read_row,
    list_calls=list_calls,
    list_extensions=list_extensions,
    in_address=True,
    hosts=("uiscom.ru", "comagic.ru", "novofon.ru", "novofon.com"),
    api_url="https://dataapi.uiscom.ru/v2.0",
    cabinet="«Notifications» → «Add» → HTTP, POST, with the bodies of docs/providers/uis.md",
    stereo="Ask their support for recordings of both sides apart (stereo) in the options of call recording.",
)
