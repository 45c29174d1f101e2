"""What is heard beside a voice on a telephone, for training: noise of any colour that swells or does not.

Sound is float64 at 8 kHz on the scale of 16 bits. The noise of the tests (tests/speech_hard) is of the same sort, by
another generator.
"""

from __future__ import annotations

import random
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from tests.speech.synth import RATE

Sound: TypeAlias = npt.NDArray[np.float64]

_FULL = 32768.0
_WHITE, _PINK, _ANY = (-0.2, 0.2), (0.7, 1.3), (-0.3, 2.0)  # times 3 dB an octave that a noise falls
_PLACES = (300.0, 600.0, 1200.0, 2000.0, 3000.0, 4000.0)  # Hz at which a voice is made louder or fainter
_FALLS, _BESIDE = (-9.0, 3.0), 4.0  # decibels an octave, and what each place may be beside that (standard deviation)
_QUICK = 800  # lengths that are a multiple of it are quick to transform


class Disturber:
    """Noises by chance."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._numbers = np.random.default_rng(seed)

    def noise(self, samples: int, decibels: float) -> Sound:
        """Noise of so many samples, RMS in dBFS: two in five white, which hides most of a voice, else pink or anything
        to brown; three in four up to 4 kHz, one in five swells."""
        made = self._coloured(samples)
        if self._chance.random() < 0.2:
            made *= self._swell(samples)
        level = float(np.sqrt(np.mean(made**2)))
        return np.asarray(made * (_FULL * 10 ** (decibels / 20) / max(level, 1e-12)))

    def coloured_voice(self, sound: Sound) -> Sound:
        """A voice as another throat or handset would have it, as loud as before in its loud parts: most often fainter
        the higher it is, so that noise of 10 dB below it hides all but its lowest formant."""
        fall = self._chance.uniform(*_FALLS)
        gains = [fall * np.log2(place / _PLACES[0]) + self._chance.gauss(0, _BESIDE) for place in _PLACES]
        padded = np.pad(sound, (0, -len(sound) % _QUICK))
        frequencies = np.fft.rfftfreq(len(padded), 1 / RATE)
        heard = np.interp(np.log2(np.maximum(frequencies, 1.0)), np.log2(_PLACES), gains)
        made = np.fft.irfft(np.fft.rfft(padded) * 10 ** (heard / 20), len(padded))[: len(sound)]
        return np.asarray(made * (_loud(sound) / max(_loud(made), 1e-12)))

    def _coloured(self, samples: int) -> Sound:
        chance = self._chance
        length = max(1, -(-samples // _QUICK)) * _QUICK
        frequencies = np.fft.rfftfreq(length, 1 / RATE)
        low = chance.choice((0.0, chance.uniform(0, 300)))
        high = 4000.0 if chance.random() < 0.75 else chance.uniform(900, 3800)
        slope = chance.choice((_WHITE, _WHITE, _PINK, _ANY, _ANY))
        shape = np.maximum(frequencies, 20.0) ** (-chance.uniform(*slope) / 2)
        shape *= (frequencies >= low) & (frequencies <= high)
        drawn = self._numbers.standard_normal((2, len(frequencies)))
        return np.asarray(np.fft.irfft(shape * (drawn[0] + 1j * drawn[1]), length)[:samples])

    def _swell(self, samples: int) -> Sound:
        """A level that goes up and down by some decibels, a few times in a second or in ten."""
        every = self._chance.uniform(0.2, 2.0) * RATE
        places = np.arange(0, samples + 2 * every, every)
        drawn = 10 ** (self._numbers.standard_normal(len(places)) * self._chance.uniform(1, 5) / 20)
        return np.asarray(np.interp(np.arange(samples), places, drawn))


def _loud(sound: Sound) -> float:
    """RMS of the loud parts."""
    loudness = np.abs(sound)
    return float(np.sqrt(np.mean(sound[loudness >= 0.1 * loudness.max()] ** 2)))
