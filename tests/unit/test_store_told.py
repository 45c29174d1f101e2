"""One call made of what several sources told: times of the most precise, parties of the first, nothing twice. Pure."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from agent.model import CapturedCall, CapturedParty, Disposition, IdentityKind
from agent.store.told import Told, View, as_json, combine, from_json, overlay
from tests.unit.calls_told import at, told


def view(call: CapturedCall) -> View:
    return View(source=call.source, told=overlay(None, call))


def ended(line: str, end: float, how: Disposition = Disposition.ANSWERED, **more: object) -> CapturedCall:
    return told(line, ended=at(end), disposition=how, **more)


def people(whole: Told) -> list[tuple[str, str, str, int | None]]:
    return [(one.position, one.value, one.name, one.channel) for one in whole.parties]


def named(call: CapturedCall, *names: str, channels: tuple[int | None, ...] = (None, None, None)) -> CapturedCall:
    parties = zip(call.parties, names, channels, strict=False)
    return replace(call, parties=tuple(replace(one, name=name, channel=number) for one, name, number in parties))


def test_times_are_those_of_the_most_precise_source_whoever_came_first() -> None:
    provider = view(ended("provider:uis +79160000001 > 101 @0 ^11", 70))
    asterisk = view(ended("asterisk:office +79160000001 > 101 @0.43 ^11.62", 71.25))
    for both in ([provider, asterisk], [asterisk, provider]):
        whole = combine(both)
        assert (whole.started, whole.answered, whole.ended) == (at(0.43), at(11.62), at(71.25))
        assert whole.disposition is Disposition.ANSWERED
        assert whole.flags == ()


def test_a_source_that_saw_no_ringing_does_not_tell_when_it_began() -> None:
    siprec = view(ended("siprec +79160000001 > 101 @11.6 ^11.6", 70))
    provider = view(ended("provider:uis +79160000001 > 101 @0 ^11", 71))
    whole = combine([siprec, provider])
    assert (whole.started, whole.answered, whole.ended) == (at(0), at(11.6), at(70))


def test_the_most_precise_source_says_whether_the_call_goes_on() -> None:
    going_on = view(told("asterisk:office +79160000001 > 101 @0 ^5"))
    over = view(ended("provider:uis +79160000001 > 101 @0 ^5", 30))
    whole = combine([over, going_on])
    assert (whole.disposition, whole.ended) == (Disposition.IN_PROGRESS, None)


def test_answered_is_answered_and_the_disagreement_is_said() -> None:
    missed = view(ended("line:anna +79160000001 > 101 @0", 20, Disposition.NO_ANSWER))
    talked = view(ended("provider:uis +79160000001 > 101 @0 ^21", 80))
    whole = combine([missed, talked])
    assert whole.disposition is Disposition.ANSWERED
    assert whole.flags == ("the sources do not agree whether this call was answered",)


def test_parties_of_the_first_stay_in_order_and_on_their_channels() -> None:
    first = named(told("siprec +79160000001 > 101 @0"), "", "Anna", channels=(1, 0))
    second = named(
        told("asterisk:office 89160000001 > 101,102 @0"), "Petrov", "Anna Ivanova", "Boris", channels=(0, 1, 1)
    )
    assert people(combine([view(first), view(second)])) == [
        ("caller", "+79160000001", "Petrov", 1),
        ("callee", "101", "Anna", 0),
        ("callee", "102", "Boris", None),
    ]


def test_what_is_missing_is_filled_from_the_other() -> None:
    first = told("provider:uis +79160000001 > +74950000090 @0")
    second = named(told("asterisk:office 89160000001 > 101 @0"), "Petrov", "Anna", channels=(0, 1))
    assert people(combine([view(first), view(second)])) == [
        ("caller", "+79160000001", "Petrov", 0),
        ("callee", "101", "Anna", 1),
    ], "the extension says who of us it was"
    assert people(combine([view(second), view(first)])) == [
        ("caller", "89160000001", "Petrov", 0),
        ("callee", "101", "Anna", 1),
    ]


def test_a_withheld_number_is_filled_too() -> None:
    first, second = told("siprec anonymous > 101 @0"), told("asterisk:office +79160000001 > 101 @0")
    assert people(combine([view(first), view(second)]))[0][:2] == ("caller", "+79160000001")


def test_a_call_is_whole_when_one_recording_of_it_is() -> None:
    cut = view(ended("siprec +79160000001 > 101 @0 ^1", 9, capture_id="a", truncated=True))
    whole = view(ended("asterisk:office +79160000001 > 101 @0 ^1", 9, capture_id="b"))
    unheard = view(ended("provider:uis +79160000001 > 101 @0 ^1", 9))
    assert not combine([cut, whole]).truncated
    assert combine([cut, unheard]).truncated


def test_what_one_source_told_survives_the_database() -> None:
    call = replace(
        ended("siprec +79160000001 > 101 @0 ^1", 9, capture_id="a", flags=("odd",), conversation_key="c"),
        parties=(
            CapturedParty(position="caller", kind=IdentityKind.PHONE, value="+7", channel=0, joined=at(1), left=at(2)),
        ),
    )
    one = overlay(None, call)
    assert from_json(json.loads(json.dumps(as_json(one)))) == one


_SNAPSHOTS = [
    told("siprec +79160000001 > - @0", key="k", capture_id="a"),
    told("siprec +79160000001 > 101 @0 ^2", key="k", capture_id="a"),
    ended("siprec +79160000001 > 101 @0 ^2", 9, key="k", capture_id="a", flags=("odd",)),
]


def test_the_order_of_snapshots_says_nothing() -> None:
    ends = set()
    for order in itertools.permutations(_SNAPSHOTS):
        known = None
        for one in (*order, *order):
            known = overlay(known, one)
        ends.add(json.dumps(as_json(known) if known else {}))
    assert len(ends) == 1


def test_a_second_recorder_keeps_the_call_going_and_makes_it_whole() -> None:
    cut = replace(_SNAPSHOTS[2], truncated=True)
    known = overlay(overlay(overlay(None, _SNAPSHOTS[1]), cut), replace(_SNAPSHOTS[1], capture_id="b"))
    assert (known.disposition, known.ended) == (Disposition.IN_PROGRESS, None)
    known = overlay(known, replace(_SNAPSHOTS[2], capture_id="b", ended=at(20)))
    assert (known.disposition, known.ended, known.truncated) == (Disposition.ANSWERED, at(20), False)


_VIEWS = st.lists(
    st.builds(
        lambda source, caller, callee, start: view(told(f"{source} {caller} > {callee} @{start}")),
        st.sampled_from(["asterisk:a", "siprec", "provider:b", "line:c"]),
        st.sampled_from(["+79160000001", "89160000001", "-", "101"]),
        st.sampled_from(["101", "102", "101,102", "+74950000090", "-"]),
        st.integers(0, 3),
    ),
    min_size=1,
    max_size=4,
    unique_by=lambda one: one.source,
)


@given(_VIEWS)
def test_no_source_more_takes_anything_from_the_first(views: list[View]) -> None:
    whole, first = combine(views), views[0].told
    assert [one.position for one in whole.parties[: len(first.parties)]] == [one.position for one in first.parties]
    channels = [one.channel for one in whole.parties if one.channel is not None]
    assert len(channels) == len(set(channels))
