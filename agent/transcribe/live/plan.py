"""What of a call that still goes on can be recognised already: the windows its finished recording will have as well.

Nothing here decides anything by itself. Blocks, stretches, bleed and windows are those of
`agent.transcribe.speech.planning`, which looks for speech up to fixed times; so what is planned of a beginning stays as
it is whatever comes later. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from agent.transcribe.engine import Stretch
from agent.transcribe.speech.bleed import EARLIEST_SECONDS, LATEST_SECONDS
from agent.transcribe.speech.channels import Channel, Samples
from agent.transcribe.speech.planning import (
    BLOCK_SECONDS,
    COMPARING,
    Comparing,
    FindSpeech,
    Planned,
    SpeechSearch,
    differ,
    own_parts,
)
from agent.transcribe.speech.windows import PAD_BEFORE_SECONDS, Window, plan_windows

AHEAD_SECONDS = 0.2  # of sound behind a block, which bleed and the filter to 16 kHz look at
_BEHIND_SECONDS = LATEST_SECONDS + PAD_BEFORE_SECONDS + 0.1


class GrowingRow:
    """Samples of one channel to which more is added, and whose beginning may be forgotten."""

    def __init__(self) -> None:
        self.begin = 0
        self._samples: Samples = np.zeros(0, np.int16)

    def __len__(self) -> int:
        return self.begin + len(self._samples)

    def __getitem__(self, part: slice, /) -> Samples:
        """A slice, of what is still known.

        Raises:
            IndexError: its beginning is forgotten.
        """
        start, end, _ = part.indices(len(self))
        if start < self.begin:
            raise IndexError(f"the sound before sample {self.begin} is forgotten")
        return self._samples[start - self.begin : end - self.begin]

    def add(self, samples: Samples) -> None:
        """More sound."""
        self._samples = np.concatenate([self._samples, samples])

    def forget(self, before: int) -> None:
        """Let go of the samples before this one."""
        if before > self.begin:
            self._samples = self._samples[before - self.begin :].copy()
            self.begin = before


class LivePlan:
    """The windows of a call in progress. `go_on` after sound was added; what it gave is never given again."""

    def __init__(
        self, channels: int, rate: int, *, join_seconds: float, find: FindSpeech, comparing: Comparing = COMPARING
    ) -> None:
        """``rate`` is 8000 or 16 000 Hz, as the recording is decoded for transcription."""
        self.rows = [GrowingRow() for _ in range(channels)]
        self.channels = [Channel(samples=row, rate=rate) for row in self.rows]
        self._rate, self._join_seconds, self._comparing = rate, join_seconds, comparing
        self._searches = [SpeechSearch(channel, find) for channel in self.channels]
        self._heard: list[list[Stretch]] = [[] for _ in self.channels]
        self._own: list[list[Stretch]] = [[] for _ in self.channels]
        self._settled = [0] * channels  # stretches of each channel of which it is known what is its own
        self._given = [0] * channels
        self._apart = channels == 1
        self._compared = 0

    @property
    def seconds(self) -> float:
        """How much sound there is."""
        return self.channels[0].seconds

    def add(self, block: Samples) -> None:
        """More sound of all channels, of shape (samples, channels)."""
        for index, row in enumerate(self.rows):
            row.add(block[:, index])

    def go_on(self) -> list[Planned]:
        """The windows that nothing can change any more, by their start; they can be cut until the next time.

        Blocks: voice activity is looked for.
        """
        self._forget()
        until = self.seconds - AHEAD_SECONDS
        self._compare(until)
        for search, heard in zip(self._searches, self._heard, strict=True):
            heard.extend(search.blocks(until))
        for index, _ in enumerate(self.channels):
            self._settle(index)
        found = [one for index in range(len(self.channels)) for one in self._closed(index)] if self._apart else []
        return sorted(found, key=lambda one: (one.start, one.channel))

    def _compare(self, until: float) -> None:
        """Channels that carry one sound are one window's worth; until that is denied nothing is given."""
        while not self._apart and (self._compared + 1) * BLOCK_SECONDS <= until:
            self._apart = differ(self.channels, self._compared * BLOCK_SECONDS, self._comparing) is True
            self._compared += 1

    def _settle(self, index: int) -> None:
        heard = self._heard[index]
        others = [search.reached for other, search in enumerate(self._searches) if other != index]
        reached = min(others, default=float("inf")) + EARLIEST_SECONDS
        while self._settled[index] < len(heard) and heard[self._settled[index]].end < reached:
            stretch = heard[self._settled[index]]
            own, _ = own_parts(self.channels, self._heard, index, stretch, self._comparing)
            self._own[index] += own
            self._settled[index] += 1

    def _closed(self, index: int) -> list[Planned]:
        """All windows but the last, which may still take a piece."""
        closed = self._windows(index)[:-1]
        first, self._given[index] = self._given[index], len(closed)
        begins = self.rows[index].begin / self._rate
        new = [Planned(channel=index, number=first + place, window=one) for place, one in enumerate(closed[first:])]
        return [one for one in new if one.start >= begins]

    def _windows(self, index: int) -> Sequence[Window]:
        return plan_windows(self._own[index], seconds=self.seconds, join_seconds=self._join_seconds)

    def _forget(self) -> None:
        """What no window, and no look at bleed, can ask for again."""
        needed = [search.reached for search in self._searches]
        for index, heard in enumerate(self._heard):
            needed += [one.start for one in heard[self._settled[index] : self._settled[index] + 1]]
        if not self._apart:
            needed.append(self._compared * BLOCK_SECONDS)
        least = min(needed) - _BEHIND_SECONDS
        for index, row in enumerate(self.rows):
            open_window = self._windows(index)[-1:]
            begin = min([least, *(one.pieces[0].start - _BEHIND_SECONDS for one in open_window)])
            row.forget(max(0, int(begin * self._rate)))
