"""What to do next about a delivery, and when to leave a CRM alone; pure.

`decide` is asked again after each step until it says that nothing is left, and each step's outcome is kept before the
next: so a crash repeats one step at most, and that one is either harmless to repeat or looked for first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

SETTLE_SECONDS = 10.0
"""For so long a CRM may still be at what it was asked by somebody who is gone, or whom its answer did not reach."""

FAILURES_TO_OPEN = 10
"""So many requests in a row without an answer mean that the CRM is away, and not that one of them is poison."""

_FIRST_PAUSE, _LONGEST_PAUSE = 5.0, 300.0
_LONGEST_RETRY = 600.0
ATTEMPTS = 25
"""So many failures of one delivery while others got through, over three hours and more, and it is given up."""

ATTEMPTS_OF_A_BUG = 10
"""The same for what looks like a mistake of ours."""


class Step(StrEnum):
    """One request, or a few, to a CRM."""

    LOOK = "look"  # for what an attempt without an answer may have made
    LOOK_FOREIGN = "look_foreign"  # for what another integration has logged
    LOG = "log"
    UPDATE = "update"
    RECORDING = "recording"
    TRANSCRIPT = "transcript"
    WITHDRAW = "withdraw"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Digests of what should be there; empty: nothing. ``enrich``: others may have logged it."""

    activity: str = ""
    recording: str = ""
    transcript: str = ""
    enrich: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What we know of what is there. ``begun``: an attempt was made whose answer is not known; ``looked``: it was
    looked for others' since; ``parts`` are the digests told."""

    is_logged: bool
    begun: bool
    looked: bool
    parts: Mapping[str, str]


def decide(wanted: Wanted, known: Known) -> Step:
    """The next step from what is there to what should be."""
    if not wanted.activity:
        if known.is_logged:
            return Step.WITHDRAW
        return Step.LOOK if known.begun else Step.NOTHING
    if not known.is_logged:
        if known.begun:
            return Step.LOOK
        return Step.LOOK_FOREIGN if wanted.enrich and not known.looked else Step.LOG
    if known.parts.get("activity") != wanted.activity:
        return Step.UPDATE
    if wanted.recording and known.parts.get("recording") != wanted.recording:
        return Step.RECORDING
    if wanted.transcript and known.parts.get("transcript") != wanted.transcript:
        return Step.TRANSCRIPT
    return Step.NOTHING


def circuit_pause(failures: int) -> float:
    """Seconds to leave a CRM alone after so many failures in a row; 0: go on."""
    if failures < FAILURES_TO_OPEN:
        return 0.0
    return float(min(_FIRST_PAUSE * 2 ** min(failures - FAILURES_TO_OPEN, 16), _LONGEST_PAUSE))


def retry_pause(attempts: int) -> float:
    """Seconds until one delivery is tried again after ``attempts`` that count."""
    return float(min(2.0 ** min(attempts + 1, 16), _LONGEST_RETRY))
