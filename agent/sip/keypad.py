"""Codes entered by keys during a call (RFC 4733), by which whoever speaks may have the recording paused.

What leaves this class is the name of a code, never a digit; it remembers no more keys than the longest code has.
Standard library only (see agent.sip.capture).
"""

from __future__ import annotations

from collections.abc import Mapping

KEYS = "0123456789*#ABCD"  # by the number of their event (RFC 4733, 3.2)
BETWEEN = 5_000_000_000  # nanoseconds between two keys of one code at most

_EVENT_SIZE, _END = 4, 0x80
_HALF = 1 << 31  # a timestamp that is further on than that is an older one (RFC 3550, 5.1)


class Keypad:
    """The last keys of one stream. An event counts at its end, once, however often the end is repeated (2.5.1.4)."""

    __slots__ = ("_at", "_codes", "_keys", "_last", "_most")

    def __init__(self, codes: Mapping[str, str]) -> None:
        """``codes``: keys and the name by which they are told.

        Raises:
            ValueError: a code is empty, or has a character that is on no telephone.
        """
        if not all(codes):
            raise ValueError("a code without keys")
        found = {bytes(KEYS.index(key) for key in keys): name for keys, name in codes.items()}
        self._codes = sorted(found.items(), key=lambda code: -len(code[0]))
        self._most = max(map(len, found), default=0)
        self._keys = b""
        self._last = (b"", 0)  # SSRC and timestamp of the last key
        self._at = 0

    def press(self, at: int, packet: bytes | memoryview, payload: int) -> str | None:
        """A packet of a telephone event that arrived ``at`` (nanoseconds), its ``payload`` from that byte on.

        Returns the name of the code that it completes. What is not exactly one event, as all that is encrypted, is no
        key.
        """
        if len(packet) != payload + _EVENT_SIZE or packet[payload] >= len(KEYS) or not packet[payload + 1] & _END:
            return None
        ssrc, stamp = bytes(packet[8:12]), int.from_bytes(packet[4:8], "big")
        if ssrc == self._last[0] and not 0 < (stamp - self._last[1]) % (2 * _HALF) < _HALF:
            return None  # the end once more, or that of an older key, come late
        if ssrc != self._last[0] or at - self._at > BETWEEN:
            self._keys = b""
        self._last, self._at = (ssrc, stamp), at
        self._keys = (self._keys + bytes(packet[payload : payload + 1]))[-self._most :]
        for keys, name in self._codes:
            if self._keys.endswith(keys):
                self._keys = b""
                return name
        return None
