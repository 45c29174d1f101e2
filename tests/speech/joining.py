"""Windows to train on, as the pipeline will cut them: pieces of one party's speech, one after the other, up to 25 s.

Voice activity detection notices a beginning late and 0.5 s of padding goes before it, 0.2 s after the end; so silence
of 0.1 to 0.8 s lies around each piece. All is put together from log-mels: power adds up.
"""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.speech.corpus import LANGUAGES, load_corpus
from tests.speech.material import FRAMES_A_SECOND, Clip, Mel, read_material
from tests.speech.vocabulary import TIMESTAMP_SECONDS, make_tokenizer

_SHARES = {"ru": 0.54, "en": 0.42, "de": 0.04}
_NOTHING_SAID = 0.05  # share of windows in which nobody speaks
_WITH_TIMES = 0.75  # share of windows that are written with timestamps
_WITH_PROMPT = 0.08
_FROM_DEMO = 0.2  # so many sentences more are of the demo, whose calls must be understood to the last word
_BAND_NOISES = 48  # so many of the first noises are steady, the others are tones, melodies and silence
_LOUDER = 0.8  # decades of power by which speech of the material is louder than its noises: -22 and -30 dBFS
_NEAR, _FAR = (0.2, 2.0), (2.0, 5.0)  # decades between speech and noise: 2 to 20 dB, and what nobody notices
_WIDTHS = np.maximum(1.0, 1.0383 ** (np.arange(80) - 27.0)).astype(np.float32)  # of the mel bands, from one to the next
_TELEPHONE_BANDS = 63  # those up to 4 kHz
_FLOOR = -10.0


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
        return self.at + (self.clip.end - self.clip.begin) / FRAMES_A_SECOND


class Joiner:
    """Makes windows by chance out of the material."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._frames, clips, self._noises, self.phonemes = read_material(folder)
        self._by_profile: dict[str, dict[int, list[Clip]]] = defaultdict(lambda: defaultdict(list))
        for clip in clips:
            self._by_profile[clip.language][clip.profile].append(clip)
        self._chance = random.Random(seed)
        tokenizer = make_tokenizer()
        self.id: Any = lambda name: tokenizer.token_to_id(f"<|{name}|>")
        self._spell: Any = lambda text: tokenizer.encode(text, add_special_tokens=False).ids
        self.vocabulary = tokenizer.get_vocab_size()
        self._first_time = self.id("0.00")
        demo = {tuple(self._spell(f" {text}")) for language in LANGUAGES for text in load_corpus(language).demo}
        self._demo = {
            profile: [clip for clip in clips if tuple(token for token, _, _ in clip.tokens) in demo]
            for profiles in self._by_profile.values()
            for profile, clips in profiles.items()
        }

    def window(self, seconds: float, *, padded: float, first: float = 0.0) -> Example:
        """Speech of at most ``seconds`` in a mel of ``padded`` seconds, or now and then a sound without speech.

        It begins at the second ``first`` of 30 as far as timestamps go.
        """
        chance = self._chance
        language = chance.choices(list(_SHARES), list(_SHARES.values()))[0]
        if chance.random() < _NOTHING_SAID:
            power = self._noise(chance.uniform(0.5, min(10.0, seconds)), steady=chance.random() < 0.3)
            return self._example(language, [], power * 10 ** chance.uniform(-3, 0.5), padded, first)
        placed, length = self._placed(language, seconds)
        power = np.zeros((round(length * FRAMES_A_SECOND), 80), np.float32)
        for one in placed:
            _add(power, one, self._frames, 1.0)
        level = 10 ** chance.uniform(-0.8, 0.8)
        power = _warped(power, chance.uniform(0.97, 1.03)) * level
        self._disturb(power, placed, language, level)
        return self._example(language, placed, power, padded, first)

    def _placed(self, language: str, seconds: float) -> tuple[list[_Placed], float]:
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
                one = _Placed(at=0.0, clip=min(clips, key=lambda clip: clip.end - clip.begin))
            placed.append(one)
            now = one.end + (chance.uniform(0.1, 0.55) if chance.random() < 0.35 else chance.uniform(0.3, 1.2))
        return placed, min(placed[-1].end + chance.uniform(0.05, 0.5), seconds)

    def _disturb(self, power: npt.NDArray[np.float32], placed: list[_Placed], language: str, level: float) -> None:
        """Noise of the line, a tone in a pause, another voice far away: none of it is to be written down."""
        chance = self._chance
        seconds = len(power) / FRAMES_A_SECOND
        if chance.random() < 0.3:
            power += self._silence(len(power))
        if chance.random() < 0.7:
            quieter = chance.uniform(*(_NEAR if chance.random() < 0.6 else _FAR)) - _LOUDER
            power += self._tinted(self._noise(seconds, steady=True)) * level * 10**-quieter
        if chance.random() < 0.06 and placed[0].at > 0.3:
            tone = self._noise(placed[0].at - 0.1, steady=False)
            power[: len(tone)] += tone * 10 ** chance.uniform(-2, 0)
        if chance.random() < 0.05:
            other = chance.choice(chance.choice(list(self._by_profile[language].values())))
            at = chance.uniform(0, seconds)
            _add(power, _Placed(at=at, clip=other), self._frames, 10 ** chance.uniform(-3.5, -2))

    def _noise(self, seconds: float, *, steady: bool) -> npt.NDArray[np.float32]:
        kinds = self._noises[:_BAND_NOISES] if steady else self._noises[_BAND_NOISES:]
        mel: Mel = self._chance.choice(kinds)
        frames = round(seconds * FRAMES_A_SECOND)
        start = self._chance.randrange(len(mel))
        return _power(np.take(mel, range(start, start + frames), axis=0, mode="wrap"))

    def _tinted(self, power: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Noise of another colour, as loud: it falls or rises towards high tones, and now and then ends at one."""
        fall = self._chance.uniform(-2.5, 0.5)
        tint = np.power(10.0, np.arange(80) / _TELEPHONE_BANDS * fall).astype(np.float32)
        if self._chance.random() < 0.4:
            tint[self._chance.randint(25, _TELEPHONE_BANDS) :] *= 1e-4
        made = power * tint
        return np.asarray(made * float((power @ _WIDTHS).sum() / max(1e-20, (made @ _WIDTHS).sum())))

    def _silence(self, frames: int) -> npt.NDArray[np.float32]:
        """Silence as A-law or mu-law write it, which is not nothing."""
        mel = self._noises[-self._chance.choice((2, 4))]
        return _power(np.take(mel, range(frames), axis=0, mode="wrap"))

    def _example(
        self, language: str, placed: list[_Placed], power: npt.NDArray[np.float32], padded: float, first: float
    ) -> Example:
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
            mel=_scaled(power, round(padded * FRAMES_A_SECOND)),
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
        known = [token for clip in chance.sample(clips, 2) for token, _, _ in clip.tokens]
        unknown = "".join(chance.choice("абвгдежзиклмнопрстуabcdefghiklmno") for _ in range(8))
        return [self.id("startofprev"), *(known if chance.random() < 0.6 else self._spell(f" {unknown}, {unknown}"))]

    def _time(self, seconds: float) -> int:
        return int(self._first_time + round(max(0.0, seconds) / TIMESTAMP_SECONDS))


def _power(mel: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    return np.power(10.0, mel.astype(np.float32), dtype=np.float32)


def _add(power: npt.NDArray[np.float32], one: _Placed, frames: npt.NDArray[Any], share: float) -> None:
    begin = round(one.at * FRAMES_A_SECOND)
    sound = _power(frames[one.clip.begin : one.clip.end])[: max(0, len(power) - begin)]
    power[begin : begin + len(sound)] += sound * share


def _warped(power: npt.NDArray[np.float32], factor: float) -> npt.NDArray[np.float32]:
    """Formants a little higher or lower: more voices than espeak-ng has."""
    wanted = np.clip(np.arange(80) * factor, 0, 78.999)
    low = wanted.astype(int)
    part = (wanted - low).astype(np.float32)
    return np.asarray(power[:, low] * (1 - part) + power[:, low + 1] * part)


def _scaled(power: npt.NDArray[np.float32], frames: int) -> npt.NDArray[np.float32]:
    """As faster-whisper scales a window, then filled up with 0 to its length; (80, frames)."""
    logarithms = np.log10(np.maximum(power, 10**_FLOOR))
    scaled = (np.maximum(logarithms, logarithms.max() - 8.0) + 4.0) / 4.0
    return np.ascontiguousarray(np.pad(scaled[:frames], ((0, max(0, frames - len(scaled))), (0, 0))).T, np.float32)
