"""The sound of packet logs that still grow, sample for sample as their recording will have it.

What is needed for that, unlike for listening in (`follow.py`), is to be late: the clock of a stream is known after half
a minute (`timeline.REACH`), and a packet may come late. So each look assembles from the beginning, by the code that
will make the recording, and gives what is new. Should later packets have changed what was given already, it says so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from agent.sound.assemble import Assembly
from agent.sound.codecs import Samples

PIECE = 1  # seconds that are given at a time


class SoundChanged(Exception):
    """What was given is not what the recording will have; the next look gives all of it from the beginning."""


class GrowingSound:
    """What of a call was given by now."""

    def __init__(self) -> None:
        self._given: list[bytes] = []  # a digest a piece
        self._shape: tuple[float, int, int] | None = None

    @property
    def seconds(self) -> float:
        """How much was given."""
        return float(len(self._given) * PIECE)

    def look(self, assembly: Assembly, *, started: float, until: float) -> Iterator[Samples]:
        """The pieces of `PIECE` seconds that end by ``until`` and were not given yet, of shape (samples, channels).

        Times are seconds since the epoch; ``started`` is that of the first sample.

        Raises:
            SoundChanged: what was given before is different now.
            OSError: a log cannot be read.
        """
        whole = int((until - started) / PIECE)
        if whole <= len(self._given):
            return
        shape = (started, assembly.rate, assembly.channels)
        if self._given and shape != self._shape:
            self._begin_again()
        self._shape = shape
        pieces = _pieces(assembly.windows(started=started, ended=until), PIECE * assembly.rate)
        for number, piece in zip(range(whole), pieces, strict=False):
            digest = hashlib.blake2b(piece.tobytes(), digest_size=16).digest()
            if number >= len(self._given):
                self._given.append(digest)
                yield piece
            elif digest != self._given[number]:
                self._begin_again()

    def _begin_again(self) -> None:
        self._given = []
        raise SoundChanged


def _pieces(windows: Iterator[Samples], length: int) -> Iterator[Samples]:
    """The windows, which are a whole number of pieces long but for the last, cut into pieces."""
    for window in windows:
        for begin in range(0, len(window), length):
            yield window[begin : begin + length]
