"""Music on hold, synthesised: melodies in several timbres, with and without chords and drums. 8 kHz, -1 to 1."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from tests.speech_hard.tones import RATE, SECONDS, Sound

_LEVEL = 0.1
_MELODIES = {  # MIDI notes and beats; 0 is a rest
    "elise": ((76, 75, 76, 75, 76, 71, 74, 72, 69, 0, 60, 64, 69, 71, 0, 64, 68, 71, 72, 0), 0.5),
    "ode": ((64, 64, 65, 67, 67, 65, 64, 62, 60, 60, 62, 64, 64, 62, 62, 0), 1.0),
    "korobeiniki": ((76, 71, 72, 74, 72, 71, 69, 69, 72, 76, 74, 72, 71, 72, 74, 76, 72, 69, 69, 0), 0.5),
    "lullaby": ((64, 64, 67, 64, 64, 67, 64, 67, 72, 71, 69, 69, 67, 62, 64, 65, 62, 0), 1.0),
}
_CHORDS = ((57, 60, 64), (53, 57, 60), (48, 52, 55), (55, 59, 62))

Timbre = Callable[[float, float], Sound]  # hertz and seconds to a note


def additive(partials: tuple[float, ...], attack: float, decay: float, vibrato: float = 0.0) -> Timbre:
    """Harmonics of these strengths; rising for ``attack`` seconds, falling by half each ``decay`` (0: not at all);
    ``vibrato`` in semitones at 5.5 Hz."""

    def note(hertz: float, seconds: float) -> Sound:
        time = np.arange(round(seconds * RATE)) / RATE
        bend = 2 ** (vibrato / 12 * np.sin(2 * np.pi * 5.5 * time))
        phase = 2 * np.pi * np.cumsum(hertz * bend) / RATE
        sound = np.zeros_like(time)
        for number, strength in enumerate(partials, start=1):
            if number * hertz < 0.45 * RATE:
                sound += strength * np.sin(number * phase)
        envelope = np.minimum(1.0, time / attack) * np.minimum(1.0, (seconds - time) / 0.02)
        fading = 0.5 ** (time / decay) if decay else np.ones_like(time)
        return np.asarray(sound * envelope * fading / sum(partials))

    return note


def plucked(hertz: float, seconds: float) -> Sound:
    """A string by Karplus and Strong."""
    length = max(2, round(RATE / hertz))
    ring = np.random.default_rng(round(hertz)).uniform(-1, 1, length)
    sound = np.empty(round(seconds * RATE))
    for begin in range(0, len(sound), length):
        part = ring[: len(sound) - begin]
        sound[begin : begin + len(part)] = part
        ring = 0.498 * (ring + np.roll(ring, -1))
    return sound


def choir(hertz: float, seconds: float) -> Sound:
    """An "aah" without words: harmonics under the formants of a vowel, two voices a little apart."""
    time = np.arange(round(seconds * RATE)) / RATE
    sound = np.zeros_like(time)
    for detune, speed in ((1.0, 5.1), (1.008, 4.6)):
        phase = 2 * np.pi * np.cumsum(hertz * detune * 2 ** (0.3 / 12 * np.sin(2 * np.pi * speed * time))) / RATE
        for number in range(1, int(3400 / hertz)):
            at = number * hertz
            strength = sum(gain * np.exp(-(((at - f) / 130) ** 2)) for f, gain in ((700, 1), (1150, 0.5), (2600, 0.2)))
            sound += strength * np.sin(number * phase)
    return 0.4 * sound * np.minimum(1.0, time / 0.15) * np.minimum(1.0, (seconds - time) / 0.1)


def melody(name: str, timbre: Timbre, *, beat: float = 0.4, octave: int = 0) -> Sound:
    """A melody over and over."""
    notes, beats = _MELODIES[name]
    seconds = beat * beats
    parts = [
        timbre(440 * 2 ** ((note - 69) / 12 + octave), seconds) if note else np.zeros(round(seconds * RATE))
        for note in notes
    ]
    once = np.concatenate(parts)
    return _LEVEL * np.tile(once, round(SECONDS * RATE) // len(once) + 1)[: round(SECONDS * RATE)]


def chords(timbre: Timbre, *, bar: float = 2.0) -> Sound:
    """Three notes at once, bar after bar."""
    bars = [sum(timbre(440 * 2 ** ((note - 69) / 12), bar) for note in chord) / 3 for chord in _CHORDS]
    once = np.concatenate(bars)
    return _LEVEL * np.tile(once, round(SECONDS * RATE) // len(once) + 1)[: round(SECONDS * RATE)]


def drums(tempo: float) -> Sound:
    """Bass drum and hi-hat; ``tempo`` in beats a second."""
    time = np.arange(round(SECONDS * RATE)) / RATE
    since = time % (1 / tempo)
    half = (time + 0.5 / tempo) % (1 / tempo)
    bass = np.sin(2 * np.pi * 55 * since * (1 + 2 * np.exp(-since * 30))) * np.exp(-since * 18)
    hat = np.random.default_rng(5).standard_normal(len(time)) * np.exp(-half * 60)
    return np.asarray(_LEVEL * (1.5 * bass + 0.5 * hat))


_SINE = additive((1.0,), 0.01, 0.0)
_SQUARE = additive((1, 0, 1 / 3, 0, 1 / 5, 0, 1 / 7, 0, 1 / 9), 0.005, 0.0)
_SAW = additive(tuple(1 / n for n in range(1, 13)), 0.02, 0.0, 0.2)
_ORGAN = additive((1, 0.8, 0.3, 0.6, 0.1, 0.2, 0.05, 0.3), 0.03, 0.0)
_PIANO = additive((1, 0.6, 0.4, 0.25, 0.15, 0.1), 0.004, 0.35)
_STRINGS = additive(tuple(1 / n for n in range(1, 10)), 0.2, 0.0, 0.35)
_FLUTE = additive((1, 0.25, 0.08), 0.08, 0.0, 0.25)
_BOX = additive((1, 0, 0.4, 0, 0, 0.2), 0.002, 0.2)

MUSIC: dict[str, Callable[[], Sound]] = {
    "hold music, sine": partial(melody, "elise", _SINE),
    "hold music, square wave": partial(melody, "korobeiniki", _SQUARE),
    "hold music, synthesizer": partial(melody, "ode", _SAW),
    "hold music, organ": partial(melody, "lullaby", _ORGAN),
    "hold music, piano": partial(melody, "elise", _PIANO, octave=-1),
    "hold music, strings": partial(melody, "ode", _STRINGS, octave=-1),
    "hold music, flute": partial(melody, "lullaby", _FLUTE),
    "hold music, guitar": partial(melody, "korobeiniki", plucked, octave=-1),
    "hold music, musical box": partial(melody, "elise", _BOX, beat=0.3),
    "hold music, cello": partial(melody, "lullaby", _SAW, octave=-2),
    "hold music, chords": partial(chords, _STRINGS),
    "hold music, slow pad": lambda: chords(_ORGAN, bar=4.0),
    "hold music, drums": partial(drums, 2.0),
    "hold music, dance": lambda: drums(2.2) + chords(_SQUARE, bar=0.9),
    "hold music, piano and drums": lambda: melody("korobeiniki", _PIANO) + 0.5 * drums(2.5),
    "hold music, choir": partial(melody, "ode", choir, octave=-1),
    "hold music, high choir": partial(melody, "lullaby", choir),
}
