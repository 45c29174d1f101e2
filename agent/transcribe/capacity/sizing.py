"""A Whisper of a given size that knows nothing: weights by chance, whose arithmetic takes as long as that of real ones.

So a machine can be judged before anything is fetched. The number of tokens is fixed, as chance says nothing of when a
sentence ends.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np

from agent.transcribe.capacity.estimates import SHAPES

WINDOW_SPEECH_SECONDS = 25.0
_HEAD_WIDTH = 64
_MELS, _FRAMES, _POSITIONS = 80, 3000, 1500
_MOST_TOKENS = 448
_TEXT_TOKENS = 50_257
_BEGIN, _LANGUAGE, _TRANSCRIBE, _NO_TIMES, _END = 50_258, 50_259, 50_360, 50_364, 50_257
_VOCABULARY = 51_865
_WRITTEN = 125  # tokens a window


class BlindWhisper:
    """A model of a size, ready to be measured."""

    def __init__(self, size: str, *, threads: int, device: str) -> None:
        """Blocks for seconds, and takes a byte of memory for each weight and four for a moment."""
        import ctranslate2

        with tempfile.TemporaryDirectory(prefix="cardline-") as folder:
            _write(size, Path(folder))
            self._model = ctranslate2.models.Whisper(
                folder,
                device=device,
                compute_type="int8" if device == "cpu" else "float16",
                intra_threads=threads,
            )
        features = np.random.default_rng(1).standard_normal((1, _MELS, _FRAMES)).astype(np.float32)
        self._features = ctranslate2.StorageView.from_array(features)

    def window(self) -> float:
        """Seconds of work for a window of 25 s of speech."""
        began = monotonic()
        encoded = self._model.encode(self._features)
        self._model.generate(
            encoded,
            [[_BEGIN, _LANGUAGE, _TRANSCRIBE, _NO_TIMES]],
            beam_size=5,
            max_length=2 * _WRITTEN,  # CTranslate2 takes half of it for the prompt
            suppress_tokens=[_END],
            suppress_blank=False,
        )
        return monotonic() - began


def _write(size: str, folder: Path) -> None:
    from ctranslate2.specs.whisper_spec import WhisperSpec

    encoder_layers, decoder_layers, width = SHAPES[size]
    heads = width // _HEAD_WIDTH
    made = _Weights(width)
    spec = WhisperSpec(encoder_layers, heads, decoder_layers, heads)
    encoder, decoder = spec.encoder, spec.decoder
    encoder.conv1.weight, encoder.conv1.bias = made.some(width, _MELS, 3), made.zeros(width)
    encoder.conv2.weight, encoder.conv2.bias = made.some(width, width, 3), made.zeros(width)
    encoder.position_encodings.encodings = made.some(_POSITIONS, width)
    decoder.position_encodings.encodings = made.some(_MOST_TOKENS, width)
    decoder.embeddings.weight = made.some(_VOCABULARY, width)
    decoder.projection.weight = decoder.embeddings.weight
    made.norm(encoder.layer_norm)
    made.norm(decoder.layer_norm)
    for layer in encoder.layer:
        made.layer(layer)
    for layer in decoder.layer:
        made.layer(layer)
        made.attention(layer.attention, (width, 2 * width, width))
    spec.register_vocabulary(_tokens())
    spec.config.suppress_ids, spec.config.suppress_ids_begin = [], []
    spec.config.lang_ids = list(range(_LANGUAGE, _LANGUAGE + 99))
    spec.config.alignment_heads = [[0, 0]]
    spec.validate()
    spec.optimize(quantization="int8")
    spec.save(str(folder))


class _Weights:
    """Fills layers of a width."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._chance = np.random.default_rng(0)

    def some(self, *shape: int) -> Any:
        return self._chance.standard_normal(shape, dtype=np.float32) * np.float32(0.02)

    def zeros(self, *shape: int) -> Any:
        return np.zeros(shape, np.float32)

    def norm(self, part: Any) -> None:
        part.gamma, part.beta = np.ones(self._width, np.float32), self.zeros(self._width)

    def linear(self, part: Any, outputs: int, inputs: int) -> None:
        part.weight, part.bias = self.some(outputs, inputs), self.zeros(outputs)

    def attention(self, part: Any, outputs: tuple[int, ...]) -> None:
        self.norm(part.layer_norm)
        for linear, count in zip(part.linear, outputs, strict=True):
            self.linear(linear, count, self._width)

    def layer(self, part: Any) -> None:
        self.attention(part.self_attention, (3 * self._width, self._width))
        self.norm(part.ffn.layer_norm)
        self.linear(part.ffn.linear_0, 4 * self._width, self._width)
        self.linear(part.ffn.linear_1, self._width, 4 * self._width)


def _tokens() -> list[str]:
    """As many as Whisper has, the special ones in its order; by the empty one CTranslate2 knows a multilingual one."""
    words = [f"t{number}" for number in range(_TEXT_TOKENS - 1)] + [""]
    special = ["<|endoftext|>", "<|startoftranscript|>", *(f"<|l{number}|>" for number in range(99))]
    special += [f"<|{name}|>" for name in ("translate", "transcribe", "startoflm", "startofprev", "nospeech")]
    times = [f"<|{tick * 0.02:.2f}|>" for tick in range(1501)]
    return [*words, *special, "<|notimestamps|>", *times][:_VOCABULARY]
