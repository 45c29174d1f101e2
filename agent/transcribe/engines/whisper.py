"""Whisper by faster-whisper: the only file that imports it beside `speechfinder`, once a model is asked for."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import structlog

from agent.errors import ModelUnavailable
from agent.processes import give_memory_back
from agent.transcribe.engine import Hints, Recognised, Sound
from agent.transcribe.engines.habits import read_habits
from agent.transcribe.engines.hearing import Hearing

log = structlog.get_logger()

_BATCH = {"cpu": 4, "cuda": 16}
_MOST_LANES = 4
_COMPUTE_TYPES = {"cpu": ("int8", "float32"), "cuda": ("float16", "int8_float16", "float32")}


class WhisperEngine:
    """One Whisper model in a directory, loaded when it is first needed. Safe to call from several threads."""

    def __init__(self, directory: Path, *, name: str, threads: int = 0, device: str = "auto") -> None:
        """``threads`` is the number of CPU threads; 0: all cores this process may use, but one. ``device`` is cpu,
        cuda, or auto: a GPU where there is one."""
        self.name = name
        self._directory = directory
        self._threads = threads or max(1, len(os.sched_getaffinity(0)) - 1)
        self._device = device
        self._habits = read_habits(directory)
        self._lock = threading.Lock()
        self._hearing: Hearing | None = None
        self._users = 0

    @property
    def join_seconds(self) -> float:
        """How much speech goes into one window of this model."""
        return min(25.0, self._habits.join_seconds)

    @property
    def batch(self) -> int:
        """How many windows at once pay off."""
        return _BATCH[self._where()]

    @property
    def lanes(self) -> int:
        """How many batches at a time: on a CPU several of few threads each get more done than one of all."""
        return min(_MOST_LANES, self._threads) if self._where() == "cpu" else 1

    @property
    def reads_hints(self) -> bool:
        """Whether hints change anything: windows with different ones cannot be heard together."""
        return self._habits.hints

    def weigh_languages(self, sound: Sound) -> Mapping[str, float]:
        """Probabilities by Whisper's own language tokens; an English-only model knows English."""
        with self._loaded() as hearing:
            return hearing.weigh_languages(sound)

    def recognise(self, windows: Sequence[Sound], language: str, hints: Hints) -> list[list[Recognised]]:
        """Write down windows. The gate of our own judges, so nothing is left out here."""
        with self._loaded() as hearing:
            return hearing.recognise(windows, language, hints)

    def load(self) -> None:
        """Load the model now instead of at the first speech.

        Raises:
            ModelUnavailable: its files are broken, or the device asked for is not there.
        """
        with self._loaded():
            pass

    def unload(self) -> None:
        """Give the model's memory back, unless somebody is using it; the next who asks loads it again."""
        with self._lock:
            if self._users or self._hearing is None:
                return
            self._hearing = None
        gc.collect()
        give_memory_back()
        log.info("speech_model_unloaded", model=self.name)

    @contextmanager
    def _loaded(self) -> Iterator[Hearing]:
        with self._lock:
            if self._hearing is None:
                self._hearing = self._load()
            hearing = self._hearing
            self._users += 1
        try:
            yield hearing
        finally:
            with self._lock:
                self._users -= 1

    def _where(self) -> str:
        """The device: cpu or cuda."""
        if self._device == "auto":
            import ctranslate2

            self._device = "cuda" if ctranslate2.get_cuda_device_count() else "cpu"
        return self._device

    def _load(self) -> Hearing:
        import ctranslate2
        from faster_whisper import WhisperModel

        try:
            device = self._where()
            known = ctranslate2.get_supported_compute_types(device)
            compute_type = next((one for one in _COMPUTE_TYPES[device] if one in known), "default")
            model = WhisperModel(
                str(self._directory),
                device=device,
                compute_type=compute_type,
                cpu_threads=max(1, self._threads // self.lanes),
                num_workers=self.lanes,
                local_files_only=True,
            )
        except Exception as error:  # whatever CTranslate2 and tokenizers find wrong with the files or the device
            raise ModelUnavailable(
                f"The speech model in {self._directory} cannot be loaded ({_first_line(error)}).",
                remedy="Remove that directory and have the model fetched again, or name another in transcribe.model; "
                "with transcribe.device = cuda, an NVIDIA GPU and its CUDA libraries are needed.",
            ) from error
        log.info("speech_model_loaded", model=self.name, device=device, type=compute_type, threads=self._threads)
        return Hearing(model, lambda language: _tokenizer(model, language), self._habits)


def _tokenizer(model: Any, language: str) -> tuple[Any, list[int]]:
    """The tokenizer of a language, and the tokens that are no speech: notes, brackets, signs."""
    from faster_whisper.tokenizer import Tokenizer
    from faster_whisper.transcribe import get_suppressed_tokens

    known = model.model.is_multilingual
    tokenizer = Tokenizer(model.hf_tokenizer, known, task="transcribe", language=language if known else "en")
    return tokenizer, list(get_suppressed_tokens(tokenizer, [-1]))


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
