"""What follows DATA, taken as it arrives: where it ends, its dots undone, its size bounded. Pure.

A message ends with CRLF . CRLF and with nothing else (RFC 5321, 4.1.1.4): who also takes a bare LF for the end of a
line lets a second mail be smuggled in behind the first. Everything else, bare CR and LF included, is kept as it came.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

_END = b"\r\n.\r\n"
_OVERLAP = len(_END) - 1


class DataState(StrEnum):
    """How the receiving of a message stands."""

    TAKING = "taking"
    TOO_LARGE = "too_large"  # past the largest size: the rest is passed over
    NO_ROOM = "no_room"  # past what may be in memory now: the same, but it may be tried again


class MessageData:
    """Takes chunks until the end of the message. ``grow`` is asked for room in bytes before they are kept."""

    def __init__(self, *, largest: int, grow: Callable[[int], bool]) -> None:
        self._largest = largest
        self._grow = grow
        # The end mark may be all there is, so the buffer begins as if a line had just ended.
        self._buffer = bytearray(b"\r\n")
        self.state = DataState.TAKING
        self.received = 0

    def feed(self, data: bytes) -> bytes | None:
        """Take a chunk. None: the end has not come; otherwise it has, and these bytes came after it."""
        self.received += len(data)
        if self.state is DataState.TAKING and not self._grow(len(data)):
            self._give_up(DataState.NO_ROOM)
        looked = max(0, len(self._buffer) - _OVERLAP)
        self._buffer += data
        end = self._buffer.find(_END, looked)
        if end >= 0:
            rest = bytes(self._buffer[end + len(_END) :])
            del self._buffer[end + 2 :]
            if self.state is DataState.TAKING and len(self._buffer) - 2 > self._largest:
                self._give_up(DataState.TOO_LARGE)
            return rest
        if self.state is not DataState.TAKING:
            del self._buffer[:-_OVERLAP]
        elif len(self._buffer) - 2 - _OVERLAP > self._largest:
            self._give_up(DataState.TOO_LARGE)
        return None

    def content(self) -> bytes:
        """The message once it has ended, as its sender had it: a dot that was doubled is one (RFC 5321, 4.5.2)."""
        if self._buffer.find(b"\r\n.") >= 0:
            self._buffer = self._buffer.replace(b"\r\n.", b"\r\n")
        with memoryview(self._buffer) as view:
            content = bytes(view[2:])
        self._buffer = bytearray()
        return content

    def _give_up(self, state: DataState) -> None:
        self.state = state
        del self._buffer[:-_OVERLAP]
