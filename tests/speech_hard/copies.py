"""What one channel gets of the other: echo of a line, of a loudspeaker in a room, crosstalk; and speech under noise.

Samples are int16 at 8 kHz as in `tests.speech.synth`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tests.speech.synth import RATE, Samples, add, clip, noise, through
from tests.speech_hard.noises import coloured
from tests.speech_hard.tones import Sound


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """How the other channel comes back: so many milliseconds later, so much quieter (dB), through a band (Hz), with so
    much reverberation (seconds until it has fallen by 60 dB) and noise of the line (dBFS)."""

    delay_ms: int
    quieter: float
    band: tuple[float, float] = (0.0, 4000.0)
    reverberation: float = 0.0
    line: float | None = -62.0


ECHOES: dict[str, Path] = {
    "crosstalk, -20 dB": Path(delay_ms=0, quieter=20),
    "crosstalk, -30 dB": Path(delay_ms=0, quieter=30),
    "echo of a line, 20 ms, -10 dB": Path(delay_ms=20, quieter=10),
    "echo of a line, 40 ms, -25 dB": Path(delay_ms=40, quieter=25, band=(300, 2500)),
    "echo of a gateway, 120 ms, -15 dB": Path(delay_ms=120, quieter=15),
    "echo of a gateway, 120 ms, noisy": Path(delay_ms=120, quieter=18, line=-50),
    "echo of a mobile, 250 ms, -12 dB": Path(delay_ms=250, quieter=12, band=(400, 3000)),
    "echo of a mobile, 250 ms, -30 dB": Path(delay_ms=250, quieter=30),
    "echo of a satellite, 550 ms, -20 dB": Path(delay_ms=550, quieter=20),
    "loudspeaker, 80 ms, -12 dB": Path(delay_ms=80, quieter=12, reverberation=0.15),
    "loudspeaker, 160 ms, -18 dB": Path(delay_ms=160, quieter=18, reverberation=0.25, band=(300, 3000)),
    "loudspeaker in a hall, 200 ms, -20 dB": Path(delay_ms=200, quieter=20, reverberation=0.4),
}


def echo(samples: Samples, path: Path, seed: int = 1) -> Samples:
    """What comes back of a channel, of the same length."""
    sound = samples.astype(np.float64)
    if path.reverberation:
        sound = np.convolve(sound, _room(path.reverberation, seed))[: len(sound)]
    spectrum = np.fft.rfft(sound)
    frequencies = np.fft.rfftfreq(len(sound), 1 / RATE)
    sound = np.fft.irfft(spectrum * ((frequencies >= path.band[0]) & (frequencies <= path.band[1])), len(sound))
    late = path.delay_ms * RATE // 1000
    came = clip(np.concatenate([np.zeros(late), sound])[: len(sound)] * 10 ** (-path.quieter / 20))
    if path.line is not None:
        came = add(came, noise(len(came) / RATE, path.line, np.random.default_rng(seed)))[: len(came)]
    return through(came, "alaw")


def _room(seconds: float, seed: int) -> Sound:
    """The direct sound and what walls send after it, of the same energy as without."""
    time = np.arange(round(seconds * RATE)) / RATE
    walls = np.random.default_rng(seed).standard_normal(len(time)) * 10 ** (-3 * time / seconds) * 0.06
    walls[0] = 1.0
    return np.asarray(walls / np.sqrt(np.sum(walls**2)))


def under_noise(samples: Samples, speaking: float, decibels: float, kind: str, seed: int = 1) -> Samples:
    """Speech whose loud parts have the RMS ``speaking`` over noise that is ``decibels`` below it; white, pink or a
    street."""
    length = len(samples)
    slope, band = {"white": (0.0, (0, 4000)), "pink": (1.0, (0, 4000)), "street": (1.5, (60, 1500))}[kind]
    made = np.resize(coloured(0, slope, band, seed), length)
    level = speaking * 10 ** (-decibels / 20) / float(np.sqrt(np.mean(made**2)))
    return through(clip(samples.astype(np.float64) + made * level), "alaw")
