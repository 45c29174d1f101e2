"""Windows to train on, as the pipeline will cut them: pieces of one party's speech, one after the other, up to 25 s.

Voice activity detection notices a beginning late and 0.5 s of padding goes before it, 0.2 s after the end; so silence
of 0.1 to 0.8 s lies around each piece, and under noise up to 1.2 s behind it. Sound is added to sound, goes through
G.711 and becomes features by the very code that hears a call: what noise does to a voice is in the window as it is at
work, which was not so when power was added to power in log-mels.
"""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from agent.transcribe.speech.channels import Channel
from tests.speech.corpus import LANGUAGES, load_corpus
from tests.speech.disturbances import Disturber, Sound
from tests.speech.material import LOUD, Clip, read_material
from tests.speech.synth import RATE, Law, clip, through
from tests.speech.vocabulary import TIMESTAMP_SECONDS, make_tokenizer

FRAMES_A_SECOND = 100
_SHARES = {"ru": 0.54, "en": 0.42, "de": 0.04}
_NOTHING_SAID = 0.05  # share of windows in which nobody speaks
_WITH_TIMES = 0.75  # share of windows that are written with timestamps
_WITH_PROMPT = 0.08
_FROM_DEMO = 0.2  # so many sentences more are of the demo, whose calls must be understood to the last word
_NOISY, _QUIET = 0.75, 0.15  # shares of windows with noise that is heard, and with noise that nobody notices
_NEAR, _FAR = (2.0, 20.0), (20.0, 50.0)  # decibels between the loud parts of the speech and noise
_MOSTLY = (5.0, 13.0)  # of those near
_COLOURED = 0.5  # share of windows whose voice has lost or won at some frequencies


@dataclass(slots=True, kw_only=True)
class Example:
    """One window and its answer. ``looks`` has for each target token the seconds where it is heard, or None."""

    mel: npt.NDArray[np.float32]
    tokens: list[int]
    targets: list[int]
    looks: list[tuple[float, float] | None]
    words: list[tuple[int, float]] = field(default_factory=list)
    phonemes: list[tuple[int, float, float]] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Placed:
    """A sentence at its second in the window."""

    at: float
    clip: Clip

    @property
    def end(self) -> float:
        return self.at + self.clip.seconds


class Joiner:
    """Makes windows by chance out of the material."""

    def __init__(self, folder: Path, seed: int) -> None:
        from faster_whisper.feature_extractor import FeatureExtractor

        self._features = FeatureExtractor(feature_size=80)
        self._samples, clips, self._noises, self.phonemes = read_material(folder)
        self._by_profile: dict[str, dict[int, list[Clip]]] = defaultdict(lambda: defaultdict(list))
        for one in clips:
            self._by_profile[one.language][one.profile].append(one)
        self._chance, self._disturber = random.Random(seed), Disturber(seed)
        tokenizer = make_tokenizer()
        self.id: Any = lambda name: tokenizer.token_to_id(f"<|{name}|>")
        self._spell: Any = lambda text: tokenizer.encode(text, add_special_tokens=False).ids
        self.vocabulary = tokenizer.get_vocab_size()
        self._first_time = self.id("0.00")
        demo = {tuple(self._spell(f" {text}")) for language in LANGUAGES for text in load_corpus(language).demo}
        self._demo = {
            profile: [one for one in some if tuple(token for token, _, _ in one.tokens) in demo]
            for profiles in self._by_profile.values()
            for profile, some in profiles.items()
        }

    def window(self, seconds: float, *, padded: float, first: float = 0.0) -> Example:
        """Speech of at most ``seconds`` in a mel of ``padded`` seconds, or now and then a sound without speech.

        It begins at the second ``first`` of 30 as far as timestamps go.
        """
        chance = self._chance
        language = chance.choices(list(_SHARES), list(_SHARES.values()))[0]
        if chance.random() < _NOTHING_SAID:
            sound = self._nothing(chance.uniform(0.5, min(10.0, seconds)))
            return self._example(language, [], self._heard(sound, padded), first)
        near = chance.random() < _NOISY
        placed, length = self._placed(language, seconds, tail=1.2 if near else 0.5)
        sound = np.zeros(round(length * RATE))
        for one in placed:
            self._add(sound, one, 0.0)
        sound = self._disturber.coloured_voice(sound) if chance.random() < _COLOURED else sound
        self._disturb(sound, placed, language, near=near)
        return self._example(language, placed, self._heard(sound * 10 ** (chance.uniform(-8, 8) / 20), padded), first)

    def _placed(self, language: str, seconds: float, *, tail: float) -> tuple[list[_Placed], float]:
        """Sentences of one voice: several in a piece, 0.1 to 0.55 s apart, pieces further apart."""
        chance = self._chance
        clips = chance.choice(list(self._by_profile[language].values()))
        wanted = seconds if chance.random() < 0.6 else chance.uniform(1.0, seconds)
        now = chance.choice((0.0, chance.uniform(0.1, 0.8), chance.uniform(0.3, 0.7)))
        placed: list[_Placed] = []
        while not placed or now < wanted:
            some = self._demo[clips[0].profile] if chance.random() < _FROM_DEMO else clips
            one = _Placed(at=round(now, 2), clip=chance.choice(some or clips))
            if one.end + 0.1 > seconds:
                if placed:
                    break
                one = _Placed(at=0.0, clip=min(clips, key=lambda one: one.seconds))
            placed.append(one)
            now = one.end + (chance.uniform(0.1, 0.55) if chance.random() < 0.35 else chance.uniform(0.3, 1.2))
        return placed, min(placed[-1].end + chance.uniform(0.05, tail), seconds)

    def _disturb(self, sound: Sound, placed: list[_Placed], language: str, *, near: bool) -> None:
        """Noise of the line, a tone in a pause, another voice far away: none of it is to be written down."""
        chance = self._chance
        if near or chance.random() < _QUIET / (1 - _NOISY):
            nearness = _MOSTLY if chance.random() < 0.8 else _NEAR
            sound += self._disturber.noise(len(sound), LOUD - chance.uniform(*(nearness if near else _FAR)))
        if chance.random() < 0.06 and placed[0].at > 0.3:
            tone = self._noise(placed[0].at - 0.1)
            sound[: len(tone)] += tone * 10 ** chance.uniform(-1, 0)
        if chance.random() < 0.05:
            other = chance.choice(chance.choice(list(self._by_profile[language].values())))
            self._add(sound, _Placed(at=chance.uniform(0, len(sound) / RATE), clip=other), chance.uniform(-35, -20))

    def _nothing(self, seconds: float) -> Sound:
        """A sound without speech: noise, or what else a line gives."""
        chance = self._chance
        if chance.random() < 0.4:
            return self._disturber.noise(round(seconds * RATE), chance.uniform(-60, -20))
        return np.asarray(self._noise(seconds) * 10 ** chance.uniform(-1.5, 0.25))

    def _noise(self, seconds: float) -> Sound:
        made = self._chance.choice(self._noises)
        start, samples = self._chance.randrange(len(made)), round(seconds * RATE)
        return np.take(made, range(start, start + samples), mode="wrap").astype(np.float64)

    def _add(self, sound: Sound, one: _Placed, decibels: float) -> None:
        begin = round(one.at * RATE)
        spoken = self._samples[one.clip.begin : one.clip.end][: max(0, len(sound) - begin)]
        sound[begin : begin + len(spoken)] += spoken * 10 ** (decibels / 20)

    def _heard(self, sound: Sound, padded: float) -> npt.NDArray[np.float32]:
        """The features of a window, filled up with 0 to its length; (80, frames)."""
        law: Law = self._chance.choice(("alaw", "mulaw"))
        samples = through(clip(sound), law)
        frames = round(padded * FRAMES_A_SECOND)
        features = self._features(Channel(samples=samples, rate=RATE).piece(0.0, padded))[:, :frames]
        features = _warped(features, self._chance.uniform(0.97, 1.03))
        return np.ascontiguousarray(np.pad(features, ((0, 0), (0, frames - features.shape[1]))), np.float32)

    def _example(self, language: str, placed: list[_Placed], mel: npt.NDArray[np.float32], first: float) -> Example:
        prompt = self._prompt(language)
        with_times = self._chance.random() < _WITH_TIMES
        start = [self.id(name) for name in ("startoftranscript", language, "transcribe")]
        start += [] if with_times else [self.id("notimestamps")]
        answer: list[tuple[int, tuple[float, float] | None]] = []
        for one in placed:
            if with_times:
                answer.append((self._time(first + one.at), (one.at - 0.15, one.at + 0.15)))
            answer += [(token, (one.at + begin, one.at + end)) for token, begin, end in one.clip.tokens]
            if with_times:
                answer.append((self._time(first + one.end), (one.end - 0.15, one.end + 0.15)))
        answer.append((self.id("endoftext"), None))
        silent = [-100] * (len(prompt) + len(start))
        silent[len(prompt)] = self.id(
            language if placed else "nospeech"
        )  # what the first token foretells: the language, or that nobody speaks
        return Example(
            mel=mel,
            tokens=[*prompt, *start, *(token for token, _ in answer[:-1])],
            targets=[*silent[:-1], *(token for token, _ in answer)],
            looks=[*(None for _ in silent[:-1]), *(look for _, look in answer)],
            words=[(token, one.at + (a + b) / 2) for one in placed for token, a, b in one.clip.tokens],
            phonemes=[(name, one.at + a, one.at + b) for one in placed for name, a, b in one.clip.phonemes],
        )

    def _prompt(self, language: str) -> list[int]:
        """Now and then hints stand before the answer: words of any sentence, or such as nobody knows."""
        chance = self._chance
        if chance.random() > _WITH_PROMPT:
            return []
        clips = chance.choice(list(self._by_profile[language].values()))
        known = [token for one in chance.sample(clips, 2) for token, _, _ in one.tokens]
        unknown = "".join(chance.choice("абвгдежзиклмнопрстуabcdefghiklmno") for _ in range(8))
        return [self.id("startofprev"), *(known if chance.random() < 0.6 else self._spell(f" {unknown}, {unknown}"))]

    def _time(self, seconds: float) -> int:
        return int(self._first_time + round(max(0.0, seconds) / TIMESTAMP_SECONDS))


def _warped(features: npt.NDArray[np.float32], factor: float) -> npt.NDArray[np.float32]:
    """Formants a little higher or lower: more voices than espeak-ng has."""
    wanted = np.clip(np.arange(80) * factor, 0, 78.999)
    low = wanted.astype(int)
    part = (wanted - low).astype(np.float32)[:, None]
    return np.asarray(features[low] * (1 - part) + features[low + 1] * part)
