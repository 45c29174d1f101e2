"""What pages show of calls in progress, and what may be done with them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from agent.store.live import LiveCall


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveView:
    """A call in progress. ``seconds`` counts from the answer, or from the first ring while it is not answered.

    ``elsewhere`` names the hosts that record it where this one does not: only where the sound lies can it be heard.
    ``silent_since`` is when any of them was last heard, where that is too long ago; then nothing can be done with it.
    """

    id: int
    seconds: float
    is_answered: bool
    is_paused: bool
    is_handled: bool
    elsewhere: str
    hosts: str
    silent_since: datetime | None


def live_views(found: Sequence[LiveCall], *, host: str, now: datetime) -> dict[int, LiveView]:
    """By interaction. A call that two recorders hold is paused when both are."""
    captures: dict[int, list[LiveCall]] = {}
    for one in found:
        captures.setdefault(one.interaction_id, []).append(one)
    views = {}
    for number, own in captures.items():
        first = own[0]
        silent = [one.silent_since for one in own if one.silent_since is not None]
        hosts = sorted({one.host for one in own})
        views[number] = LiveView(
            id=number,
            seconds=max(0.0, (now - (first.answered or first.started)).total_seconds()),
            is_answered=first.answered is not None,
            is_paused=all(one.paused is not None for one in own),
            is_handled=first.is_handled,
            elsewhere="" if host in hosts else ", ".join(hosts),
            hosts=", ".join(hosts),
            silent_since=max(silent) if len(silent) == len(own) else None,
        )
    return views
