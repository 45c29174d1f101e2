"""Each recorded trace of a live Asterisk replays to exactly the calls that happened, however its events come.

The table tests/scenarios/asterisk/calls.txt says which calls those are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.model import CapturedParty, Disposition
from agent.sip.asterisk.callmaker import FOUND, LOST, Conversation
from agent.sip.asterisk.events import read_bridge, read_channel, read_event
from agent.sip.asterisk.state import CallState
from tests.asterisk.world import SCENARIOS, TRACES, Json, World, is_of_a_tap, read_trace

JITTER = 0.2  # seconds by which events may overtake each other
EVENTS = {name: read_trace(name) for name in TRACES}


def read_table() -> dict[str, list[str]]:
    """The expected calls of each trace, as lines."""
    table: dict[str, list[str]] = {}
    for line in (SCENARIOS / "calls.txt").read_text().splitlines():
        if line and not line.startswith((" ", "#")):
            lines = table.setdefault(line, [])
        elif line.startswith(" "):
            lines.append(line.strip())
    return table


TABLE = read_table()


def new_state() -> CallState:
    return CallState("asterisk:office", digits=5)


def feed(state: CallState, events: Iterable[Json]) -> None:
    for data in events:
        event = read_event(data)
        assert event is not None
        state.take(event)


def written(conversations: Sequence[Conversation]) -> list[str]:
    """Calls as the table has them."""
    lines: list[str] = []
    for one in conversations:
        call, details = one.call, one.call.details
        side = "internal" if one.is_internal else "outside"
        times = " ".join(map(clock, (call.started, call.answered, call.ended)))
        lines.append(f"call {call.key} of {call.conversation_key} {side} {call.disposition} {times}")
        lines += [party_line(party) for party in call.parties]
        lines += [f"{name} {details[name]}" for name in ("dialled", "credited") if name in details]
        lines += [f"{name} {' '.join(details[name])}" for name in ("queues", "rung") if name in details]
        lines += [f"{one['kind']} transfer by {one['by']} to {one['to']}" for one in details.get("transfers", ())]
    return lines


def party_line(party: CapturedParty) -> str:
    channel = "-" if party.channel is None else party.channel
    return f"{party.position} {party.value} {channel} {clock(party.joined)} {clock(party.left)} {party.name}".rstrip()


def clock(moment: datetime | None) -> str:
    return moment.strftime("%H:%M:%S.%f")[:-3] if moment else "-"


def test_the_table_has_every_trace() -> None:
    assert sorted(TABLE) == TRACES and all(TABLE.values())


@pytest.mark.parametrize("name", TRACES)
def test_a_trace_is_the_calls_that_happened(name: str) -> None:
    state = new_state()
    feed(state, (event for _, event in EVENTS[name]))
    found = state.everything()
    assert written(found) == TABLE[name]
    assert all(one.is_over and not one.legs and not one.call.flags for one in found)


@pytest.mark.parametrize("name", TRACES)
def test_nothing_is_left_of_a_call_that_was_forgotten(name: str) -> None:
    state = new_state()
    events = [event for _, event in EVENTS[name]]
    feed(state, events)
    for one in state.everything():
        state.forget(one.call.key)
    feed(state, events)  # strays
    assert state.everything() == [] and not state.known() and not state.alive()


@settings(deadline=None, max_examples=60)
@given(data=st.data(), name=st.sampled_from(TRACES))
def test_order_and_repetition_change_nothing(data: st.DataObject, name: str) -> None:
    events = EVENTS[name]
    size = len(events)
    late = data.draw(st.lists(st.floats(0, JITTER), min_size=size, max_size=size))
    again = data.draw(st.lists(st.integers(0, size - 1), max_size=40))
    arrivals = [(at + delay, event) for (at, event), delay in zip(events, late, strict=True)]
    arrivals += [(events[number][0] + JITTER * 2, events[number][1]) for number in again]
    state = new_state()
    feed(state, (event for _, event in sorted(arrivals, key=lambda one: one[0])))
    assert written(state.everything()) == TABLE[name]


@settings(deadline=None, max_examples=60)
@given(data=st.data(), name=st.sampled_from(TRACES))
def test_a_trace_that_is_cut_off_ends_with_the_last_sign_of_life(data: st.DataObject, name: str) -> None:
    events = [event for _, event in EVENTS[name]]
    cut = data.draw(st.integers(1, len(events)))
    state = new_state()
    feed(state, events[:cut])
    heard = max(datetime.fromisoformat(event["timestamp"]) for event in events[:cut])
    went_on = {one.call.key for one in state.everything() if not one.is_over}
    state.lose(state.alive(), heard=heard)
    for one in state.everything():
        assert one.is_over and not one.legs and one.call.disposition is not Disposition.IN_PROGRESS
        assert one.call.ended is not None and one.call.ended <= heard + timedelta(milliseconds=1)
        assert (LOST in one.call.flags) == (one.call.key in went_on)
        assert one.call.answered is None or one.call.answered <= one.call.ended
    feed(state, events[cut:])  # and when they come after all
    assert written(state.everything()) == TABLE[name]


@settings(deadline=None, max_examples=60)
@given(data=st.data(), name=st.sampled_from(TRACES))
def test_whoever_comes_in_the_middle_finds_the_calls_that_go_on(data: st.DataObject, name: str) -> None:
    events = [event for _, event in EVENTS[name]]
    cut = data.draw(st.integers(1, len(events)))
    world, state = World(), new_state()
    for event in events[:cut]:
        world.take(event)
    at = datetime.fromisoformat(events[cut - 1]["timestamp"])
    channels = [view for one in world.channels.values() if (view := read_channel(one, at=at)) is not None]
    bridges = [room for one in world.bridges.values() if (room := read_bridge(one)) is not None]
    state.find(channels, bridges, {one.id: world.linkedids[one.id] for one in channels}, at=at)
    expected = new_state()
    feed(expected, events[:cut])
    unfinished = {one.call.key for one in expected.everything() if not one.is_over}
    found = {one.call.key: one for one in state.everything()}
    assert found.keys() <= {one.call.key for one in expected.everything()}
    rooms = [set(bridge["channels"]) for bridge in world.bridges.values()]
    talking = {
        one.call.key
        for one in expected.everything()
        if any(len(room & {leg.channel for leg in one.legs}) > 1 for room in rooms)
    }
    assert talking <= found.keys() <= unfinished
    assert all(FOUND in one.call.flags for one in found.values())
    feed(state, events[cut:])
    table = {line.split()[1]: line.split()[-1] for line in TABLE[name] if line.startswith("call ")}
    ended = {one.call.key: clock(one.call.ended) for one in state.everything()}
    assert all(table.get(key) == moment for key, moment in ended.items())


@pytest.mark.parametrize("name", TRACES)
def test_calls_are_there_from_the_first_ring_and_legs_while_they_talk(name: str) -> None:
    state = new_state()
    rang, tapped = set[str](), dict[str, set[int]]()
    for _, data in EVENTS[name]:
        event = read_event(data)
        assert event is not None
        for one in state.take(event):
            rang |= {one.call.key} if one.call.answered is None else set()
            for leg in one.legs:
                assert one.call.answered is not None and one.call.ended is None
                tapped.setdefault(one.call.key, set()).add(leg.seat)
    lines = [line.split() for line in TABLE[name]]
    calls = [words for words in lines if words[0] == "call"]
    assert rang == {words[1] for words in calls}
    answered = {words[1] for words in calls if words[5] == "answered"}
    assert tapped.keys() == answered
    parties = [words[0] for words in lines if words[0] in ("call", "caller", "callee", "participant")]
    for words in calls:
        if words[1] in answered:
            begin = parties.index("call", _nth(parties, calls.index(words)))
            end = parties.index("call", begin + 1) if "call" in parties[begin + 1 :] else len(parties)
            assert tapped[words[1]] == set(range(end - begin - 1))


def _nth(parties: Sequence[str], number: int) -> int:
    return [at for at, word in enumerate(parties) if word == "call"][number]


def test_a_hold_is_known_while_it_lasts() -> None:
    state = new_state()
    held: list[tuple[str, str]] = []
    for _, data in EVENTS["hold_resume"]:
        event = read_event(data)
        assert event is not None
        for one in state.take(event):
            for leg in one.legs:
                change = (leg.who, clock(leg.held_since))
                if leg.who == "101" and (not held or held[-1] != change):
                    held.append(change)
    assert held == [("101", "-"), ("101", "03:20:21.939"), ("101", "-")]


def test_taps_make_no_calls() -> None:
    assert any(is_of_a_tap(event) for _, event in EVENTS["tapped_inbound"])
    assert sum(line.startswith("call ") for line in TABLE["tapped_inbound"]) == 1


@settings(deadline=None, max_examples=60)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=5),
        max_leaves=20,
    )
)
def test_anything_may_come(data: object) -> None:
    event = read_event(data)
    assert event is None or event.at.tzinfo is not None


@settings(deadline=None, max_examples=60)
@given(data=st.data(), name=st.sampled_from(TRACES))
def test_a_field_of_any_kind_spoils_nothing(data: st.DataObject, name: str) -> None:
    state = new_state()
    odd: st.SearchStrategy[object] = (
        st.none() | st.integers() | st.text(max_size=400) | st.just([]) | st.just({}) | st.just({"id": "\x00"})
    )
    for _, whole in EVENTS[name]:
        event = dict(whole)
        if data.draw(st.booleans()):
            event[data.draw(st.sampled_from(sorted(event)))] = data.draw(odd)
        if (read := read_event(event, shift=timedelta(seconds=1))) is not None:
            state.take(read)
    state.lose(state.alive(), heard=datetime.now(UTC))
    assert all(one.is_over for one in state.everything())
