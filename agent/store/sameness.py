"""Whether two sources tell of one call. Pure; `tests/scenarios/same_call.txt` has the cases.

Two are one call when they come from different sources, both numbers agree, they begin within three seconds, and no
other call fits as well. In detail:

- A side *agrees* when a phone has the same last ten digits, or an extension or login is the same.
- Where one source names our side by its extension and the other by a number of the company or a mobile, the two cannot
  be compared: then the outside number alone decides. A number that one of them does not know at all, or that was
  withheld, proves nothing: the two stay apart until it is told.
- Sides that contradict each other (another extension, another phone) are two calls.
- They begin together when their starts lie within three seconds, or, where one of them saw no ringing since its source
  hears of calls only when they are answered, its start and the other's answer.

What fits only in part is left as two calls and said, for a person to decide.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from agent.store.numbers import Kind, Number, read_number
from agent.store.told import Told, View

TOGETHER = timedelta(seconds=3)
NEAR = timedelta(seconds=15)  # too far apart to be one call, too near to say nothing where the numbers are the same
LONGEST_RINGING = timedelta(minutes=3)
MOST_NUMBERS = 32  # of a conference; more are not looked at


class Side(StrEnum):
    """How what two sources say of one side compares."""

    PHONE = "phone"  # agrees, by a phone
    INSIDE = "inside"  # agrees, by an extension or a login
    INCOMPARABLE = "incomparable"
    UNKNOWN = "unknown"  # one of them does not know it
    OTHER_PHONE = "other_phone"  # contradicts
    OTHER_INSIDE = "other_inside"


_AGREES = (Side.PHONE, Side.INSIDE)


class Fit(StrEnum):
    """How well two calls fit by their numbers."""

    SAME = "same"
    HALF = "half"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Other:
    """A call that is stored: its interaction, what its sources told, and whether a person said that one of them is a
    call of its own."""

    interaction_id: int
    views: Sequence[View]
    kept_apart: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """``same`` is the interaction that is this very call; ``near`` are those that may be, with the reason."""

    same: int | None = None
    near: Mapping[int, str] = field(default_factory=dict)


def judge(own: Sequence[View], others: Iterable[Other], *, kept_apart: bool = False) -> Judgement:
    """Which of the stored calls is the one that ``own`` tells of. Two keys of one source are never one call."""
    sources = {one.source for one in own}
    foreign = [one for one in others if not sources & {view.source for view in one.views}]
    same = [one for one in foreign if _is_same(own, one.views)]
    near = {one.interaction_id: why for one in foreign if (why := _why_near(own, one.views)) and one not in same}
    if len(same) == 1 and not kept_apart and not same[0].kept_apart:
        return Judgement(same=same[0].interaction_id, near=near)
    if len(same) > 1:
        near |= dict.fromkeys((one.interaction_id for one in same), f"{len(same)} calls fit equally well")
    return Judgement(near=near)


def _is_same(own: Sequence[View], others: Sequence[View]) -> bool:
    pairs = [(one.told, other.told) for one in own for other in others]
    return any(fit(*pair) is Fit.SAME and begin_together(*pair) for pair in pairs)


def _why_near(own: Sequence[View], others: Sequence[View]) -> str:
    for one, other in ((one.told, other.told) for one in own for other in others):
        fits = fit(one, other)
        if fits is Fit.HALF and begin_together(one, other):
            return "only one of the numbers agrees"
        if fits is Fit.SAME and abs(one.started - other.started) <= NEAR:
            return "the numbers agree, the times do not"
    return ""


def begin_together(one: Told, other: Told) -> bool:
    """Within three seconds, by the start or, where a source saw no ringing, by the answer."""
    moments = [(one.started, other.started)]
    for late, early in ((one, other), (other, one)):
        if not late.saw_ringing and early.answered and early.answered - early.started <= LONGEST_RINGING:
            moments.append((late.started, early.answered))
    return any(abs(first - second) <= TOGETHER for first, second in moments)


def window(told: Told) -> tuple[datetime, datetime]:
    """Between which times a call must have started to be looked at."""
    latest = max(told.started, min(told.answered or told.started, told.started + LONGEST_RINGING))
    earliest = told.started if told.saw_ringing else told.started - LONGEST_RINGING
    return earliest - NEAR, latest + NEAR


def tails(told: Told) -> list[str]:
    """What to look the numbers up by, and to lock them by: every two calls that agree have one of them in common."""
    found = (read_number(one.value) for one in told.parties[:MOST_NUMBERS])
    return sorted({one.tail for one in found if one is not None})


def fit(one: Told, other: Told) -> Fit:
    """By numbers alone. Where a source does not say who called whom, either way is tried."""
    fits = {_fit_of(*both) for both in _sides_of(one, other)}
    return next(each for each in Fit if each in fits)


def _sides_of(one: Told, other: Told) -> list[tuple[Side, Side]]:
    first, second = _split(one), _split(other)
    ways = [(first, second)]
    if not first[0] or not second[0]:
        ways += [(turned, second) for turned in _turns(one)] + [(first, turned) for turned in _turns(other)]
    return [(_side(a[0], b[0]), _side(a[1], b[1])) for a, b in ways]


Sides = tuple[list[Number], list[Number]]


def _split(told: Told) -> Sides:
    """Numbers of the caller, and those of everybody else."""
    sides: Sides = ([], [])
    for one in told.parties[:MOST_NUMBERS]:
        if (number := read_number(one.value)) is not None:
            sides[one.position != "caller"].append(number)
    return sides


def _turns(told: Told) -> list[Sides]:
    """Of participants without a position, each as the caller."""
    if any(one.position == "caller" for one in told.parties):
        return []
    numbers = _split(told)[1]
    return [([one], [each for each in numbers if each is not one]) for one in numbers]


def _side(first: Sequence[Number], second: Sequence[Number]) -> Side:
    if not first or not second:
        return Side.UNKNOWN
    agreeing = {one.kind for one in first for other in second if one.agrees(other)}
    if agreeing:
        return Side.PHONE if Kind.PHONE in agreeing else Side.INSIDE
    both = {one.kind for one in first} & {one.kind for one in second}
    if not both:
        return Side.INCOMPARABLE
    return Side.OTHER_PHONE if both == {Kind.PHONE} else Side.OTHER_INSIDE


def _fit_of(first: Side, second: Side) -> Fit:
    if first in _AGREES and second in _AGREES:
        return Fit.SAME
    for agreeing, rest in ((first, second), (second, first)):
        if agreeing is Side.PHONE and rest is Side.INCOMPARABLE:
            return Fit.SAME
        if agreeing is Side.PHONE and rest is Side.OTHER_INSIDE:
            return Fit.HALF
        if agreeing in _AGREES and rest is Side.UNKNOWN:
            return Fit.HALF
    return Fit.NONE
