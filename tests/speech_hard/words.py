"""Calls of voices that the tests' model never heard, for noise laid over them, and how many words are heard."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from agent.transcribe.engine import Stretch
from agent.transcribe.speech.speechfinder import TELEPHONY
from agent.transcribe.wer import fold, word_errors
from tests.speech.calls import SyntheticCall, make_call
from tests.speech.synth import RATE, Samples

Spans = Sequence[tuple[float, float]]


def some_calls(seeds: Sequence[int] = range(4, 10)) -> list[SyntheticCall]:
    """Two of each seed in Russian and two in English, one of them of the demo's phrases only."""
    return [
        make_call(seed, language=language, seconds=25, demo_only=demo_only)
        for seed in seeds
        for language in ("ru", "en")
        for demo_only in (True, False)
    ]


def spans_of(call: SyntheticCall, channel: int) -> list[tuple[float, float]]:
    """From when to when each sentence of a party is said, in seconds."""
    return [(line.start, line.end) for line in call.lines if line.channel == channel]


def loud(samples: Samples, spans: Spans) -> float:
    """RMS of the loud parts of what is spoken."""
    spoken = np.concatenate([samples[round(start * RATE) : round(end * RATE)] for start, end in spans]).astype(float)
    kept = spoken[np.abs(spoken) > 0.1 * np.abs(spoken).max()]
    return float(np.sqrt(np.mean(kept**2)))


def joined(spans: Spans) -> list[Stretch]:
    """What is said without a pause worth the name is one stretch, as voice activity detection finds it."""
    found: list[Stretch] = []
    for start, end in spans:
        if found and start - found[-1].end < TELEPHONY.pause:
            start = found.pop().start
        found.append(Stretch(start=start, end=end))
    return found


def recall(said: str, heard: str) -> float:
    """Share of the words said that were heard in their order."""
    errors = word_errors(said, heard)
    extra = max(0, len(fold(heard)) - errors.words)
    return 1 - max(0, errors.errors - extra) / errors.words
