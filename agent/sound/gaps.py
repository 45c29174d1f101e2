"""Where a channel has no sound, and why. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from agent.model import Gap
from agent.sound.decoding import SUPPRESSED, Note

NOTHING_CAME = "no packets came"
_LONGEST_SUPPRESSED = 60.0  # seconds of silence that a sender suppressed and that is not worth telling


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """A time, in seconds since the epoch, in which no sound is to be expected; ``channel`` None means all of them."""

    start: float
    end: float
    reason: str
    channel: int | None = None

    def placed(self, started: float, rate: int, channel: int) -> Note:
        """The same in samples of a recording, if it concerns this channel at all."""
        if self.channel not in (None, channel):
            return Note(0, 0, self.reason)
        return Note(round((self.start - started) * rate), round((self.end - started) * rate), self.reason)


class Cover:
    """Where a channel has sound, as spans of samples; holes too short to list are closed."""

    def __init__(self, shortest: int) -> None:
        self.shortest = shortest
        self.spans: list[tuple[int, int]] = []

    def add(self, spans: list[tuple[int, int]]) -> None:
        """More sound; later than all before, but for one window."""
        for start, end in sorted(spans):
            if self.spans and start - self.spans[-1][1] <= self.shortest:
                self.spans[-1] = (self.spans[-1][0], max(end, self.spans[-1][1]))
            else:
                self.spans.append((start, end))


def list_gaps(
    channel: int, cover: Cover, total: int, rate: int, notes: Iterable[Note], silences: Sequence[Note]
) -> Iterator[Gap]:
    """The gaps of a channel of ``total`` samples: for ``silences``, else for the notes taken while decoding."""
    mine = deque(sorted(notes))
    for (_, start), (end, _) in pairwise([(0, 0), *cover.spans, (total, total)]):
        if end - start <= cover.shortest:
            continue
        while mine and mine[0].end <= start:
            mine.popleft()
        reason = _explained(silences, start, end) or _reason(mine, start, end)
        if reason == SUPPRESSED and end < total and end - start <= _LONGEST_SUPPRESSED * rate:
            continue
        yield Gap(channel=channel, start_ms=start * 1000 // rate, end_ms=end * 1000 // rate, reason=reason)


def _explained(silences: Sequence[Note], start: int, end: int) -> str:
    """The reason of the silence that fills most of the gap, if that is half of it."""
    shared = [(min(one.end, end) - max(one.start, start), one.reason) for one in silences]
    most, reason = max(shared, default=(0, ""))
    return reason if most * 2 >= end - start else ""


def _reason(notes: Iterable[Note], start: int, end: int) -> str:
    """The reason of the note that touches the gap first; a loss counts more than what the sender left out."""
    found = []
    for note in notes:
        if note.start >= end:
            break
        if note.end > start:
            found.append(note.reason)
    found.sort(key=lambda reason: reason == SUPPRESSED)
    return found[0] if found else NOTHING_CAME
