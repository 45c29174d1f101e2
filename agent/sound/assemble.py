"""Packet logs of a call become one recording: a channel a party, by the wall clock, silence where nothing came."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from agent.model import Gap
from agent.sound.codecs import Samples
from agent.sound.flac import MOST_CHANNELS, FlacWriter
from agent.sound.streams import SHORTEST_GAP, Note, Piece, StreamPlan, StreamSound

__all__ = ["Assembled", "StreamPlan", "assemble"]

WINDOW = 30  # seconds of all channels held in memory
NOTHING_CAME = "no packets came"


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembled:
    """A complete recording: FLAC of 16 bits at ``path``, ``samples`` a channel at ``rate`` Hz.

    ``gaps`` are stretches of a channel over 100 ms without sound, each with its reason; ``flags`` say in words what
    was wrong with the logs. ``dropped`` packets were duplicates or came over 10 s late.
    """

    path: Path
    rate: int
    channels: int
    samples: int
    gaps: tuple[Gap, ...]
    flags: tuple[str, ...]
    packets: int
    dropped: int

    @property
    def seconds(self) -> float:
        return self.samples / self.rate


def assemble(streams: Sequence[StreamPlan], *, started: float, ended: float, out: Path) -> Assembled:
    """Write the recording from ``started`` to ``ended`` (seconds since the epoch) to ``out``.

    Several streams may share a channel. Sound outside of the two times is left out. The rate is the highest any codec
    that came needs, 8000 Hz at least. Blocking, for a thread or a process; memory does not grow with the length.

    Raises:
        OSError: a log cannot be read, or ``out`` cannot be written.
        ValueError: a channel past the seven that FLAC can add to the first.
    """
    sounds = [StreamSound(plan) for plan in streams]
    for sound in sounds:
        sound.survey()
    channels = max(2, *(plan.channel + 1 for plan in streams)) if streams else 2
    if channels > MOST_CHANNELS:
        raise ValueError(f"FLAC has at most {MOST_CHANNELS} channels, not {channels}")
    rate = max([8000, *(sound.rate for sound in sounds)])
    total = max(round((ended - started) * rate), 1)
    voices = [_Voice(sound, sound.pieces(rate=rate, started=started)) for sound in sounds]
    covers = [_Cover(round(SHORTEST_GAP * rate)) for _ in range(channels)]
    with FlacWriter(out, rate=rate, channels=channels) as flac:
        for begin in range(0, total, WINDOW * rate):
            flac.write(_window(voices, covers, begin, min(begin + WINDOW * rate, total)))
    notes = [(sound.plan.channel, note) for sound in sounds for note in sound.notes]
    return Assembled(
        path=out,
        rate=rate,
        channels=channels,
        samples=total,
        gaps=tuple(gap for number, cover in enumerate(covers) for gap in _gaps(number, cover, total, rate, notes)),
        flags=tuple(flag for sound in sounds for flag in sound.flags),
        packets=sum(sound.packets for sound in sounds),
        dropped=sum(sound.dropped for sound in sounds),
    )


def _window(voices: list[_Voice], covers: list[_Cover], begin: int, end: int) -> Samples:
    canvas = np.zeros((end - begin, len(covers)), np.int16)
    painted: list[list[tuple[int, int]]] = [[] for _ in covers]
    for voice in voices:
        channel = voice.channel
        for start, samples in voice.take(begin, end):
            place = canvas[start - begin : start - begin + len(samples), channel]
            if place.any():  # two streams at once on one channel: both are heard
                mixed = place.astype(np.int32) + samples
                place[:] = np.clip(mixed, -32768, 32767)
            else:
                place[:] = samples
            painted[channel].append((start, start + len(samples)))
    for cover, spans in zip(covers, painted, strict=True):
        cover.add(spans)
    return canvas


class _Voice:
    """The pieces of one stream, cut to windows. What overlaps an earlier piece of the same stream is left out."""

    def __init__(self, sound: StreamSound, pieces: Iterator[Piece]) -> None:
        self.channel = sound.plan.channel
        self._pieces = pieces
        self._rest: Piece | None = None
        self._done = 0

    def take(self, begin: int, end: int) -> Iterator[Piece]:
        """What sounds between the two samples; windows are asked for in order."""
        while (piece := self._rest or next(self._pieces, None)) is not None:
            self._rest = None
            skip = max(begin, self._done) - piece.start
            if skip > 0:
                piece = Piece(piece.start + skip, piece.samples[skip:])
            if not len(piece.samples):
                continue
            if piece.start >= end:
                self._rest = piece
                return
            head = piece.samples[: end - piece.start]
            if len(head) < len(piece.samples):
                self._rest = Piece(end, piece.samples[len(head) :])
            self._done = piece.start + len(head)
            yield Piece(piece.start, head)


class _Cover:
    """Where a channel has sound, as spans of samples; holes too short to list are closed."""

    def __init__(self, shortest: int) -> None:
        self.shortest = shortest
        self.spans: list[tuple[int, int]] = []

    def add(self, spans: list[tuple[int, int]]) -> None:
        for start, end in sorted(spans):
            if self.spans and start - self.spans[-1][1] <= self.shortest:
                self.spans[-1] = (self.spans[-1][0], max(end, self.spans[-1][1]))
            else:
                self.spans.append((start, end))


def _gaps(channel: int, cover: _Cover, total: int, rate: int, notes: list[tuple[int, Note]]) -> Iterator[Gap]:
    mine = deque(sorted(note for number, note in notes if number == channel))
    for (_, start), (end, _) in pairwise([(0, 0), *cover.spans, (total, total)]):
        if end - start > cover.shortest:
            while mine and mine[0].end <= start:
                mine.popleft()
            yield Gap(
                channel=channel,
                start_ms=start * 1000 // rate,
                end_ms=end * 1000 // rate,
                reason=_reason(mine, start, end),
            )


def _reason(notes: Iterable[Note], start: int, end: int) -> str:
    """The reason of the first note that touches the gap."""
    for note in notes:
        if note.start >= end:
            break
        if note.end > start:
            return note.reason
    return NOTHING_CAME
