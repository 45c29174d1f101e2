"""Noise of lines, rooms and people who do not speak. 8 kHz, -1 to 1."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from tests.speech_hard.tones import RATE, SECONDS, Sound

_LENGTH = round(SECONDS * RATE)
_TIME = np.arange(_LENGTH) / RATE


def white(decibels: float, seed: int = 1) -> Sound:
    """Equal at all frequencies; level as RMS, 0 being full scale."""
    return np.random.default_rng(seed).standard_normal(_LENGTH) * 10 ** (decibels / 20)


def coloured(decibels: float, slope: float, band: tuple[float, float] = (0, 4000), seed: int = 1) -> Sound:
    """Noise that falls by ``slope`` times 3 dB an octave (1: pink, 2: brown) within a band."""
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(_LENGTH))
    frequencies = np.fft.rfftfreq(_LENGTH, 1 / RATE)
    spectrum *= np.maximum(frequencies, 20.0) ** (-slope / 2) * ((frequencies >= band[0]) & (frequencies <= band[1]))
    sound = np.fft.irfft(spectrum, _LENGTH)
    level = float(np.sqrt(np.mean(sound**2)))
    return np.asarray(sound * (10 ** (decibels / 20) / level))


def hum(hertz: float, decibels: float) -> Sound:
    """Mains with its harmonics."""
    sound = sum((np.sin(2 * np.pi * hertz * n * _TIME) / n for n in (1, 2, 3, 5, 7, 9)), np.zeros(_LENGTH))
    return sound * 10 ** (decibels / 20)


def bursts(rate: float, seconds: float, decibels: float, seed: int, band: tuple[float, float] = (0, 4000)) -> Sound:
    """Short bursts of noise at times by chance, ``rate`` a second: clicks, keys, rustling, steps."""
    chance = np.random.default_rng(seed)
    shape = np.zeros(_LENGTH)
    for start in chance.integers(0, _LENGTH, round(rate * SECONDS)):
        length = max(2, round(seconds * RATE * chance.uniform(0.5, 1.5)))
        part = shape[start : start + length]
        part[:] = np.maximum(part, np.exp(-np.arange(length) / (length / 4))[: len(part)] * chance.uniform(0.3, 1))
    return coloured(decibels, 0.5, band, seed) * shape


def breathing(a_minute: float, decibels: float, seed: int) -> Sound:
    """In and out: noise through the shape of an open mouth, out lower and longer than in."""
    phase = (_TIME * a_minute / 60) % 1.0
    inward = np.clip(np.sin(np.pi * phase / 0.35), 0, None) * (phase < 0.35)
    outward = np.clip(np.sin(np.pi * (phase - 0.42) / 0.45), 0, None) * ((phase > 0.42) & (phase < 0.87))
    breath = coloured(decibels, 0, (900, 3000), seed) * inward + coloured(decibels, 1, (300, 1800), seed + 1) * outward
    return np.asarray(breath)


def coughs(seed: int) -> Sound:
    """Three at a time: a burst and what rings after it, without a voice."""
    sound = np.zeros(_LENGTH)
    noise = coloured(-14, 0.7, (250, 3200), seed)
    for start in (2.0, 2.45, 2.9, 9.0, 9.5, 15.0, 15.4, 15.9):
        since = _TIME - start
        sound += noise * np.where(since > 0, np.exp(-since * 14) * np.minimum(1, since / 0.01), 0)
    return sound


def wind(decibels: float, seed: int) -> Sound:
    """Low noise that swells."""
    swell = np.clip(coloured(-3, 2, (0, 2), seed), 0, None)
    return np.asarray(coloured(decibels, 2, (30, 900), seed + 1) * swell / swell.max() * 3)


def holes(decibels: float, seed: int) -> Sound:
    """Noise of a line out of which packets of 20 ms are lost."""
    lost = np.random.default_rng(seed).random(_LENGTH // 160 + 1) < 0.15
    return np.where(np.repeat(lost, 160)[:_LENGTH], 0.0, white(decibels, seed))


NOISES: dict[str, Callable[[], Sound]] = {
    "silence": lambda: np.zeros(_LENGTH),
    "long silence": lambda: np.zeros(round(180 * RATE)),
    "silence with an offset": lambda: np.full(_LENGTH, 0.02),
    "silence, the last bit": partial(white, -90),
    "comfort noise": partial(coloured, -55, 0.5),
    "comfort noise, loud": partial(coloured, -42, 1),
    "line noise": partial(white, -45),
    "line noise, loud": partial(white, -20),
    "pink noise": partial(coloured, -25, 1),
    "brown noise": partial(coloured, -20, 2),
    "hum of 50 Hz": partial(hum, 50, -20),
    "hum of 60 Hz": partial(hum, 60, -25),
    "hum of 100 Hz, loud": partial(hum, 100, -12),
    "crackle": partial(bursts, 12, 0.004, -10, 11),
    "clicks": partial(bursts, 2, 0.002, -3, 12),
    "keyboard": partial(bursts, 5, 0.03, -25, 13, (800, 4000)),
    "rustling": partial(bursts, 3, 0.3, -28, 14),
    "steps": partial(bursts, 1.6, 0.12, -22, 15, (40, 600)),
    "breathing": partial(breathing, 15, -32, 16),
    "breathing, heavy": partial(breathing, 28, -20, 17),
    "coughs": partial(coughs, 18),
    "wind": partial(wind, -18, 19),
    "line with losses": partial(holes, -30, 20),
    "street": lambda: coloured(-28, 1.5, (30, 1500), 21) + bursts(0.4, 1.5, -25, 22, (100, 1200)),
}
