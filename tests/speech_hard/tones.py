"""Signals of telephone networks, faxes and modems, by ITU-T E.180, Q.23, T.30, V.8, V.21 and national tables.

Each is an array of floats in -1 to 1 at 8 kHz, `SECONDS` long.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt

RATE = 8000
SECONDS = 20.0
Sound = npt.NDArray[np.float64]

_TIME = np.arange(round(SECONDS * RATE)) / RATE
_LEVEL = 0.1
_DTMF = {
    digit: (low, high)
    for row, low in zip(("123A", "456B", "789C", "*0#D"), (697, 770, 852, 941), strict=True)
    for digit, high in zip(row, (1209, 1336, 1477, 1633), strict=True)
}


def cadence(frequencies: Sequence[float], pattern: Sequence[float], *, modulated: float = 0.0) -> Sound:
    """Frequencies at once, on and off by turns for the seconds of the pattern; empty: all the time."""
    tone = sum((np.sin(2 * np.pi * one * _TIME) for one in frequencies), np.zeros_like(_TIME)) * _LEVEL
    if modulated:
        tone = tone * (1 + 0.85 * np.sin(2 * np.pi * modulated * _TIME)) / 1.85
    if not pattern:
        return tone
    edges = np.cumsum([0.0, *pattern])
    place = np.searchsorted(edges, _TIME % edges[-1], side="right") - 1
    return tone * smooth((place % 2 == 0).astype(np.float64))


def sequence(steps: Sequence[tuple[Sequence[float], float]]) -> Sound:
    """Tones one after the other, each so many seconds, over and over; no frequency: a pause."""
    parts = []
    for frequencies, seconds in steps:
        time = np.arange(round(seconds * RATE)) / RATE
        tone = sum((np.sin(2 * np.pi * one * time) for one in frequencies), np.zeros_like(time)) * _LEVEL
        parts.append(tone * edges(len(time)))
    once = np.concatenate(parts)
    return np.tile(once, len(_TIME) // len(once) + 1)[: len(_TIME)]


def edges(length: int) -> Sound:
    """Five milliseconds up and down, so that a tone does not click."""
    ramp = np.minimum(np.arange(length), np.arange(length)[::-1]) / (0.005 * RATE)
    return np.minimum(1.0, ramp)


def smooth(gate: Sound) -> Sound:
    """The same for a gate."""
    width = round(0.005 * RATE)
    return np.convolve(gate, np.ones(width) / width, mode="same")


def dtmf(digits: str, tone: float, pause: float) -> Sound:
    """Keys pressed."""
    return sequence([step for digit in digits for step in ((_DTMF[digit], tone), ((), pause))])


def fsk(low: float, high: float, baud: float, seed: int) -> Sound:
    """Bits by chance as two frequencies without a jump of phase: V.21 and others."""
    bits = np.random.default_rng(seed).integers(0, 2, round(SECONDS * baud) + 1)
    steps = np.where(bits[(_TIME * baud).astype(int)] == 1, low, high)
    return _LEVEL * np.sin(2 * np.pi * np.cumsum(steps) / RATE)


def qam(carrier: float, baud: float, seed: int) -> Sound:
    """A page of a fax or data of a modem: four phases by chance (V.22, V.29), shaped by the band of a telephone."""
    phases = np.random.default_rng(seed).integers(0, 4, round(SECONDS * baud) + 1)[(_TIME * baud).astype(int)]
    sound = np.sin(2 * np.pi * carrier * _TIME + phases * np.pi / 2)
    return _LEVEL * np.convolve(sound, np.hanning(9) / np.hanning(9).sum(), mode="same")


def answer_tone(reversals: float, modulated: float) -> Sound:
    """2100 Hz, its phase turned every 450 ms (V.25), its level at 15 Hz (V.8)."""
    phase = np.pi * (_TIME // reversals) if reversals else 0.0
    tone = np.sin(2 * np.pi * 2100 * _TIME + phase)
    return _LEVEL * tone * (1 + 0.2 * np.sin(2 * np.pi * modulated * _TIME))


TONES: dict[str, Callable[[], Sound]] = {
    "ring-back of Russia and Europe": partial(cadence, (425,), (1, 4)),
    "ring-back of Germany": partial(cadence, (425,), (1, 4, 0.25, 4)),
    "ring-back of the USA": partial(cadence, (440, 480), (2, 4)),
    "ring-back of Britain": partial(cadence, (400, 450), (0.4, 0.2, 0.4, 2)),
    "ring-back of France": partial(cadence, (440,), (1.5, 3.5)),
    "ring-back of China": partial(cadence, (450,), (1, 4)),
    "ring-back of Japan": partial(cadence, (400,), (1, 2), modulated=16),
    "ring-back of India": partial(cadence, (400,), (0.4, 0.2, 0.4, 2), modulated=25),
    "ring-back of Kazakhstan, loud": lambda: 4 * cadence((425,), (0.8, 3.2)),
    "busy of Europe": partial(cadence, (425,), (0.35, 0.35)),
    "busy of the USA": partial(cadence, (480, 620), (0.5, 0.5)),
    "busy of Britain": partial(cadence, (400,), (0.375, 0.375)),
    "congestion of Europe": partial(cadence, (425,), (0.2, 0.2)),
    "congestion of the USA": partial(cadence, (480, 620), (0.25, 0.25)),
    "number unobtainable": partial(sequence, [((950,), 0.33), ((1400,), 0.33), ((1800,), 0.33), ((), 1.0)]),
    "dial tone of Europe": partial(cadence, (425,), ()),
    "dial tone of the USA": partial(cadence, (350, 440), ()),
    "dial tone, stuttering": partial(cadence, (425,), (0.1, 0.1)),
    "call waiting": partial(cadence, (440,), (0.3, 3)),
    "beep of a recorder": partial(cadence, (1400,), (0.5, 4)),
    "receiver off the hook": partial(cadence, (1400, 2060, 2450, 2600), (0.1, 0.1)),
    "keys pressed slowly": partial(dtmf, "74950000012#", 0.25, 0.6),
    "keys by a machine": partial(dtmf, "1234567890*#ABCD", 0.05, 0.05),
    "a key held down": partial(dtmf, "5", 6.0, 1.0),
    "keys in a menu": partial(dtmf, "1#", 0.15, 2.5),
    "fax calls": partial(cadence, (1100,), (0.5, 3)),
    "fax answers": partial(cadence, (2100,), (3, 1)),
    "modem answers": partial(answer_tone, 0.45, 15),
    "fax, training V.21": partial(fsk, 1650, 1850, 300, 1),
    "fax, a page": partial(qam, 1700, 2400, 2),
    "modem V.22": partial(qam, 1200, 600, 3),
    "text telephone": partial(fsk, 1400, 1800, 45.45, 4),
}
