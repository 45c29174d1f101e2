"""How much of the machine transcription takes, and when. Pure, but for asking how many cores there are."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

from agent.settings import Settings


def count_threads(settings: Settings, *, beside_service: bool) -> int:
    """CPU threads: those of the settings, else all cores this process may use but one, or half of them where the
    service beside it records calls (`beside_service`), since sound that is not captured in time is lost."""
    if settings.transcribe.threads:
        return settings.transcribe.threads
    cores = len(os.sched_getaffinity(0))
    records = settings.siprec.enabled or bool(settings.sip.line) or bool(settings.asterisk)
    return max(1, cores // 2 if beside_service and records else cores - 1)


def night_begins(now: datetime, night: tuple[int, int]) -> datetime | None:
    """When the next night begins; None: it is night. ``night`` is its beginning and end in minutes after midnight of
    the clock that ``now`` is told by; where both are the same it never ends."""
    first, last = night
    minute = now.hour * 60 + now.minute
    is_night = first <= minute < last if first < last else minute >= first or minute < last
    if is_night or first == last:
        return None
    begins = now.replace(hour=first // 60, minute=first % 60, second=0, microsecond=0)
    return begins if begins > now else begins + timedelta(days=1)


class Turns:
    """Calls in work side by side, except for one that may have killed the process before: it is alone."""

    def __init__(self) -> None:
        self._changed = asyncio.Condition()
        self._running = 0
        self._alone = 0  # waiting or at it

    @asynccontextmanager
    async def taken(self, *, alone: bool) -> AsyncIterator[None]:
        """A turn for the length of the block."""
        async with self._changed:
            if alone:
                self._alone += 1
                try:
                    await self._changed.wait_for(lambda: not self._running)
                except BaseException:
                    self._alone -= 1
                    self._changed.notify_all()
                    raise
            else:
                await self._changed.wait_for(lambda: not self._alone)
            self._running += 1
        try:
            yield
        finally:
            async with self._changed:
                self._running -= 1
                self._alone -= alone
                self._changed.notify_all()
