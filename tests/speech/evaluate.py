"""How well a model understands whole calls by voices it never heard, through Cardline's real path.

``python -m tests.speech.evaluate [MODEL_DIRECTORY] --calls 6 --seconds 90`` prints a line a language: word error rate
over both channels, how far the words' times are from the truth, and speed.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from pathlib import Path

from agent.transcribe.dialogue import Dialogue, transcribe_channels
from agent.transcribe.engines.whisper import WhisperEngine
from agent.transcribe.models.fetching import TINY_DEMO, find_model
from agent.transcribe.speech.channels import read_channels
from agent.transcribe.wer import WordErrors, fold, word_errors
from tests.speech.calls import SyntheticCall, make_call, write_flac

MODEL = find_model(TINY_DEMO, data_dir=Path("/nonexistent"))


@dataclass(slots=True, kw_only=True)
class Score:
    """Sums over several calls; ``beside`` are seconds between where a word began and where it is written."""

    errors: int = 0
    words: int = 0
    beside: list[float] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    sound_seconds: float = 0.0
    work_seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Word error rate."""
        return self.errors / max(1, self.words)


def score_call(call: SyntheticCall, dialogue: Dialogue) -> WordErrors:
    """Word errors of both channels, each compared with what its party said."""
    found = [
        word_errors(call.said(channel), " ".join(one.text for one in dialogue.utterances if one.channel == channel))
        for channel in range(len(call.channels))
    ]
    return WordErrors(errors=sum(one.errors for one in found), words=sum(one.words for one in found))


def times_beside(call: SyntheticCall, dialogue: Dialogue) -> Iterator[float]:
    """For each word that was heard rightly: seconds between its true beginning and the written one."""
    for channel in range(len(call.channels)):
        said = [word for line in call.lines if line.channel == channel for word in line.words]
        heard = [word for one in dialogue.utterances if one.channel == channel for word in one.words]
        left, right = (["".join(fold(word.text)) for word in words] for words in (said, heard))
        for a, b, size in SequenceMatcher(None, left, right, autojunk=False).get_matching_blocks():
            yield from (abs(said[a + step].start - heard[b + step].start) for step in range(size))


def evaluate(
    engine: WhisperEngine, language: str, *, seeds: Sequence[int], seconds: float, demo_only: bool = False
) -> Score:
    """Transcribe whole calls by voices no model of ours was trained on."""
    score = Score()
    for seed in seeds:
        call = make_call(seed, language=language, seconds=seconds, demo_only=demo_only)
        channels = read_channels(io.BytesIO(write_flac(call)))
        began = time.monotonic()
        dialogue = transcribe_channels(channels, engine, ("ru", "en"))
        score.work_seconds += time.monotonic() - began
        found = score_call(call, dialogue)
        score.errors, score.words = score.errors + found.errors, score.words + found.words
        score.sound_seconds += call.seconds
        score.beside += times_beside(call, dialogue)
        score.dropped += [f"{one.text} ({one.reason})" for one in dialogue.dropped]
    return score


def main() -> None:
    """Judge a model by whole calls."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("model", type=Path, nargs="?", default=MODEL)
    parser.add_argument("--calls", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=90.0)
    parser.add_argument("--first", type=int, default=1000, help="the first seed")
    parser.add_argument("--demo-only", action="store_true", help="only phrases of the demo's calls")
    asked = parser.parse_args()
    engine = WhisperEngine(asked.model, name="judged", threads=1)
    for language in ("ru", "en"):
        seeds = range(asked.first, asked.first + asked.calls)
        score = evaluate(engine, language, seeds=seeds, seconds=asked.seconds, demo_only=asked.demo_only)
        beside = sorted(score.beside) or [0.0]
        print(
            f"{language}: WER {score.rate:.3f} of {score.words} words, {len(score.dropped)} dropped; word begins beside"
            f" median {beside[len(beside) // 2]:.2f} s, 90 % {beside[len(beside) * 9 // 10]:.2f} s;"
            f" {score.work_seconds:.1f} s for {score.sound_seconds:.0f} s of call"
        )


if __name__ == "__main__":
    main()
