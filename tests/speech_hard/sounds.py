"""All sounds in which nobody speaks, as they come out of a telephone: loud, usual and faint, by A-law and mu-law."""

from __future__ import annotations

import numpy as np

from tests.speech.synth import Law, Samples, clip, through
from tests.speech_hard.music import MUSIC
from tests.speech_hard.noises import NOISES
from tests.speech_hard.tones import TONES

SOUNDS = {**TONES, **MUSIC, **NOISES}
LEVELS: tuple[tuple[float, Law], ...] = ((1.0, "alaw"), (2.0, "mulaw"), (0.3, "alaw"))


def make_sound(name: str, factor: float = 1.0, law: Law = "alaw") -> Samples:
    """A sound so much louder than it was written."""
    return through(clip(np.asarray(SOUNDS[name]()) * factor * 32768.0), law)
