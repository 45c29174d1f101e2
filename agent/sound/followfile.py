"""A sound file that still grows, for listening in: what a line writes while the call goes on.

Silence flows into such a file wherever nothing else does, so its samples are a clock. When the first of them was is
seen from how long the file is by now: what has just been written was just said.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from agent.sound.decoding import Piece, Resampling
from agent.sound.wav import WavShape, shape_of

TOLERANCE = 0.1  # seconds the file's clock may seem to move before the sound is placed anew
LOOKS = 64  # whose earliest says when the first sample was: a file is written in pieces of an eighth of a second
MOST_BYTES = 1 << 20  # at one look; a listener who is so far behind hears what is newest
_SAMPLE = 2  # bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowedFile:
    """A WAV file of one voice, 16-bit PCM, and its channel."""

    path: Path
    channel: int


class FileVoice:
    """One such file as it comes, from the listener's beginning on."""

    def __init__(self, file: FollowedFile, *, rate: int, started: float, now: Callable[[], float] = time.time) -> None:
        """``rate`` wanted, in Hz; ``started``, time of the listener's first sample, in seconds since the epoch."""
        self.stream = file
        self._rate, self._started, self._now = rate, started, now
        self._begins: deque[float] = deque(maxlen=LOOKS)
        self._begin: float | None = None  # when the first sample of the file was
        self._next: int | None = None  # sample of the file that is read next
        self._resampling: Resampling | None = None
        self._end = 0  # sample up to which this voice was heard

    def listen(self) -> Iterator[Piece]:
        """What was added since the last look; nothing while there is no file, or none that can be read."""
        try:
            shape = shape_of(self.stream.path)
            if shape is None or shape.frame != _SAMPLE or not shape.rate:
                return
            first, data = self._read(shape)
        except OSError:
            return
        if data:
            yield from map(self._not_twice, self._pieces(shape.rate, first, np.frombuffer(data, "<i2")))

    def _read(self, shape: WavShape) -> tuple[int, bytes]:
        """The first sample that is new, and all that are there by now."""
        total = (shape.end - shape.begin) // _SAMPLE
        begin = self._look_at_clock(self._now() - total / shape.rate)
        if self._next is None:
            self._next = min(max(round((self._started - begin) * shape.rate), 0), total)
        first = self._next = max(self._next, total - MOST_BYTES // _SAMPLE)
        with self.stream.path.open("rb") as file:
            data = os.pread(file.fileno(), max(total - first, 0) * _SAMPLE, shape.begin + first * _SAMPLE)
        data = data[: len(data) // _SAMPLE * _SAMPLE]
        self._next += len(data) // _SAMPLE
        return first, data

    def _look_at_clock(self, begin: float) -> float:
        self._begins.append(begin)
        earliest = min(self._begins)
        if self._begin is None or abs(earliest - self._begin) > TOLERANCE:
            self._begin = earliest
        return self._begin

    def _pieces(self, rate: int, first: int, samples: np.ndarray[tuple[int], np.dtype[np.int16]]) -> Iterator[Piece]:
        assert self._begin is not None
        start = round((self._begin - self._started) * self._rate) + first * self._rate // rate
        if rate == self._rate:
            yield Piece(start, samples)
            return
        self._resampling = self._resampling or Resampling(rate, self._rate)
        yield from self._resampling.convert(Piece(start, samples))

    def _not_twice(self, piece: Piece) -> Piece:
        """Without what would lie over sound of this voice, where the clock turned out to be another."""
        skip = min(max(self._end - piece.start, 0), len(piece.samples))
        if self._end - piece.start > self._rate:  # farther back it is the clock of this machine that was set
            skip = 0
        self._end = piece.start + len(piece.samples)
        return Piece(piece.start + skip, piece.samples[skip:])
