"""What the tests' model is trained on: sentences of many voices as log-mels with the times of words and phonemes.

``python -m tests.speech.material FOLDER`` writes it (about 350 MB, some minutes). Log-mels and not sound, because
windows can be put together from them: power adds up, so noise, levels and silence are applied while training.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.speech.calls import say
from tests.speech.corpus import LANGUAGES, load_corpus
from tests.speech.synth import RATE, Law, Samples, clip, noise, telephone, through
from tests.speech.vocabulary import make_tokenizer
from tests.speech.voices import TRAINING, Timed, choose_voice

FRAMES_A_SECOND = 100
_PROFILES = {"ru": 3, "en": 2, "de": 1}  # how often each voice speaks, with another speed and pitch
_SENTENCES = {"ru": 48, "en": 48, "de": 8}  # by each of them
_LOUD = -22.0

Mel = npt.NDArray[np.float16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """A sentence in the big array of log-mels: frames ``begin`` to ``end``; tokens and phonemes with their seconds."""

    profile: int
    language: str
    begin: int
    end: int
    tokens: tuple[tuple[int, float, float], ...]
    phonemes: tuple[tuple[int, float, float], ...]


def write_material(folder: Path, seed: int = 1) -> None:
    """Synthesise everything by the voices of training."""
    folder.mkdir(parents=True, exist_ok=True)
    listener = _Listener()
    clips: list[Clip] = []
    mels: list[Mel] = []
    at = 0
    for clip_, mel in _clips(listener, random.Random(seed)):
        mels.append(mel)
        clips.append(_moved(clip_, at))
        at += len(mel)
    np.save(folder / "clips.npy", np.concatenate(mels))
    np.savez(folder / "noises.npz", *(listener.mel(one) for one in _noises(np.random.default_rng(seed))))
    table = {"phonemes": listener.phonemes, "clips": [[getattr(one, name) for name in _FIELDS] for one in clips]}
    (folder / "clips.json").write_text(json.dumps(table, ensure_ascii=False), encoding="utf-8")


def read_material(folder: Path) -> tuple[npt.NDArray[Any], list[Clip], list[Mel], list[str]]:
    """All frames (n, 80), the clips in them, noises of some seconds each, and the phonemes' names by their number."""
    table = json.loads((folder / "clips.json").read_text(encoding="utf-8"))
    clips = [Clip(**dict(zip(_FIELDS, row, strict=True))) for row in table["clips"]]
    with np.load(folder / "noises.npz") as noises:
        return np.load(folder / "clips.npy"), clips, [noises[name] for name in noises.files], table["phonemes"]


_FIELDS = ("profile", "language", "begin", "end", "tokens", "phonemes")


class _Listener:
    """Log-mels as faster-whisper makes them, before it clamps and scales a window; and numbers for phonemes."""

    def __init__(self) -> None:
        from faster_whisper.feature_extractor import FeatureExtractor

        extractor = FeatureExtractor(feature_size=80)
        self._filters = extractor.mel_filters
        self._window = np.hanning(401)[:-1]
        self.tokenizer = make_tokenizer()
        self.phonemes: list[str] = []

    def mel(self, samples: Samples) -> Mel:
        """(frames, 80) decadic logarithms of power, 100 frames a second."""
        spectrum = np.fft.rfft(samples.astype(np.float64) / 32768.0)
        sound = np.fft.irfft(np.pad(spectrum, (0, len(samples) + 1 - len(spectrum))), len(samples) * 2) * 2
        padded = np.pad(sound, 200, mode="reflect")
        frames = np.lib.stride_tricks.sliding_window_view(padded, 400)[::160][: len(sound) // 160]
        power = np.abs(np.fft.rfft(frames * self._window)) ** 2
        return np.asarray(np.log10(np.maximum(power @ self._filters.T, 1e-10)), np.float16)

    def phoneme(self, language: str, name: str) -> int:
        key = f"{language} {name}"
        if key not in self.phonemes:
            self.phonemes.append(key)
        return self.phonemes.index(key)


def _clips(listener: _Listener, chance: random.Random) -> Iterator[tuple[Clip, Mel]]:
    profile = 0
    for language in LANGUAGES:
        for variant in TRAINING:
            for _ in range(_PROFILES[language]):
                voice = choose_voice(language, chance, variants=(variant,))
                law: Law = chance.choice(("alaw", "mulaw"))
                for _ in range(_SENTENCES[language]):
                    text = load_corpus(language).sentence(chance)
                    spoken = say(text, voice, decibels=_LOUD)
                    mel = listener.mel(through(spoken.samples, law))
                    yield _clip(listener, profile, language, text, spoken, mel), mel
                profile += 1


def _clip(listener: _Listener, profile: int, language: str, text: str, spoken: Any, mel: Mel) -> Clip:
    encoded = listener.tokenizer.encode(" " + text, add_special_tokens=False)
    words = iter(spoken.words)
    last: Timed | None = None
    tokens = []
    for token, piece in zip(encoded.ids, encoded.tokens, strict=True):
        if len(piece) > 1:
            last = next(words)
        assert last is not None
        begin = last.start if len(piece) > 1 else last.end - 0.05  # a mark is heard where its word ends
        tokens.append((token, begin, last.end if len(piece) > 1 else last.end + 0.15))
    phonemes = tuple(
        (listener.phoneme(language, one.text), one.start, one.end) for one in spoken.phonemes if one.text.strip("_:; ")
    )
    return Clip(profile=profile, language=language, begin=0, end=len(mel), tokens=tuple(tokens), phonemes=phonemes)


def _moved(one: Clip, at: int) -> Clip:
    return Clip(
        profile=one.profile,
        language=one.language,
        begin=at,
        end=at + one.end,
        tokens=one.tokens,
        phonemes=one.phonemes,
    )


def _noises(chance: np.random.Generator) -> Iterator[Samples]:
    """What a line gives without speech, 12 s each: noise of several colours, tones in cadence, melodies, breath."""
    seconds = 12
    time = np.arange(seconds * RATE) / RATE
    for _ in range(12):
        white = noise(seconds, -30.0, chance)
        yield white
        yield telephone(white, RATE, decibels=-30.0)
        steps = np.cumsum(white.astype(np.float64))
        yield telephone(clip(steps - np.convolve(steps, np.ones(80) / 80, "same")), RATE, decibels=-30.0)
        yield telephone(clip(white * np.interp(np.sin(2 * np.pi * time / chance.uniform(1, 4)), [0, 1], [0, 1])), RATE)
    for _ in range(30):
        pitch, period, duty = chance.choice([350, 425, 440, 480, 620, 950, 1400]), chance.uniform(0.3, 5), 0.4
        beat = np.sin(2 * np.pi * pitch * time) + chance.integers(2) * np.sin(2 * np.pi * (pitch + 60) * time)
        yield through(clip(6000 * beat * ((time / period) % 1 < duty)), "alaw")
    for _ in range(30):
        notes = chance.choice([220, 262, 294, 330, 392, 440, 523, 587, 659], size=seconds * 8)
        phase = np.cumsum(np.repeat(notes, RATE // 8)) / RATE * 2 * np.pi
        parts = chance.uniform(0, 1, 4)
        yield through(clip(3000 * sum(part * np.sin(phase * n) for n, part in enumerate(parts, start=1))), "mulaw")
    for _ in range(12):
        low, high = chance.choice([697, 770, 852, 941], 24), chance.choice([1209, 1336, 1477], 24)
        both = [np.repeat(one, RATE // 2) for one in (low, high)]
        tones = np.sin(2 * np.pi * both[0] * time) + np.sin(2 * np.pi * both[1] * time)
        yield clip(4000 * tones * ((time * 2) % 1 < 0.4))
    for law in ("alaw", "mulaw"):
        yield from (through(np.zeros(seconds * RATE, np.int16), law), np.zeros(seconds * RATE, np.int16))


def main() -> None:
    """Write the material of training into a folder."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path)
    write_material(parser.parse_args().folder)


if __name__ == "__main__":
    main()
