"""Cutting a TCP byte stream into SIP messages (RFC 3261, 18.3), also where Content-Length is wrong. Pure."""

from __future__ import annotations

import re

MAX_HEAD = 64 * 1024
MAX_BODY = 1024 * 1024
PING = b"\r\n\r\n"  # RFC 5626, 4.4.1
_LENGTH = re.compile(rb"^(?:content-length|l)[ \t]*:[ \t]*(\d{1,9})[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)
_BOUNDARY = re.compile(rb"multipart/[^\r\n]*?boundary[ \t]*=[ \t]*(?:\"([^\"\r\n]+)\"|([^\s;,]+))", re.IGNORECASE)
_START = re.compile(rb"^(?:SIP/2\.0[ \t]+\d|[A-Z]{3,20}[ \t]+\S.*SIP/\d)", re.MULTILINE)
_BLANK = re.compile(rb"\r?\n\r?\n")


class StreamBroken(ValueError):
    """The stream cannot be cut into messages any more; the connection must be closed."""


class Framer:
    """Feeds on what came from one connection and gives whole messages back."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def pending(self) -> int:
        """Bytes that wait for the rest of their message."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[bytes]:
        """Messages completed by ``data``; a keep-alive ping comes back as the item ``PING``.

        Raises:
            StreamBroken: a head or body is larger than any honest one.
        """
        self._buffer += data
        messages = []
        while (message := self._next()) is not None:
            messages.append(message)
        return messages

    def rest(self) -> bytes | None:
        """What waits, if it is a multipart message complete but for a Content-Length that promised too much."""
        head, start = self._head()
        end = self._closing(head, start) if head else -1
        return self._take(end) if end >= 0 else None

    def _next(self) -> bytes | None:
        if self._buffer.startswith(PING):
            return self._take(len(PING))
        while bytes(self._buffer[:1]) in (b"\r", b"\n") and not PING.startswith(bytes(self._buffer[:5])):
            del self._buffer[:1]
        head, start = self._head()
        if not head:
            if len(self._buffer) > MAX_HEAD:
                raise StreamBroken("the head of a message is too long")
            return None
        length = _LENGTH.search(head)
        size = int(length[1]) if length else 0
        if size > MAX_BODY or start > MAX_HEAD:
            raise StreamBroken("a message is too long")
        if len(self._buffer) < start + size:
            return None
        return self._take(self._end(head, start, start + size))

    def _head(self) -> tuple[bytes, int]:
        blank = _BLANK.search(self._buffer)
        return (bytes(self._buffer[: blank.start()]), blank.end()) if blank else (b"", 0)

    def _end(self, head: bytes, start: int, declared: int) -> int:
        """Where the message really ends: a Content-Length too small for its multipart is stretched to the boundary."""
        following = bytes(self._buffer[declared : declared + 512]).lstrip(b"\r\n")
        if not following or _START.match(following):
            return declared
        closing = self._closing(head, start)
        if closing > declared:
            return closing
        return declared

    def _closing(self, head: bytes, start: int) -> int:
        boundary = _BOUNDARY.search(head)
        if not boundary:
            return -1
        mark = b"--" + (boundary[1] or boundary[2]) + b"--"
        at = self._buffer.find(mark, start)
        return at + len(mark) if at >= 0 else -1

    def _take(self, size: int) -> bytes:
        message = bytes(self._buffer[:size])
        del self._buffer[:size]
        return message
