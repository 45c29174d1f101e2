"""From a journal to what is heard: holds, pauses, and logs that a damaged journal does not know. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agent.sip.calls import captured_call
from agent.sip.journal import CLOSED, OPENED, STREAM, Fact
from agent.sip.sounding import PAUSED, RESUMED, holds, keys_of, logged_streams, pauses

START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


def fact(second: float, kind: str, **data: Any) -> Fact:
    return Fact(at=START + timedelta(seconds=second), kind=kind, data=data)


def on(second: float, index: int, active: bool) -> Fact:
    return fact(second, STREAM, index=index, active=active, label=str(index), codecs={}, parameters={})


def found_holds(*facts: Fact, ended: float = 60) -> list[tuple[int | None, float, float]]:
    began, end = START.timestamp(), START + timedelta(seconds=ended)
    found = holds(facts, logged_streams(facts, ()), end)
    return [(one.channel, one.start - began, one.end - began) for one in found]


def test_a_hold_is_from_inactive_to_active() -> None:
    facts = (on(0, 0, True), on(0, 1, True), on(10, 0, False), on(25, 0, True), on(50, 1, False))
    assert found_holds(*facts) == [(0, 10, 25), (1, 50, 60)]


def test_before_the_first_sound_nothing_is_on_hold() -> None:
    assert found_holds(on(0, 0, False), on(5, 0, True), on(60, 0, False)) == []


def test_a_damaged_journal_breaks_nothing() -> None:
    facts = (fact(0, STREAM), fact(1, STREAM, index="0"), on(2, 0, True), fact(3, STREAM, index=0, active=None))
    assert found_holds(*facts) == [(0, 3, 60)]


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ([fact(10, PAUSED, by="api"), fact(20, RESUMED, by="api")], [(10, 20, "api")]),
        ([fact(10, PAUSED, by="crm"), fact(12, PAUSED, by="api"), fact(20, RESUMED)], [(10, 20, "crm")]),
        ([fact(5, RESUMED), fact(50, PAUSED, by=7)], [(50, 60, "")]),
        ([fact(70, PAUSED, by="api")], [(70, 70, "api")]),
    ],
)
def test_pauses(facts: list[Fact], expected: list[tuple[float, float, str]]) -> None:
    began = START.timestamp()
    found = pauses(facts, START + timedelta(seconds=60))
    assert [(one.start - began, one.end - began, one.text) for one in found] == expected


def test_logs_that_the_journal_does_not_know_get_channels_of_their_own() -> None:
    found = logged_streams([on(0, 1, True)], [0, 1, 2])
    assert [(one.index, one.channel) for one in found] == [(1, 0), (0, 1), (2, 2)]
    assert [(one.index, one.channel) for one in logged_streams([], [0, 1])] == [(0, 0), (1, 1)]


def test_a_stream_announced_with_unusable_keys_is_still_encrypted() -> None:
    data = {"index": 0, "active": True, "crypto": [{"tag": 1, "suite": "AES_CM_128_HMAC_SHA1_80", "key": "x"}]}
    (stream,) = logged_streams([fact(0, STREAM, **data)], ())
    keys = keys_of(stream)
    assert keys is not None and keys.keys == ()
    (plain,) = logged_streams([on(0, 0, True)], ())
    assert keys_of(plain) is None


def test_a_clock_set_back_in_the_call_ends_nothing_before_it_began() -> None:
    noon, eleven = datetime(2026, 3, 2, 12, tzinfo=UTC), datetime(2026, 3, 2, 11, tzinfo=UTC)
    told = ((noon, OPENED), (noon + timedelta(seconds=5), PAUSED), (eleven, RESUMED), (eleven, CLOSED))
    facts = [Fact(at=at, kind=kind, data={"source": "siprec", "key": "k"}) for at, kind in told]
    call = captured_call(facts, "capture")
    assert call.ended == noon + timedelta(seconds=5)
    assert all(one.start <= one.end for one in pauses(facts, call.ended))
