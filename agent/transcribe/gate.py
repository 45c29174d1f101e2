"""Which segments are believed. A speech model answers silence and tones with a sentence; the gate says why not.

Thresholds are Whisper's own (Radford et al. 2022, section 4.5) but for one: a confident invention has a no-speech
probability near 1 together with a good log-probability, which Whisper's usual rule ("no speech AND improbable") lets
through. So a no-speech probability that high decides alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from agent.transcribe.engine import Recognised

_SURELY_NO_SPEECH = 0.95
_NO_SPEECH = 0.6
_IMPROBABLE = -1.0
_VERY_IMPROBABLE = -1.5
_REPEATS = 2.4
_FASTEST = 40.0  # characters a second; people reach 25, and a segment's times are not exact
_FASTEST_BREATH = 28.0  # of a whole stretch of speech, whose times are
_IMPOSSIBLE = 80.0  # of a segment whose words have times of their own
_SLOWEST = 1.5  # in a stretch that is speech all along
_FEWEST_CHARACTERS = 20
_LONG_SECONDS = 5.0
_UNSURE = -0.4


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """What was left out, with the reason: kept for whoever wonders what is missing. ``text`` is empty where it was left
    out before a model heard it."""

    channel: int
    start: float
    end: float
    text: str
    reason: str


def objection(segment: Recognised) -> str:
    """Why this segment is left out, in words with the figures; empty: it is believed."""
    if not any(letter.isalnum() for letter in segment.text):
        return "no words"
    if segment.no_speech > _SURELY_NO_SPEECH:
        return f"no speech: probability {segment.no_speech:.2f}"
    if segment.no_speech > _NO_SPEECH and segment.log_probability < _IMPROBABLE:
        return f"no speech: probability {segment.no_speech:.2f}, log-probability {segment.log_probability:.2f}"
    if segment.log_probability < _VERY_IMPROBABLE:
        return f"improbable: log-probability {segment.log_probability:.2f}"
    if segment.compression > _REPEATS:
        return f"repeats itself: compression ratio {segment.compression:.2f}"
    return ""


def is_hurried(text: str, seconds: float) -> bool:
    """Whether more was written down of a stretch of speech than fits into it."""
    return len(text) >= _FEWEST_CHARACTERS and len(text) > _FASTEST_BREATH * seconds


def pace_objection(text: str, seconds: float, log_probability: float, *, exact: bool = False) -> str:
    """Why a text cannot be what was said in so many seconds of speech; empty: it can. ``exact``: the stretch had room
    for it, but its own times say that it cannot be."""
    pace = len(text) / max(seconds, 0.05)
    if len(text) >= _FEWEST_CHARACTERS and pace > (_IMPOSSIBLE if exact else _FASTEST):
        return f"faster than anybody speaks: {len(text)} characters in {seconds:.1f} s"
    if seconds >= _LONG_SECONDS and pace < _SLOWEST and log_probability < _UNSURE:
        return f"slower than anybody speaks: {len(text)} characters in {seconds:.1f} s"
    return ""
