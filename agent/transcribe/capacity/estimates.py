"""How fast a model would be that is not here: from what was measured on this machine and published figures. Pure.

A Whisper's speed is that of another size by their amounts of arithmetic, which follow from layers and widths (Radford
et al. 2022, table 1). The other models were measured by the author of onnx-asr beside Whisper base on one machine
(onnx-asr, docs/comparison.md: Russian LibriSpeech on an AMD 9800X3D). Both are estimates, and are called so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from agent.transcribe.models.catalogue import KNOWN

SHAPES = {  # layers of the encoder, of the decoder, width
    "tiny": (4, 4, 384),
    "base": (6, 6, 512),
    "small": (12, 12, 768),
    "medium": (24, 24, 1024),
    "large-v2": (32, 32, 1280),
    "large-v3": (32, 32, 1280),
    "large-v3-turbo": (32, 4, 1280),
}
_SAME = {"large": "large-v3", "large-v1": "large-v2", "turbo": "large-v3-turbo"}
_POSITIONS = 1500  # of a window of 30 s
_TOKENS = 125  # what is said in 25 s
_BEAM = 5
_VOCABULARY = 51_865
_BESIDE_BASE = {  # speed of a model as a multiple of Whisper base's in the table named above
    "gigaam-v3-ctc": 58.5 / 23.5,
    "gigaam-v3-e2e-ctc": 58.7 / 23.5,
    "gigaam-v3-rnnt": 42.4 / 23.5,
    "gigaam-v3-e2e-rnnt": 42.4 / 23.5,
    "nemo-fastconformer-ru-ctc": 96.1 / 23.5,
    "nemo-fastconformer-ru-rnnt": 59.0 / 23.5,
    "nemo-parakeet-tdt-0.6b-v3": 34.1 / 23.5,
    "t-one": 25.4 / 23.5,
}
BY_ARITHMETIC = "by the arithmetic of its layers (Radford et al. 2022, table 1)"
BY_ONNX_ASR = "by its speed beside Whisper base (onnx-asr, docs/comparison.md)"
OFFERED = ("small", "medium", "large-v3-turbo", "large-v3", "gigaam-v3-ctc", "gigaam-v3-e2e-rnnt", "t-one")


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """How many seconds of speech in a second, and where that is from."""

    speed: float
    source: str


def estimate(name: str, measured: Mapping[str, float]) -> Estimate | None:
    """From the speeds of models that were measured here, in seconds of speech a second; None: nothing is known of it.

    What is nearest in size is taken.
    """
    known = {one: speed for one, speed in measured.items() if size_of(one) and speed > 0}
    if not known:
        return None
    if (size := size_of(name)) is not None:
        nearest = min(known, key=lambda one: abs(_work(size_of(one) or "") - _work(size)))
        ratio = _work(size_of(nearest) or "") / _work(size)
        return Estimate(speed=known[nearest] * ratio, source=f"{BY_ARITHMETIC}, from {nearest}")
    if name in _BESIDE_BASE:
        base = estimate("base", known)
        assert base is not None
        return Estimate(speed=base.speed * _BESIDE_BASE[name], source=BY_ONNX_ASR)
    return None


def size_of(name: str) -> str | None:
    """The Whisper size whose shape a model has; None: it has another, or is no Whisper."""
    plain = name.removesuffix(".en")
    size = _SAME.get(plain, plain)
    return size if size in SHAPES and KNOWN.get(name, KNOWN["base"]).kind == "whisper" else None


def _work(size: str) -> float:
    """Multiplications for a full window: encoder, what the decoder makes of it, and the tokens of all beams."""
    encoder, decoder, width = SHAPES[size]
    heard = encoder * (_POSITIONS * 12 * width**2 + 2 * _POSITIONS**2 * width)
    prepared = decoder * _POSITIONS * 2 * width**2
    token = decoder * (14 * width**2 + 2 * _POSITIONS * width) + _VOCABULARY * width
    return float(heard + prepared + _TOKENS * _BEAM * token)
