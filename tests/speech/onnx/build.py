"""Writes the small models: directories as onnx-asr wants those of GigaAM v3 (CTC and RNN-T) and of T-one.

`python -m tests.speech.onnx.build FOLDER` writes all of them. Nothing is trained: a tone is told by the energy in its
band. What is real is everything around that: the names of files, inputs and outputs, their shapes and types, the
subsampling, states carried from chunk to chunk, blanks.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.speech.onnx.whistled import BANDS, LETTERS, band_of, frequency_of

_OPSET, _IR = 17, 9
_BLANK = len(LETTERS)
_SILENCE = 0.0  # log energy of a band, above which it is heard
_HIDDEN = 320  # width of GigaAM's prediction network
_CHUNK, _FRAME, _RATE = 2400, 240, 8000  # T-one hears 0.3 s at a time and writes a token for each 0.03 s
_STATE = 16

Weights = npt.NDArray[np.float32]


def write_ctc(directory: Path, *, quantized: bool = False, shift: int = 0) -> Path:
    """GigaAM v3 with CTC. ``shift`` makes it spell each letter by the one that many further, to tell two models
    apart; ``quantized`` gives the file the name of an int8 one."""
    _gigaam(directory)
    nodes = [*_scores("features"), _node("LogSoftmax", ["scores"], "log_probs", axis=-1)]
    inputs = [_value("features", TensorProto.FLOAT, ["batch", BANDS, "time"]), _lengths("feature_lengths")]
    outputs = [_value("log_probs", TensorProto.FLOAT, ["batch", "frames", _BLANK + 1])]
    _save(directory / f"v3_ctc{'.int8' if quantized else ''}.onnx", nodes, inputs, outputs, _band_weights(shift))
    return directory


def write_rnnt(directory: Path) -> Path:
    """GigaAM v3 with RNN-T: what was written last is not written again until something else was."""
    _gigaam(directory)
    nodes = [
        *_scores("audio_signal"),
        helper.make_node("Hardmax", ["scores"], ["likeliest"], axis=-1),
        _node("Mul", ["likeliest", "ten"], "sure"),
        _node("Add", ["sure", "else_blank"], "told"),
        _node("Transpose", ["told"], "encoded", perm=[0, 2, 1]),
        _node("Sub", ["length", "one"], "before"),
        _node("Div", ["before", "four"], "quarter"),
        _node("Add", ["quarter", "one"], "whole"),
        _node("Cast", ["whole"], "encoded_len", to=TensorProto.INT32),
    ]
    inputs = [_value("audio_signal", TensorProto.FLOAT, ["batch", BANDS, "time"]), _lengths("length")]
    outputs = [
        _value("encoded", TensorProto.FLOAT, ["batch", _BLANK + 1, "frames"]),
        _value("encoded_len", TensorProto.INT32, ["batch"]),
    ]
    constants: dict[str, Any] = {**_band_weights(0), "one": np.array([1]), "four": np.array([4]), "ten": np.float32(10)}
    constants["else_blank"] = np.eye(_BLANK + 1, dtype=np.float32)[_BLANK]
    _save(directory / "v3_rnnt_encoder.onnx", nodes, inputs, outputs, constants)
    _prediction(directory / "v3_rnnt_decoder.onnx")
    _joint(directory / "v3_rnnt_joint.onnx")
    return directory


def write_t_one(directory: Path) -> Path:
    """T-one: chunks of 0.3 s at 8 kHz. Its state carries the loudness of the last frame, and a frame is written when
    the one before it is known, so a state that gets lost costs the letter at the edge of a chunk."""
    directory.mkdir(parents=True, exist_ok=True)
    config = {
        "decoder_params": {"vocabulary": list(LETTERS)},
        "encoder_params": {"reduction_kernel_size": 3},
        "pad_token_id": _BLANK,
    }
    (directory / "config.json").write_text(json.dumps(config), encoding="utf-8")
    frames, symbols = _CHUNK // _FRAME, len(LETTERS)
    nodes = [
        _node("Cast", ["signal"], "float", to=TensorProto.FLOAT),
        _node("Reshape", ["float", "by_frames"], "framed"),
        _node("MatMul", ["framed", "cosines"], "real"),
        _node("MatMul", ["framed", "sines"], "imaginary"),
        _node("Mul", ["real", "real"], "real2"),
        _node("Mul", ["imaginary", "imaginary"], "imaginary2"),
        _node("Add", ["real2", "imaginary2"], "power"),
        _node("Add", ["power", "least"], "positive"),
        _node("Log", ["positive"], "loud"),
        _node("Slice", ["loud", "minus_one", "end", "axis_1"], "last"),
        _node("Slice", ["loud", "zero", "minus_one", "axis_1"], "earlier"),
        _node("Cast", ["state"], "state_float", to=TensorProto.FLOAT),
        _node("Slice", ["state_float", "zero", "symbols", "axis_1"], "state_used"),
        _node("Reshape", ["state_used", "one_frame"], "carried"),
        helper.make_node("Concat", ["carried", "earlier"], ["delayed"], axis=1),
        _node("Max", ["delayed", "loud"], "held"),
        _node("Min", ["delayed", "held"], "letters"),
        _node("Sub", ["letters", "threshold"], "centred"),
        _node("Mul", ["centred", "sharp"], "sharpened"),
        _node("Pad", ["sharpened", "pads"], "scores"),
        _node("LogSoftmax", ["scores"], "logprobs", axis=-1),
        _node("Reshape", ["last", "flat"], "last_flat"),
        _node("Pad", ["last_flat", "state_pads"], "state_wide"),
        _node("Cast", ["state_wide"], "state_next", to=TensorProto.FLOAT16),
    ]
    times = np.arange(_FRAME)[:, None] / _RATE
    angles = 2 * np.pi * times * np.array([frequency_of(letter) for letter in LETTERS])[None, :]
    constants = {
        "by_frames": np.array([-1, frames, _FRAME]),
        "cosines": (np.cos(angles) / _FRAME / 32767).astype(np.float32),
        "sines": (np.sin(angles) / _FRAME / 32767).astype(np.float32),
        "least": np.float32(1e-9),
        "threshold": np.float32(np.log(0.003)),
        "sharp": np.float32(4),
        "minus_one": np.array([-1]),
        "end": np.array([frames]),
        "zero": np.array([0]),
        "axis_1": np.array([1]),
        "symbols": np.array([symbols]),
        "one_frame": np.array([-1, 1, symbols]),
        "flat": np.array([-1, symbols]),
        "pads": np.array([0, 0, 0, 0, 0, 1]),
        "state_pads": np.array([0, 0, 0, _state_width() - symbols]),
    }
    inputs = [
        _value("signal", TensorProto.INT32, ["batch", _CHUNK, 1]),
        _value("state", TensorProto.FLOAT16, ["batch", _state_width()]),
    ]
    outputs = [
        _value("logprobs", TensorProto.FLOAT, ["batch", frames, symbols + 1]),
        _value("state_next", TensorProto.FLOAT16, ["batch", _state_width()]),
    ]
    _save(directory / "model.onnx", nodes, inputs, outputs, constants)
    return directory


def _state_width() -> int:
    return len(LETTERS) + _STATE


def _gigaam(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    config = {"model_type": "gigaam", "version": "v3", "features_size": BANDS, "subsampling_factor": 4}
    (directory / "config.json").write_text(json.dumps(config), encoding="utf-8")
    tokens = [*("\u2581" if letter == " " else letter for letter in LETTERS), "<blk>"]
    lines = "".join(f"{token} {number}\n" for number, token in enumerate(tokens))
    (directory / "v3_vocab.txt").write_text(lines, encoding="utf-8")


def _scores(features: str) -> list[Any]:
    """Log-mel features to a score for each letter and the blank, for four frames at a time."""
    pool = helper.make_node("AveragePool", [features], ["pooled"], kernel_shape=[4], strides=[4], ceil_mode=1)
    return [
        pool,
        _node("Transpose", ["pooled"], "by_time", perm=[0, 2, 1]),
        _node("MatMul", ["by_time", "bands"], "heard"),
        _node("Add", ["heard", "bias"], "scores"),
    ]


def _band_weights(shift: int) -> dict[str, npt.NDArray[Any]]:
    bands = np.zeros((BANDS, _BLANK + 1), np.float32)
    for number, letter in enumerate(LETTERS):
        written = number if letter == " " else 1 + (number - 1 + shift) % (len(LETTERS) - 1)
        bands[band_of(letter), written] = 1.0
    bias = np.zeros(_BLANK + 1, np.float32)
    bias[_BLANK] = _SILENCE
    return {"bands": bands, "bias": bias}


def _prediction(path: Path) -> None:
    """The last token, as one of `_HIDDEN`; the two states go through."""
    nodes = [
        _node("Gather", ["tokens", "x"], "dec"),
        _node("Identity", ["h.1"], "h"),
        _node("Identity", ["c.1"], "c"),
    ]
    tokens = np.zeros((_BLANK + 1, _HIDDEN), np.float32)
    tokens[np.arange(_BLANK), np.arange(_BLANK)] = 1.0  # the blank, which is what a text begins with, is none
    state = [1, 1, _HIDDEN]
    inputs = [
        _value("x", TensorProto.INT64, [1, 1]),
        _value("h.1", TensorProto.FLOAT, state),
        _value("c.1", TensorProto.FLOAT, state),
    ]
    outputs = [_value(name, TensorProto.FLOAT, state) for name in ("dec", "h", "c")]
    _save(path, nodes, inputs, outputs, {"tokens": tokens})


def _joint(path: Path) -> None:
    nodes = [
        _node("Transpose", ["dec"], "last", perm=[0, 2, 1]),
        _node("MatMul", ["last", "forbid"], "forbidden"),
        _node("Transpose", ["enc"], "now", perm=[0, 2, 1]),
        _node("Sub", ["now", "forbidden"], "allowed"),
        _node("Unsqueeze", ["allowed", "axis"], "joint"),
    ]
    forbid = np.zeros((_HIDDEN, _BLANK + 1), np.float32)
    forbid[np.arange(_BLANK), np.arange(_BLANK)] = 50.0
    inputs = [
        _value("enc", TensorProto.FLOAT, [1, _BLANK + 1, 1]),
        _value("dec", TensorProto.FLOAT, [1, _HIDDEN, 1]),
    ]
    outputs = [_value("joint", TensorProto.FLOAT, [1, 1, 1, _BLANK + 1])]
    _save(path, nodes, inputs, outputs, {"forbid": forbid, "axis": np.array([1])})


def _node(kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> Any:
    return helper.make_node(kind, list(inputs), [output], **attributes)


def _value(name: str, kind: int, shape: Sequence[int | str]) -> Any:
    return helper.make_tensor_value_info(name, kind, list(shape))


def _lengths(name: str) -> Any:
    return _value(name, TensorProto.INT64, ["batch"])


def _save(
    path: Path,
    nodes: Sequence[Any],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    constants: dict[str, npt.NDArray[Any]],
) -> None:
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(list(nodes), path.stem, list(inputs), list(outputs), initializer=tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))


WRITERS: dict[str, Callable[[Path], Path]] = {
    "gigaam-v3-ctc": write_ctc,
    "gigaam-v3-rnnt": write_rnnt,
    "t-one": write_t_one,
}

if __name__ == "__main__":
    for name, write in WRITERS.items():
        print(write(Path(sys.argv[1]) / name))
