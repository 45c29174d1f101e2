"""How the speech of one channel is cut into windows for the model, and how the model's times get back. Pure.

A window of Whisper costs the same however little is said in it, so short stretches are joined up to the seconds that
the model takes. Silence between them is cut out; each piece remembers where it came from.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, groupby

import numpy as np

from agent.model import Word
from agent.transcribe.engine import Recognised, Sound, Stretch
from agent.transcribe.speech.channels import Channel

# In a telephone band voice activity detection notices a soft beginning up to 0.3 s late; ends it finds well.
PAD_BEFORE_SECONDS = 0.5
PAD_AFTER_SECONDS = 0.2
_SPAN_SECONDS = 240.0  # from the first to the last piece of a window: a call is gone through once, in order of time


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A stretch of speech with some of the silence around it: ``start`` and ``end`` are cut, ``speech`` is inside."""

    start: float
    end: float
    speech: Stretch


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What the model hears at once: pieces of one channel, one right after the other."""

    pieces: tuple[Piece, ...]

    @property
    def seconds(self) -> float:
        """Length of the window."""
        return sum(piece.end - piece.start for piece in self.pieces)

    def cut(self, channel: Channel) -> Sound:
        """The sound of the window."""
        return np.concatenate([channel.piece(piece.start, piece.end) for piece in self.pieces])

    def index(self, time: float) -> int:
        """In which piece a time of the window lies."""
        begins = list(accumulate((piece.end - piece.start for piece in self.pieces), initial=0.0))[:-1]
        return max(0, bisect_right(begins, time) - 1)

    def locate(self, time: float, index: int) -> float:
        """A time of the window as a time of the channel, kept inside the piece."""
        piece = self.pieces[index]
        before = sum(earlier.end - earlier.start for earlier in self.pieces[:index])
        return min(max(piece.start + time - before, piece.start), piece.end)


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A segment, or the part of it in one piece, in the channel's times; the gate judges by ``segment``. ``speech``
    is the stretch it was said in."""

    start: float
    end: float
    text: str
    words: tuple[Word, ...]
    segment: Recognised
    speech: Stretch


def plan_windows(stretches: Sequence[Stretch], *, seconds: float, join_seconds: float) -> list[Window]:
    """Windows for the stretches of a channel that is ``seconds`` long; a window longer than one stretch is joined."""
    windows: list[list[Piece]] = []
    for piece in _padded(stretches, seconds):
        length = sum(other.end - other.start for other in windows[-1]) if windows else 0.0
        fits = windows and length + piece.end - piece.start <= join_seconds
        if fits and piece.end - windows[-1][0].start <= _SPAN_SECONDS:
            windows[-1].append(piece)
        else:
            windows.append([piece])
    return [Window(pieces=tuple(pieces)) for pieces in windows]


def place(window: Window, segments: Iterable[Recognised]) -> list[Passage]:
    """Put what the model wrote back to where it was said, in order of time.

    A word belongs to the piece in which its middle lies. Pieces meet about the middle of the pause between them, for
    voice activity detection notices a beginning late (`PAD_BEFORE_SECONDS`), so a word goes to the nearer speech, and
    its time may be wrong by half of that pause. A segment that goes over a cut becomes two passages. Where speech
    begins and ends, voice activity detection is more exact than the model, so the first and last passage of a piece
    take its edges.
    """
    found: list[tuple[int, Passage]] = []
    for segment in segments:
        found += _parts(window, segment)
    result = []
    for index, group in groupby(found, key=lambda item: item[0]):
        passages = [passage for _, passage in group]
        speech = window.pieces[index].speech
        passages[0] = replace(passages[0], start=speech.start, end=max(passages[0].end, speech.start))
        passages[-1] = replace(passages[-1], end=max(speech.end, passages[-1].start))
        result += passages
    return result


def _padded(stretches: Sequence[Stretch], seconds: float) -> list[Piece]:
    """Each stretch with some silence around it, but never more than half of the silence to its neighbour."""
    pieces = []
    for index, stretch in enumerate(stretches):
        before = stretch.start if index == 0 else (stretch.start - stretches[index - 1].end) / 2
        after = seconds - stretch.end if index == len(stretches) - 1 else (stretches[index + 1].start - stretch.end) / 2
        pieces.append(
            Piece(
                start=stretch.start - max(0.0, min(PAD_BEFORE_SECONDS, before)),
                end=stretch.end + max(0.0, min(PAD_AFTER_SECONDS, after)),
                speech=stretch,
            )
        )
    return pieces


def _parts(window: Window, segment: Recognised) -> list[tuple[int, Passage]]:
    if not segment.words:
        first, last = window.index(segment.start), window.index(segment.end)
        start, end = window.locate(segment.start, first), window.locate(segment.end, last)
        speech = window.pieces[first].speech
        found = Passage(start=start, end=max(start, end), text=segment.text, words=(), segment=segment, speech=speech)
        return [(first, found)]
    parts = []
    for index, group in groupby(segment.words, key=lambda word: window.index((word.start + word.end) / 2)):
        words = tuple(_placed(window, index, word) for word in group)
        text = "".join(word.text for word in words)
        begin, end, speech = words[0].start, words[-1].end, window.pieces[index].speech
        passage = Passage(start=begin, end=end, text=text, words=words, segment=segment, speech=speech)
        parts.append((index, passage))
    return parts


def _placed(window: Window, index: int, word: Word) -> Word:
    return replace(word, start=window.locate(word.start, index), end=window.locate(word.end, index))
