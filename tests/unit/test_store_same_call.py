"""When two sources tell of one call: the table tests/scenarios/same_call.txt, and what holds for any two. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.model import CapturedCall
from agent.store.numbers import read_number
from agent.store.sameness import Judgement, Other, fit, judge, tails, window
from agent.store.told import View, overlay
from tests.unit.calls_told import told

TABLE = Path(__file__).parent.parent / "scenarios" / "same_call.txt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One line of the table."""

    line: int
    first: CapturedCall
    second: CapturedCall
    outcome: str


def cases() -> Iterator[Case]:
    for number, line in enumerate(TABLE.read_text().splitlines(), 1):
        if found := re.fullmatch(r"([^#].*?)\s*\|\s*(.*?)\s*=>\s*(one|two(?:, said: .+)?)", line):
            yield Case(line=number, first=told(found[1]), second=told(found[2]), outcome=found[3])
        else:
            assert not line or line.startswith("#"), f"same_call.txt:{number} is not understood"


CASES = list(cases())


def view(call: CapturedCall) -> View:
    return View(source=call.source, told=overlay(None, call))


def judged(first: CapturedCall, *others: CapturedCall) -> Judgement:
    return judge([view(first)], [Other(interaction_id=n, views=[view(one)]) for n, one in enumerate(others, 1)])


def outcome(judgement: Judgement) -> str:
    if judgement.same is not None:
        return "one"
    return f"two, said: {judgement.near[1]}" if judgement.near else "two"


def test_the_table_is_long_enough() -> None:
    assert len(CASES) >= 40


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"line {case.line}")
def test_whether_it_is_one_call(case: Case) -> None:
    assert outcome(judged(case.first, case.second)) == case.outcome
    assert outcome(judged(case.second, case.first)) == case.outcome, "the order in which they come says nothing"


@pytest.mark.parametrize("case", [one for one in CASES if one.outcome != "two"], ids=lambda case: f"line {case.line}")
def test_what_fits_is_found_by_number_and_time(case: Case) -> None:
    """The look-up and the lock by the last digits must not miss what the rule would take."""
    first, second = view(case.first).told, view(case.second).told
    assert set(tails(first)) & set(tails(second))
    for one, other in ((first, second), (second, first)):
        assert window(one)[0] <= other.started <= window(one)[1]


def test_a_candidate_must_be_the_only_one() -> None:
    mine = told("provider:uis +79160000001 > +74950000090 @1")
    found = judged(mine, told("siprec +79160000001 > 101 @0"), told("siprec +79160000001 > 102 @2"))
    assert found.same is None
    assert found.near == {1: "2 calls fit equally well", 2: "2 calls fit equally well"}


def test_a_call_that_a_person_parted_is_not_taken_again() -> None:
    mine, other = view(told("siprec +79160000001 > 101 @0")), view(told("asterisk:office +79160000001 > 101 @0"))
    stored = Other(interaction_id=1, views=[other])
    assert judge([mine], [stored]).same == 1
    assert judge([mine], [stored], kept_apart=True).same is None
    assert judge([mine], [Other(interaction_id=1, views=[other], kept_apart=True)]).same is None


def test_one_that_has_this_source_already_is_another_call() -> None:
    first, second = told("siprec +79160000001 > 101 @0"), told("provider:uis +79160000001 > 101 @0")
    stored = Other(interaction_id=1, views=[view(first), view(second)])
    assert judge([view(told("siprec +79160000001 > 101 @1"))], [stored]) == Judgement()


@pytest.mark.parametrize(
    ("first", "second", "agree"),
    [
        ("8 (495) 000-00-11", "+7 495 000 00 11", True),
        ("tel:+7-495-000-00-11;ext=5", "4950000011", True),
        ("+7 495 000-00-11 доб. 12", "84950000011", True),
        ("٠٤٩٥٠٠٠٠٠١١", "+74950000011", True),
        ("+4930123456", "030123456", True),
        ("101", "sip:101@pbx.example.com:5060", True),
        ("101", "1101", False),
        ("0101", "101", False),
        ("anna", "sip:Anna:secret@pbx.example.com", True),
        ("123456", "+7495123456", False),
    ],
)
def test_numbers_agree_however_they_are_written(first: str, second: str, agree: bool) -> None:
    one, other = read_number(first), read_number(second)
    assert one is not None and other is not None
    assert (one.agrees(other), other.agrees(one)) == (agree, agree)
    assert not agree or one.tail == other.tail


@pytest.mark.parametrize(
    "raw", ["", "anonymous", "sip:anonymous@anonymous.invalid", "000000", "%00", "9" * 40, "<>", "()"]
)
def test_what_is_no_number_is_none(raw: str) -> None:
    assert read_number(raw) is None


_NUMBERS = st.sampled_from(["+79160000001", "89160000001", "+79160000002", "101", "102", "anna", "", "+74950000090"])
_CALLS = st.builds(
    lambda caller, callee, way, start: told(f"x {caller or '-'} {way} {callee or '-'} @{start}"),
    _NUMBERS, _NUMBERS, st.sampled_from(">~"), st.floats(0, 5).map(lambda value: round(value, 2)),
)  # fmt: skip


@given(_CALLS, _CALLS)
def test_a_fit_is_the_same_from_either_side(first: CapturedCall, second: CapturedCall) -> None:
    one, other = view(first).told, view(second).told
    assert fit(one, other) is fit(other, one)


@given(st.text(max_size=60))
def test_no_text_breaks_a_number(text: str) -> None:
    number = read_number(text)
    assert number is None or (number.agrees(number) and number.tail)
