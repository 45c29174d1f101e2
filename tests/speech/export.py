"""From trained weights to a directory that faster-whisper loads: ``python -m tests.speech.export WEIGHTS.npz``.

Weights become 8-bit, rows with a scale each. Needs only what Cardline itself needs; torch is not asked for.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from agent.transcribe.models.fetching import TINY_DEMO, find_model
from tests.speech.vocabulary import tokens, write_tokenizer
from tests.speech.weights import Arrays, read_npz

# Heads of the decoder (layer, head) that look at the word they are about to write; they give the words their times.
ALIGNMENT_HEADS = ((1, 0), (1, 1), (2, 0), (2, 1))
_HEADS = 4
_LANGUAGES = 99
_POSITIONS = 1500


def export(weights: Arrays, folder: Path) -> None:
    """Write the model; a file ``cardline.json`` or ``README.md`` that is there stays."""
    from ctranslate2.specs.whisper_spec import WhisperSpec

    spec = WhisperSpec(_layers(weights, "encoder"), _HEADS, _layers(weights, "decoder"), _HEADS)
    for name, value in weights.items():
        _set(spec, name, np.array(value, np.float32, order="C"))  # a copy: CTranslate2 scales in place
    spec.encoder.position_encodings.encodings = _sinusoids(weights["encoder/conv1/bias"].shape[0])
    spec.decoder.projection.weight = spec.decoder.embeddings.weight
    vocabulary = tokens()
    spec.register_vocabulary(list(vocabulary))
    first = vocabulary.index("<|startoftranscript|>") + 1
    spec.config.suppress_ids = []
    spec.config.suppress_ids_begin = [vocabulary.index("Ġ"), vocabulary.index("<|endoftext|>")]
    spec.config.lang_ids = list(range(first, first + _LANGUAGES))
    spec.config.alignment_heads = [list(one) for one in ALIGNMENT_HEADS]
    spec.validate()
    spec.optimize(quantization="int8")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as made:
        spec.save(made)
        write_tokenizer(Path(made))
        for file in Path(made).iterdir():
            shutil.copyfile(file, folder / file.name)


def _layers(weights: Arrays, part: str) -> int:
    return len(
        {name.split("/")[1] for name in weights if name.startswith(f"{part}/layer_") and "norm" not in name[:20]}
    )


def _set(spec: Any, name: str, value: Any) -> None:
    """Follow a name such as encoder/layer_0/ffn/linear_1/weight; some numbers are places in lists."""
    *path, last = name.split("/")
    for part in path:
        if hasattr(spec, part):
            spec = getattr(spec, part)
        else:
            listed, _, index = part.rpartition("_")
            spec = getattr(spec, listed)[int(index)]
    setattr(spec, last, value)


def _sinusoids(width: int) -> Any:
    scales = np.exp(-np.log(10000) / (width // 2 - 1) * np.arange(width // 2))
    angles = np.arange(_POSITIONS)[:, None] * scales[None]
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)


def main() -> None:
    """Write trained weights as a model directory."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("weights", type=Path)
    parser.add_argument("folder", type=Path, nargs="?", default=find_model(TINY_DEMO, data_dir=Path("/nonexistent")))
    asked = parser.parse_args()
    export(read_npz(asked.weights), asked.folder)


if __name__ == "__main__":
    main()
