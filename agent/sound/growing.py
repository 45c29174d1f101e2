"""The sound of packet logs that still grow, sample for sample as their recording will have it.

What is needed for that, unlike for listening in (`follow.py`), is to be late: the clock of a stream is known after half
a minute (`timeline.REACH`), and a packet may come late. So each look assembles from the beginning, by the code that
will make the recording, and gives what is new. Should later packets have changed what was given already, it says so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from agent.sound.assemble import WINDOW, Assembly
from agent.sound.codecs import Samples


class SoundChanged(Exception):
    """What was given is not what the recording will have; the next look gives all of it from the beginning."""


class GrowingSound:
    """What of a call was given by now."""

    def __init__(self) -> None:
        self._given: list[bytes] = []  # a digest a window
        self._shape: tuple[float, int, int] | None = None

    @property
    def seconds(self) -> float:
        """How much was given."""
        return float(len(self._given) * WINDOW)

    def look(self, assembly: Assembly, *, started: float, until: float) -> Iterator[Samples]:
        """The windows of `WINDOW` seconds that end by ``until`` and were not given yet, of shape (samples, channels).

        Times are seconds since the epoch; ``started`` is that of the first sample.

        Raises:
            SoundChanged: what was given before is different now.
            OSError: a log cannot be read.
        """
        whole = int((until - started) / WINDOW)
        if whole <= len(self._given):
            return
        shape = (started, assembly.rate, assembly.channels)
        if self._given and shape != self._shape:
            self._begin_again()
        self._shape = shape
        # a little more than what is given, as the end of a sound is cut where the next piece is not known
        windows = assembly.windows(started=started, ended=until)
        for number, window in zip(range(whole), windows, strict=False):
            digest = hashlib.blake2b(window.tobytes(), digest_size=16).digest()
            if number >= len(self._given):
                self._given.append(digest)
                yield window
            elif digest != self._given[number]:
                self._begin_again()

    def _begin_again(self) -> None:
        self._given = []
        raise SoundChanged
