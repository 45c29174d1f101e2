"""Facts of a line's process become calls and states; the words between the two survive any bytes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.model import CapturedCall, Disposition, SourceState
from agent.sip.lines.codes import Codes
from agent.sip.lines.state import (
    answered_call,
    ended_call,
    lost_call,
    occupancy,
    registration_pause,
    registration_state,
    ringing_call,
)
from agent.sip.lines.words import ENDED, REGISTERED, RINGING, LineFact, read_fact, read_order, write_fact, write_order

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def fact(kind: str, second: float = 0, **data: Any) -> LineFact:
    return LineFact(kind=kind, at=NOON + timedelta(seconds=second), call="1", data=data)


def ringing() -> CapturedCall:
    told = fact(RINGING, caller="+74950000001", caller_name="Ivan", callee="101", call_id="c", dialled="", peer="p")
    return ringing_call("Anna", told)


def test_an_answered_call() -> None:
    call = ended_call(answered_call(ringing(), NOON + timedelta(seconds=4)), fact(ENDED, 64, by="callee", status=200))
    assert (call.source, call.key, call.disposition) == ("line:Anna", "1", Disposition.ANSWERED)
    assert call.details == {
        "line": "Anna",
        "call_id": "c",
        "peer": "p",
        "ended_by": "callee",
        "status": 200,
        "reason": "",
    }
    caller, callee = call.parties
    assert (caller.value, caller.name, caller.channel, caller.joined) == ("+74950000001", "Ivan", 0, NOON)
    assert (callee.value, callee.channel, callee.joined) == ("101", 1, call.answered)
    assert caller.left == callee.left == call.ended == NOON + timedelta(seconds=64)


@pytest.mark.parametrize(
    ("status", "disposition"),
    [
        (486, Disposition.BUSY),
        (600, Disposition.BUSY),
        (603, Disposition.BUSY),
        (480, Disposition.NO_ANSWER),
        (487, Disposition.NO_ANSWER),
        (408, Disposition.NO_ANSWER),
        (404, Disposition.FAILED),
        (503, Disposition.FAILED),
    ],
)
def test_how_it_ended(status: int, disposition: Disposition) -> None:
    call = ended_call(ringing(), fact(ENDED, 5, by="callee", status=status))
    assert call.disposition is disposition
    assert call.parties[1].joined is call.parties[1].left is None


def test_a_lost_call() -> None:
    rang = lost_call(ringing(), NOON + timedelta(seconds=2))
    assert rang.truncated and rang.disposition is Disposition.FAILED and rang.flags
    talked = lost_call(answered_call(ringing(), NOON + timedelta(seconds=3)), NOON)  # a clock that was set back
    assert talked.disposition is Disposition.ANSWERED and talked.ended == talked.answered


def test_a_caller_without_a_number_is_no_party() -> None:
    assert [one.position for one in ringing_call("Anna", fact(RINGING, callee="101")).parties] == ["callee"]


@pytest.mark.parametrize(
    ("status", "state"),
    [
        (200, SourceState.RUNNING),
        (401, SourceState.LOGIN_FAILED),
        (403, SourceState.LOGIN_FAILED),
        (404, SourceState.LOGIN_FAILED),
        (408, SourceState.UNREACHABLE),
        (503, SourceState.UNREACHABLE),
        (0, SourceState.UNREACHABLE),
    ],
)
def test_registration(status: int, state: SourceState) -> None:
    found, detail = registration_state(fact(REGISTERED, status=status, reason="because"), "pbx.example.com")
    assert found is state and bool(detail) == (state is not SourceState.RUNNING)


def test_pauses_grow_and_a_refused_login_waits_long() -> None:
    pauses = [registration_pause(408, failures) for failures in range(1, 12)]
    assert pauses == sorted(pauses) and pauses[0] <= 2 and pauses[-1] == 60
    assert registration_pause(401, 1) == registration_pause(403, 9) == 60


def test_full_is_said_plainly() -> None:
    assert [occupancy(count) for count in range(3)] == ["", "", "2 of 2 calls, full"]


def test_codes_are_told_once_and_slow_fingers_enter_none() -> None:
    codes = Codes({"*1": "pause", "*11": "long"})
    pressed = [codes.press(digit, NOON + timedelta(seconds=at)) for at, digit in enumerate("5*1*11")]
    assert pressed == [None, None, "pause", None, "pause", None]
    slow = Codes({"*1": "pause"})
    assert [slow.press("*", NOON), slow.press("1", NOON + timedelta(seconds=6))] == [None, None]
    assert Codes({}).press("1", NOON) is None


def test_words_go_through_the_pipe() -> None:
    line = write_fact(ENDED, NOON.timestamp(), call="1", by="caller", status=200)
    assert read_fact(line) == fact(ENDED, by="caller", status=200) and line.count(b"\n") == 1
    assert read_order(write_order("record", call="1", folder="/x\n")) == ("record", {"call": "1", "folder": "/x\n"})


@given(st.binary(max_size=200))
def test_no_bytes_end_the_reading(line: bytes) -> None:
    assert read_fact(line) is None or line.strip().startswith(b"{")
    read_order(line)


@given(st.fixed_dictionaries({"fact": st.text(), "at": st.floats() | st.integers() | st.text(), "call": st.none()}))
def test_no_values_end_the_reading(data: dict[str, Any]) -> None:
    import json

    found = read_fact(json.dumps(data).encode())
    assert found is None or (found.number("at") == 0 and found.text("status") == "")
