"""One call that goes on: from its growing sound to the windows that can be recognised already.

What blocks here is run in a thread, one look at one call at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

import av
import numpy as np

from agent.sound.flac import LAYOUTS
from agent.sound.growing import SoundChanged
from agent.store.livespeech import LiveAnswer
from agent.transcribe.engine import SAMPLE_RATE, Sound, Stretch
from agent.transcribe.live.plan import LivePlan
from agent.transcribe.live.remembered import Remembered
from agent.transcribe.soundkeys import SoundKeys
from agent.transcribe.speech.channels import TELEPHONY, Samples
from agent.transcribe.speech.planning import FindSpeech, Planned

_BLOCK_REACH = 60.0  # seconds that the block looked at last may reach back
_STRETCH_REACH = 1.0  # and what bleed of a stretch hears around it
_PIECES = 40


class OngoingCall(Protocol):
    """A call that is being recorded; times are seconds since the epoch. Everything may block.

    ``begins`` is when its sound begins, 0 while that is unknown; ``rate`` (Hz) and ``channels`` are those of `blocks`.
    """

    ended: bool
    begins: float
    rate: int
    channels: int

    def refresh(self) -> None:
        """Look how far it is."""
        ...

    def pauses(self, now: float) -> list[tuple[float, float]]:
        """When nothing of it was to be recorded."""
        ...

    def due(self) -> float:
        """From when on there may be more sound; 0: nobody knows."""
        ...

    def blocks(self, now: float) -> Iterator[Samples]:
        """New sound of shape (samples, channels), from the first sample on.

        Raises:
            SoundChanged: what was given is not what the recording will have; the next look begins anew.
            OSError: it cannot be read.
        """
        ...


class OngoingCalls(Protocol):
    """The calls that are being recorded here. Everything may block."""

    def list_ids(self) -> list[str]:
        """Their captures, of which some may have ended."""
        ...

    def open(self, capture_id: str) -> OngoingCall:
        """One of them."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeardWindow:
    """A window with its sound, which lies between two times in seconds since the epoch; ``print`` names the sound."""

    seconds: float
    begins: float
    ends: float
    print: bytes
    sound: Sound


@dataclass(slots=True, kw_only=True, eq=False)
class FollowedCall:
    """What is known of a call by now: ``known`` was written down before, ``fresh`` is still to be."""

    capture_id: str
    call: OngoingCall
    join_seconds: float
    find: FindSpeech
    keys: SoundKeys
    known: dict[bytes, bytes] = field(default_factory=dict)
    fresh: list[LiveAnswer] = field(default_factory=list)
    language: str = ""
    longest: list[HeardWindow] = field(default_factory=list)  # as `planning.find_language` takes them; without sound
    undecided: list[HeardWindow] = field(default_factory=list)  # wait for the language
    paused: list[tuple[float, float]] = field(default_factory=list)
    _plan: LivePlan | None = None
    _resampler: _Resampler | None = None

    def refresh(self, now: float) -> bool:
        """Look how far the call is; whether a pause became known, so that what was heard in it is to be forgotten."""
        self.call.refresh()
        known = {start for start, _ in self.paused}
        self.paused = self.call.pauses(now)
        return not known.issuperset(start for start, _ in self.paused)

    def touches_pause(self, begins: float, ends: float) -> bool:
        """Whether nothing of this time may be known."""
        return any(begins < end and start < ends for start, end in self.paused)

    def answered(self, key: bytes) -> bytes | None:
        """What is known under a key, written down or not yet."""
        return self.known.get(key) or next((one.answer for one in self.fresh if one.key == key), None)

    def hear(self, now: float) -> list[HeardWindow]:
        """The windows that are new by ``now``. Where what was heard has changed, all of it is heard anew.

        Raises:
            OSError: a log cannot be read.
        """
        for _ in range(2):
            try:
                return list(self._hear(now))
            except SoundChanged:
                self._plan = self._resampler = None
                self.longest = []
        return []

    def _hear(self, now: float) -> Iterator[HeardWindow]:
        for block in _joined(self.call.blocks(now), _PIECES):
            if self._plan is None or self._resampler is None:
                rate = TELEPHONY if self.call.rate <= TELEPHONY else SAMPLE_RATE
                self._resampler = _Resampler(self.call.rate, rate)
                self._plan = self._new_plan(rate)
            self._plan.add(self._resampler.convert(block))
            for planned in self._plan.go_on():
                yield self._window(planned, self._plan)

    def _window(self, planned: Planned, plan: LivePlan) -> HeardWindow:
        return HeardWindow(
            seconds=planned.window.seconds,
            begins=self.call.begins + planned.start,
            ends=self.call.begins + planned.end,
            print=self.keys.of_window(planned, plan.channels),
            sound=planned.cut(plan.channels),
        )

    def _new_plan(self, rate: int) -> LivePlan:
        once = Remembered(self.keys, self.answered, self._note)
        return LivePlan(
            self.call.channels,
            rate,
            join_seconds=self.join_seconds,
            find=once.finding(self.find),
            comparing=once.comparing,
        )

    def _note(self, key: bytes, answer: bytes, stretch: Stretch | None) -> None:
        """Write down what was found, for the job that will plan the recording."""
        begins, ends = self.call.begins, self.call.begins + (self._plan.seconds if self._plan else 0.0)
        span = (ends - _BLOCK_REACH, ends)
        if stretch is not None:
            span = (begins + stretch.start - _STRETCH_REACH, begins + stretch.end + _STRETCH_REACH)
            if self.touches_pause(*span):
                return
        self.fresh.append(LiveAnswer(key=key, answer=answer, begins=span[0], ends=span[1]))


def _joined(blocks: Iterator[Samples], count: int) -> Iterator[Samples]:
    """So many blocks as one, as every addition moves what is held."""
    while some := list(islice(blocks, count)):
        yield np.concatenate(some)


class _Resampler:
    """Sound at the rate at which a recording of it will be decoded, by the same converter (`channels.py`)."""

    def __init__(self, source: int, target: int) -> None:
        self._source = source
        self._resampler: av.AudioResampler | None = None
        self._target = target

    def convert(self, block: Samples) -> Samples:
        """The same sound, without what the filter holds back."""
        if self._source == self._target:
            return block
        channels = block.shape[1]
        layout = LAYOUTS[channels]
        if self._resampler is None:
            self._resampler = av.AudioResampler(format="s16p", layout=layout, rate=self._target)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block).reshape(1, -1), format="s16", layout=layout)
        frame.sample_rate = self._source
        parts = [one.to_ndarray().T for one in self._resampler.resample(frame)]
        return np.concatenate(parts).astype(np.int16, copy=False) if parts else np.zeros((0, channels), np.int16)
