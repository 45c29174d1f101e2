"""By how much the clock of a PBX differs from ours, which also stamps the sound. Pure."""

from __future__ import annotations

from collections import deque
from datetime import datetime, timedelta

_TOLERANCE = timedelta(seconds=2)
_EVENTS = 100
_STRAY = 10  # one event in so many may be dated as it likes
_MOST = timedelta(days=36_525)  # a machine without a battery begins in 1970; what is farther off is no time at all


class PbxClock:
    """The least delay seen lately is what the clocks differ by; what the network adds is far below the tolerance."""

    def __init__(self) -> None:
        self._drifts: deque[timedelta] = deque(maxlen=_EVENTS)
        self.shift = timedelta()
        """What is to be added to times of the PBX; nothing while they agree within two seconds."""

    def hear(self, told: datetime | None, now: datetime) -> bool:
        """The PBX says what time it is; whether that changed the shift."""
        if told is None or abs(now - told) > _MOST:
            return False
        self._drifts.append(now - told)
        drift = sorted(self._drifts)[len(self._drifts) // _STRAY]
        wanted = drift if abs(drift) > _TOLERANCE else timedelta()
        if abs(wanted - self.shift) <= _TOLERANCE:
            return False
        self.shift = wanted
        return True

    @property
    def note(self) -> str:
        """What a person should know of it; empty where all is well."""
        seconds = -self.shift.total_seconds()
        side = "fast" if seconds > 0 else "slow"
        return f"Its clock is {abs(seconds):.0f} s {side}; times are corrected. Run NTP there." if self.shift else ""
