"""Mango Office: signed events, statistics in two steps, recordings by a POST that redirects to the file.

Source: «API Виртуальной АТС» of Mango Office. The cabinet has one address; each kind of event adds its own path
(``events/call``, ``events/summary``, ``events/record/added``). Times are seconds since 1970. ``entry_id`` names the
call, ``call_id`` a leg.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, tzinfo
from typing import Any

from agent.model import Direction, Disposition
from agent.sip.providers.egress import Answer, ProviderRefused, ProviderUnreachable
from agent.sip.providers.fields import (
    Table,
    Words,
    count,
    csv_of,
    fill,
    form_of,
    moment,
    needed,
    number,
    object_of,
    words_of,
)
from agent.sip.providers.notification import EventKind, Hook, Notification, RecordingReference, UnreadableNotification
from agent.sip.providers.preset import Api, File, Keys, Preset, Rows, Verdict, sha256

_QUESTIONS = 24  # whether statistics are ready, five seconds apart at least
_IN, _OUT, _INSIDE = Direction.INBOUND, Direction.OUTBOUND, Direction.INTERNAL
_STATES = {
    "Appeared": EventKind.RINGING,
    "Connected": EventKind.ANSWERED,
    "Disconnected": EventKind.LEG_ENDED,
}
_DIRECTIONS = {"0": _INSIDE, "1": _IN, "2": _OUT}
_CALL: Table = {"at": (("timestamp",), moment), "sequence": (("seq",), count), "leg_key": (("call_id",), number)}
_SUMMARY: Table = {
    "started": (("create_time",), moment),
    "answered": (("talk_time",), moment),
    "ended": (("end_time",), moment),
    "ours": (("line_number",), number),
}
_ROW: Table = {
    "started": (("create", "start"), moment),
    "answered": (("answer",), moment),
    "ended": (("finish",), moment),
    "ours": (("line_number",), number),
}
_COLUMNS = (
    "records",
    "start",
    "finish",
    "answer",
    "from_extension",
    "from_number",
    "to_extension",
    "to_number",
    "disconnect_reason",
    "line_number",
    "location",
    "create",
    "entry_id",
)


def sign(text: str, keys: Keys) -> str:
    """SHA-256 of key, JSON and salt, in hex."""
    return sha256(f"{keys.key}{text}{keys.secret}")


def verify(hook: Hook, keys: Keys) -> Verdict:
    """By the signature over the JSON; an empty form is the cabinet trying the address."""
    try:
        words = form_of(hook)
    except UnreadableNotification:
        return Verdict.REFUSED
    if not words.get("json") and not words.get("sign"):
        return Verdict.IGNORED
    expected = sign(words.get("json", ""), keys)
    is_right = hmac.compare_digest(words.get("sign", "").lower().encode(), expected.encode())
    is_ours = hmac.compare_digest(words.get("vpbx_api_key", "").encode(), keys.key.encode())
    return Verdict.ACCEPTED if keys.secret and is_right and is_ours else Verdict.REFUSED


def read(hook: Hook, keys: Keys, zone: tzinfo) -> Notification | None:
    """One event, by the path it came to."""
    readers = {
        "events/call": _read_call,
        "events/summary": _read_summary,
        "events/record/added": _read_recording,
        "events/recording": _read_recording,
    }
    reader = readers.get(hook.tail.strip("/"))
    if reader is None:
        return None
    return reader(words_of(object_of(form_of(hook).get("json", "")), paths=True), zone)


def _read_call(words: Words, zone: tzinfo) -> Notification | None:
    kind = _STATES.get(words.get("call_state", ""))
    if kind is None:
        return None
    direction = _direction(words)
    outside, extension = _sides(words, direction, ".")
    return Notification(
        kind=kind,
        call_key=needed(words, "entry_id"),
        direction=direction,
        outside=outside,
        ours=words.get("to.line_number", "")[:100],
        extension=extension,
        **fill(_CALL, words, zone),
    )


def _read_summary(words: Words, zone: tzinfo) -> Notification:
    direction = _DIRECTIONS.get(words.get("call_direction", "")) or _direction(words)
    outside, extension = _sides(words, direction, ".")
    is_answered = words.get("entry_result") == "1"
    found = Notification(
        kind=EventKind.ENDED,
        call_key=needed(words, "entry_id"),
        direction=direction,
        outside=outside,
        extension=extension,
        status=Disposition.ANSWERED if is_answered else Disposition.NO_ANSWER,
        **fill(_SUMMARY, words, zone),
    )
    return found if is_answered else replace(found, answered=None)


def _read_recording(words: Words, zone: tzinfo) -> Notification | None:
    """That a recording is kept; while it is being made, or only mailed, there is nothing to fetch."""
    if words.get("recording_state", "Completed") != "Completed" or words.get("recipient", "Cloud") == "Mail":
        return None
    if words.get("completion_code", "1000") != "1000":
        return None
    reference = RecordingReference(reference=needed(words, "recording_id"))
    return Notification(kind=EventKind.RECORDED, call_key=needed(words, "entry_id"), recordings=(reference,))


def _direction(words: Words) -> Direction:
    """Whoever has an extension is inside."""
    has = {side: words.get(f"{side}.extension") or words.get(f"{side}_extension") for side in ("from", "to")}
    return _IN if not has["from"] else _INSIDE if has["to"] else _OUT


def _sides(words: Words, direction: Direction, joint: str) -> tuple[str, str]:
    """The other side's number and our extension; ``joint`` stands between ``from`` and ``number``."""
    side = {name: words.get(name.replace("-", joint), "")[:100] for name in ("from-number", "to-number")}
    inside = {name: words.get(name.replace("-", joint), "")[:100] for name in ("from-extension", "to-extension")}
    if direction is _IN:
        return side["from-number"], inside["to-extension"]
    if direction is _INSIDE:
        return inside["to-extension"], inside["from-extension"]
    return side["to-number"], inside["from-extension"]


def read_row(row: Mapping[str, Any], zone: tzinfo) -> Notification | None:
    """One leg of the statistics. A menu that answers is no conversation."""
    words = {name: str(value) for name, value in row.items()}
    direction = _direction(words)
    outside, extension = _sides(words, direction, "_")
    times = fill(_ROW, words, zone)
    is_answered = times.get("answered") is not None and words.get("location", "abonent").startswith("abonent")
    if not is_answered:
        times.pop("answered", None)
    names = [name.strip() for name in words.get("records", "").strip("[] ").split(",")]
    return Notification(
        kind=EventKind.REPORTED,
        call_key=needed(words, "entry_id"),
        direction=direction,
        outside=outside,
        extension=extension,
        status=Disposition.ANSWERED if is_answered else Disposition.NO_ANSWER,
        recordings=tuple(RecordingReference(reference=name[:200]) for name in names if name),
        **times,
    )


def _form(thing: Mapping[str, Any], keys: Keys) -> dict[str, str]:
    text = json.dumps(thing, separators=(",", ":"))
    return {"vpbx_api_key": keys.key, "sign": sign(text, keys), "json": text}


async def _post(api: Api, path: str, thing: Mapping[str, Any]) -> Answer:
    answer = await api.ask("POST", path, form=_form(thing, api.keys))
    if answer.status in (401, 403):
        raise ProviderRefused("Mango Office refuses the key.")
    if answer.status not in (200, 204):
        raise ProviderUnreachable(f"Mango Office answers {answer.status} to {path}.")
    return answer


async def list_calls(api: Api, since: datetime, until: datetime) -> Rows:
    """The basic statistics: ordered first, asked for until they are ready."""
    order = {
        "date_from": str(int(since.timestamp())),
        "date_to": str(int(until.timestamp())),
        "fields": ",".join(_COLUMNS),
    }
    key = object_of((await _post(api, "/vpbx/stats/request", order)).body).get("key")
    if not isinstance(key, str):
        raise ProviderUnreachable("Mango Office gives no key for the statistics.")
    for _ in range(_QUESTIONS):
        await api.wait()
        answer = await _post(api, "/vpbx/stats/result", {"key": key})
        if answer.status == 200:
            yield csv_of(answer.body.decode(errors="replace"), columns=_COLUMNS)
            return
    raise ProviderUnreachable("The statistics of Mango Office were not ready in time.")


async def find_file(api: Api, recording: RecordingReference) -> File:
    """The answer to this form redirects to the file."""
    asked = {"recording_id": recording.reference, "action": "download"}
    return File(address=f"{api.base}/vpbx/queries/recording/post", form=_form(asked, api.keys))


async def list_extensions(api: Api) -> list[tuple[str, str]]:
    """Users who have an extension, with their names."""
    found = object_of((await _post(api, "/vpbx/config/users/request", {})).body)
    extensions = []
    for one in found.get("users") or ():
        words = words_of(one, paths=True) if isinstance(one, dict) else {}
        if words.get("telephony.extension"):
            extensions.append((words["telephony.extension"][:20], words.get("general.name", "")[:200]))
    return extensions


MANGO = Preset(
    name="mango",
    title="Mango Office",
    verify=verify,
    read=read,
    read_row=read_row,
    list_calls=list_calls,
    find_file=find_file,
    list_extensions=list_extensions,
    hosts=("mango-office.ru", "mangotele.com"),
    api_url="https://app.mango-office.ru",
    cabinet="«Интеграции» → «API коннектор»: the address of the external system",
    stereo="Switch on stereo in the settings of call recording, or ask their support to.",
)
