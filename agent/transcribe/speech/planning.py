"""What of a call is worth hearing: the speech of each channel, cut into windows for the model. Pure but for `find`.

What one channel only echoes of another is left out here already, and channels that carry one sound are taken once.

The plan comes first and by itself, so that windows of several calls can be recognised together, a call that was cut
off goes on with the windows that are missing, and figures of sound can be had without any speech model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, TypeAlias, TypeVar

import numpy as np

from agent.errors import Misconfigured
from agent.transcribe.engine import SAMPLE_RATE, Engine, Sound, Stretch
from agent.transcribe.gate import Dropped
from agent.transcribe.speech.bleed import EARLIEST_SECONDS, LATEST_SECONDS, Loudness, Parted, is_same, part
from agent.transcribe.speech.channels import Channel
from agent.transcribe.speech.windows import Window, plan_windows

BLOCK_SECONDS = 30.0  # voice activity is looked for up to each multiple of this, whether more is there by then or not
_EDGE_SECONDS = 0.5  # speech that ends this close to the end of a block goes on in the next
_LEAD_SECONDS = 1.0  # what voice activity detection hears before the speech that a block begins with
_WORTH_TELLING = 0.3  # seconds of a copy that was left out
LANGUAGE_WINDOWS = 3
_LANGUAGE_SURE = 0.9

FindSpeech: TypeAlias = Callable[[Sound], list[Stretch]]
Weights: TypeAlias = Mapping[str, float]  # how likely each language is


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparing:
    """How channels are compared, a stretch of one with another: by `bleed.part` and `bleed.is_same`, or by what knows
    their answers."""

    part: Callable[[Stretch, Sound, Sound], Parted]
    is_same: Callable[[Stretch, Sound, Sound], bool | None]


COMPARING = Comparing(part=part, is_same=lambda block, heard, source: is_same(heard, source))


class _HasSeconds(Protocol):
    @property
    def seconds(self) -> float: ...


_Lasting = TypeVar("_Lasting", bound=_HasSeconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A window of a channel; ``number`` counts within the channel from 0. The same sound gives the same windows."""

    channel: int
    number: int
    window: Window

    @property
    def seconds(self) -> float:
        """How much sound it is."""
        return self.window.seconds

    @property
    def start(self) -> float:
        """Where its first piece begins, seconds from the beginning of the call."""
        return self.window.pieces[0].start

    @property
    def end(self) -> float:
        """Where its last piece ends."""
        return self.window.pieces[-1].end

    def cut(self, channels: Sequence[Channel]) -> Sound:
        """The sound of the window, of the channels the plan was made for."""
        return self.window.cut(channels[self.channel])


KnownWeights: TypeAlias = Callable[[Planned], Weights | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """``speech`` has the stretches of each channel; ``windows`` are those of all channels, by their start, and the
    answers to them belong in the same order. ``separated``: each party has a channel of its own. ``loudness`` is of
    each channel, ``dropped`` what no model needs to hear."""

    seconds: float
    speech: tuple[tuple[Stretch, ...], ...]
    windows: tuple[Planned, ...]
    loudness: tuple[Loudness, ...]
    separated: bool = True
    dropped: tuple[Dropped, ...] = ()


def plan(
    channels: Sequence[Channel],
    *,
    join_seconds: float,
    find: FindSpeech,
    mixed: bool | None = None,
    comparing: Comparing = COMPARING,
) -> Plan:
    """Find the speech of all channels. ``mixed``: the parties are heard together; None: they are if there is one
    channel only. ``join_seconds`` and the limits of a window are the engine's."""
    is_mixed = len(channels) == 1 if mixed is None else mixed
    is_one = _is_one_sound(channels, comparing)
    loudness = tuple(Loudness(channel.seconds) for channel in channels)
    heard = [
        [] if is_one and index else list(SpeechSearch(channel, find, loud).rest())
        for index, (channel, loud) in enumerate(zip(channels, loudness, strict=True))
    ]
    speech, dropped = _without_bleed(channels, heard, comparing)
    windows = [
        Planned(channel=index, number=number, window=window)
        for index, (channel, stretches) in enumerate(zip(channels, speech, strict=True))
        for number, window in enumerate(plan_windows(stretches, seconds=channel.seconds, join_seconds=join_seconds))
    ]
    return Plan(
        seconds=max((channel.seconds for channel in channels), default=0.0),
        speech=speech,
        windows=tuple(sorted(windows, key=lambda one: (one.start, one.channel))),
        loudness=loudness,
        separated=not is_mixed and not is_one,
        dropped=tuple(dropped),
    )


def find_language(
    plan: Plan,
    channels: Sequence[Channel],
    engine: Engine,
    languages: Sequence[str],
    known: KnownWeights = lambda planned: None,
) -> str:
    """The likeliest allowed language over the longest windows; empty where nobody speaks. It asks for more windows only
    while it is not sure. One language a call: a guess a window would turn a short "yes" into another language.
    ``known`` is what the engine said of a window before.

    Raises:
        ModelUnavailable: the model cannot be loaded.
        Misconfigured: the model knows none of the languages.
    """
    if not plan.windows or len(languages) == 1:
        return languages[0] if plan.windows else ""
    longest = longest_of(plan.windows)
    heard = ((known(one) or engine.weigh_languages(one.cut(channels)), one.seconds) for one in longest)
    return weigh(heard, engine.name, languages)[0]


def longest_of(windows: Iterable[_Lasting]) -> list[_Lasting]:
    """The windows by which the language of a call is told."""
    return sorted(windows, key=lambda one: one.seconds, reverse=True)[:LANGUAGE_WINDOWS]


def weigh(heard: Iterable[tuple[Weights, float]], name: str, languages: Sequence[str]) -> tuple[str, bool]:
    """The likeliest of the languages over windows of so many seconds, and whether that is sure; then no more are taken
    from ``heard``. ``name`` is that of the model which gave them their weights.

    Raises:
        Misconfigured: the model knows none of the languages.
    """
    weights = dict.fromkeys(languages, 0.0)
    for said, seconds in heard:
        known = _known(said, name, languages)
        whole = sum(known.values()) or 1.0
        for language, weight in known.items():
            weights[language] += weight / whole * seconds
        leader = max(weights, key=weights.__getitem__)
        if weights[leader] >= _LANGUAGE_SURE * sum(weights.values()):
            return leader, True
    return max(weights, key=weights.__getitem__), False


def _known(found: Weights, name: str, languages: Sequence[str]) -> dict[str, float]:
    known = {language: found[language] for language in languages if language in found}
    if not known:
        raise Misconfigured(
            f"The speech model {name} knows none of the languages {', '.join(languages)}.",
            remedy="Name languages it knows in transcribe.languages (ISO 639-1, for example ru), or another model.",
        )
    return known


class SpeechSearch:
    """Speech of a channel, block after block: the same of a sound that still grows and of the same sound later.

    What touches the end of a block is left to the next, which begins a little before it.
    """

    def __init__(self, channel: Channel, find: FindSpeech, loudness: Loudness | None = None) -> None:
        self._channel, self._find, self._loudness = channel, find, loudness
        self._number = 1
        self.reached = 0.0  # all speech that begins before is found

    def blocks(self, until: float) -> Iterator[Stretch]:
        """What is found in the blocks that end by ``until`` and were not looked at yet."""
        while self._number * BLOCK_SECONDS <= until:
            yield from self._block(self._number * BLOCK_SECONDS)
            self._number += 1

    def rest(self) -> Iterator[Stretch]:
        """All that is left, to the end of the channel."""
        yield from self.blocks(self._channel.seconds)
        if self.reached < self._channel.seconds:
            yield from self._block(self._channel.seconds)

    def _block(self, end: float) -> list[Stretch]:
        begin = self.reached
        sound = self._channel.piece(begin, end)
        if self._loudness is not None:
            self._loudness.note(begin, sound)
        found = [Stretch(start=begin + one.start, end=begin + one.end) for one in self._find(sound)]
        self.reached = end
        if end < self._channel.seconds:
            before = begin
            if found and found[-1].end > end - _EDGE_SECONDS:
                before = found[-2].end if len(found) > 1 else begin
                if max(found[-1].start - _LEAD_SECONDS, before) > begin:
                    self.reached = max(found.pop().start - _LEAD_SECONDS, before)
            else:
                self.reached = max(end - _LEAD_SECONDS, found[-1].end if found else begin)
        return found


def _without_bleed(
    channels: Sequence[Channel], speech: Sequence[Sequence[Stretch]], comparing: Comparing
) -> tuple[tuple[tuple[Stretch, ...], ...], list[Dropped]]:
    """The speech of each channel that is its own, and what was left out of it."""
    kept: list[tuple[Stretch, ...]] = []
    dropped: list[Dropped] = []
    for index, stretches in enumerate(speech):
        own: list[Stretch] = []
        for stretch in stretches:
            rest, reason = own_parts(channels, speech, index, stretch, comparing)
            own += rest
            dropped += [
                Dropped(channel=index, start=start, end=end, text="", reason=reason)
                for start, end in _between(stretch, rest)
                if reason and end - start >= _WORTH_TELLING
            ]
        kept.append(tuple(own))
    return tuple(kept), dropped


def own_parts(
    channels: Sequence[Channel],
    speech: Sequence[Sequence[Stretch]],
    index: int,
    stretch: Stretch,
    comparing: Comparing = COMPARING,
) -> tuple[list[Stretch], str]:
    """The parts of a stretch of channel ``index`` that are its own, and why others are not (empty: all is)."""
    parts, reason = [stretch], ""
    for other, theirs in enumerate(speech):
        if other == index:
            continue
        rest: list[Stretch] = []
        for one in parts:
            begin, end = one.start - LATEST_SECONDS, one.end - EARLIEST_SECONDS
            if not any(begin < spoken.end and spoken.start < end for spoken in theirs):
                rest.append(one)
                continue
            heard = channels[index].piece(one.start, one.end)
            parted = comparing.part(one, heard, _padded(channels[other], begin, end))
            rest += parted.own
            reason = parted.copied.reason if parted.copied else reason
        parts = rest
    return parts, reason


def _between(stretch: Stretch, parts: Sequence[Stretch]) -> list[tuple[float, float]]:
    """What of a stretch none of its parts covers."""
    edges = [stretch.start, *(edge for one in parts for edge in (one.start, one.end)), stretch.end]
    return list(pairwise(edges))[::2]


def _is_one_sound(channels: Sequence[Channel], comparing: Comparing) -> bool:
    """Whether all channels carry the same sound: then it is a mix, whatever the number of channels says."""
    if len(channels) < 2:
        return False
    heard = False
    begin = 0.0
    while begin < min(channel.seconds for channel in channels):
        found = differ(channels, begin, comparing)
        if found:
            return False
        heard = heard or found is False
        begin += BLOCK_SECONDS
    return heard


def differ(channels: Sequence[Channel], begin: float, comparing: Comparing = COMPARING) -> bool | None:
    """Whether a channel's block from ``begin`` on is not what the first one carries; None: there is too little in it to
    tell."""
    end = begin + BLOCK_SECONDS
    block = Stretch(start=begin, end=end)
    source = _padded(channels[0], begin - LATEST_SECONDS, end - EARLIEST_SECONDS)
    found = [comparing.is_same(block, _padded(channel, begin, end), source) for channel in channels[1:]]
    if False in found:
        return True
    return None if None in found else False


def _padded(channel: Channel, begin: float, end: float) -> Sound:
    """The sound between two times, silence where the channel has none."""
    sound = channel.piece(max(0.0, begin), end)
    before = round(max(0.0, -begin) * SAMPLE_RATE)
    return np.pad(sound, (before, max(0, round((end - begin) * SAMPLE_RATE) - before - len(sound))))
