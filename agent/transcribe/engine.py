"""What the rest of transcription asks of a speech engine, so that another one can stand beside Whisper later.

Sound is mono float32 in -1 to 1 at 16 kHz, which is what every Whisper was trained on. Times are seconds from the
beginning of the sound that was handed over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from agent.model import Word

SAMPLE_RATE = 16_000
Sound: TypeAlias = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Speech from ``start`` to ``end`` seconds, with silence before and after."""

    start: float
    end: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Recognised:
    """A segment as the engine wrote it down, with the figures by which the gate judges it.

    ``no_speech`` is the probability that nobody spoke, ``log_probability`` the mean of the tokens' logarithms and
    ``compression`` how well the text compresses: above 2.4 it repeats itself (Radford et al. 2022, section 4.5).
    ``words`` is empty where the model's word times are of no use.
    """

    start: float
    end: float
    text: str
    no_speech: float
    log_probability: float
    compression: float
    words: tuple[Word, ...] = ()


class Engine(Protocol):
    """Finds speech, tells its language and writes it down; every call blocks and may come from any thread."""

    @property
    def name(self) -> str:
        """The name that is kept with a transcript."""
        ...

    @property
    def join_seconds(self) -> float:
        """How much speech the model takes in one window; 0: one stretch a window."""
        ...

    def find_speech(self, sound: Sound) -> list[Stretch]:
        """Where somebody speaks; needs no speech model."""
        ...

    def weigh_languages(self, sound: Sound) -> Mapping[str, float]:
        """Probability of each language the model knows (ISO 639-1), for at most 30 s of sound."""
        ...

    def recognise(self, sound: Sound, language: str) -> list[Recognised]:
        """Write down one window of at most 30 s.

        Raises:
            ModelUnavailable: the model cannot be loaded.
        """
        ...
