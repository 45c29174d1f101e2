"""What happened within a call, for its time line: holds, pauses, keys, gaps, who came, went and interrupted. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from agent.model import Mark
from agent.store.masks import Masked
from agent.web.shown import Line

# An interruption: one begins while the other is speaking, and the other gives way only after a while.
_INTO_SPEECH = 0.4  # seconds the other had been speaking
_TOGETHER = 0.6  # seconds both are heard
_SHORTEST_WORDS = 1.0  # seconds: "yes", "mm-hm" interrupt nobody
_SOON = 3.0  # seconds: who is there so soon was there from the beginning, and who leaves so late hung up


class Heard(Protocol):
    """Something said, in seconds: an utterance, or a line of a page."""

    @property
    def channel(self) -> int:
        """On which it is heard."""

    @property
    def start(self) -> float:
        """When it begins."""

    @property
    def end(self) -> float:
        """When it ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """A place on the time line, in seconds. ``kind`` names the text; ``text`` is a key pressed, a reason or a name."""

    kind: str
    start: float
    end: float
    channel: int | None = None
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence:
    """From when to when somebody took part, as the source told it; None where it did not."""

    name: str
    channel: int | None
    joined: datetime | None
    left: datetime | None


def list_moments(
    marks: Sequence[Mark],
    gaps: Sequence[tuple[float, float, str]],
    said: Sequence[Heard],
    *,
    marked: Sequence[Moment] | None = None,
) -> list[Moment]:
    """Everything that is to be seen on the time line, in order; ``marked`` are interruptions that are known already."""
    found = [
        Moment(
            kind=one.kind.value,
            start=one.start_ms / 1000,
            end=one.end_ms / 1000,
            channel=one.channel,
            text=one.text,
        )
        for one in marks
    ]
    found += [Moment(kind="gap", start=start, end=end, text=reason) for start, end, reason in gaps]
    found += interruptions(said) if marked is None else marked
    return sorted(found, key=lambda one: (one.start, one.end))


def marked_interruptions(said: Sequence[Line]) -> list[Moment]:
    """Lines that the dialogue says are interruptions."""
    return [
        Moment(kind="interruption", start=one.start, end=one.start, channel=one.channel)
        for one in said
        if one.interrupts
    ]


def masked(found: Sequence[Masked]) -> list[Moment]:
    """Words that were masked: ``text`` is why, or the rule."""
    return [
        Moment(
            kind="masked",
            start=one.start_ms / 1000,
            end=one.end_ms / 1000,
            channel=one.channel,
            text=one.rule if one.why == "rule" else one.why,
        )
        for one in found
    ]


def interruptions(said: Sequence[Heard]) -> list[Moment]:
    """Where one began to speak while the other had not finished; ``channel`` is who began. For transcripts that do not
    say it themselves."""
    found = []
    speaking: dict[int, Heard] = {}
    for one in sorted(said, key=lambda each: each.start):
        for other in speaking.values():
            together = min(one.end, other.end) - one.start
            is_late = one.start - other.start >= _INTO_SPEECH
            is_long = one.end - one.start >= _SHORTEST_WORDS
            if other.channel != one.channel and is_late and is_long and together >= _TOGETHER:
                end = min(one.end, other.end)
                found.append(Moment(kind="interruption", start=one.start, end=end, channel=one.channel))
                break
        before = speaking.get(one.channel)
        if before is None or before.end < one.end:
            speaking[one.channel] = one
    return found


def transfers(present: Sequence[Presence], started: datetime, seconds: float) -> list[Moment]:
    """Who came into the call while it went on, and who left before its end. ``started`` is the recording's."""
    found = []
    for one in present:
        for kind, moment in (("joined", one.joined), ("left", one.left)):
            if moment is None:
                continue
            at = (moment - started).total_seconds()
            if _SOON <= at <= seconds - _SOON:
                found.append(Moment(kind=kind, start=at, end=at, channel=one.channel, text=one.name))
    return sorted(found, key=lambda one: one.start)
