"""Counts failed logins by address and by name, so that guessing is slow. Pure but for the clock it is given."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable

_WINDOW_SECONDS = 600.0
_MOST_KEYS = 20_000


class Attempts:
    """A sliding window of ten minutes: so many failures an address, so many a login name at an address, …

    A name alone is not shut out for everybody after a few failures, or anybody could shut out a colleague; it only
    has a far higher limit, against guessing from many addresses.
    """

    LIMITS = (("address", 50), ("pair", 8), ("name", 100))

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: OrderedDict[tuple[str, ...], deque[float]] = OrderedDict()

    def is_allowed(self, address: str, name: str) -> bool:
        """Whether one more try may be made now."""
        keys = _keys(address, name)
        return all(self._count(keys[kind]) < most for kind, most in self.LIMITS)

    def failed(self, address: str, name: str) -> None:
        """Note a try before its outcome is known, so that many at once do not slip through together."""
        for key in _keys(address, name).values():
            self._failures.setdefault(key, deque()).append(self._clock())
            self._failures.move_to_end(key)
        while len(self._failures) > _MOST_KEYS:
            self._failures.popitem(last=False)

    def succeeded(self, address: str, name: str) -> None:
        """Forget the failures of this person at this address, and the try that was noted."""
        keys = _keys(address, name)
        self._failures.pop(keys["pair"], None)
        for kind in ("address", "name"):
            if times := self._failures.get(keys[kind]):
                times.pop()

    def _count(self, key: tuple[str, ...]) -> int:
        times = self._failures.get(key)
        if times is None:
            return 0
        while times and times[0] < self._clock() - _WINDOW_SECONDS:
            times.popleft()
        if not times:
            del self._failures[key]
        return len(times)


def _keys(address: str, name: str) -> dict[str, tuple[str, ...]]:
    return {"address": ("address", address), "pair": ("pair", address, name), "name": ("name", name)}
