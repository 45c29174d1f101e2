"""Whatever the order, the doubling and the losses of what a provider tells: the same calls."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.model import CapturedCall, Direction, Disposition
from agent.sip.providers.calls import build_call, recordings_of
from agent.sip.providers.notification import EventKind, Notification, RecordingReference
from agent.sip.providers.preset import Provider
from tests.unit.provider_stories import (
    ANSWERED,
    EVENTS,
    IN,
    ROWS,
    START,
    STORIES,
    Story,
    expected_times,
    provider,
)

PROVIDERS = {name: provider(name) for name in EVENTS}


def told_by_hooks(one: Provider, story: Story) -> list[Notification]:
    found = [one.preset.read(hook, one.keys, one.zone) for hook in EVENTS[one.preset.name](story)]
    return [notification for notification in found if notification is not None]


def told_by_rows(one: Provider, story: Story) -> list[Notification]:
    assert one.preset.read_row is not None
    found = [one.preset.read_row(row, one.zone) for row in ROWS[one.preset.name](story)]
    return [notification for notification in found if notification is not None]


def digits(value: str) -> str:
    return value.lstrip("+")


def essence(call: CapturedCall | None, told: Sequence[Notification]) -> dict[str, Any]:
    """What the history shows of a call."""
    assert call is not None
    return {
        "key": call.key,
        "times": (call.started, call.answered, call.ended),
        "disposition": call.disposition,
        "parties": [(one.position, digits(one.value), one.channel) for one in call.parties],
        "flags": call.flags,
        "recordings": [one.reference for one in recordings_of(told)],
    }


def expected(preset: str, story: Story) -> dict[str, Any]:
    numbers = [story.outside, story.extension]
    caller, callee = numbers if story.direction is IN else reversed(numbers)
    keys = {"zadarma", "novofon"}
    key = story.key
    if preset in keys:
        key = f"{'in' if story.direction is IN else 'out'}_{story.key}"
    elif preset == "uis":
        key = str(7000 + STORIES.index(story))
    elif preset == "sipuni":
        key = story.recording
    return {
        "key": key,
        "times": expected_times(preset, story),
        "disposition": story.status,
        "parties": [("caller", caller, 0), ("callee", callee, 1)],
        "flags": (),
        "recordings": ([key] if preset in ("uis", "sipuni") else [story.recording]) if story.recorded else [],
    }


@pytest.mark.parametrize("preset", sorted(EVENTS))
@pytest.mark.parametrize("story", STORIES, ids=lambda one: one.key)
def test_what_the_provider_tells_is_what_happened(preset: str, story: Story) -> None:
    told = told_by_hooks(PROVIDERS[preset], story)
    assert essence(build_call("provider:x", told), told) == expected(preset, story)


@pytest.mark.parametrize("preset", sorted(ROWS))
@pytest.mark.parametrize("story", STORIES, ids=lambda one: one.key)
def test_the_statistics_alone_are_enough(preset: str, story: Story) -> None:
    told = told_by_rows(PROVIDERS[preset], story)
    assert essence(build_call("provider:x", told), told) == expected(preset, story)


@pytest.mark.parametrize("preset", sorted(EVENTS))
@settings(deadline=None)
@given(data=st.data())
def test_any_order_and_any_doubling_is_the_same_call(preset: str, data: st.DataObject) -> None:
    story = data.draw(st.sampled_from(STORIES))
    told = told_by_hooks(PROVIDERS[preset], story)
    twice = data.draw(st.lists(st.sampled_from(told), max_size=6))
    shuffled = data.draw(st.permutations([*told, *twice]))
    assert build_call("provider:x", shuffled) == build_call("provider:x", told)
    assert recordings_of(shuffled) == recordings_of(told)


@pytest.mark.parametrize("preset", sorted(ROWS))
@settings(deadline=None)
@given(data=st.data())
def test_whatever_was_lost_the_statistics_make_up_for_it(preset: str, data: st.DataObject) -> None:
    story = data.draw(st.sampled_from(STORIES))
    one = PROVIDERS[preset]
    arrived = data.draw(st.lists(st.sampled_from(told_by_hooks(one, story)), max_size=8))
    told = data.draw(st.permutations([*arrived, *told_by_rows(one, story)]))
    assert essence(build_call("provider:x", told), told) == expected(preset, story)


@pytest.mark.parametrize("preset", sorted(EVENTS))
def test_a_call_that_goes_on_has_no_end(preset: str) -> None:
    story = STORIES[0]
    told = [one for one in told_by_hooks(PROVIDERS[preset], story) if one.kind is EventKind.RINGING]
    call = build_call("provider:x", told)
    assert call is not None
    assert (call.disposition, call.ended, call.started) == (Disposition.IN_PROGRESS, None, START)
    assert digits(call.parties[0].value) == story.outside


def one(kind: EventKind = EventKind.ENDED, **more: Any) -> Notification:
    values = {"call_key": "k", "direction": IN, "outside": "+74950000011", "extension": "101", "started": START}
    return Notification(kind=kind, **{**values, **more})


def test_a_recording_alone_is_no_call_yet() -> None:
    told = [Notification(kind=EventKind.RECORDED, call_key="k", recordings=(RecordingReference(reference="r"),))]
    assert build_call("provider:x", told) is None
    assert recordings_of(told) == (RecordingReference(reference="r"),)


def test_an_address_told_later_is_kept() -> None:
    bare, full = RecordingReference(reference="r"), RecordingReference(reference="r", url="https://a.example.com/r")
    told = [one(recordings=(full,)), one(EventKind.REPORTED, recordings=(bare,))]
    assert recordings_of(told) == (full,)


def test_of_several_legs_who_talked_last_has_the_call() -> None:
    minute = timedelta(minutes=1)
    told = [
        one(EventKind.REPORTED, extension="101", answered=START + minute, ended=START + 2 * minute, status=ANSWERED),
        one(
            EventKind.REPORTED, extension="102", answered=START + 2 * minute, ended=START + 5 * minute, status=ANSWERED
        ),
        one(EventKind.REPORTED, extension="103", ended=START + minute, status=Disposition.NO_ANSWER),
    ]
    call = build_call("provider:x", told)
    assert call is not None
    assert (call.answered, call.ended) == (START + minute, START + 5 * minute)
    assert call.disposition is ANSWERED
    assert call.parties[1].value == "102"


@pytest.mark.parametrize(
    ("answered", "ended"),
    [(START - timedelta(hours=1), START + timedelta(minutes=1)), (None, START - timedelta(days=1))],
)
def test_times_that_contradict_each_other_are_flagged_and_never_negative(
    answered: datetime | None, ended: datetime
) -> None:
    call = build_call("provider:x", [one(answered=answered, ended=ended, status=ANSWERED)])
    assert call is not None and call.answered is not None and call.ended is not None
    assert call.started <= call.answered <= call.ended
    assert call.flags == ("the provider's times contradict each other",)


def test_an_end_that_never_comes() -> None:
    told = [one(EventKind.RINGING)]
    later = START + timedelta(minutes=3)
    call = build_call("provider:x", told, abandoned_at=later)
    assert call is not None
    assert (call.ended, call.disposition) == (later, Disposition.NO_ANSWER)
    assert call.flags == ("the provider never told of the end of this call",)
    assert build_call("provider:x", [one(ended=later)], abandoned_at=START + timedelta(days=1)) == build_call(
        "provider:x", [one(ended=later)]
    )


def test_a_direction_that_was_not_told_is_flagged() -> None:
    call = build_call("provider:x", [one(direction=None)])
    assert call is not None
    assert call.flags == ("the provider did not tell the direction",)


def test_channels_swapped_by_the_settings() -> None:
    call = build_call("provider:x", [one()], swap_channels=True)
    assert call is not None
    assert [party.channel for party in call.parties] == [1, 0]


def test_an_internal_call_has_two_extensions() -> None:
    call = build_call("provider:x", [one(direction=Direction.INTERNAL, outside="102")])
    assert call is not None
    assert [party.value for party in call.parties] == ["101", "102"]


def test_calls_of_one_conversation_share_a_key_of_their_own_provider() -> None:
    call = build_call("provider:x", [one(parent_key="p")])
    assert call is not None
    assert call.conversation_key == "provider:x/p"


MOMENTS = st.integers(-10_000_000, 10_000_000).map(lambda seconds: START + timedelta(seconds=seconds))


@settings(deadline=None)
@given(
    st.lists(
        st.builds(
            Notification,
            kind=st.sampled_from(EventKind),
            call_key=st.just("k"),
            direction=st.none() | st.sampled_from(Direction),
            outside=st.sampled_from(["", "+74950000011"]),
            extension=st.sampled_from(["", "101"]),
            started=st.none() | MOMENTS,
            answered=st.none() | MOMENTS,
            ended=st.none() | MOMENTS,
            talk=st.none() | st.floats(0, 7 * 86400),
            status=st.none() | st.sampled_from([ANSWERED, Disposition.NO_ANSWER, Disposition.BUSY]),
        ),
        max_size=5,
    )
)
def test_whatever_is_told_makes_a_call_that_can_be(told: list[Notification]) -> None:
    call = build_call("provider:x", told)
    if call is None or call.disposition is Disposition.IN_PROGRESS:
        return
    assert call.ended is not None
    assert call.started <= (call.answered or call.started) <= call.ended
    assert (call.answered is not None) == (call.disposition is ANSWERED)
