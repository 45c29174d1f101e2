"""From the tokens a Whisper wrote to segments with times, and from an alignment to words. Pure.

Times are seconds from the beginning of the window. Times a model writes are tokens too: the first stands for 0 s, each
further one for 0.02 s more (Radford et al. 2022, section 2.3).
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from statistics import median
from typing import Any

from agent.model import Word

TICK_SECONDS = 0.02
_FASTEST = 40.0  # characters a second; people reach 25
_LONG_WORD_SECONDS = 0.7  # median of the words of a window at most; one that lasts twice as long heard silence


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """Tokens of one segment, without those of time, and from when to when it was said."""

    start: float
    end: float
    tokens: tuple[int, ...]


def cut_segments(tokens: Sequence[int], *, first_time: int, seconds: float) -> tuple[list[Cut], float | None]:
    """Segments of what was written for a window of ``seconds``; ``first_time`` is the token of 0 s.

    The second part of the answer is the time up to which the model has heard where it closed a segment and opened no
    other: the rest of the window is still to be asked for. None: it has heard all.
    """
    cuts: list[Cut] = []
    words: list[int] = []
    start, last = 0.0, None
    for token in tokens:
        if token < first_time:
            words.append(token)
            continue
        time = min((token - first_time) * TICK_SECONDS, seconds)
        if words:
            cuts.append(Cut(start=start, end=max(start, time), tokens=tuple(words)))
            words = []
        start, last = time, time
    if words:
        cuts.append(Cut(start=start, end=max(start, seconds), tokens=tuple(words)))
    goes_on = len(tokens) > 1 and tokens[-1] >= first_time and tokens[-2] >= first_time
    return cuts, last if goes_on else None


def compression(text: str) -> float:
    """How many times smaller zlib makes it; above 2.4 it repeats itself."""
    content = text.encode()
    return len(content) / len(zlib.compress(content)) if content else 0.0


def words_of(alignment: Sequence[Mapping[str, Any]], count: int) -> tuple[list[Word], int]:
    """Words out of the first ``count`` tokens of an alignment, and how many of its entries they are.

    Punctuation goes with its word. A word far longer than its neighbours was stretched over silence: its beginning is
    cut, since ends are found well.
    """
    taken, length = 0, 0
    while length < count and taken < len(alignment):
        length += len(alignment[taken]["tokens"])
        taken += 1
    entries = [entry for entry in alignment[:taken] if entry["word"].strip()]
    longest = _longest([float(entry["end"] - entry["start"]) for entry in entries])
    words: list[Word] = []
    opening = ""
    for entry in entries:
        text, end = opening + entry["word"], float(entry["end"])
        mark = text.strip()
        opening = ""
        if words and not text.startswith(" ") and not mark[0].isalnum():
            words[-1] = replace(words[-1], text=words[-1].text + text, end=max(end, words[-1].end))
        elif not any(one.isalnum() for one in mark):
            opening = text
        else:
            start = min(end, max(float(entry["start"]), end - longest))
            words.append(Word(start=start, end=end, text=text, confidence=float(entry["probability"])))
    return words, taken


def found_again(words: Sequence[Word], cut: Cut) -> list[Word]:
    """The words of a segment; where the alignment lost them, shared out over the segment's own times by their letters.

    An alignment goes through the window word after word and cannot turn back. After a pause it now and then takes a
    whole sentence for the end of the one before: then more is said there than anybody can, while the times that the
    model wrote itself have room for it. In a window of several pieces such words would land in the piece before.
    """
    letters = [len(word.text.strip()) for word in words]
    whole = sum(letters)
    if not words or not _is_hurried(whole, words[-1].end - words[0].start) or _is_hurried(whole, cut.end - cut.start):
        return list(words)
    edges = [cut.start + (cut.end - cut.start) * said / whole for said in accumulate(letters, initial=0)]
    return [replace(word, start=start, end=end) for word, (start, end) in zip(words, pairwise(edges), strict=True)]


def _is_hurried(letters: int, seconds: float) -> bool:
    return letters > _FASTEST * seconds


def _longest(lengths: Sequence[float]) -> float:
    known = [length for length in lengths if length > 0]
    return 2 * min(_LONG_WORD_SECONDS, median(known)) if known else _LONG_WORD_SECONDS
