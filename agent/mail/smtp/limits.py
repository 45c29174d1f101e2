"""How much one machine may do at the door, and how much of what is under way fits into memory."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from ipaddress import IPv6Address, ip_address

from agent.settings_smtp import SmtpSettings

_WINDOW_SECONDS = 60.0
_MOST_SOURCES = 10_000
_IPV6_NETWORK_BITS = 64  # whoever has one address of such a network has all
_MEGABYTE = 1024 * 1024


class Source:
    """What one machine does: its open connections, and what it did in the minute that began at ``since``."""

    def __init__(self, since: float) -> None:
        self.connections = 0
        self.since = since
        self.messages = 0
        self.size = 0
        self.errors = 0


class Sources:
    """Counts by sending machine. Answers in words of SMTP, or None where nothing speaks against it."""

    def __init__(self, settings: SmtpSettings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._sources: dict[str, Source] = {}
        self._total = 0

    def find(self, peer: str) -> Source:
        """The machine behind an address, with a new minute where the last one is over."""
        key, now = _network(peer), self._clock()
        found = self._sources.get(key)
        if found is None:
            self._make_room(now)
            found = self._sources[key] = Source(now)
        elif now - found.since >= _WINDOW_SECONDS:
            found.since, found.messages, found.size, found.errors = now, 0, 0, 0
        return found

    def connect(self, peer: str) -> str | None:
        """Another connection wants to begin: why it may not. Only one that may counts, until `disconnect`: others are
        gone in a moment and must not keep anybody out.
        """
        source = self.find(peer)
        if self._total >= self._settings.max_connections:
            return "421 4.3.2 Too many connections, try again later"
        if source.connections >= self._settings.source_connections:
            return "421 4.7.0 Too many connections from your machine, try again later"
        if source.errors >= self._settings.source_errors:
            return "421 4.7.0 Too many errors from your machine, try again later"
        source.connections += 1
        self._total += 1
        return None

    def disconnect(self, peer: str) -> None:
        """A connection that was let in has ended."""
        self.find(peer).connections -= 1
        self._total -= 1

    def begin_message(self, peer: str) -> str | None:
        """Another message is announced."""
        source, settings = self.find(peer), self._settings
        if settings.source_messages and source.messages >= settings.source_messages:
            return "450 4.7.1 Too many messages a minute from your machine, try again later"
        if settings.source_megabytes and source.size >= settings.source_megabytes * _MEGABYTE:
            return "450 4.7.1 Too many megabytes a minute from your machine, try again later"
        source.messages += 1
        return None

    def _make_room(self, now: float) -> None:
        """Forget who has no connection and did nothing this minute; in need, also who did something."""
        if len(self._sources) < _MOST_SOURCES:
            return
        idle = [key for key, one in self._sources.items() if not one.connections]
        past = [key for key in idle if now - self._sources[key].since >= _WINDOW_SECONDS]
        for key in past or idle:
            del self._sources[key]


@lru_cache(maxsize=1024)
def _network(peer: str) -> str:
    try:
        address = ip_address(peer)
    except ValueError:
        return peer
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(int(address) >> (128 - _IPV6_NETWORK_BITS))
    return str(address)


class MemoryBudget:
    """Bytes of messages that are being received or stored. Who finds no room at the beginning waits in a row."""

    def __init__(self, total: int) -> None:
        self._free = total
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def reserve(self, size: int, *, seconds: float) -> bool:
        """Take ``size`` bytes, waiting so long at most. Whether they were to be had."""
        if not self._waiting and self.grow(size):
            return True
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await asyncio.shield(turn)
        except BaseException:
            if turn.done():
                self.release(size)
            raise
        finally:
            turn.cancel()
            self._serve()
        return turn.done() and not turn.cancelled()

    def grow(self, size: int) -> bool:
        """Take ``size`` more bytes now, or say that there are none: nobody who holds bytes ever waits for more."""
        if size > self._free:
            return False
        self._free -= size
        return True

    def release(self, size: int) -> None:
        """Give them back."""
        self._free += size
        self._serve()

    def _serve(self) -> None:
        while self._waiting:
            size, turn = self._waiting[0]
            if not turn.cancelled():
                if not self.grow(size):
                    return
                turn.set_result(None)
            self._waiting.popleft()
