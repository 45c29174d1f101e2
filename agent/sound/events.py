"""Keys pressed in a call: telephone events (RFC 4733), each sent in many packets, become one mark each. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from agent.sound.batches import Batch
from agent.sound.rtp import Bools

MOST = 1000  # key presses kept of one stream
_KEYS = "0123456789*#ABCD"
_FLASH = 16
_LONGEST = 0xFFFF  # ticks; an event that lasts longer goes on under a new timestamp (2.5.1.3)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPress:
    """From when to when, in seconds since the epoch. ``key`` is empty where only the fact is left (masked)."""

    start: float
    end: float
    key: str


@dataclass(slots=True)
class _Event:
    start: float
    duration: int = 0
    code: int = -1  # unknown as long as all packets were masked


class KeyReader:
    """Takes the batches of a stream; every packet of an event tells the same, so losses matter only if all are lost."""

    def __init__(self) -> None:
        self.overflow = False
        self._events: dict[tuple[int, int, int], _Event] = {}

    def take(self, batch: Batch, events: Bools, clock_rate: int) -> None:
        """The packets of ``batch`` where ``events`` holds are telephone events of this clock rate."""
        headers = batch.headers
        for index in events.nonzero()[0].tolist():
            start = int(headers.start[index])
            payload = batch.buffer[start : start + min(int(headers.length[index]), 4)].tobytes()
            key = (int(headers.ssrc[index]), int(headers.timestamp[index]), clock_rate)
            self._note(key, payload, float(batch.arrival[index]), clock_rate)

    def _note(self, key: tuple[int, int, int], payload: bytes, arrival: float, clock_rate: int) -> None:
        event = self._events.get(key)
        if event is None:
            if len(self._events) >= MOST:
                self.overflow = True
                return
            event = self._events[key] = _Event(start=arrival)
        if len(payload) < 4 or not any(payload):  # masked, or encrypted and not to be opened
            return
        duration = int.from_bytes(payload[2:4], "big")
        event.code = payload[0]
        event.duration = max(event.duration, duration)
        event.start = min(event.start, arrival - duration / clock_rate)

    def presses(self) -> list[KeyPress]:
        """In order of time."""
        found: list[KeyPress] = []
        before: tuple[tuple[int, int, int], _Event] | None = None
        for key, event in sorted(self._events.items(), key=lambda item: item[1].start):
            end = event.start + event.duration / key[2]
            if before is not None and _goes_on(*before, key, event):
                found[-1] = KeyPress(start=found[-1].start, end=end, key=found[-1].key)
            else:
                found.append(KeyPress(start=event.start, end=end, key=_name(event.code)))
            before = (key, event)
        return found


def _goes_on(before: tuple[int, int, int], first: _Event, key: tuple[int, int, int], event: _Event) -> bool:
    return (
        first.duration >= _LONGEST
        and first.code == event.code
        and before[0] == key[0]
        and (key[1] - before[1]) & 0xFFFFFFFF == first.duration
    )


def _name(code: int) -> str:
    if code < 0:
        return ""
    return _KEYS[code] if code < len(_KEYS) else "flash" if code == _FLASH else f"event {code}"
