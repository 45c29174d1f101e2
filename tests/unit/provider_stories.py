"""Invented calls, told as each provider's public documents say it does: requests of its own, and lines of statistics.

Signatures are made here a second time, from the documents, so that a mistake in ours shows.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from pydantic import SecretStr

from agent.model import Direction, Disposition
from agent.settings_providers import ProviderSettings
from agent.sip.providers.notification import Hook
from agent.sip.providers.preset import Provider
from agent.sip.providers.presets import provider_of

ZONE = ZoneInfo("Asia/Yekaterinburg")  # not that of whoever runs the tests
KEY, SECRET, TOKEN = "the-key", "the-secret", "token-of-twenty-letters"
START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)

IN, OUT = Direction.INBOUND, Direction.OUTBOUND
ANSWERED, MISSED, BUSY = Disposition.ANSWERED, Disposition.NO_ANSWER, Disposition.BUSY


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What really happened. ``ring`` and ``talk`` in seconds."""

    key: str = "call-1"
    direction: Direction = IN
    outside: str = "74950000011"
    ours: str = "74950000099"
    extension: str = "101"
    started: datetime = START
    ring: int = 6
    talk: int = 40
    status: Disposition = ANSWERED
    recorded: bool = True

    @property
    def answered(self) -> datetime | None:
        """When somebody took it."""
        return self.started + timedelta(seconds=self.ring) if self.status is ANSWERED else None

    @property
    def ended(self) -> datetime:
        """When it was over."""
        return self.started + timedelta(seconds=self.ring + (self.talk if self.status is ANSWERED else 0))

    @property
    def recording(self) -> str:
        """Its recording's name at the provider."""
        return f"{self.key}-rec"


STORIES = (
    Story(),
    Story(key="call-2", direction=OUT, outside="74950000022", extension="102", talk=75),
    Story(key="call-3", status=MISSED, recorded=False, ring=20),
    Story(key="call-4", direction=OUT, status=MISSED, recorded=False),
    Story(key="call-5", talk=1, ring=0, recorded=False),
)


def provider(preset: str, **more: Any) -> Provider:
    """A provider of that preset, with the keys of these tests."""
    values: dict[str, Any] = {
        "name": preset,
        "preset": preset,
        "timezone": ZONE.key,
        "key": SecretStr(KEY),
        "secret": SecretStr("" if preset == "generic" else SECRET),
        "token": SecretStr(TOKEN),
    }
    return provider_of(ProviderSettings(**{**values, **more}))


def local(moment: datetime, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    """In the account's zone, without saying so."""
    return moment.astimezone(ZONE).strftime(form)


def stamp(moment: datetime | None) -> str:
    """Seconds since 1970, 0 for what did not happen."""
    return str(int(moment.timestamp())) if moment else "0"


# --- Zadarma ----------------------------------------------------------------------------------------------------------


def zadarma_key(story: Story) -> str:
    """Their names of calls tell the direction."""
    return f"{'in' if story.direction is IN else 'out'}_{story.key}"


def zadarma_hook(fields: Mapping[str, str], *signed: str, secret: str = SECRET) -> Hook:
    """``base64_encode(hash_hmac('sha1', …, API_SECRET))``, where PHP's hash_hmac gives hex."""
    text = "".join(fields.get(name, "") for name in signed)
    signature = base64.b64encode(hmac.new(secret.encode(), text.encode(), "sha1").hexdigest().encode()).decode()
    body = urlencode(fields).encode()
    return Hook(body=body, content_type="application/x-www-form-urlencoded", signature=signature)


def _zadarma_events(story: Story) -> list[Hook]:
    base = {"call_start": local(story.started), "pbx_call_id": zadarma_key(story)}
    states = {ANSWERED: "answered", MISSED: "no answer", BUSY: "busy"}
    end = {
        **base,
        "internal": story.extension,
        "duration": str(story.talk if story.status is ANSWERED else 0),
        "disposition": states[story.status],
        "status_code": "16",
        "is_recorded": str(int(story.recorded)),
        **({"call_id_with_rec": story.recording} if story.recorded else {}),
    }
    record = {"pbx_call_id": zadarma_key(story), "call_id_with_rec": story.recording, "event": "NOTIFY_RECORD"}
    records = [zadarma_hook(record, "pbx_call_id", "call_id_with_rec")] if story.recorded else []
    if story.direction is IN:
        who = {"caller_id": f"+{story.outside}", "called_did": story.ours}
        signed = ("caller_id", "called_did", "call_start")
        answer = {**base, "caller_id": f"+{story.outside}", "destination": story.extension, "internal": story.extension}
        return [
            zadarma_hook({"event": "NOTIFY_START", **base, **who}, *signed),
            zadarma_hook({"event": "NOTIFY_INTERNAL", **base, **who, "internal": story.extension}, *signed),
            zadarma_hook({"event": "NOTIFY_ANSWER", **answer}, "caller_id", "destination", "call_start"),
            zadarma_hook({"event": "NOTIFY_END", **end, **who}, *signed),
            *records,
        ]
    who = {"internal": story.extension, "destination": story.outside, "caller_id": story.ours}
    signed = ("internal", "destination", "call_start")
    return [
        zadarma_hook({"event": "NOTIFY_OUT_START", **base, **who}, *signed),
        zadarma_hook({"event": "NOTIFY_OUT_END", **end, **who}, *signed),
        *records,
    ]


def _zadarma_rows(story: Story) -> list[dict[str, Any]]:
    is_in = story.direction is IN
    return [
        {
            "call_id": story.recording,
            "sip": story.extension,
            "callstart": local(story.started),
            "clid": f'"Client" <{story.outside}>' if is_in else story.extension,
            "destination": story.extension if is_in else story.outside,
            "disposition": {ANSWERED: "answered", MISSED: "no answer", BUSY: "busy"}[story.status],
            "seconds": story.talk if story.status is ANSWERED else 0,
            "is_recorded": story.recorded,
            "pbx_call_id": zadarma_key(story),
        }
    ]


# --- UIS --------------------------------------------------------------------------------------------------------------


def _uis_hook(**fields: Any) -> Hook:
    return Hook(tail=TOKEN, content_type="application/json", body=json.dumps(fields).encode())


def _uis_events(story: Story) -> list[Hook]:
    common = {
        "call_session_id": 7000 + STORIES.index(story) if story in STORIES else story.key,
        "communication_id": 1,
        "direction": "in" if story.direction is IN else "out",
        "contact_info": {"contact_phone_number": story.outside},
        "virtual_phone_number": story.ours,
        "start_time": local(story.started),
    }
    employee = {"employee_info": {"employee_full_name": "Anna Ivanova", "extension_phone_number": story.extension}}
    talk = story.talk if story.status is ANSWERED else 0
    total = int((story.ended - story.started).total_seconds())
    durations = {"call_info": {"talk_time_duration": talk, "total_time_duration": total}}
    ended = {**common, "notification_time": local(story.ended), **durations}
    is_lost = story.status is not ANSWERED
    events = [
        _uis_hook(event="start", notification_time=local(story.started), **common),
        _uis_hook(event="lost" if is_lost else "end", **ended, **employee),
    ]
    if not is_lost:
        events.insert(1, _uis_hook(event="answer", notification_time=local(story.ended), **common, **employee))
    if story.recorded:
        events.append(_uis_hook(event="record", file_link=_address("uis", story), **common, **employee))
    return events


def _address(preset: str, story: Story) -> str:
    hosts = {"uis": "media.uiscom.ru", "sipuni": "sipuni.com"}
    return f"https://{hosts[preset]}/{story.recording}.mp3"


def _uis_rows(story: Story) -> list[dict[str, Any]]:
    return [
        {
            "id": 7000 + STORIES.index(story) if story in STORIES else story.key,
            "communication_id": 1,
            "start_time": local(story.started),
            "finish_time": local(story.ended),
            "direction": "in" if story.direction is IN else "out",
            "is_lost": story.status is not ANSWERED,
            "contact_phone_number": story.outside,
            "contact_full_name": None,
            "virtual_phone_number": story.ours,
            "operator_phone_number": story.extension,
            "last_answered_employee_full_name": "Anna Ivanova",
            "talk_duration": story.talk if story.status is ANSWERED else 0,
            "total_duration": int((story.ended - story.started).total_seconds()),
            "full_record_file_link": _address("uis", story) if story.recorded else None,
        }
    ]


# --- Sipuni -----------------------------------------------------------------------------------------------------------


def _sipuni_events(story: Story) -> list[Hook]:
    is_in = story.direction is IN
    inner = {"num": f"012345{story.extension}", "short": story.extension, "type": "2"}
    outer = {"num": story.outside, "short": story.outside, "type": "1"}
    source, target = (outer, inner) if is_in else (inner, outer)
    common = {
        "call_id": story.recording,  # the statistics know a call by the name of its recording
        "src_num": source["num"],
        "short_src_num": source["short"],
        "src_type": source["type"],
        "dst_num": target["num"],
        "short_dst_num": target["short"],
        "dst_type": target["type"],
        "pbxdstnum": story.ours,
    }
    end = {
        **common,
        "call_start_timestamp": stamp(story.started),
        "call_answer_timestamp": stamp(story.answered),
        "timestamp": stamp(story.ended),
        "status": {ANSWERED: "ANSWER", MISSED: "NOANSWER", BUSY: "BUSY"}[story.status],
        "call_record_link": _address("sipuni", story) if story.recorded else "",
    }
    events = [{**common, "event": "1", "timestamp": stamp(story.started)}]
    if story.answered:
        events.append({**common, "event": "3", "timestamp": stamp(story.answered)})
    events += [{**end, "event": "4"}, {**end, "event": "2"}]
    return [Hook(tail=TOKEN, query=urlencode(one)) for one in events]


def _sipuni_rows(story: Story) -> list[dict[str, Any]]:
    is_in, is_answered = story.direction is IN, story.status is ANSWERED
    return [
        {
            "Тип": "Входящий" if is_in else "Исходящий",
            "Статус": "Отвечен" if is_answered else "Не отвечен",
            "Время": local(story.started, "%d.%m.%Y %H:%M:%S"),
            "Схема": "Продажи",
            "Откуда": story.outside if is_in else story.extension,
            "Куда": story.ours if is_in else story.outside,
            "Кто ответил": story.extension if is_in else "",
            "Длительность звонка, сек": str(int((story.ended - story.started).total_seconds())),
            "Длительность разговора, сек": str(story.talk if is_answered else 0),
            "Время ответа, сек": str(story.ring),
            "ID записи": story.recording,
            "Запись существует": "1" if story.recorded else "0",
        }
    ]


# --- Mango ------------------------------------------------------------------------------------------------------------


def mango_sign(text: str) -> str:
    """``hash('sha256', $api_key . $json . $api_salt)``."""
    return hashlib.sha256(f"{KEY}{text}{SECRET}".encode()).hexdigest()


def mango_hook(tail: str, thing: Mapping[str, Any]) -> Hook:
    """A form of key, signature and JSON."""
    text = json.dumps(thing)
    body = urlencode({"vpbx_api_key": KEY, "sign": mango_sign(text), "json": text}).encode()
    return Hook(tail=tail, body=body, content_type="application/x-www-form-urlencoded")


def _mango_events(story: Story) -> list[Hook]:
    is_in = story.direction is IN
    outer: dict[str, Any] = {"number": story.outside}
    inner: dict[str, Any] = {"extension": story.extension, "number": f"sip:{story.extension}@example.mangosip.ru"}
    source, target = (outer, inner) if is_in else (inner, outer)
    leg: dict[str, Any] = {
        "entry_id": story.key,
        "call_id": f"{story.key}-1",
        "from": source,
        "to": {**target, "line_number": story.ours},
        "location": "abonent",
    }
    moments = [("Appeared", story.started), ("Connected", story.answered), ("Disconnected", story.ended)]
    events = [
        mango_hook("events/call", {**leg, "call_state": state, "seq": number, "timestamp": int(moment.timestamp())})
        for number, (state, moment) in enumerate(moments, 1)
        if moment
    ]
    summary = {
        "entry_id": story.key,
        "call_direction": 1 if is_in else 2,
        "from": source,
        "to": target,
        "line_number": story.ours,
        "create_time": int(stamp(story.started)),
        "forward_time": 0,
        "talk_time": int(stamp(story.answered)),
        "end_time": int(stamp(story.ended)),
        "entry_result": int(story.status is ANSWERED),
        "disconnect_reason": 1110,
    }
    events.append(mango_hook("events/summary", summary))
    if story.recorded:
        added = {"entry_id": story.key, "product_id": 1, "user_id": 5, "recording_id": story.recording}
        events.append(mango_hook("events/record/added", {**added, "timestamp": int(stamp(story.ended))}))
    return events


def _mango_rows(story: Story) -> list[dict[str, Any]]:
    is_in = story.direction is IN
    inner = (story.extension, f"sip:{story.extension}@example.mangosip.ru")
    outer = ("", story.outside)
    source, target = (outer, inner) if is_in else (inner, outer)
    return [
        {
            "records": f"[{story.recording}]" if story.recorded else "[]",
            "start": stamp(story.started),
            "finish": stamp(story.ended),
            "answer": stamp(story.answered),
            "from_extension": source[0],
            "from_number": source[1],
            "to_extension": target[0],
            "to_number": target[1],
            "disconnect_reason": "1110",
            "line_number": story.ours,
            "location": "abonent",
            "create": stamp(story.started),
            "entry_id": story.key,
        }
    ]


# --- Generic ----------------------------------------------------------------------------------------------------------


def _generic_events(story: Story) -> list[Hook]:
    common = {
        "call_id": story.key,
        "direction": "in" if story.direction is IN else "out",
        "outside": story.outside,
        "ours": story.ours,
        "extension": story.extension,
        "started": story.started.isoformat(),
    }
    answered = {"answered": story.answered.isoformat()} if story.answered else {}
    states = {ANSWERED: "answered", MISSED: "no answer", BUSY: "busy"}
    events = [{**common, "event": "start"}]
    if answered:
        events.append({**common, **answered, "event": "answer"})
    end = {**common, **answered, "event": "end", "ended": story.ended.isoformat(), "status": states[story.status]}
    events.append(end)
    if story.recorded:
        address = f"https://pbx.example.com/{story.recording}.wav"
        record = {"event": "record", "call_id": story.key, "recording_url": address, "recording_id": story.recording}
        events.append(record)
    return [Hook(tail=TOKEN, content_type="application/json", body=json.dumps(one).encode()) for one in events]


Events = Callable[[Story], list[Hook]]
Rows = Callable[[Story], list[dict[str, Any]]]
EVENTS: Mapping[str, Events] = {
    "generic": _generic_events,
    "mango": _mango_events,
    "novofon": _zadarma_events,
    "sipuni": _sipuni_events,
    "uis": _uis_events,
    "zadarma": _zadarma_events,
}
ROWS: Mapping[str, Rows] = {
    "mango": _mango_rows,
    "sipuni": _sipuni_rows,
    "uis": _uis_rows,
    "zadarma": _zadarma_rows,
}


def tells_ring(preset: str) -> bool:
    """Whether the provider tells how long it rang."""
    return preset not in ("zadarma", "novofon")


def expected_times(preset: str, story: Story) -> tuple[datetime, datetime | None, datetime]:
    """Start, answer, end as far as they can be known."""
    if tells_ring(preset):
        return story.started, story.answered, story.ended
    talk = timedelta(seconds=story.talk) if story.status is ANSWERED else timedelta()
    return story.started, story.started if story.status is ANSWERED else None, story.started + talk
