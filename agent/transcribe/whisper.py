"""Whisper by faster-whisper: the only file that imports it beside `speechfinder`, once a model is asked for."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import takewhile
from pathlib import Path
from typing import Any

import structlog

from agent.errors import ModelUnavailable
from agent.model import Word
from agent.transcribe.engine import Hints, Recognised, Sound

log = structlog.get_logger()

HABITS_FILE = "cardline.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """How a model wants to be asked; a file ``cardline.json`` in its directory changes what differs.

    ``join_seconds``: speech joined in a window, at most 25; 0: one stretch a window. ``timestamps``: let the model
    write times. ``word_times``: its word times are worth having. ``temperatures``: tried one after the other while
    the text repeats itself or is improbable.
    """

    join_seconds: float = 25.0
    timestamps: bool = True
    word_times: bool = True
    beam_size: int = 5
    temperatures: tuple[float, ...] = (0.0, 0.2, 0.4, 0.6)


class WhisperEngine:
    """One Whisper model in a directory, loaded when it is first needed. Safe to call from several threads."""

    def __init__(self, directory: Path, *, name: str, threads: int = 0) -> None:
        """``threads`` is the number of CPU threads; 0: all cores this process may use, but one."""
        self.name = name
        self._directory = directory
        self._threads = threads or max(1, len(os.sched_getaffinity(0)) - 1)
        self._habits = _read_habits(directory)
        self._lock = threading.Lock()
        self._model: Any = None

    @property
    def join_seconds(self) -> float:
        """How much speech goes into one window of this model."""
        return min(25.0, self._habits.join_seconds)

    def weigh_languages(self, sound: Sound) -> Mapping[str, float]:
        """Probabilities by Whisper's own language tokens; an English-only model knows English."""
        model = self._load()
        if not model.model.is_multilingual:
            return {"en": 1.0}
        return dict(model.detect_language(audio=sound)[2])

    @property
    def batch(self) -> int:
        """How many windows at once pay off."""
        return 1

    def recognise(self, windows: Sequence[Sound], language: str, hints: Hints) -> list[list[Recognised]]:
        """Write down windows. The gate of our own judges, so nothing is left out here."""
        return [self._one(window, language) for window in windows]

    def _one(self, sound: Sound, language: str) -> list[Recognised]:
        segments, _ = self._load().transcribe(
            sound,
            language=language,
            beam_size=self._habits.beam_size,
            temperature=list(self._habits.temperatures),
            condition_on_previous_text=False,
            no_speech_threshold=None,
            without_timestamps=not self._habits.timestamps,
            word_timestamps=self._habits.word_times,
        )
        if not self._habits.timestamps:  # the whole window was answered at once; what follows would be said twice
            segments = takewhile(lambda segment: segment.seek == 0, segments)
        return [_recognised(segment) for segment in segments]

    def load(self) -> None:
        """Load the model now instead of at the first speech.

        Raises:
            ModelUnavailable: its files are broken.
        """
        self._load()

    def _load(self) -> Any:
        with self._lock:
            if self._model is None:
                self._model = self._loaded()
            return self._model

    def _loaded(self) -> Any:
        from faster_whisper import WhisperModel

        try:
            model = WhisperModel(
                str(self._directory),
                device="cpu",
                compute_type="int8",
                cpu_threads=self._threads,
                local_files_only=True,
            )
        except Exception as error:  # whatever CTranslate2 and tokenizers find wrong with the files
            raise ModelUnavailable(
                f"The speech model in {self._directory} cannot be loaded ({_first_line(error)}).",
                remedy="Remove that directory and have the model fetched again, or name another in transcribe.model.",
            ) from error
        log.info("speech_model_loaded", model=self.name, threads=self._threads)
        return model


def keep_out_of_home(folder: Path) -> None:
    """Make the hub's client keep its files in ``folder``; it reads the environment once, when it is imported."""
    os.environ.setdefault("HF_HOME", str(folder))
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_ETAG_TIMEOUT", "5")  # seconds until a network that swallows packets is given up


def sizes() -> list[str]:
    """The names of the Whisper sizes that can be fetched."""
    from faster_whisper import available_models

    return list(available_models())


def fetch(name: str, folder: Path, *, offline: bool) -> Path:
    """Bring a size or hub name into ``folder`` and return its directory; ``offline`` looks there only.

    Raises:
        ModelUnavailable: it is not there and cannot be fetched.
    """
    from faster_whisper import download_model

    try:
        return Path(download_model(name, cache_dir=str(folder), local_files_only=offline))
    except Exception as error:  # the hub's client has a tree of errors of its own, and httpx, OSError, ValueError
        raise ModelUnavailable(f"The speech model {name} cannot be fetched ({_first_line(error)}).") from error


def _read_habits(directory: Path) -> Habits:
    path = directory / HABITS_FILE
    try:
        given = json.loads(path.read_bytes())
        known = {field.name: given[field.name] for field in fields(Habits) if field.name in given}
        if "temperatures" in known:
            known["temperatures"] = tuple(map(float, known["temperatures"]))
        return Habits(**known)
    except FileNotFoundError:
        return Habits()
    except (OSError, ValueError, TypeError) as error:
        raise ModelUnavailable(f"{path} cannot be read ({error}).", remedy="Correct or remove that file.") from error


def _recognised(segment: Any) -> Recognised:
    return Recognised(
        start=float(segment.start),
        end=float(segment.end),
        text=segment.text,
        no_speech=float(segment.no_speech_prob),
        log_probability=float(segment.avg_logprob),
        compression=float(segment.compression_ratio),
        words=tuple(
            Word(start=float(word.start), end=float(word.end), text=word.word, confidence=float(word.probability))
            for word in segment.words or ()
        ),
    )


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
