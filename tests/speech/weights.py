"""Weights on disk: a model.bin of CTranslate2 read back as floats, and .npz files between training and export."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

Arrays = dict[str, npt.NDArray[np.float32]]
_TYPES: dict[int, Any] = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}


def read_model(path: Path) -> Arrays:
    """The weights of a CTranslate2 model (binary version 6): 8-bit ones multiplied out by the scale of their row."""
    with path.open("rb") as source:
        version = _number(source, "I")
        if version != 6:
            raise ValueError(f"{path} has binary version {version}; only 6 is known.")
        _text(source)
        _number(source, "I")
        raw = dict(_variable(source) for _ in range(_number(source, "I")))
        same = [(_text(source), _text(source)) for _ in range(_number(source, "I"))]
    raw |= {alias: raw[name] for alias, name in same}
    weights: Arrays = {}
    for name, value in raw.items():
        scale = raw.get(f"{name}_scale")
        if scale is not None:
            weights[name] = (value / scale.reshape(-1, *(1,) * (value.ndim - 1))).astype(np.float32)
        elif value.dtype == np.float32 and value.ndim and not name.endswith("_scale"):
            weights[name] = value.copy()
    return weights


def read_npz(path: Path) -> Arrays:
    """The weights that training left."""
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


def _variable(source: BinaryIO) -> tuple[str, npt.NDArray[Any]]:
    name = _text(source)
    shape = [_number(source, "I") for _ in range(_number(source, "B"))]
    kind = _TYPES[_number(source, "B")]
    return name, np.frombuffer(source.read(_number(source, "I")), kind).reshape(shape)


def _text(source: BinaryIO) -> str:
    return source.read(_number(source, "H")).rstrip(b"\0").decode()


def _number(source: BinaryIO, kind: str) -> int:
    return int(struct.unpack(f"<{kind}", source.read(struct.calcsize(f"<{kind}")))[0])
