"""Sipuni: events as queries or forms, statistics as a table, recordings by address or by API.

Sources: doc.sipuni.com («Отправка событий HTTP», «Статистика»). Events are stamped with seconds since 1970, the
statistics have day and time in the zone of the account. Nothing is signed, so a token stands in the address. A line
of the statistics has no name of the call but the «ID записи», which is the call's own: both are its unique id.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta, tzinfo
from typing import Any

from agent.model import Direction, Disposition
from agent.sip.providers.egress import ProviderRefused, ProviderUnreachable
from agent.sip.providers.fields import (
    Table,
    Words,
    count,
    csv_of,
    fill,
    form_of,
    is_extension,
    is_true,
    link,
    moment,
    needed,
    number,
    seconds,
)
from agent.sip.providers.notification import EventKind, Hook, Notification, RecordingReference
from agent.sip.providers.preset import Api, File, Keys, Preset, Reply, Rows, sha256, verify_token

_OUTSIDE = "1"  # src_type and dst_type: 1 outside, 2 inside
_KINDS = {
    "1": EventKind.RINGING,
    "2": EventKind.ENDED,
    "3": EventKind.ANSWERED,
    "4": EventKind.LEG_ENDED,
}
_STATES = {
    "ANSWER": Disposition.ANSWERED,
    "NOANSWER": Disposition.NO_ANSWER,
    "CANCEL": Disposition.NO_ANSWER,
    "BUSY": Disposition.BUSY,
}
_STAMP: Table = {"at": (("timestamp",), moment), "sequence": (("timestamp",), count)}
_RING: Table = {**_STAMP, "started": (("call_start_timestamp", "timestamp"), moment)}
_ANSWER: Table = {
    **_STAMP,
    "started": (("call_start_timestamp",), moment),
    "answered": (("call_answer_timestamp", "timestamp"), moment),
}
_END: Table = {
    **_STAMP,
    "started": (("call_start_timestamp",), moment),
    "answered": (("call_answer_timestamp",), moment),
    "ended": (("timestamp",), moment),
}
_TABLES = {
    EventKind.RINGING: _RING,
    EventKind.ANSWERED: _ANSWER,
    EventKind.LEG_ENDED: _STAMP,
    EventKind.ENDED: _END,
}

_ROW_DIRECTIONS = {
    "входящий": Direction.INBOUND,
    "исходящий": Direction.OUTBOUND,
    "внутренний": Direction.INTERNAL,
}
_ROW: Table = {
    "started": (("Время",), moment),
    "talk": (("Длительность разговора, сек", "Длительность разговора", "Продолжительность разговора"), seconds),
}
_ROW_TOTAL: Table = {
    "total": (("Длительность звонка, сек", "Длительность звонка", "Продолжительность звонка"), seconds),
}


def read(hook: Hook, keys: Keys, zone: tzinfo) -> Notification | None:
    """One event: 1 it rings, 3 answered, 4 one leg has ended, 2 the call has."""
    words = form_of(hook)
    kind = _KINDS.get(words.get("event", ""))
    if kind is None:
        return None
    direction, outside, extension = _sides(words)
    found = Notification(
        kind=kind,
        call_key=needed(words, "call_id"),
        direction=direction,
        outside=outside,
        ours=number(words.get("pbxdstnum", ""), zone) or "",
        extension=extension,
        **fill(_TABLES[kind], words, zone),
    )
    if kind is not EventKind.ENDED:
        return found
    address = link(words.get("call_record_link", ""), zone)
    recordings = (RecordingReference(reference=found.call_key, url=address),) if address else ()
    status = _STATES.get(words.get("status", "").strip().upper(), Disposition.FAILED)
    return replace(found, status=status, recordings=recordings)


def _sides(words: Words) -> tuple[Direction | None, str, str]:
    """Direction, the other side's number, our extension."""
    caller, called = words.get("src_num", "")[:100], words.get("dst_num", "")[:100]
    our_caller = (words.get("short_src_num") or caller)[:100]
    our_called = (words.get("short_dst_num") or called)[:100]
    if words.get("src_type") == _OUTSIDE:
        return Direction.INBOUND, caller, our_called if is_extension(our_called) else ""
    if words.get("dst_type") == _OUTSIDE:
        return Direction.OUTBOUND, called, our_caller
    if words.get("src_type") and words.get("dst_type"):
        return Direction.INTERNAL, our_called, our_caller
    return None, caller, our_called


def read_row(row: Mapping[str, Any], zone: tzinfo) -> Notification | None:
    """One line of the statistics, by the names of its columns."""
    words = {name: str(value) for name, value in row.items()}
    direction = _ROW_DIRECTIONS.get(words.get("Тип", "").lower())
    caller, called = words.get("Откуда", "")[:100], words.get("Куда", "")[:100]
    who = words.get("Кто ответил", "")[:100]
    reference = words.get("ID записи", "")[:200]
    key = reference or f"statistics:{sha256('|'.join((needed(words, 'Время'), caller, called)))[:32]}"
    if direction is Direction.INBOUND:
        outside, inside = caller, next((one for one in (who, called) if is_extension(one)), "")
    else:
        outside, inside = called, caller
    times = fill(_ROW, words, zone)
    total = fill(_ROW_TOTAL, words, zone).get("total")
    started = times.get("started")
    is_answered = words.get("Статус", "").lower() == "отвечен"
    is_recorded = reference and is_true(words.get("Запись существует", "1" if is_answered else "0"))
    return Notification(
        kind=EventKind.REPORTED,
        call_key=key,
        direction=direction,
        outside=outside,
        ours="" if is_extension(called) or direction is not Direction.INBOUND else called,
        extension=inside,
        ended=started + timedelta(seconds=total) if started and total is not None else None,
        status=Disposition.ANSWERED if is_answered else Disposition.NO_ANSWER,
        recordings=(RecordingReference(reference=reference),) if is_recorded else (),
        **times,
    )


def sign(parameters: Mapping[str, str], secret: str) -> dict[str, str]:
    """The values in the order of their names and the secret, joined by pluses; their MD5 is the hash they want."""
    text = "+".join([*(parameters[name] for name in sorted(parameters)), secret])
    return {**parameters, "hash": hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()}


async def list_calls(api: Api, since: datetime, until: datetime) -> Rows:
    """The statistics of all days from one to the other: they take days, not times."""
    asked = {
        "anonymous": "1",
        "firstTime": "0",
        "from": since.astimezone(api.zone).strftime("%d.%m.%Y"),
        "fromNumber": "",
        "state": "0",
        "to": until.astimezone(api.zone).strftime("%d.%m.%Y"),
        "toAnswer": "",
        "toNumber": "",
        "tree": "",
        "type": "0",
        "user": api.keys.key,
    }
    answer = await api.ask("POST", "/api/statistic/export", form=sign(asked, api.keys.secret))
    table = answer.body.decode(errors="replace")
    if answer.status in (401, 403):
        raise ProviderRefused("Sipuni refuses the key.")
    if answer.status != 200 or "Время" not in table.partition("\n")[0]:
        raise ProviderUnreachable(f"Sipuni answers {answer.status} and no statistics; check user and secret.")
    yield csv_of(table)


async def find_file(api: Api, recording: RecordingReference) -> File:
    """By the address where the event told one, else by API."""
    if recording.url:
        return File(address=recording.url)
    asked = {"id": recording.reference, "user": api.keys.key}
    return File(address=f"{api.base}/api/statistic/record", form=sign(asked, api.keys.secret))


SIPUNI = Preset(
    name="sipuni",
    title="Sipuni",
    verify=verify_token,
    read=read,
    read_row=read_row,
    list_calls=list_calls,
    find_file=find_file,
    in_address=True,
    reply=Reply(body=b'{"success": true}', media_type="application/json"),
    hosts=("sipuni.com",),
    api_url="https://sipuni.com",
    cabinet="«Настройки» → «API» → «События на АТС»",
    stereo="Ask their support for stereo recordings (each side on a channel of its own).",
)
