"""Logging what anybody can cause, at a rate that nobody can abuse."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

MAX_KEYS = 1024


class Quiet:
    """Lets one event a key through in each period and counts the rest."""

    def __init__(self, period_s: float = 60.0, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._period, self._clock = period_s, clock
        self._last: dict[str, float] = {}
        self._hidden: Counter[str] = Counter()

    def lets(self, key: str) -> int | None:
        """How many like it were kept back since the last one, or None when this one is kept back too."""
        now = self._clock()
        if key not in self._last and len(self._last) >= MAX_KEYS:
            key = ""  # too many different ones: they share one place
        if now - self._last.get(key, float("-inf")) < self._period:
            self._hidden[key] += 1
            return None
        self._last[key] = now
        return self._hidden.pop(key, 0)
