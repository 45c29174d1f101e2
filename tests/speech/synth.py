"""What a telephone makes of a voice: 8 kHz, 300 to 3400 Hz, A-law or mu-law (ITU-T G.711), levels and noise.

Samples are mono int16 at 8 kHz unless said otherwise. Everything random comes from a generator that is handed in.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

import numpy as np
import numpy.typing as npt

RATE = 8000
Samples = npt.NDArray[np.int16]
Law = Literal["alaw", "mulaw"]
_FULL = 32768.0
_BAND = ((250.0, 350.0), (3250.0, 3450.0))  # where the band's edges rise and fall
_ACTIVE = 0.02  # of the loudest: what is quieter for 20 ms at an end is no speech


def telephone(samples: Samples, rate: int, *, decibels: float = -22.0) -> Samples:
    """A recording of any rate as it leaves a telephone: banded, 8 kHz, at a level (RMS of its loud parts, dBFS)."""
    block = rate // np.gcd(rate, RATE)
    padded = -(-len(samples) // (block * 8)) * block * 8
    spectrum = np.fft.rfft(samples.astype(np.float64), padded)
    length = padded * RATE // rate
    frequencies = np.arange(length // 2 + 1) * RATE / length
    kept = spectrum[: len(frequencies)] * _pass_band(frequencies) * (length / padded)
    sound = np.fft.irfft(kept, length)[: len(samples) * RATE // rate]
    loud = sound[np.abs(sound) > 0.1 * np.abs(sound).max()] if len(sound) else sound
    level = float(np.sqrt(np.mean(loud**2))) if len(loud) else 1.0
    return clip(sound * (_FULL * 10 ** (decibels / 20) / max(level, 1e-9)))


def noise(seconds: float, decibels: float, chance: np.random.Generator) -> Samples:
    """White noise of a line (RMS, dBFS)."""
    return clip(chance.standard_normal(round(seconds * RATE)) * _FULL * 10 ** (decibels / 20))


def add(left: Samples, right: Samples) -> Samples:
    """Both at once, as long as the longer of them."""
    length = max(len(left), len(right))
    first, second = (np.pad(one.astype(np.float64), (0, length - len(one))) for one in (left, right))
    return clip(first + second)


def clip(sound: npt.NDArray[np.float64]) -> Samples:
    """Rounded, and cut where 16 bits end."""
    return np.clip(np.round(sound), -_FULL, _FULL - 1).astype(np.int16)


def through(samples: Samples, law: Law) -> Samples:
    """What is left of the samples after G.711: each becomes the nearest of its 256 values."""
    return _table(law)[samples.astype(np.int32) + 32768]


def active(samples: Samples) -> tuple[float, float]:
    """Seconds from where to where there is any sound."""
    loudness = np.abs(samples.astype(np.float64))
    found = np.nonzero(loudness > _ACTIVE * max(1.0, float(loudness.max(initial=0.0))))[0]
    return (float(found[0]) / RATE, float(found[-1] + 1) / RATE) if len(found) else (0.0, len(samples) / RATE)


def _pass_band(frequencies: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    (low, rises), (falls, high) = _BAND
    return np.interp(frequencies, [low, rises, falls, high], [0.0, 1.0, 1.0, 0.0])


@cache
def _table(law: Law) -> Samples:
    """What becomes of each 16-bit value."""
    levels = _levels(law)
    middles = (levels[1:] + levels[:-1]) / 2
    return levels[np.searchsorted(middles, np.arange(-32768, 32768))].astype(np.int16)


@cache
def _levels(law: Law) -> npt.NDArray[np.float64]:
    """The values that the 256 codes stand for, ascending (G.711, tables 1 and 2)."""
    expand = _from_a_law if law == "alaw" else _from_mu_law
    return np.unique(np.array([expand(code) for code in range(256)], dtype=np.float64))


def _from_a_law(code: int) -> int:
    code ^= 0x55
    segment, value = (code & 0x70) >> 4, (code & 0x0F) << 4
    value = value + 8 if segment == 0 else (value + 0x108) << (segment - 1)
    return value if code & 0x80 else -value


def _from_mu_law(code: int) -> int:
    code = ~code & 0xFF
    value = ((((code & 0x0F) << 3) + 0x84) << ((code & 0x70) >> 4)) - 0x84
    return -value if code & 0x80 else value
