"""What the rest of transcription asks of a speech engine, so that another one can stand beside Whisper later.

Sound is mono float32 in -1 to 1 at 16 kHz, which is what every Whisper was trained on. Times are seconds from the
beginning of the sound that was handed over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Hints:
    """Words that are likelier in this call than in others: ``names`` of its people and firms, ``glossary`` of the
    company. An engine that can use none passes over them."""

    names: tuple[str, ...] = ()
    glossary: tuple[str, ...] = ()


NO_HINTS = Hints()


class Engine(Protocol):
    """Tells a language and writes speech down; every call blocks and may come from any thread."""

    @property
    def name(self) -> str:
        """The name that is kept with a transcript."""
        ...

    @property
    def join_seconds(self) -> float:
        """How much speech the model takes in one window; 0: one stretch a window."""
        ...

    @property
    def batch(self) -> int:
        """How many windows at once pay off; more are taken as well."""
        ...

    @property
    def lanes(self) -> int:
        """How many threads may call `recognise` at a time with profit."""
        ...

    def weigh_languages(self, sound: Sound) -> Mapping[str, float]:
        """Probability of each language the model knows (ISO 639-1), for at most 30 s of sound.

        Raises:
            ModelUnavailable: the model cannot be loaded.
        """
        ...

    def recognise(self, windows: Sequence[Sound], language: str, hints: Hints) -> list[list[Recognised]]:
        """Write down windows of at most 30 s each, which need not be of one call; one answer a window, in order.

        Raises:
            ModelUnavailable: the model cannot be loaded.
        """
        ...

    def unload(self) -> None:
        """Give memory back, as far as nobody uses it just now; the next call loads again."""
        ...
