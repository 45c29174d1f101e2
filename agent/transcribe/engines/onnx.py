"""Models beside Whisper, by onnx-asr: GigaAM and T-one, which halve the error on Russian telephone speech, and others.

The only file that imports onnx_asr and onnxruntime, and only once a model is asked for. The package comes with the
extra ``cardline[ru]``.
"""

from __future__ import annotations

import gc
import json
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import structlog

from agent.errors import ModelUnavailable
from agent.processes import give_memory_back
from agent.transcribe.engine import SAMPLE_RATE, Hints, Recognised, Sound
from agent.transcribe.engines.habits import HABITS_FILE
from agent.transcribe.engines.spelled import BATCH, NEUTRAL, Token, alike, figure, segments_of
from agent.transcribe.models.catalogue import KNOWN

log = structlog.get_logger()

JOIN_SECONDS = 25.0  # GigaAM was trained on pieces of up to 30 s; others take more
_LEAST_SAMPLES = SAMPLE_RATE // 10  # shorter sound has no frame in some models
_MOST_LANES = 4
_ALIASES = {"t-one": "t-one-ctc"}  # where onnx-asr has another name for it
_FILES = (  # what the files of a directory without a name say of its model; the first that fits
    ("v3_e2e_ctc*.onnx", "gigaam-v3-e2e-ctc"),
    ("v3_e2e_rnnt_encoder*.onnx", "gigaam-v3-e2e-rnnt"),
    ("v?_ctc*.onnx", "gigaam-v3-ctc"),
    ("v?_rnnt_encoder*.onnx", "gigaam-v3-rnnt"),
)


class OnnxEngine:
    """One ONNX model in a directory, loaded when it is first needed. Safe to call from several threads."""

    join_seconds = JOIN_SECONDS
    reads_hints = False
    batch = BATCH

    def __init__(self, directory: Path, *, name: str, threads: int = 0, device: str = "auto") -> None:
        """``threads`` is the number of CPU threads; 0: all cores this process may use, but one."""
        self.name = name
        self._directory = directory
        self._threads = threads or max(1, len(os.sched_getaffinity(0)) - 1)
        self._device = device
        self._lock = threading.Lock()
        self._model: Any = None

    @property
    def lanes(self) -> int:
        """How many batches at a time: on a CPU several of few threads each get more done than one of all."""
        return 1 if uses_gpu(self._device) else min(_MOST_LANES, self._threads)

    def weigh_languages(self, sound: Sound) -> Mapping[str, float]:
        """These models understand one language, or do not say which they heard: all they know are as likely."""
        languages = _languages(self._directory, self.name)
        return dict.fromkeys(languages, 1.0 / len(languages))

    def recognise(self, windows: Sequence[Sound], language: str, hints: Hints) -> list[list[Recognised]]:
        """Write down windows; those of like length go through the model together. Hints cannot be given to it."""
        model = self._load()
        answers: dict[int, list[Recognised]] = {}
        for numbers in alike([len(window) for window in windows]):
            sounds = [_long_enough(windows[number]) for number in numbers]
            found = model.recognize(sounds, sample_rate=SAMPLE_RATE, language=language)
            for number, result in zip(numbers, found, strict=True):
                answers[number] = segments_of(_tokens(result), result.text, len(windows[number]) / SAMPLE_RATE)
        return [answers[number] for number in range(len(windows))]

    def load(self) -> None:
        """Load the model now instead of at the first speech.

        Raises:
            ModelUnavailable: its files are broken, or onnx-asr is not installed.
        """
        self._load()

    def unload(self) -> None:
        """Give the model's memory back; the next window loads it again."""
        with self._lock:
            if self._model is None:
                return
            self._model = None
        gc.collect()
        give_memory_back()
        log.info("speech_model_unloaded", model=self.name)

    def _load(self) -> Any:
        with self._lock:
            if self._model is None:
                self._model = self._loaded()
            return self._model

    def _loaded(self) -> Any:
        runtime, asr = _libraries(self.name)
        on_gpu = uses_gpu(self._device)
        providers = ["CUDAExecutionProvider", "CPUExecutionProvider"] if on_gpu else ["CPUExecutionProvider"]
        own = {"sess_options": _session_options(runtime, max(1, self._threads // self.lanes)), "providers": providers}
        small = {"sess_options": _session_options(runtime, 1), "providers": ["CPUExecutionProvider"]}
        if self._device == "cuda" and not on_gpu:
            raise ModelUnavailable(
                "transcribe.device asks for a GPU, and onnxruntime has no CUDA.",
                remedy="Put onnxruntime-gpu in place of onnxruntime (docs/speech.md), or let the device be auto.",
            )
        kind = _type_of(self._directory, self.name)
        try:
            model = _first_precision(
                (None, "int8") if on_gpu else ("int8", None),
                lambda precision: asr.load_model(
                    kind,
                    self._directory,
                    quantization=precision,
                    asr_config=own,
                    preprocessor_config=dict(small),
                    resampler_config=dict(small),
                ),
            )
        except Exception as error:  # whatever onnx-asr, onnxruntime and json find wrong with the files
            raise ModelUnavailable(
                f"The speech model in {self._directory} cannot be loaded ({_first_line(error)}).",
                remedy="Remove that directory and have the model fetched again, or name another in transcribe.model.",
            ) from error
        log.info("speech_model_loaded", model=self.name, threads=self._threads, on_gpu=on_gpu)
        return model.with_timestamps()


def uses_gpu(device: str) -> bool:
    """Whether ONNX models run on a GPU here: where onnxruntime-gpu is installed in place of onnxruntime."""
    if device == "cpu":
        return False
    try:
        import onnxruntime
    except ImportError:
        return False
    return "CUDAExecutionProvider" in onnxruntime.get_available_providers()


def _libraries(name: str) -> tuple[Any, Any]:
    try:
        import onnx_asr
        import onnxruntime
    except ImportError:
        raise ModelUnavailable(
            f"The speech model {name} needs the package onnx-asr, which is not installed.",
            remedy="Install it with `pip install 'cardline[ru]'`; calls are kept and their transcripts wait.",
        ) from None
    return onnxruntime, onnx_asr


def _session_options(runtime: Any, threads: int) -> Any:
    """Each session has threads of its own. Memory is given back after each run: windows are of many lengths, and an
    arena kept 200 to 300 MB for them with layers of GigaAM's width, for an eighth less time."""
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    options.log_severity_level = 3
    return options


def _first_precision(precisions: tuple[str | None, ...], load: Callable[[str | None], Any]) -> Any:
    """Load the first of these precisions whose files are there."""
    for precision in precisions[:-1]:
        try:
            return load(precision)
        except FileNotFoundError:
            continue
    return load(precisions[-1])


def _type_of(directory: Path, name: str) -> str:
    """What onnx-asr calls this sort of model: by its known name, our file of habits, its files or its own config.

    Raises:
        ModelUnavailable: nothing says what it is.
    """
    if name in KNOWN:
        return _ALIASES.get(name, name)
    told = _read(directory / HABITS_FILE).get("onnx") or _type_by_files(directory)
    config = _read(directory / "config.json")
    if "decoder_params" in config and "pad_token_id" in config:
        told = told or "t-one-ctc"
    told = told or config.get("model_type")
    if isinstance(told, str) and told:
        return told
    raise ModelUnavailable(
        f"Nothing in {directory} says what sort of model it is.",
        remedy=f'Write {{"onnx": "nemo-conformer-ctc", "languages": ["ru"]}} into its {HABITS_FILE}, with the type as '
        "onnx-asr names it.",
    )


def _type_by_files(directory: Path) -> str:
    return next((name for pattern, name in _FILES if any(directory.glob(pattern))), "")


def _languages(directory: Path, name: str) -> tuple[str, ...]:
    told = _read(directory / HABITS_FILE).get("languages")
    if isinstance(told, list) and told:
        return tuple(str(one) for one in told)
    if name in KNOWN:
        return KNOWN[name].languages
    return ("ru",) if _type_of(directory, name).startswith(("gigaam", "t-one", "vosk")) else ("en",)


def _read(path: Path) -> dict[str, Any]:
    try:
        told = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ModelUnavailable(f"{path} cannot be read ({error}).", remedy="Correct or remove that file.") from error
    return told if isinstance(told, dict) else {}


def _tokens(result: Any) -> list[Token]:
    """None where the model gives no times."""
    if not result.tokens or not result.timestamps:
        return []
    chances = result.logprobs or [NEUTRAL] * len(result.tokens)
    return [
        Token(text=text, start=float(start), log_probability=figure(chance))
        for text, start, chance in zip(result.tokens, result.timestamps, chances, strict=True)
    ]


def _long_enough(sound: Sound) -> Sound:
    return np.pad(sound, (0, _LEAST_SAMPLES - len(sound))) if len(sound) < _LEAST_SAMPLES else sound


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
