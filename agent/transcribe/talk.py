"""Figures of a talk, seen from its sound alone. Pure; docs/call-figures.md has the formulas in words.

They are per channel and not per party: who is the employee may be decided, or corrected, later.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from agent.transcribe.engine import Stretch
from agent.transcribe.turns import find_interruptions

BACKCHANNEL_SECONDS = 1.0  # what is shorter ("yes", "mm-hm") takes the word from nobody
BREATH_SECONDS = 2.0  # a pause within one monologue

Spans = list[tuple[float, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Talk:
    """Seconds; lists have a place a channel. ``first`` counts from the beginning of the talk; None in it: that channel
    never spoke. ``patience`` is the median pause after the other's words; None in it: it never answered."""

    length: float
    silence: float
    longest_silence: float
    together: float
    talk: tuple[float, ...]
    monologue: tuple[float, ...]
    interruptions: tuple[int, ...]
    first: tuple[float | None, ...]
    patience: tuple[float | None, ...]


def measure(
    speech: Sequence[Sequence[Stretch]], *, end: float, begin: float = 0.0, away: Iterable[tuple[float, float]] = ()
) -> Talk:
    """The figures of a talk from ``begin`` (the answer) to ``end`` seconds of the recording; ``away`` are holds and
    pauses, in which nobody talks with anybody, whatever is heard."""
    there = _without([(begin, max(begin, end))], away)
    heard = [_common(_joined([(one.start, one.end) for one in channel]), there) for channel in speech]
    anybody = _joined([span for channel in heard for span in channel])
    silences = _without(there, anybody)
    stretches = tuple(tuple(Stretch(start=start, end=stop) for start, stop in channel) for channel in heard)
    began = [0] * len(heard)
    for one in find_interruptions(stretches):
        began[one.by] += 1
    return Talk(
        length=_sum(there),
        silence=_sum(silences),
        longest_silence=max((stop - start for start, stop in silences), default=0.0),
        together=sum(map(_sum, heard)) - _sum(anybody) if len(heard) < 3 else _together(heard),
        talk=tuple(map(_sum, heard)),
        monologue=_monologues(heard),
        interruptions=tuple(began),
        first=tuple(_sum(_common(there, [(begin, spans[0][0])])) if spans else None for spans in heard),
        patience=_patience(heard, there),
    )


def _monologues(heard: Sequence[Spans]) -> tuple[float, ...]:
    """The longest time in which only one speaks; short words of others within it do not count."""
    longest = []
    for channel, spans in enumerate(heard):
        takers = sorted(
            start
            for other, theirs in enumerate(heard)
            for start, stop in theirs
            if other != channel and stop - start >= BACKCHANNEL_SECONDS
        )
        best, began, before, ended = 0.0, 0.0, 0.0, float("-inf")
        for start, stop in spans:
            is_taken = bisect_right(takers, start) > bisect_right(takers, before)
            if start - ended > BREATH_SECONDS or is_taken:
                began = start
            before, ended = start, stop
            best = max(best, ended - began)
        longest.append(best)
    return tuple(longest)


def _patience(heard: Sequence[Spans], there: Spans) -> tuple[float | None, ...]:
    """Medians of the pauses between what others said and the answer. Who begins before the other has ended waits for
    nothing and is no answer here, and a hold between them is no pause."""
    pauses: list[list[float]] = [[] for _ in heard]
    ended, last = 0.0, -1
    for start, stop, channel in sorted((start, stop, at) for at, spans in enumerate(heard) for start, stop in spans):
        silence = start - ended
        if last not in (-1, channel) and silence >= 0 and abs(_sum(_common(there, [(ended, start)])) - silence) < 0.001:
            pauses[channel].append(silence)
        if stop >= ended:
            ended, last = stop, channel
    return tuple(median(found) if found else None for found in pauses)


def _together(heard: Sequence[Spans]) -> float:
    """How long two or more of many channels speak."""
    pairs = [_common(one, other) for place, one in enumerate(heard) for other in heard[place + 1 :]]
    return _sum(_joined([span for pair in pairs for span in pair]))


# --- Spans: (start, end), in order, apart -----------------------------------------------------------------------------


def _sum(spans: Spans) -> float:
    return sum(stop - start for start, stop in spans)


def _joined(spans: Iterable[tuple[float, float]]) -> Spans:
    joined: Spans = []
    for start, stop in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], stop))
        elif stop > start:
            joined.append((start, stop))
    return joined


def _common(one: Spans, other: Iterable[tuple[float, float]]) -> Spans:
    found, rest = [], _joined(other)
    at = 0
    for start, stop in one:
        while at < len(rest) and rest[at][1] <= start:
            at += 1
        place = at
        while place < len(rest) and rest[place][0] < stop:
            found.append((max(start, rest[place][0]), min(stop, rest[place][1])))
            place += 1
    return found


def _without(spans: Spans, taken: Iterable[tuple[float, float]]) -> Spans:
    left: Spans = []
    gone = _joined(taken)
    for start, stop in spans:
        at = start
        for begin, end in gone:
            if end <= at or begin >= stop:
                continue
            if begin > at:
                left.append((at, begin))
            at = max(at, end)
        if at < stop:
            left.append((at, stop))
    return left
