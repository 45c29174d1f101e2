"""When a call was paused and by whom, from the facts of its journal. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from agent.sip.journal import Fact

PAUSED = "paused"  # facts of the journal; their times are those of the recorder, "by" says who asked
RESUMED = "resumed"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallPause:
    """A stretch of a call of which no sound exists; ``end`` None: until the call ended."""

    start: datetime
    end: datetime | None
    by: str


def list_pauses(facts: Iterable[Fact]) -> tuple[CallPause, ...]:
    """The pauses in order. Who pauses what is paused, or resumes what is not, changes nothing."""
    found: list[CallPause] = []
    for fact in facts:
        is_paused = bool(found) and found[-1].end is None
        if fact.kind == PAUSED and not is_paused:
            found.append(CallPause(start=fact.at, end=None, by=str(fact.data.get("by", ""))))
        elif fact.kind == RESUMED and is_paused:
            last = found.pop()
            found.append(CallPause(start=last.start, end=max(fact.at, last.start), by=last.by))
    return tuple(found)
