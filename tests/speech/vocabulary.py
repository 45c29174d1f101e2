"""The vocabulary of the tests' model, in Whisper's order: one token a word of the phrases, so little is to be learnt.

text | "" | end of text | start of transcript | 99 languages | tasks | 1501 timestamps. CTranslate2 (4.7 and later)
takes a model for multilingual if the empty token is there; ids below "end of text" are text for faster-whisper.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from tests.speech.corpus import LANGUAGES, load_corpus

TIMESTAMPS = 1501
TIMESTAMP_SECONDS = 0.02
# What faster-whisper keeps from being said: it looks up the first token of each, which must not be the bare space.
_MARKS = (" -", " '", *(f" {mark}" for mark in "♩♪♫♬♭♮♯"), *"♩♪♫♬♭♮♯")
_TASKS = ("translate", "transcribe", "startoflm", "startofprev", "nospeech", "notimestamps")


def make_tokenizer() -> Any:
    """A tokenizer that knows every word of the phrases as a whole and spells everything else in bytes."""
    from faster_whisper.tokenizer import _LANGUAGE_CODES
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    split = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words = sorted({f" {word}" for language in LANGUAGES for word in load_corpus(language).words() if word.isalnum()})
    whole = [split.pre_tokenize_str(word)[0][0] for word in (*words, *_MARKS)]
    pieces = [*alphabet, *(piece for piece in dict.fromkeys(whole) if len(piece) > 1), ""]
    scored = [(piece, -10.0 if len(piece) == 1 else -1.0) for piece in pieces]
    tokenizer = Tokenizer(models.Unigram(scored, unk_id=0, byte_fallback=False))
    tokenizer.pre_tokenizer = split
    tokenizer.decoder = decoders.ByteLevel()
    named = ["endoftext", "startoftranscript", *list(_LANGUAGE_CODES)[:99], *_TASKS]
    tokenizer.add_special_tokens([AddedToken(f"<|{name}|>", special=True, normalized=False) for name in named])
    times = [f"<|{index * TIMESTAMP_SECONDS:.2f}|>" for index in range(TIMESTAMPS)]
    tokenizer.add_tokens([AddedToken(time, special=False, normalized=False) for time in times])
    return tokenizer


@cache
def tokens() -> tuple[str, ...]:
    """Every token by its id."""
    tokenizer = make_tokenizer()
    return tuple(tokenizer.id_to_token(index) for index in range(tokenizer.get_vocab_size()))


def write_tokenizer(folder: Path) -> None:
    """``tokenizer.json`` and ``preprocessor_config.json`` as faster-whisper reads them."""
    raw = json.loads(make_tokenizer().to_str())
    (folder / "tokenizer.json").write_text(json.dumps(raw, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")
    features = {
        "feature_extractor_type": "WhisperFeatureExtractor",
        "feature_size": 80,
        "sampling_rate": 16000,
        "hop_length": 160,
        "chunk_length": 30,
        "n_fft": 400,
        "n_samples": 480000,
        "nb_max_frames": 3000,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": False,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(features) + "\n", encoding="utf-8")
