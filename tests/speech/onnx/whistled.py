"""An alphabet of tones: a letter is 0.12 s of its own frequency, with 0.08 s of silence behind it.

The frequencies lie in a telephone's band and in the middle of every second band of GigaAM's 64 mel bands, so a model
needs no training to tell them apart, and what it spells shows which sound it was given, from where to where.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from agent.transcribe.engine import SAMPLE_RATE, Sound, Stretch

LETTERS = " абвгдеиклмнопрст"
FIRST_BAND, BANDS_APART, BANDS = 10, 2, 64
LETTER_SECONDS, REST_SECONDS = 0.12, 0.08
SPELLED_SECONDS = LETTER_SECONDS + REST_SECONDS
_LOUDNESS = 0.3
_BREATH_SECONDS = 0.4  # silence that parts two stretches


def band_of(letter: str) -> int:
    """The mel band of a letter."""
    return FIRST_BAND + BANDS_APART * LETTERS.index(letter)


def frequency_of(letter: str) -> float:
    """The middle of its band: 64 triangles up to 8 kHz, evenly on O'Shaughnessy's mel scale (HTK book, 5.4)."""
    top = 2595 * np.log10(1 + 8000 / 700)
    return float(700 * (10 ** (top * (band_of(letter) + 1) / (BANDS + 1) / 2595) - 1))


def whistle(text: str, rate: int = SAMPLE_RATE) -> Sound:
    """The sound of a text; it lasts 0.2 s a letter."""
    return np.concatenate([_tone(letter, rate) for letter in text]).astype(np.float32)


def _tone(letter: str, rate: int) -> npt.NDArray[np.float64]:
    times = np.arange(round(LETTER_SECONDS * rate)) / rate
    edge = np.minimum(1.0, np.minimum(times, times[::-1]) / 0.01)
    sound = _LOUDNESS * edge * np.sin(2 * np.pi * frequency_of(letter) * times)
    return np.concatenate([sound, np.zeros(round(REST_SECONDS * rate))])


def find_whistling(sound: Sound) -> list[Stretch]:
    """Where somebody whistles, as voice activity detection says where somebody speaks."""
    block = SAMPLE_RATE // 100
    loud = [bool(np.abs(sound[at : at + block]).max() > 0.01) for at in range(0, len(sound), block)]
    found: list[Stretch] = []
    for number, is_loud in enumerate(loud):
        if not is_loud:
            continue
        start, end = number * block / SAMPLE_RATE, min(len(sound), (number + 1) * block) / SAMPLE_RATE
        if found and start - found[-1].end < _BREATH_SECONDS:
            start = found.pop().start
        found.append(Stretch(start=start, end=end))
    return found
