"""From the channels of a call to one dialogue: each channel by itself, merged by time. Pure but for the engine.

Each party is heard apart because a mix of two voices is recognised worse, and because the channel says who spoke.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from agent.errors import Misconfigured
from agent.model import Utterance, Word
from agent.transcribe.channels import Channel
from agent.transcribe.engine import NO_HINTS, Engine, Hints, Sound, Stretch
from agent.transcribe.gate import objection
from agent.transcribe.speechfinder import find_speech
from agent.transcribe.windows import Passage, Window, place, plan_windows

_BLOCK_SECONDS = 600.0  # voice activity is looked for in blocks, so that an hour of floats is never held
_SAME_BREATH_SECONDS = 0.5
_LANGUAGE_WINDOWS = 3
_LANGUAGE_SURE = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """A passage the gate did not believe, with the reason: kept for whoever wonders what is missing."""

    channel: int
    start: float
    end: float
    text: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialogue:
    """Who said what from when to when, ordered by start; ``language`` is empty where nobody spoke."""

    language: str
    utterances: tuple[Utterance, ...] = ()
    dropped: tuple[Dropped, ...] = ()


def transcribe_channels(
    channels: Sequence[Channel],
    engine: Engine,
    languages: Sequence[str],
    hints: Hints = NO_HINTS,
    *,
    find: Callable[[Sound], list[Stretch]] = find_speech,
) -> Dialogue:
    """Write down a call. The model is not touched where no channel holds speech.

    The language is found once, on the longest speech of all channels, among ``languages`` (ISO 639-1), and then kept:
    a guess a window would turn a short "yes" into another language.

    Raises:
        ModelUnavailable: the model cannot be loaded.
        Misconfigured: the model knows none of the languages.
    """
    heard = [(index, channel, _windows(channel, engine, find)) for index, channel in enumerate(channels)]
    if not any(windows for _, _, windows in heard):
        return Dialogue(language="")
    language = _find_language([(channel, window) for _, channel, ws in heard for window in ws], engine, languages)
    passages = [
        (index, passage)
        for index, channel, windows in heard
        for window in windows
        for passage in place(window, engine.recognise([window.cut(channel)], language, hints)[0])
    ]
    return _merged(language, passages)


def _windows(channel: Channel, engine: Engine, find: Callable[[Sound], list[Stretch]]) -> list[Window]:
    stretches = list(_one_breath(_stretches(channel, find)))
    return plan_windows(stretches, seconds=channel.seconds, join_seconds=engine.join_seconds)


def _stretches(channel: Channel, find: Callable[[Sound], list[Stretch]]) -> Iterator[Stretch]:
    begin = 0.0
    while begin < channel.seconds:
        for found in find(channel.piece(begin, begin + _BLOCK_SECONDS)):
            yield Stretch(start=begin + found.start, end=begin + found.end)
        begin += _BLOCK_SECONDS


def _one_breath(stretches: Iterator[Stretch]) -> Iterator[Stretch]:
    """Join what the edge between two blocks cut apart."""
    last: Stretch | None = None
    for stretch in stretches:
        border = round(stretch.start / _BLOCK_SECONDS) * _BLOCK_SECONDS
        if last is not None and last.end <= border <= stretch.start and stretch.start - last.end < _SAME_BREATH_SECONDS:
            last = replace(last, end=stretch.end)
            continue
        if last is not None:
            yield last
        last = stretch
    if last is not None:
        yield last


def _find_language(windows: Sequence[tuple[Channel, Window]], engine: Engine, languages: Sequence[str]) -> str:
    """The likeliest allowed language over the longest windows, asking for more of them only while it is not sure."""
    if len(languages) == 1:
        return languages[0]
    weights = dict.fromkeys(languages, 0.0)
    for channel, window in sorted(windows, key=lambda item: item[1].seconds, reverse=True)[:_LANGUAGE_WINDOWS]:
        found = engine.weigh_languages(window.cut(channel))
        known = {language: found[language] for language in languages if language in found}
        if not known:
            raise Misconfigured(
                f"The speech model {engine.name} knows none of the languages {', '.join(languages)}.",
                remedy="Name languages it knows in transcribe.languages (ISO 639-1, for example ru), or another model.",
            )
        whole = sum(known.values()) or 1.0
        for language, weight in known.items():
            weights[language] += weight / whole * window.seconds
        leader = max(weights, key=weights.__getitem__)
        if weights[leader] >= _LANGUAGE_SURE * sum(weights.values()):
            return leader
    return max(weights, key=weights.__getitem__)


def _merged(language: str, passages: Sequence[tuple[int, Passage]]) -> Dialogue:
    utterances, dropped = [], []
    for channel, passage in sorted(passages, key=lambda item: (item[1].start, item[0])):
        reason = objection(passage.segment)
        text = _clean(passage.text)
        if reason or not text:
            dropped.append(
                Dropped(channel=channel, start=passage.start, end=passage.end, text=text, reason=reason or "no words")
            )
        else:
            utterances.append(_utterance(channel, passage, text))
    return Dialogue(language=language, utterances=tuple(utterances), dropped=tuple(dropped))


def _utterance(channel: int, passage: Passage, text: str) -> Utterance:
    words = tuple(replace(word, text=cleaned) for word in passage.words if (cleaned := _clean(word.text)))
    return Utterance(
        channel=channel,
        start=passage.start,
        end=passage.end,
        text=text,
        confidence=_confidence(words, passage.segment.log_probability),
        words=words,
    )


def _confidence(words: Sequence[Word], log_probability: float) -> float:
    chance = sum(word.confidence for word in words) / len(words) if words else math.exp(min(0.0, log_probability))
    return round(min(1.0, max(0.0, chance)), 3)


def _clean(text: str) -> str:
    """Half characters and control characters come out of a byte-level vocabulary; no database or page takes them."""
    return " ".join("".join(c if c.isprintable() and c != "\ufffd" else " " for c in text).split())
