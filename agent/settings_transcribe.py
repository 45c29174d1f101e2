"""[transcribe]: speech to text, and how much of a machine it may take."""

from __future__ import annotations

import re
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from agent.settings_base import Section

_NIGHT = re.compile(r"([01]?\d|2[0-3])(?::([0-5]\d))?-([01]?\d|2[0-3])(?::([0-5]\d))?")


class TranscribeSettings(Section):
    """Speech to text."""

    enabled: bool = Field(True, description="Transcribe calls.")
    model: str = Field(
        "small",
        description="A Whisper size (small, medium, large-v3, turbo …), a model of cardline[ru] (gigaam-v3-rnnt, "
        "t-one …), a hub name or a model directory; it finds the language as well. See docs/speech.md.",
    )
    models: dict[str, str] = Field(
        {},
        description='Another model for a language, for example { ru = "gigaam-v3-e2e-rnnt" }; `model` has the others.',
    )
    languages: tuple[str, ...] = Field(("ru", "en"), description="Languages that may be detected.")
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="auto: an NVIDIA GPU where CTranslate2 finds one, else the CPU; cpu or cuda: that one only."
    )
    threads: int = Field(
        0,
        ge=0,
        description="CPU threads; 0: all cores but one, and half of them where this machine records calls itself.",
    )
    niceness: int = Field(
        10, ge=0, le=19, description="How far transcription steps back behind other work of the machine, as nice(1)."
    )
    calls_at_once: int = Field(
        4, ge=1, le=64, description="Calls that one process has in work at a time; their speech is recognised together."
    )
    live: bool = Field(
        True,
        description="Begin with a call while it goes on, so that its transcript is there soon after the hang-up; where "
        "the machine does not keep up, this is what waits.",
    )
    unload_seconds: int = Field(
        300, ge=0, description="Seconds without work after which the model's memory is given back; 0: it stays loaded."
    )
    night: str = Field(
        "",
        description="Hours for old calls, for example 22-6 or 21:30-7:00 of this machine's clock; empty: at any hour. "
        "New calls are transcribed at once all the same.",
    )
    night_days: int = Field(2, ge=1, description="Days after which a call counts as old and waits for these hours.")

    @field_validator("night")
    @classmethod
    def _hours(cls, value: str) -> str:
        if value and not _NIGHT.fullmatch(value):
            raise ValueError("two times with a hyphen, for example 22-6 or 21:30-7:00")
        return value

    @model_validator(mode="after")
    def _languages_of_models(self) -> Self:
        unknown = sorted(set(self.models) - set(self.languages))
        if unknown:
            raise ValueError(f"models: {unknown[0]} is not among the languages {', '.join(self.languages)}")
        return self

    @property
    def night_minutes(self) -> tuple[int, int] | None:
        """Beginning and end of the night in minutes after midnight; None: old calls may come at any hour."""
        found = _NIGHT.fullmatch(self.night)
        if found is None:
            return None
        numbers = [int(one or 0) for one in found.groups()]
        return numbers[0] * 60 + numbers[1], numbers[2] * 60 + numbers[3]
