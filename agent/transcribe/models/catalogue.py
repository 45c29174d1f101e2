"""Which speech models are known by a short name: where they are fetched from and which of their files. Pure.

Whisper sizes are the conversions that faster-whisper names; the others are those onnx-asr names, of which the ones for
telephone speech in Russian and for English are listed. Any other model has its hub name or its directory.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

Kind = Literal["whisper", "onnx"]

WHISPER_FILES = ("config.json", "preprocessor_config.json", "model.bin", "tokenizer.json", "vocabulary.*")
_ONNX_FILES = ("config.json", "config.yaml", "*vocab*.txt", "tokens.txt", "*.onnx", "*.onnx?data")
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_INT8 = re.compile(r"[._-]int8(?=\.onnx)")
_OTHER = re.compile(r"[._-](fp16|bnb4|q\w+|uint8)\.onnx")  # precisions that are not asked for
_GRAPH = re.compile(r"\.onnx(.data)?$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A model with a short name.

    ``repository`` is its name at the hub, ``files`` patterns of what it consists of, ``languages`` what it
    understands (ISO 639-1; empty: whatever it finds out itself), ``megabytes`` what is fetched for a CPU.
    """

    name: str
    kind: Kind
    repository: str
    files: tuple[str, ...]
    megabytes: int
    languages: tuple[str, ...] = ()


def _whisper(name: str, repository: str, megabytes: int) -> Known:
    languages = ("en",) if name.endswith(".en") or name.startswith("distil") else ()
    return Known(
        name=name,
        kind="whisper",
        repository=repository,
        files=WHISPER_FILES,
        megabytes=megabytes,
        languages=languages,
    )


def _onnx(name: str, repository: str, megabytes: int, languages: str, *files: str) -> Known:
    return Known(
        name=name,
        kind="onnx",
        repository=repository,
        files=("config.json", *files),
        megabytes=megabytes,
        languages=tuple(languages.split()),
    )


_GIGAAM_2 = "istupakov/gigaam-v2-onnx"
_GIGAAM_3 = "istupakov/gigaam-v3-onnx"
_FASTCONFORMER = "istupakov/stt_ru_fastconformer_hybrid_large_pc_onnx"
_EUROPEAN = "bg hr cs da nl en et fi fr de el hu it lv lt mt pl pt ro ru sk sl es sv uk"

_ALL = (
    *(_whisper(size, f"Systran/faster-whisper-{size}", mb) for size, mb in (("tiny", 78), ("base", 148))),
    *(_whisper(size, f"Systran/faster-whisper-{size}", mb) for size, mb in (("small", 486), ("medium", 1530))),
    *(_whisper(size, f"Systran/faster-whisper-{size}", mb) for size, mb in (("tiny.en", 78), ("base.en", 148))),
    *(_whisper(size, f"Systran/faster-whisper-{size}", mb) for size, mb in (("small.en", 486), ("medium.en", 1530))),
    *(_whisper(f"large-v{n}", f"Systran/faster-whisper-large-v{n}", 3090) for n in (1, 2, 3)),
    _whisper("large", "Systran/faster-whisper-large-v3", 3090),
    _whisper("distil-small.en", "Systran/faster-distil-whisper-small.en", 336),
    _whisper("distil-medium.en", "Systran/faster-distil-whisper-medium.en", 792),
    _whisper("distil-large-v2", "Systran/faster-distil-whisper-large-v2", 1520),
    _whisper("distil-large-v3", "Systran/faster-distil-whisper-large-v3", 1520),
    _whisper("distil-large-v3.5", "distil-whisper/distil-large-v3.5-ct2", 1520),
    _whisper("large-v3-turbo", "mobiuslabsgmbh/faster-whisper-large-v3-turbo", 1620),
    _whisper("turbo", "mobiuslabsgmbh/faster-whisper-large-v3-turbo", 1620),
    _onnx("gigaam-v2-ctc", _GIGAAM_2, 240, "ru", "v2_ctc*.onnx", "v2_vocab.txt"),
    _onnx("gigaam-v2-rnnt", _GIGAAM_2, 240, "ru", "v2_rnnt_*.onnx", "v2_vocab.txt"),
    _onnx("gigaam-v3-ctc", _GIGAAM_3, 225, "ru", "v3_ctc*.onnx", "v3_vocab.txt"),
    _onnx("gigaam-v3-rnnt", _GIGAAM_3, 225, "ru", "v3_rnnt_*.onnx", "v3_vocab.txt"),
    _onnx("gigaam-v3-e2e-ctc", _GIGAAM_3, 225, "ru", "v3_e2e_ctc*.onnx", "v3_e2e_ctc_vocab.txt"),
    _onnx("gigaam-v3-e2e-rnnt", _GIGAAM_3, 227, "ru", "v3_e2e_rnnt_*.onnx", "v3_e2e_rnnt_vocab.txt"),
    _onnx("nemo-fastconformer-ru-ctc", _FASTCONFORMER, 130, "ru", "model*.onnx", "vocab.txt"),
    _onnx("nemo-fastconformer-ru-rnnt", _FASTCONFORMER, 140, "ru", "*er*-model*.onnx", "vocab.txt"),
    _onnx("t-one", "t-tech/T-one", 143, "ru", "model*.onnx"),
    _onnx(
        "nemo-parakeet-tdt-0.6b-v3",
        "istupakov/parakeet-tdt-0.6b-v3-onnx",
        670,
        _EUROPEAN,
        "*er*-model*.onnx",
        "*.onnx?data",
        "vocab.txt",
    ),
)
KNOWN = {one.name: one for one in _ALL}


def is_hub_name(name: str) -> bool:
    """Whether this may be ``owner/name`` at the hub."""
    return bool(_HUB_NAME.fullmatch(name))


def is_fetchable(name: str) -> bool:
    """Whether there is somewhere to fetch this model from."""
    return name in KNOWN or is_hub_name(name)


def repository_of(name: str) -> str:
    """Where a fetchable model lies at the hub."""
    return KNOWN[name].repository if name in KNOWN else name


def needed(name: str, paths: Iterable[str], *, full_precision: bool) -> list[str]:
    """Which files of a repository make up a model; none where there is no speech model in it.

    Where all its ONNX files are there in int8 too, those are taken for a CPU, and the others for a GPU.
    """
    paths = list(paths)
    if name in KNOWN:
        patterns = KNOWN[name].files
    elif "model.bin" in paths:
        patterns = WHISPER_FILES
    elif any(path.endswith(".onnx") for path in paths):
        patterns = _ONNX_FILES
    else:
        return []
    found = [path for path in paths if _matches(path, patterns)]
    small = [path for path in found if _INT8.search(path)]
    full = [path for path in found if not _INT8.search(path)]
    graphs = {path for path in full if path.endswith(".onnx")}
    if full_precision or {_INT8.sub("", path) for path in small} < graphs or not small:
        return full
    return small + [path for path in full if not _GRAPH.search(path)]


def _matches(path: str, patterns: Iterable[str]) -> bool:
    return "/" not in path and not _OTHER.search(path) and any(fnmatchcase(path, pattern) for pattern in patterns)
