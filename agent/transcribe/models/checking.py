"""For `cardline doctor`: whether transcription has its models, and whether they load."""

from __future__ import annotations

from dataclasses import dataclass

from agent.errors import ModelUnavailable
from agent.settings import Settings
from agent.transcribe.models.choosing import engine_in, models_of
from agent.transcribe.models.fetching import TINY_DEMO, find_model


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCheck:
    """Whether a model is there, and what to do where it is not (empty: nothing)."""

    ok: bool
    what: str
    remedy: str = ""


def check_models(settings: Settings) -> list[ModelCheck]:
    """One finding for each model of the settings. Blocks while they are loaded; fetches nothing."""
    if not settings.transcribe.enabled:
        return [ModelCheck(ok=True, what="Transcription is switched off.")]
    return [_check(name, languages, settings) for name, languages in models_of(settings).items()]


def _check(name: str, languages: tuple[str, ...], settings: Settings) -> ModelCheck:
    try:
        directory = find_model(name, data_dir=settings.data_dir)
        chosen = settings.transcribe
        engine_in(directory, name, threads=chosen.threads, device=chosen.device).load()
    except ModelUnavailable as error:
        return ModelCheck(ok=False, what=error.what, remedy=error.remedy)
    only = f" for {', '.join(languages)}" if settings.transcribe.models else ""
    note = " It understands only the words of the demo and the tests." if name == TINY_DEMO else ""
    return ModelCheck(ok=True, what=f"The speech model {name}{only} is there and loads.{note}")
