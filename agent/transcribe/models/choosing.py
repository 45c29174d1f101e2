"""Which engine hears which language: the model of the settings finds the language out, another may then write it down.

Models are brought here and loaded when they are first needed, so an installation whose calls are all Russian never
loads the one for English.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from agent.settings import Settings
from agent.transcribe.engine import NO_HINTS, Engine, Hints, Recognised, Sound
from agent.transcribe.engines.onnx import OnnxEngine, uses_gpu
from agent.transcribe.engines.whisper import WhisperEngine
from agent.transcribe.models.catalogue import KNOWN
from agent.transcribe.models.fetching import Tell, fetch_model, kind_of

Open = Callable[[str], Engine]


class ChoosingEngine:
    """Several models behind one engine. ``name`` names them all; `name_for` the one that hears a language."""

    def __init__(self, default: str, models: Mapping[str, str], open_engine: Open) -> None:
        """``models``: language (ISO 639-1) → model; ``default`` has the other languages and tells them apart."""
        self._default = default
        self._models = dict(models)
        self._open = open_engine
        self._opened: dict[str, Engine] = {}
        self._opening: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """All models, for logs: ``small, ru gigaam-v3-ctc``."""
        return ", ".join([self._default, *(f"{language} {model}" for language, model in sorted(self._models.items()))])

    def name_for(self, language: str) -> str:
        """The model that writes down this language; empty: nobody spoke, and the default was asked for nothing."""
        return self._models.get(language, self._default)

    @property
    def join_seconds(self) -> float:
        """As the default model wants it: windows are cut before the language is known, and all take 30 s."""
        return self._engine(self._default).join_seconds

    @property
    def batch(self) -> int:
        """As the default model wants it; the others take as many."""
        return self._engine(self._default).batch

    @property
    def lanes(self) -> int:
        """How many batches at a time; as the default model wants it."""
        return self._engine(self._default).lanes

    def weigh_languages(self, sound: Sound) -> Mapping[str, float]:
        """As the default model hears it."""
        return self._engine(self._default).weigh_languages(sound)

    def recognise(self, windows: Sequence[Sound], language: str, hints: Hints) -> list[list[Recognised]]:
        """By the model of this language."""
        return self._engine(self.name_for(language)).recognise(windows, language, hints)

    def reads_hints_in(self, language: str) -> bool:
        """Whether the model of this language can be told names."""
        return bool(getattr(self._engine(self.name_for(language)), "reads_hints", True))

    def unload(self) -> None:
        """Give the memory of all models back; each is loaded again when it is needed."""
        with self._lock:
            opened = list(self._opened.values())
        for engine in opened:
            engine.unload()

    def _engine(self, name: str) -> Engine:
        with self._lock:
            opening = self._opening.setdefault(name, threading.Lock())
        with opening:  # while one model is fetched, calls in other languages go on
            if name not in self._opened:
                self._opened[name] = self._open(name)
            return self._opened[name]


def models_of(settings: Settings) -> dict[str, tuple[str, ...]]:
    """Each model of the settings and the languages it writes down; the first one also tells them apart.

    Where only one language is spoken and it has a model of its own, no other is needed.
    """
    chosen = settings.transcribe
    found: dict[str, tuple[str, ...]] = {} if len(chosen.languages) == 1 else {chosen.model: ()}
    for language in chosen.languages:
        model = chosen.models.get(language, chosen.model)
        found[model] = (*found.get(model, ()), language)
    return found


def make_engine(settings: Settings) -> ChoosingEngine:
    """The engine of the settings; nothing is fetched or loaded before it is asked for something."""
    default, *others = models = models_of(settings)
    by_language = {language: model for model in others for language in models[model]}
    return ChoosingEngine(default, by_language, lambda name: open_engine(name, settings))


def open_engine(name: str, settings: Settings) -> Engine:
    """An engine for a model, which is fetched if it is not here. Blocks, maybe for hours.

    Raises:
        ModelUnavailable: it cannot be had now.
    """
    chosen = settings.transcribe
    return engine_in(bring(name, settings), name, threads=chosen.threads, device=chosen.device)


def bring(name: str, settings: Settings, tell: Tell | None = None) -> Path:
    """The directory of a model, fetched in the precision that this machine runs. Blocks, maybe for hours.

    Raises:
        ModelUnavailable: it cannot be had now.
    """
    is_whisper = name in KNOWN and KNOWN[name].kind == "whisper"
    full = not is_whisper and uses_gpu(settings.transcribe.device)
    return fetch_model(name, data_dir=settings.data_dir, full_precision=full, tell=tell)


def engine_in(directory: Path, name: str, *, threads: int, device: str) -> WhisperEngine | OnnxEngine:
    """The engine that runs the model in this directory."""
    kind = OnnxEngine if kind_of(directory) == "onnx" else WhisperEngine
    return kind(directory, name=name, threads=threads, device=device)


def model_of(engine: Engine, language: str) -> str:
    """The name kept with a transcript: that of the model which wrote this language down."""
    return engine.name_for(language) if isinstance(engine, ChoosingEngine) else engine.name


def hints_for(engine: Engine, language: str, hints: Hints) -> Hints:
    """Hints as far as they change anything: calls with different ones cannot be heard in one batch. Blocks while the
    model is fetched.

    Raises:
        ModelUnavailable: the model of this language cannot be had now.
    """
    reads = (
        engine.reads_hints_in(language) if isinstance(engine, ChoosingEngine) else getattr(engine, "reads_hints", True)
    )
    return hints if reads else NO_HINTS
