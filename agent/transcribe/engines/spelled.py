"""From the tokens of a CTC or transducer model to words and segments, and which windows go through it together. Pure.

Such a model says for each token when it began and how likely it was, and nothing where nobody speaks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from agent.model import Word
from agent.transcribe.engine import SAMPLE_RATE, Recognised
from agent.transcribe.engines.segments import compression

BATCH = 8
NEUTRAL = -0.3  # log-probability of a model that tells none: nothing speaks for or against it
_BATCH_SECONDS = 60.0  # of sound at once, which bounds the memory of one run
_WASTE = 1.3  # windows go together while the longest is at most this much longer than the shortest
_PAUSE_SECONDS = 0.6  # between words, which parts two segments; a cut between two pieces of a window is longer
_TOKEN_SECONDS = 0.08  # how long a token at the end of a word sounds, for it has a beginning only
_IMPOSSIBLE = -10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A piece of a word, or a blank, as a model wrote it: when it began and with which log-probability."""

    text: str
    start: float
    log_probability: float


def alike(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Numbers of windows in batches: of like length, for all are stretched to the longest, and not too much at once."""
    batch: list[int] = []
    for number in sorted(range(len(lengths)), key=lengths.__getitem__):
        longest = lengths[number]
        too_much = (len(batch) + 1) * longest > _BATCH_SECONDS * SAMPLE_RATE
        if batch and (len(batch) == BATCH or too_much or longest > _WASTE * lengths[batch[0]]):
            yield batch
            batch = []
        batch.append(number)
    if batch:
        yield batch


def segments_of(tokens: Sequence[Token], text: str, seconds: float) -> list[Recognised]:
    """What a model wrote into one window of ``seconds``, parted where it heard a pause.

    These models say nothing where nobody speaks, and have no figure for it: ``no_speech`` is 0.
    """
    if not tokens:
        whole = text.strip()
        return [_segment(whole, 0.0, seconds, [], ())] if whole else []
    found = []
    for spoken in _parted(_words(tokens, seconds)):
        words = tuple(word for word, _ in spoken)
        chances = [chance for _, of_word in spoken for chance in of_word]
        found.append(_segment("".join(word.text for word in words), words[0].start, words[-1].end, chances, words))
    return found


def _segment(text: str, start: float, end: float, chances: Sequence[float], words: tuple[Word, ...]) -> Recognised:
    return Recognised(
        start=start,
        end=end,
        text=text,
        no_speech=0.0,
        log_probability=sum(chances) / len(chances) if chances else NEUTRAL,
        compression=compression(text),
        words=words,
    )


_Spoken: TypeAlias = tuple[Word, tuple[float, ...]]


def _words(tokens: Sequence[Token], seconds: float) -> list[_Spoken]:
    """Tokens to words with the log-probabilities of their tokens; a word begins after a space or a pause."""
    groups: list[list[Token]] = []
    begins, last = True, 0.0
    for token in tokens:
        text = token.text.strip()
        begins = begins or token.text.startswith(" ") or token.start - last >= _PAUSE_SECONDS
        last = token.start
        if text:
            if begins:
                groups.append([])
            groups[-1].append(token)
        begins = (begins and not text) or token.text.endswith(" ")
    ends = [*(group[0].start for group in groups[1:]), seconds]
    return [_word(group, before) for group, before in zip(groups, ends, strict=False)]


def _word(tokens: Sequence[Token], before: float) -> _Spoken:
    chances = tuple(token.log_probability for token in tokens)
    start = tokens[0].start
    end = max(start, min(tokens[-1].start + _TOKEN_SECONDS, before))
    confidence = sum(math.exp(chance) for chance in chances) / len(chances)
    text = " " + "".join(token.text for token in tokens).strip()
    return Word(start=start, end=end, text=text, confidence=round(confidence, 3)), chances


def _parted(words: Sequence[_Spoken]) -> Iterator[list[_Spoken]]:
    part: list[_Spoken] = []
    for spoken in words:
        if part and spoken[0].start - part[-1][0].end >= _PAUSE_SECONDS:
            yield part
            part = []
        part.append(spoken)
    if part:
        yield part


def figure(chance: float) -> float:
    """A log-probability as one: weights that broke give NaN, which the gate is to drop."""
    return min(0.0, float(chance)) if math.isfinite(chance) else _IMPOSSIBLE
