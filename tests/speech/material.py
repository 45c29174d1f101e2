"""What the tests' model is trained on: sentences of many voices as sound, with the times of words and phonemes.

``python -m tests.speech.material FOLDER`` writes it (about 350 MB, some minutes). Sound and not log-mels: added to it,
noise is in the window as a telephone's noise is, phases, quantisation and all; power added to power has none of that.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tests.speech.calls import say
from tests.speech.corpus import LANGUAGES, load_corpus
from tests.speech.synth import RATE, Law, Samples, clip, through
from tests.speech.vocabulary import make_tokenizer
from tests.speech.voices import TRAINING, Spoken, Timed, choose_voice

LOUD = -22.0  # dBFS, of the loud parts of each sentence; noises have no level of their own
_PROFILES = {"ru": 3, "en": 2, "de": 1}  # how often each voice speaks, with another speed and pitch
_SENTENCES = {"ru": 48, "en": 48, "de": 8}  # by each of them


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """A sentence in the big array of samples, from ``begin`` to ``end``; tokens and phonemes with their seconds."""

    profile: int
    language: str
    begin: int
    end: int
    tokens: tuple[tuple[int, float, float], ...]
    phonemes: tuple[tuple[int, float, float], ...]

    @property
    def seconds(self) -> float:
        """Length of the sentence."""
        return (self.end - self.begin) / RATE


def write_material(folder: Path, seed: int = 1) -> None:
    """Synthesise everything by the voices of training."""
    folder.mkdir(parents=True, exist_ok=True)
    names = _Names()
    clips: list[Clip] = []
    sounds: list[Samples] = []
    at = 0
    for one, samples in _clips(names, random.Random(seed)):
        sounds.append(samples)
        clips.append(replace(one, begin=at, end=at + len(samples)))
        at += len(samples)
    np.save(folder / "clips.npy", np.concatenate(sounds))
    np.savez(folder / "noises.npz", *_noises(np.random.default_rng(seed)))
    table = {"phonemes": names.phonemes, "clips": [[getattr(one, name) for name in _FIELDS] for one in clips]}
    (folder / "clips.json").write_text(json.dumps(table, ensure_ascii=False), encoding="utf-8")


def read_material(folder: Path) -> tuple[Samples, list[Clip], list[Samples], list[str]]:
    """All samples, the clips in them, sounds without speech of some seconds each, and the phonemes' names by number."""
    table = json.loads((folder / "clips.json").read_text(encoding="utf-8"))
    clips = [Clip(**dict(zip(_FIELDS, row, strict=True))) for row in table["clips"]]
    with np.load(folder / "noises.npz") as noises:
        return np.load(folder / "clips.npy"), clips, [noises[name] for name in noises.files], table["phonemes"]


_FIELDS = ("profile", "language", "begin", "end", "tokens", "phonemes")


class _Names:
    """Numbers for what is said: tokens of words, phonemes."""

    def __init__(self) -> None:
        self.tokenizer = make_tokenizer()
        self.phonemes: list[str] = []

    def phoneme(self, language: str, name: str) -> int:
        key = f"{language} {name}"
        if key not in self.phonemes:
            self.phonemes.append(key)
        return self.phonemes.index(key)


def _clips(names: _Names, chance: random.Random) -> Iterator[tuple[Clip, Samples]]:
    profile = 0
    for language in LANGUAGES:
        for variant in TRAINING:
            for _ in range(_PROFILES[language]):
                voice = choose_voice(language, chance, variants=(variant,))
                law: Law = chance.choice(("alaw", "mulaw"))
                for _ in range(_SENTENCES[language]):
                    text = load_corpus(language).sentence(chance)
                    spoken = say(text, voice, decibels=LOUD)
                    yield _clip(names, profile, language, text, spoken), through(spoken.samples, law)
                profile += 1


def _clip(names: _Names, profile: int, language: str, text: str, spoken: Spoken) -> Clip:
    encoded = names.tokenizer.encode(" " + text, add_special_tokens=False)
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
        (names.phoneme(language, one.text), one.start, one.end) for one in spoken.phonemes if one.text.strip("_:; ")
    )
    return Clip(
        profile=profile,
        language=language,
        begin=0,
        end=len(spoken.samples),
        tokens=tuple(tokens),
        phonemes=phonemes,
    )


def _noises(chance: np.random.Generator) -> Iterator[Samples]:
    """What a line gives without speech, 12 s each: tones in cadence, melodies, keys. Noise is made while training."""
    seconds = 12
    time = np.arange(seconds * RATE) / RATE
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


def main() -> None:
    """Write the material of training into a folder."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path)
    write_material(parser.parse_args().folder)


if __name__ == "__main__":
    main()
