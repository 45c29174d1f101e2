"""Zadarma, and Novofon with the same API: signed forms, statistics of the PBX, recordings by API.

Sources: zadarma.com/en/support/api (webhooks, statistics, recordings) and novofon.com/instructions/api. Times have no
zone: they are in that of the account. The time between ring and answer is not told.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, tzinfo
from typing import Any
from urllib.parse import parse_qsl, urlencode

from agent.model import Direction, Disposition
from agent.sip.providers.egress import ProviderRefused, ProviderUnreachable
from agent.sip.providers.fields import (
    Table,
    Words,
    fill,
    form_of,
    is_extension,
    is_true,
    moment,
    needed,
    number,
    object_of,
    seconds,
    words_of,
)
from agent.sip.providers.notification import EventKind, Hook, Notification, RecordingReference, UnreadableNotification
from agent.sip.providers.preset import Api, File, Keys, Preset, Reply, Rows, Verdict

_PAGE = 1000  # lines of statistics a request, the most there are
_LIFETIME = "1800"  # seconds for which the address of a recording is to be good
_IN, _OUT = Direction.INBOUND, Direction.OUTBOUND

_COMMON: Table = {"started": (("call_start",), moment), "extension": (("internal",), number)}
_INBOUND: Table = {**_COMMON, "outside": (("caller_id",), number), "ours": (("called_did",), number)}
_OUTBOUND: Table = {**_COMMON, "outside": (("destination",), number), "ours": (("caller_id",), number)}
_LENGTH: Table = {"talk": (("duration",), seconds)}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Event:
    kind: EventKind
    signed: tuple[str, ...]
    direction: Direction | None = None
    table: Table


_EVENTS = {
    "NOTIFY_START": _Event(
        kind=EventKind.RINGING, signed=("caller_id", "called_did", "call_start"), direction=_IN, table=_INBOUND
    ),
    "NOTIFY_IVR": _Event(
        kind=EventKind.RINGING, signed=("caller_id", "called_did", "call_start"), direction=_IN, table=_INBOUND
    ),
    "NOTIFY_INTERNAL": _Event(
        kind=EventKind.RINGING, signed=("caller_id", "called_did", "call_start"), direction=_IN, table=_INBOUND
    ),
    "NOTIFY_ANSWER": _Event(kind=EventKind.ANSWERED, signed=("caller_id", "destination", "call_start"), table=_COMMON),
    "NOTIFY_END": _Event(
        kind=EventKind.ENDED,
        signed=("caller_id", "called_did", "call_start"),
        direction=_IN,
        table={**_INBOUND, **_LENGTH},
    ),
    "NOTIFY_OUT_START": _Event(
        kind=EventKind.RINGING, signed=("internal", "destination", "call_start"), direction=_OUT, table=_OUTBOUND
    ),
    "NOTIFY_OUT_END": _Event(
        kind=EventKind.ENDED,
        signed=("internal", "destination", "call_start"),
        direction=_OUT,
        table={**_OUTBOUND, **_LENGTH},
    ),
    "NOTIFY_RECORD": _Event(kind=EventKind.RECORDED, signed=("pbx_call_id", "call_id_with_rec"), table={}),
}
_STATES = {
    "answered": Disposition.ANSWERED,
    "busy": Disposition.BUSY,
    "cancel": Disposition.NO_ANSWER,
    "no answer": Disposition.NO_ANSWER,
}
_ROW: Table = {"started": (("callstart",), moment), "talk": (("seconds",), seconds)}


def sign(text: str, secret: str) -> str:
    """Base64 of the hex of HMAC-SHA1: PHP's hash_hmac gives hex, and their examples are in PHP."""
    return base64.b64encode(_mac(text, secret).hex().encode()).decode()


def _mac(text: str, secret: str) -> bytes:
    return hmac.new(secret.encode(), text.encode(), hashlib.sha1).digest()


def greet(hook: Hook) -> Reply | None:
    """The cabinet tries the address with ``zd_echo`` and wants it back."""
    echo = dict(parse_qsl(hook.query, max_num_fields=20)).get("zd_echo", "")[:200]
    return Reply(body=echo.encode()) if echo.isalnum() else None


def verify(hook: Hook, keys: Keys) -> Verdict:
    """By the few fields that each event is signed with. Some documents show the digest itself, not its hex."""
    try:
        words = form_of(hook)
    except UnreadableNotification:
        return Verdict.REFUSED
    event = _EVENTS.get(words.get("event", ""))
    if event is None:
        return Verdict.IGNORED
    mac = _mac("".join(words.get(name, "") for name in event.signed), keys.secret)
    try:
        given = base64.b64decode(hook.signature, validate=True)
    except (binascii.Error, ValueError):
        return Verdict.REFUSED
    is_right = hmac.compare_digest(given, mac.hex().encode()) | hmac.compare_digest(given, mac)
    return Verdict.ACCEPTED if keys.secret and is_right else Verdict.REFUSED


def read(hook: Hook, keys: Keys, zone: tzinfo) -> Notification | None:
    """One event."""
    words = form_of(hook)
    event = _EVENTS.get(words.get("event", ""))
    if event is None:
        return None
    key = needed(words, "pbx_call_id")
    direction = event.direction or _direction(key)
    table = event.table
    if event.kind is EventKind.ANSWERED:
        table = _OUTBOUND if direction is _OUT else _INBOUND
    found = Notification(kind=event.kind, call_key=key, direction=direction, **fill(table, words, zone))
    if event.kind is EventKind.ENDED:
        found = replace(found, status=_state(words.get("disposition", "")))
    return replace(found, recordings=_recordings(words, event.kind))


def _direction(key: str) -> Direction | None:
    return {"in": _IN, "out": _OUT}.get(key.partition("_")[0])


def _state(word: str) -> Disposition:
    return _STATES.get(word.strip().lower(), Disposition.FAILED)


def _recordings(words: Words, kind: EventKind) -> tuple[RecordingReference, ...]:
    reference = words.get("call_id_with_rec", "").strip()
    is_recorded = kind is EventKind.RECORDED or is_true(words.get("is_recorded", ""))
    return (RecordingReference(reference=reference[:200]),) if is_recorded and reference else ()


def read_row(row: Mapping[str, Any], zone: tzinfo) -> Notification | None:
    """One line of the statistics, version 2: ``sip`` is the extension, ``clid`` who called, with a name at times."""
    words = words_of(row)
    reference = needed(words, "call_id")
    key = words.get("pbx_call_id", "").strip() or f"statistics:{reference}"
    caller, sip = _bare(words.get("clid", "")), words.get("sip", "").strip()
    called = words.get("destination", "").strip()
    direction = _direction(key) or (_OUT if is_extension(caller) else _IN)
    if direction is _OUT and is_extension(called):
        direction = Direction.INTERNAL
    inside = next((one for one in (sip, called if direction is _IN else caller) if is_extension(one)), "")
    outside = caller if direction is _IN else called
    recordings = (RecordingReference(reference=reference),) if is_true(words.get("is_recorded", "")) else ()
    return Notification(
        kind=EventKind.REPORTED,
        call_key=key,
        direction=direction,
        outside=outside[:100],
        extension=inside,
        status=_state(words.get("disposition", "")),
        recordings=recordings,
        **fill(_ROW, words, zone),
    )


def _bare(caller: str) -> str:
    """``Anna <74950000001>`` to the number."""
    return caller.rpartition("<")[2].partition(">")[0].strip() if "<" in caller else caller.strip()


async def _get(api: Api, method: str, parameters: Mapping[str, str]) -> dict[str, Any]:
    query = urlencode(sorted({**parameters, "format": "json"}.items()))
    signature = sign(
        f"{method}{query}{hashlib.md5(query.encode(), usedforsecurity=False).hexdigest()}", api.keys.secret
    )
    answer = await api.ask("GET", f"{method}?{query}", headers={"Authorization": f"{api.keys.key}:{signature}"})
    if answer.status in (401, 403):
        raise ProviderRefused("Zadarma refuses the key.")
    found = object_of(answer.body)
    if answer.status != 200 or found.get("status") != "success":
        raise ProviderUnreachable(f"Zadarma answers {answer.status}: {str(found.get('message', ''))[:200]}")
    return found


async def list_calls(api: Api, since: datetime, until: datetime) -> Rows:
    """The statistics between two times, in the account's zone, a thousand lines a request."""
    span = {"start": _written(since, api.zone), "end": _written(until, api.zone), "version": "2"}
    skip = 0
    while True:
        found = await _get(api, "/v1/statistics/pbx/", {**span, "skip": str(skip), "limit": str(_PAGE)})
        rows = [row for row in found.get("stats") or () if isinstance(row, dict)]
        yield rows
        skip += _PAGE
        if len(rows) < _PAGE:
            return


def _written(time: datetime, zone: tzinfo) -> str:
    return time.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S")


async def find_file(api: Api, recording: RecordingReference) -> File:
    """The API gives an address that is good for half an hour."""
    asked = {"call_id": recording.reference, "lifetime": _LIFETIME}
    found = await _get(api, "/v1/pbx/record/request/", asked)
    links = [found.get("link"), *(found.get("links") or ())]
    address = next((one for one in links if isinstance(one, str) and one), None)
    if address is None:
        raise ProviderUnreachable("Zadarma has no address of this recording yet.")
    return File(address=address)


async def list_extensions(api: Api) -> list[tuple[str, str]]:
    """The PBX's extensions; Zadarma has no names for them."""
    found = await _get(api, "/v1/pbx/internal/", {})
    numbers: Sequence[Any] = found.get("numbers") or ()
    return [(str(one)[:20], "") for one in numbers]


ZADARMA = Preset(
    name="zadarma",
    title="Zadarma",
    verify=verify,
    read=read,
    greet=greet,
    read_row=read_row,
    list_calls=list_calls,
    find_file=find_file,
    list_extensions=list_extensions,
    hosts=("zadarma.com", "novofon.com", "novofon.ru"),
    api_url="https://api.zadarma.com",
    cabinet="«Integrations and API» → «Notifications of calls in the PBX»: the address, and all events",
    stereo="Switch on stereo in the settings of call recording, or ask their support to.",
)
NOVOFON = replace(ZADARMA, name="novofon", title="Novofon", api_url="https://api.novofon.com")
