"""Packet logs of a call become one recording: a channel a party, by the wall clock, silence where nothing came."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from agent.model import Gap, Mark, MarkKind
from agent.sound.codecs import Samples
from agent.sound.decoding import LOST, SHORTEST_GAP, Note, Piece
from agent.sound.flac import MOST_CHANNELS, FlacWriter
from agent.sound.gaps import Cover, Silence, list_gaps
from agent.sound.streams import StreamPlan, StreamSound

__all__ = ["Assembled", "Assembly", "Silence", "StreamPlan", "assemble"]

WINDOW = 30  # seconds of all channels held in memory
MOST_MARKS = 2000
_PAUSED = "recording was paused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembled:
    """A complete recording: FLAC of 16 bits at ``path``, ``samples`` a channel at ``rate`` Hz.

    ``gaps`` are stretches of a channel over 100 ms without sound, each with its reason; ``marks`` what else happened in
    it; ``flags`` say in words what was wrong with the logs. ``dropped`` packets were duplicates or came over 10 s late;
    ``concealed`` samples were made up in short losses.
    """

    path: Path
    rate: int
    channels: int
    samples: int
    gaps: tuple[Gap, ...]
    marks: tuple[Mark, ...]
    flags: tuple[str, ...]
    packets: int
    dropped: int
    concealed: int

    @property
    def seconds(self) -> float:
        return self.samples / self.rate


def assemble(streams: Sequence[StreamPlan], *, started: float, ended: float, out: Path) -> Assembled:
    """`Assembly.write` for which nothing else is known of the call."""
    return Assembly(streams).write(started=started, ended=ended, out=out)


class Assembly:
    """The sound of a call, surveyed: what came is known before it is decided from when to when the recording goes.

    Several streams may share a channel. All of it blocks, for a thread or a process; memory does not grow with the
    length. ``pauses`` are times (seconds since the epoch) of which no sound may exist, whatever is in the logs.

    Raises:
        OSError: a log cannot be read.
        ValueError: a channel past the seven that FLAC can add to the first.
    """

    def __init__(self, streams: Sequence[StreamPlan], *, pauses: Sequence[tuple[float, float]] = ()) -> None:
        self._pauses = pauses
        self._sounds = [StreamSound(plan, pauses=pauses) for plan in streams]
        self.channels = max([2, *(plan.channel + 1 for plan in streams)])
        if self.channels > MOST_CHANNELS:
            raise ValueError(f"FLAC has at most {MOST_CHANNELS} channels, not {self.channels}")
        for sound in self._sounds:
            sound.survey()

    @property
    def begins(self) -> float | None:
        """When the first sound was, in seconds since the epoch."""
        return min((sound.begins for sound in self._sounds if sound.packets), default=None)

    @property
    def ends(self) -> float | None:
        """When the last sound ended."""
        return max((sound.ends for sound in self._sounds if sound.packets), default=None)

    @property
    def unread(self) -> bool:
        """Whether there may be sound in the logs that was not understood, so that they are worth keeping."""
        return any(sound.unread for sound in self._sounds)

    @property
    def rate(self) -> int:
        """Of the recording, in Hz: the highest that any codec that came needs, 8000 at least."""
        return max([8000, *(sound.rate for sound in self._sounds)])

    def windows(self, *, started: float, ended: float) -> Iterator[Samples]:
        """The samples that `write` would put down, of shape (samples, channels), `WINDOW` seconds at a time.

        Once only, like `write`.

        Raises:
            OSError: a log cannot be read.
        """
        covers = [Cover(round(SHORTEST_GAP * self.rate)) for _ in range(self.channels)]
        yield from self._windows(covers, started, max(round((ended - started) * self.rate), 1))

    def _windows(self, covers: list[Cover], started: float, total: int) -> Iterator[Samples]:
        rate = self.rate
        mutes = [(round((begin - started) * rate), round((end - started) * rate)) for begin, end in self._pauses]
        voices = [_Voice(sound, sound.pieces(rate=rate, started=started)) for sound in self._sounds]
        for begin in range(0, total, WINDOW * rate):
            yield _window(voices, covers, begin, min(begin + WINDOW * rate, total), mutes)

    def write(self, *, started: float, ended: float, out: Path, silences: Sequence[Silence] = ()) -> Assembled:
        """Write the recording from ``started`` to ``ended`` (seconds since the epoch) to ``out``.

        Sound outside of the two times is left out.
        ``silences`` are known from elsewhere, such as a hold, and are the reason of the gaps that they explain.

        Raises:
            OSError: a log cannot be read, or ``out`` cannot be written.
        """
        rate = self.rate
        total = max(round((ended - started) * rate), 1)
        covers = [Cover(round(SHORTEST_GAP * rate)) for _ in range(self.channels)]
        with FlacWriter(out, rate=rate, channels=self.channels) as flac:
            for window in self._windows(covers, started, total):
                flac.write(window)
        known = [*silences, *(Silence(start=begin, end=end, reason=_PAUSED) for begin, end in self._pauses)]
        gaps = tuple(
            gap
            for number, cover in enumerate(covers)
            for gap in list_gaps(
                number, cover, total, rate, self._notes(number), [one.placed(started, rate, number) for one in known]
            )
        )
        marks = sorted(
            [*self._marks(rate, started, total), *_lost(gaps)], key=lambda mark: (mark.start_ms, mark.end_ms)
        )
        flags = [flag for sound in self._sounds for flag in sound.flags]
        if len(marks) > MOST_MARKS:
            flags.append(f"more than {MOST_MARKS} marks; the rest is left out")
        return Assembled(
            path=out,
            rate=rate,
            channels=self.channels,
            samples=total,
            gaps=gaps,
            marks=tuple(marks[:MOST_MARKS]),
            flags=tuple(flags),
            packets=sum(sound.packets for sound in self._sounds),
            dropped=sum(sound.dropped for sound in self._sounds),
            concealed=sum(sound.concealed for sound in self._sounds),
        )

    def _notes(self, channel: int) -> list[Note]:
        return [note for sound in self._sounds if sound.plan.channel == channel for note in sound.notes]

    def _marks(self, rate: int, started: float, total: int) -> Iterator[Mark]:
        """What the sound itself tells, within the recording."""
        length = total * 1000 // rate
        for sound in self._sounds:
            channel = sound.plan.channel
            for change in sound.changes:
                if 0 <= change.at < total:
                    at = change.at * 1000 // rate
                    yield Mark(kind=MarkKind(change.kind), channel=channel, start_ms=at, end_ms=at, text=change.text)
            for press in sound.presses:
                start, end = (min(round((at - started) * 1000), length) for at in (press.start, press.end))
                if end >= 0 and start < length:
                    yield Mark(kind=MarkKind.DTMF, channel=channel, start_ms=max(start, 0), end_ms=end, text=press.key)


def _lost(gaps: Sequence[Gap]) -> Iterator[Mark]:
    for gap in gaps:
        if gap.reason == LOST:
            yield Mark(kind=MarkKind.LOST, channel=gap.channel, start_ms=gap.start_ms, end_ms=gap.end_ms)


def _window(
    voices: list[_Voice], covers: list[Cover], begin: int, end: int, mutes: Sequence[tuple[int, int]]
) -> Samples:
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
    for first, last in mutes:
        canvas[max(first - begin, 0) : max(last - begin, 0)] = 0
    for cover, spans in zip(covers, painted, strict=True):
        cover.add(_outside(spans, mutes))
    return canvas


def _outside(spans: list[tuple[int, int]], mutes: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The spans without what lies within a pause."""
    for first, last in mutes:
        cut = [part for start, end in spans for part in ((start, min(end, first)), (max(start, last), end))]
        spans = [(start, end) for start, end in cut if start < end]
    return spans


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
