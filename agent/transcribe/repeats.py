"""Loops and sentences that speech models invent. Pure.

A model that loses the thread says the same words over and over, within a segment or segment after segment; and where it
hears nothing it says what stood below the films it was trained on. The words people really repeat ("no, no, no", digits
of a number, a question asked three times with pauses between) are left alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from agent.transcribe.engine import Recognised
from agent.transcribe.speech.windows import Passage
from agent.transcribe.wer import fold

_LONGEST = 12  # words of what is repeated
_TIMES = {1: 8, 2: 5}  # how often in a row is a loop, by words
_TIMES_OF_MORE = 4
_SYLLABLES = re.compile(r"((?:\w[\s,.-]*){1,4}?)\1{11,}")  # "ха-ха-ха-…" without an end
_SENTENCE_TIMES = 3
_FEWEST_WORDS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """Words ``first`` to ``last`` (exclusive) say ``length`` words so many ``times``."""

    first: int
    last: int
    length: int
    times: int


def find_loop(words: Sequence[str]) -> Loop | None:
    """The first loop in a row of folded words; digits may repeat, as they do in numbers."""
    for first in range(len(words)):
        for length in range(1, min(_LONGEST, (len(words) - first) // 2) + 1):
            unit = words[first : first + length]
            times = 1
            while words[first + times * length : first + (times + 1) * length] == unit:
                times += 1
            if times >= _TIMES.get(length, _TIMES_OF_MORE) and not all(word.isdigit() for word in unit):
                return Loop(first=first, last=first + times * length, length=length, times=times)
    return None


def cut_loop(passage: Passage) -> tuple[Passage, str]:
    """The passage with what is looped said once, and the reason; empty: nothing was cut."""
    tokens = [word.text for word in passage.words] or passage.text.split()
    folded = [" ".join(fold(token)) for token in tokens]
    loop = find_loop(folded)
    if loop is None:
        short = _SYLLABLES.sub(r"\1\1\1", passage.text)
        if short == passage.text:
            return passage, ""
        return replace(passage, text=short), "repeats itself: one syllable without an end"
    kept = [*range(loop.first + loop.length), *range(loop.last, len(tokens))]
    reason = f"repeats itself: {loop.times} times the same {loop.length} word{'s' * (loop.length > 1)}"
    words = tuple(passage.words[index] for index in kept) if passage.words else ()
    text = ("" if passage.words else " ").join(tokens[index] for index in kept)
    if words and loop.last == len(tokens):
        return replace(passage, text=text, words=words, end=max(passage.start, words[-1].end)), reason
    return replace(passage, text=text, words=words), reason


def repeated_sentences(passages: Sequence[Passage]) -> set[int]:
    """Places of passages of one channel, in order, that say again what the one before said, within one stretch of
    speech: from the third time on all but the first are a loop. With a pause before each, people do say it again."""
    found: set[int] = set()
    run: list[int] = []
    for index, passage in enumerate(passages):
        same = run and passage.speech == passages[run[-1]].speech and _folded(passage) == _folded(passages[run[-1]])
        if not same:
            run = []
        run.append(index)
        if len(run) >= _SENTENCE_TIMES and len(_folded(passage)) >= _FEWEST_WORDS:
            found |= set(run[1:])
    return found


def _folded(passage: Passage) -> list[str]:
    return fold(passage.text)


# What Whisper is known to say of silence, music and noise. People say each of it too, so it is only a suspicion.
_INVENTIONS = re.compile(
    r"""
    субтитры\s(?:сделал|создавал|делал|подогнал|подготовил)\w*\b.* | (?:редактор|корректор)\sсубтитров\b.*
    | продолжение\sследует | спасибо\sза\s(?:просмотр|внимание|подписку) | подписывайтесь\sна\s(?:наш\s)?канал\b.*
    | ставьте\sлайк\w*\b.* | до\sновых\sвстреч | с\sвами\sбыл\w*\b.* | dimatorzok | игорь\sнегода | аплодисменты
    | (?:тревожная|спокойная|весёлая|веселая|напряженная|лирическая|динамичная)?\s?музыка | смех
    | thank\syou(?:\svery\smuch)?(?:\sfor\s(?:watching|listening))? | thanks\sfor\swatching\b.*
    | (?:please\s)?(?:like\sand\s)?subscribe\b.* | see\syou\s(?:next\stime|in\sthe\snext\s(?:video|one))
    | subtitles?\sby\b.* | transcribed\sby\b.* | amara\sorg | www\s\w+\s(?:com|org)\b.* | you | bye(?:\sbye)? | music
    | untertitel\b.* | vielen\sdank\s(?:fürs\szuschauen)?
    """,
    re.VERBOSE,
)
_WEAK_NO_SPEECH = 0.3
_WEAK_LOG_PROBABILITY = -0.7


def is_known_invention(text: str) -> bool:
    """Whether a whole segment is one of the sentences that models say of silence."""
    words = " ".join(fold(text))
    return bool(words) and _INVENTIONS.fullmatch(words) is not None


def suspicion(segment: Recognised, text: str, speech_seconds: float) -> str:
    """Why a sentence known as an invention is not believed: its figures are weak, or there was too little speech for
    it. Empty: it is believed."""
    if not is_known_invention(text):
        return ""
    if segment.no_speech > _WEAK_NO_SPEECH:
        return f"a known invention of speech models: no-speech probability {segment.no_speech:.2f}"
    if segment.log_probability < _WEAK_LOG_PROBABILITY:
        return f"a known invention of speech models: log-probability {segment.log_probability:.2f}"
    if len(text) > 25 * speech_seconds:
        return f"a known invention of speech models: {len(text)} characters in {speech_seconds:.1f} s"
    return ""
