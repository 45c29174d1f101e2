"""What is heard on a channel but was said on another: echo of a line or a loudspeaker, crosstalk. Pure.

Two independent signs, each with the same third condition, that the copy is quieter by `QUIETER_DB` at least:

- **By sound**: how much of a stretch follows from the other channel by any short filter at one lag, which is what echo
  is, whatever a telephone did to its colour. The measure is magnitude-squared coherence (Carter, Knapp, Nuttall 1973)
  weighted by the energy of the copy. Two people who speak at once share next to nothing, so their words stay, and
  where somebody speaks over the echo of the other one his part of the stretch stays.
- **By words**: the same words at the same time. They are the sign left where a codec has bent the sound too much.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import pairwise
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from agent.model import Utterance
from agent.transcribe.engine import SAMPLE_RATE, Sound, Stretch
from agent.transcribe.wer import fold

QUIETER_DB = 6.0
EARLIEST_SECONDS, LATEST_SECONDS = -0.01, 0.6  # a copy after its source. Not earlier: there lies, where both hear their
# echo, one's own voice in the other channel, and it is the stronger of the two
COPIED_SHARE = 0.5  # of what is above the noise of the line: from here on a block is a copy
_LEAST_SHARE = 0.35  # of all there is; unrelated voices reach 0.25 where a stretch is short
_SAME_WORDS = 0.8
_FEWEST_WORDS = 4
_OVERLAP = 0.5
_MOMENT = 0.25  # seconds
_UNSHARP = 0.2  # seconds by which times of words may be wrong

_RATE = 8000
_FRAME, _STEP = 512, 128  # 64 ms: the longest echo path that is seen whole
_BLOCK, _HOP = 0.5, 0.1  # seconds
_ACTIVE = 0.0001  # of the energy of the loudest block of the stretch: below it nothing is judged
_QUIET = 0.1  # of the energy of the loudest block of the stretch: below it a copy may lie apart from one's own voice
_TAIL = 0.16  # of the energy of the loudest copy: what is less is its reverberation
_NOISE = 1.3 / 0.105  # from the lowest tenth of a noise's energy to a little more than its mean
_LEAST_OWN = 0.25  # seconds of own speech that are worth a stretch
_SOUND = 0.001  # RMS of a block, -60 dBFS: below it there is nothing to compare
_SAME_SHARE, _SAME_DB = 0.85, 3.0  # what two codecs leave of one sound
_PARTING = 2  # blocks of a copy between two own parts that make two stretches of them
_EDGE = 0.05  # seconds of its first and last block that are not a stretch's
_REACH = round(_BLOCK / _HOP)  # blocks that have a part of a block
_BESIDE = 0.15  # seconds of a voice's beginning and end that may be as quiet as the copy it borders on

# What `part` and `is_same` go by: an answer of theirs is worth as much as these are the same.
SETTINGS = (
    *(QUIETER_DB, EARLIEST_SECONDS, LATEST_SECONDS, COPIED_SHARE, _LEAST_SHARE, _FRAME, _STEP, _BLOCK, _HOP, _ACTIVE),
    *(_TAIL, _NOISE, _LEAST_OWN, _SOUND, _SAME_SHARE, _SAME_DB, _PARTING, _EDGE),
)

_Reals: TypeAlias = npt.NDArray[np.float64]
_Flags: TypeAlias = npt.NDArray[np.bool_]


class _Blocks(NamedTuple):
    """Of each block, a hop apart: energy that is heard, that follows from the origin, that is left above the noise of
    the line; and by how many dB the origin is louder at those frequencies at which it comes through. (Where both hear
    each other's echo, each follows from the other: but one's own voice is the louder there.)"""

    heard: _Reals
    follows: _Reals
    own: _Reals
    quieter: _Reals


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """How a stretch follows from another channel: so many seconds later, so much quieter, this share of its energy."""

    lag: float
    quieter_db: float
    share: float

    @property
    def reason(self) -> str:
        """In words with the figures."""
        return (
            f"bleed of the other channel: the same sound {max(0.0, self.lag):.2f} s later, "
            f"{self.quieter_db:.0f} dB quieter, share {self.share:.2f}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Parted:
    """The parts of a stretch that are its own channel's, and where a part was not: how it was copied."""

    own: tuple[Stretch, ...]
    copied: Copy | None = None


def part(stretch: Stretch, heard: Sound, source: Sound) -> Parted:
    """Divide a stretch of a channel into what was said there and what came from another one.

    ``heard`` is the sound of the stretch; ``source`` that of the other channel, from `LATEST_SECONDS` before it to
    ``-EARLIEST_SECONDS`` after it, silence where there is none.
    """
    copy, origin = heard[::2].astype(np.float64), source[::2].astype(np.float64)
    if len(copy) < _FRAME * 2 or not copy.any() or not origin.any():
        return Parted(own=(stretch,))
    found = _part_at(stretch, copy, origin, _place(copy, origin))
    if found.copied is not None:
        return found
    return _part_at(stretch, copy, origin, _place(_quiet_part(copy), origin))  # behind one's own loud voice


def _part_at(stretch: Stretch, copy: _Reals, origin: _Reals, place: int) -> Parted:
    """The same where the copy lies at a place of its origin."""
    blocks = _blocks(copy, origin[place : place + len(copy)])
    active = blocks.heard > blocks.heard.max() * _ACTIVE
    follows = np.maximum(blocks.follows, 1e-12)
    is_copy = active & (blocks.quieter >= QUIETER_DB) & (follows >= _LEAST_SHARE * blocks.heard)
    is_copy &= follows >= COPIED_SHARE * (follows + blocks.own)
    if not is_copy.any():
        return Parted(own=(stretch,))
    found = Copy(
        lag=LATEST_SECONDS - place / _RATE,
        quieter_db=float(np.median(blocks.quieter[is_copy])),
        share=float(np.median((follows / (follows + blocks.own))[is_copy])),
    )
    is_own = active & ~is_copy & (blocks.own > blocks.heard[is_copy].max() * _TAIL)
    own = tuple(_own(stretch, is_own, is_copy))
    return Parted(own=(stretch,)) if own == (stretch,) else Parted(own=own, copied=found)


def is_same(heard: Sound, source: Sound) -> bool | None:
    """Whether two channels carry one sound, equally loud, as where a recorder wrote the mix into both; None: there is
    too little sound to tell. ``source`` is as with `part`."""
    copy, origin = heard[::2].astype(np.float64), source[::2].astype(np.float64)
    if len(copy) < _FRAME * 2 or np.sqrt(np.mean(copy**2)) < _SOUND:
        return None if np.sqrt(np.mean(origin**2)) < _SOUND else False
    place = _place(copy, origin)
    blocks = _blocks(copy, origin[place : place + len(copy)])
    active = blocks.heard > blocks.heard.max() * _ACTIVE
    same = (blocks.follows > _SAME_SHARE * blocks.heard) & (np.abs(blocks.quieter) < _SAME_DB)
    return bool(np.mean(same[active]) > _SAME_SHARE)


def _place(copy: _Reals, origin: _Reals) -> int:
    """Where in ``origin`` the copy lies best: the peak of a cross-correlation whose spectrum is half whitened, so that
    the pitch of a voice makes no peaks of its own."""
    size = 1 << (len(copy) + len(origin) - 1).bit_length()
    cross = np.fft.rfft(origin, size) * np.conj(np.fft.rfft(copy, size))
    cross /= np.sqrt(np.abs(cross)) + 1e-12
    return int(np.abs(np.fft.irfft(cross, size)[: max(1, len(origin) - len(copy))]).argmax())


def _quiet_part(copy: _Reals) -> _Reals:
    """The sound without what is as loud as its loudest half second."""
    half = min(round(_BLOCK * _RATE) // 2, len(copy) // 2)
    sums = np.cumsum(np.pad(copy**2, half))
    energy = sums[2 * half :] - sums[: -2 * half]
    return np.where(energy < energy.max() * _QUIET, copy, 0.0)


def _blocks(copy: _Reals, origin: _Reals) -> _Blocks:
    y, x = _spectra(copy), _spectra(origin)
    frames = min(len(x), len(y))
    wide, hop = max(1, round(_BLOCK * _RATE / _STEP)), max(1, round(_HOP * _RATE / _STEP))
    noise = np.percentile(y.real**2 + y.imag**2, 10, axis=0) * _NOISE
    rows = []
    for first in range(0, max(1, frames - wide // 2), hop):
        a, b = x[first : first + wide], y[first : first + wide]
        xx, yy = _energy(a), _energy(b)
        follows = np.abs((a.conj() * b).sum(axis=0)) ** 2 / (xx + 1e-12)
        own = max(0.0, float((yy - follows - noise * len(b)).sum()))
        quieter = 10 * np.log10((xx + 1e-12) / (follows + 1e-12))
        louder = float((quieter * follows).sum() / (follows.sum() + 1e-12))
        rows.append((yy.sum() / len(b), follows.sum() / len(b), own / len(b), louder))
    return _Blocks(*np.array(rows).T)


def _spectra(samples: _Reals) -> npt.NDArray[np.complex128]:
    padded = np.pad(samples, (0, max(0, _FRAME - len(samples))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FRAME)[::_STEP]
    return np.fft.rfft(frames * np.hanning(_FRAME), axis=1)


def _energy(spectra: npt.NDArray[np.complex128]) -> _Reals:
    energy: _Reals = (spectra.real**2 + spectra.imag**2).sum(axis=0)
    return energy


def _own(stretch: Stretch, is_own: _Flags, is_copy: _Flags) -> Iterator[Stretch]:
    """Runs of own blocks as stretches; what is between two of them belongs to them unless a copy is heard there. One's
    own voice is the louder, so a block is one's own as soon as a part of it is: beside a copy it begins towards the end
    of the first of them and ends towards the beginning of the last."""
    places = np.flatnonzero(is_own)
    if not len(places):
        return
    cuts = [index for index, (a, b) in enumerate(pairwise(places), start=1) if is_copy[a:b].sum() >= _PARTING]
    for run in np.split(places, cuts):
        if len(run) * _HOP < _LEAST_OWN:
            continue
        first, last = int(run[0]), int(run[-1])
        into = _BLOCK - _HOP - _BESIDE if is_copy[max(0, first - _REACH) : first].any() else _EDGE
        start = stretch.start if first == 0 else stretch.start + first * _HOP + into
        if last == len(is_own) - 1:
            yield Stretch(start=start, end=stretch.end)
            continue
        into = _HOP + _BESIDE if is_copy[last + 1 : last + 1 + _REACH].any() else _BLOCK - _EDGE
        yield Stretch(start=start, end=min(stretch.start + last * _HOP + into, stretch.end))


# --- by words --------------------------------------------------------------------------------------------------------


def same_words(copy: str, source: str) -> float:
    """The share of a copy's words that stand in its source in the same order; 0 where there are too few to tell."""
    heard, said = fold(copy), fold(source)
    if len(heard) < _FEWEST_WORDS or len(said) < _FEWEST_WORDS:
        return 0.0
    return sum(block.size for block in SequenceMatcher(None, heard, said, autojunk=False).get_matching_blocks()) / len(
        heard
    )


def repeats_other(one: Utterance, quieter_db: float, other: Utterance) -> str:
    """Why an utterance is taken for a copy of another channel's, in words; empty: it is not. ``quieter_db`` is how much
    quieter it is."""
    if one.channel == other.channel or quieter_db < QUIETER_DB:
        return ""
    start, end = max(one.start, other.start - _UNSHARP), min(one.end, other.end + LATEST_SECONDS)
    if end - start < _OVERLAP * (one.end - one.start):
        return ""
    share = 1.0 if _is_beginning(one, other) else same_words(one.text, other.text)
    if share < _SAME_WORDS:
        return ""
    return f"bleed of the other channel: {share:.0%} the same words at the same time, {quieter_db:.0f} dB quieter"


def _is_beginning(one: Utterance, other: Utterance) -> bool:
    """Whether it is over in a moment and is how the other begins just then: his first word at the edge of a stretch."""
    said = fold(one.text)
    beside = abs(one.start - other.start)
    return one.end - one.start < _MOMENT and beside < LATEST_SECONDS and said == fold(other.text)[: len(said)]


# --- how loud --------------------------------------------------------------------------------------------------------


class Loudness:
    """How loud a channel is, a figure each 50 ms."""

    _STEP = SAMPLE_RATE // 20

    def __init__(self, seconds: float) -> None:
        self._energy = np.zeros(math.ceil(seconds * 20) + 1, np.float32)

    def note(self, begin: float, sound: Sound) -> None:
        """Take in a piece of the channel that begins so many seconds from its start."""
        whole = sound[: len(sound) // self._STEP * self._STEP].reshape(-1, self._STEP)
        first = round(begin * 20)
        into = self._energy[first : first + len(whole)]
        into[:] = np.einsum("ij,ij->i", whole, whole)[: len(into)] / self._STEP

    def level(self, start: float, end: float) -> float:
        """Level between two times in dB, 0 being full scale; of the louder half of it, so that pauses do not count."""
        energy = np.sort(self._energy[math.floor(start * 20) : max(math.ceil(end * 20), math.floor(start * 20) + 1)])
        loud = energy[len(energy) // 2 :]
        return 10 * math.log10(float(loud.mean()) + 1e-10) if len(loud) else -100.0


def bleeding(utterances: Sequence[Utterance], loudness: Sequence[Loudness]) -> dict[int, str]:
    """Which of the utterances, ordered by start, are copies by their words: place in the list and reason."""
    found: dict[int, str] = {}
    levels = [loudness[one.channel].level(one.start, one.end) for one in utterances]
    latest = 0.0
    waiting: list[int] = []
    for index, one in enumerate(utterances):
        latest = one.start - LATEST_SECONDS
        waiting = [other for other in waiting if utterances[other].end > latest]
        for other in waiting:
            for copy, source in ((index, other), (other, index)):
                reason = repeats_other(utterances[copy], levels[source] - levels[copy], utterances[source])
                if reason:
                    found.setdefault(copy, reason)
        waiting.append(index)
    return found
