"""Each preset by itself: whom it believes, what it makes of odd words, and that no bytes can break it."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from agent.model import Direction, Disposition
from agent.settings_providers import ProviderSettings
from agent.sip.providers import fields, mango, zadarma
from agent.sip.providers.notification import EventKind, Hook, UnreadableNotification
from agent.sip.providers.preset import Keys, Verdict
from agent.sip.providers.presets import PRESETS, provider_of
from tests.unit.provider_stories import (
    EVENTS,
    KEY,
    SECRET,
    START,
    STORIES,
    TOKEN,
    ZONE,
    mango_hook,
    provider,
    zadarma_hook,
)

ALL = sorted(EVENTS)


# --- Whom to believe --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", ALL)
def test_what_the_provider_signs_is_believed(preset: str) -> None:
    one = provider(preset)
    for story in STORIES:
        for hook in EVENTS[preset](story):
            assert one.preset.verify(hook, one.keys) is Verdict.ACCEPTED


@pytest.mark.parametrize("preset", ALL)
def test_other_keys_are_not_believed(preset: str) -> None:
    one = provider(preset)
    others = Keys(key=KEY, secret="another", token="another-token-of-twenty")
    nothing = Keys()
    for hook in EVENTS[preset](STORIES[0]):
        assert one.preset.verify(hook, others) is Verdict.REFUSED
        assert one.preset.verify(hook, nothing) is Verdict.REFUSED, "no keys in the settings is no open door"


def test_an_empty_secret_signs_nothing() -> None:
    signed = zadarma_hook(
        {"event": "NOTIFY_START", "caller_id": "1"}, "caller_id", "called_did", "call_start", secret=""
    )
    assert zadarma.verify(signed, Keys(key=KEY)) is Verdict.REFUSED
    text = json.dumps({"entry_id": "x"})
    words = {"vpbx_api_key": "", "sign": hashlib.sha256(text.encode()).hexdigest(), "json": text}
    assert mango.verify(Hook(body=urlencode(words).encode()), Keys()) is Verdict.REFUSED


@pytest.mark.parametrize("preset", ["generic", "sipuni", "uis"])
def test_an_empty_token_opens_nothing(preset: str) -> None:
    one = provider(preset, token=SecretStr(""))
    hook = replace(EVENTS[preset](STORIES[0])[0], tail="")
    assert one.preset.verify(hook, one.keys) is Verdict.REFUSED


@pytest.mark.parametrize("preset", ["mango", "novofon", "zadarma"])
def test_a_changed_number_is_not_believed(preset: str) -> None:
    one, story = provider(preset), STORIES[0]
    for hook in EVENTS[preset](story):
        changed = hook.body.replace(story.outside.encode(), b"74950000012")
        if changed != hook.body:
            assert one.preset.verify(replace(hook, body=changed), one.keys) is Verdict.REFUSED


@pytest.mark.parametrize("signature", ["", "x", "=", "AAAA", "ä", base64.b64encode(b"x" * 20).decode()])
def test_no_signature_at_all(signature: str) -> None:
    one = provider("zadarma")
    for hook in EVENTS["zadarma"](STORIES[0]):
        assert one.preset.verify(replace(hook, signature=signature), one.keys) is Verdict.REFUSED


def test_zadarma_in_either_form_that_documents_show() -> None:
    hook = EVENTS["zadarma"](STORIES[0])[0]
    words = fields.form_of(hook)
    text = words["caller_id"] + words["called_did"] + words["call_start"]
    raw = base64.b64encode(hmac.new(SECRET.encode(), text.encode(), hashlib.sha1).digest()).decode()
    assert zadarma.verify(replace(hook, signature=raw), provider("zadarma").keys) is Verdict.ACCEPTED


def test_events_of_no_use_are_answered_and_not_stored() -> None:
    hook = zadarma_hook({"event": "SPEECH_RECOGNITION"})
    assert zadarma.verify(hook, provider("zadarma").keys) is Verdict.IGNORED
    assert mango.verify(Hook(tail="ping"), provider("mango").keys) is Verdict.IGNORED


def test_the_generic_one_signed_besides() -> None:
    one = provider("generic", secret=SecretStr(SECRET))
    hook = EVENTS["generic"](STORIES[0])[0]
    assert one.preset.verify(hook, one.keys) is Verdict.REFUSED
    signature = hmac.new(SECRET.encode(), hook.body, hashlib.sha256).hexdigest()
    signed = replace(hook, signature=f"sha256={signature}")
    assert one.preset.verify(signed, one.keys) is Verdict.ACCEPTED
    assert one.preset.verify(replace(signed, tail=""), one.keys) is Verdict.REFUSED, "the token counts all the same"


def test_zadarma_wants_its_word_back() -> None:
    greeting = zadarma.greet(Hook(query="zd_echo=abc123"))
    assert greeting is not None
    assert greeting.body == b"abc123"
    assert zadarma.greet(Hook(query="zd_echo=<script>")) is None
    assert zadarma.greet(Hook()) is None


def test_mango_key_of_somebody_else() -> None:
    text = json.dumps({"entry_id": "x"})
    body = urlencode({"vpbx_api_key": "other", "sign": hashlib.sha256(f"{KEY}{text}{SECRET}".encode()).hexdigest()})
    hook = Hook(tail="events/summary", body=f"{body}&{urlencode({'json': text})}".encode())
    assert mango.verify(hook, provider("mango").keys) is Verdict.REFUSED


# --- Odd words --------------------------------------------------------------------------------------------------------


def test_the_zone_is_that_of_the_settings() -> None:
    hook = zadarma_hook({"event": "NOTIFY_START", "pbx_call_id": "in_1", "call_start": "2026-03-02 14:00:00"})
    told = zadarma.read(hook, Keys(), ZoneInfo("Asia/Yekaterinburg"))
    assert told is not None
    assert told.started == datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
    told = zadarma.read(hook, Keys(), ZoneInfo("Europe/Moscow"))
    assert told is not None
    assert told.started == datetime(2026, 3, 2, 11, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("answered", Disposition.ANSWERED),
        ("Busy", Disposition.BUSY),
        ("cancel", Disposition.NO_ANSWER),
        ("no answer", Disposition.NO_ANSWER),
        ("no money", Disposition.FAILED),
        ("unallocated number", Disposition.FAILED),
        ("", Disposition.FAILED),
    ],
)
def test_how_zadarma_says_it_ended(word: str, expected: Disposition) -> None:
    told = zadarma.read(zadarma_hook({"event": "NOTIFY_END", "pbx_call_id": "in_1", "disposition": word}), Keys(), ZONE)
    assert told is not None
    assert told.status is expected


def test_zadarma_as_a_form_of_parts() -> None:
    parts = {"event": "NOTIFY_START", "pbx_call_id": "in_1", "caller_id": "+74950000011", "called_did": "74950000099"}
    body = "".join(f'--b\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n' for k, v in parts.items())
    hook = Hook(content_type='multipart/form-data; boundary="b"', body=f"{body}--b--\r\n".encode())
    told = zadarma.read(hook, Keys(), ZONE)
    assert told is not None
    assert (told.call_key, told.outside, told.ours) == ("in_1", "+74950000011", "74950000099")


def test_a_menu_of_mango_that_answers_is_no_conversation() -> None:
    row = {"entry_id": "e", "start": "1772442000", "finish": "1772442030", "answer": "1772442001", "location": "ivr.2"}
    told = mango.read_row({**row, "from_number": "74950000011"}, ZONE)
    assert told is not None
    assert (told.status, told.answered, told.direction) == (Disposition.NO_ANSWER, None, Direction.INBOUND)


def test_a_recording_of_mango_that_is_not_kept_there() -> None:
    thing = {"entry_id": "e", "recording_id": "r", "recording_state": "Completed", "recipient": "Mail"}
    keys = provider("mango").keys
    assert mango.read(mango_hook("events/recording", thing), keys, ZONE) is None
    assert mango.read(mango_hook("events/recording", {**thing, "recording_state": "Started"}), keys, ZONE) is None
    told = mango.read(mango_hook("events/recording", {**thing, "recipient": "CloudAndMail"}), keys, ZONE)
    assert told is not None
    assert told.kind is EventKind.RECORDED


def test_a_pbx_with_names_of_its_own() -> None:
    one = provider("generic", fields={"event": "what", "call_id": "uid", "outside": "who.number", "started": "when"})
    body = {"what": "end", "uid": "u1", "who": {"number": "+74950000011"}, "when": "2026-03-02T09:00:00Z"}
    told = one.preset.read(Hook(body=json.dumps(body).encode()), one.keys, ZONE)
    assert told is not None
    assert (told.kind, told.call_key, told.outside, told.started) == (EventKind.ENDED, "u1", "+74950000011", START)


def test_an_event_nobody_knows_is_for_a_person() -> None:
    one = provider("generic")
    with pytest.raises(UnreadableNotification, match="none of start, answer, end, record"):
        one.preset.read(Hook(query="event=dance&call_id=1"), one.keys, ZONE)
    with pytest.raises(UnreadableNotification, match="has no call_id"):
        one.preset.read(Hook(query="event=end"), one.keys, ZONE)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("2026-03-02 14:00:00", START),
        ("2026-03-02 14:00:00.123", START + timedelta(milliseconds=123)),
        ("02.03.2026 14:00:00", START),
        ("2026-03-02T09:00:00Z", START),
        ("2026-03-02T12:00:00+03:00", START),
        ("2026-03-02T14:00:00", START),
        ("1772442000", START),
        ("1772442000000", START),
        ("0", None),
        ("yesterday", None),
        ("9" * 30, None),
        ("1970-01-01 00:00:00", None),
        ("0001-01-01 00:00:00", None),
        ("9999-12-31 23:59:59", None),
        ("２０２６-03-02 14:00:00", None),
    ],
)
def test_times(word: str, expected: datetime | None) -> None:
    found = fields.moment(word, ZONE)
    assert found == expected or (word.startswith("２") and found == START)


@settings(deadline=None)
@given(st.text(max_size=40))
def test_no_word_breaks_the_readers_of_times_and_numbers(word: str) -> None:
    found = fields.moment(word, ZONE)
    assert found is None or found.tzinfo is not None
    length = fields.seconds(word, ZONE)
    assert length is None or 0 <= length <= 7 * 86400
    number = fields.count(word, ZONE)
    assert number is None or number >= 0


# --- Any bytes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", ALL)
@settings(deadline=None)
@given(
    body=st.binary(max_size=300) | st.text(max_size=200).map(str.encode),
    query=st.text(max_size=100),
    kind=st.sampled_from(
        ["", "application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=b"]
    ),
    tail=st.sampled_from(["", "events/call", "events/summary", "events/record/added", TOKEN, "\x00"]),
    signature=st.text(max_size=50),
)
def test_any_request_is_refused_or_unreadable(
    preset: str, body: bytes, query: str, kind: str, tail: str, signature: str
) -> None:
    one = provider(preset)
    hook = Hook(tail=tail, query=query, content_type=kind, body=body, signature=signature)
    verdict = one.preset.verify(hook, one.keys)
    assert verdict is not Verdict.ACCEPTED or one.preset.in_address
    if one.preset.greet is not None:
        one.preset.greet(hook)
    with contextlib.suppress(UnreadableNotification):
        one.preset.read(hook, one.keys, one.zone)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize("preset", ["mango", "uis", "generic"])
@settings(deadline=None)
@given(data=st.data())
def test_right_names_with_wrong_values(preset: str, data: st.DataObject) -> None:
    names = ["event", "call_session_id", "call_id", "entry_id", "from", "to", "start_time", "talk_duration", "records"]
    thing: Any = data.draw(st.dictionaries(st.sampled_from(names), JSON, max_size=6))
    one = provider(preset)
    hook = mango_hook("events/summary", thing) if preset == "mango" else Hook(body=json.dumps(thing).encode())
    with contextlib.suppress(UnreadableNotification):
        one.preset.read(hook, one.keys, one.zone)


@pytest.mark.parametrize("preset", [name for name in ALL if PRESETS[name].read_row is not None])
@settings(deadline=None)
@given(data=st.data())
def test_lines_of_statistics_with_wrong_values(preset: str, data: st.DataObject) -> None:
    names = [
        "id",
        "call_id",
        "pbx_call_id",
        "entry_id",
        "Время",
        "Откуда",
        "clid",
        "sip",
        "callstart",
        "records",
        "answer",
    ]
    row = data.draw(st.dictionaries(st.sampled_from(names), JSON, max_size=8))
    read_row = PRESETS[preset].read_row
    assert read_row is not None
    with contextlib.suppress(UnreadableNotification):
        read_row(row, ZONE)


def test_deep_and_wide_json_is_bounded() -> None:
    deep: dict[str, Any] = {}
    for _ in range(300):
        deep = {"a": deep}
    assert fields.words_of(deep) == {}
    assert len(fields.words_of({str(number): "x" for number in range(10_000)})) == 500
    with pytest.raises(UnreadableNotification):
        fields.json_of("[" * 100_000)


# --- Settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [{"timezone": "Moscow"}, {"token": "short"}, {"name": "Has Spaces"}, {"preset": "nobody"}, {"allow": ["x"]}],
)
def test_wrong_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ProviderSettings(**{"name": "pbx", "preset": "mango", "timezone": "Europe/Moscow", **wrong})


def test_the_zone_must_be_given() -> None:
    with pytest.raises(ValidationError, match="timezone"):
        ProviderSettings(name="pbx", preset="mango")  # type: ignore[call-arg]


def test_secrets_do_not_show() -> None:
    one = provider("mango")
    assert SECRET not in repr(one)
    assert TOKEN not in repr(one)


def test_where_requests_to_it_may_go() -> None:
    settings = ProviderSettings(
        name="pbx", preset="sipuni", timezone="Europe/Moscow", recording_hosts=("files.example.com",)
    )
    assert provider_of(settings).hosts == ("sipuni.com", "files.example.com")
