"""Pairs of UDP ports for media: the even one for RTP, the odd one after it for RTCP (RFC 3550, 11)."""

from __future__ import annotations

import errno
import random
import socket
import time
from collections import deque

COOL_DOWN = 10.0  # seconds a pair rests after a call, so that late packets of it do not begin the next one


class PortRange:
    """Hands out pairs of bound sockets, each pair in its turn."""

    def __init__(self, address: str, ports: tuple[int, int]) -> None:
        """``address`` to bind to, IPv4 or IPv6; first and last port that may be used.

        The first turn begins anywhere: whoever was recorded before a crash may still send to the ports of then, and a
        stream listens to its first sender.
        """
        self._address = address
        self._family = socket.AF_INET6 if ":" in address else socket.AF_INET
        first, last = ports
        self._free = deque(range(first + first % 2, last, 2))
        self._free.rotate(random.randrange(len(self._free) or 1))  # noqa: S311 - no secret
        self._resting: deque[tuple[float, int]] = deque()

    def take(self) -> tuple[socket.socket, socket.socket]:
        """A bound pair: RTP, RTCP. Pairs that another program occupies are passed over.

        Raises:
            OSError: every pair is in use or resting.
        """
        while self._resting and self._resting[0][0] <= time.monotonic():
            self._free.append(self._resting.popleft()[1])
        for _ in range(len(self._free)):
            port = self._free.popleft()
            if pair := self._bind(port):
                return pair
            self._free.append(port)
        raise OSError(
            errno.EADDRINUSE, "no UDP port is free for another stream; widen siprec.rtp_ports in cardline.toml"
        )

    def give_back(self, port: int) -> None:
        """The pair of this RTP port was closed."""
        self._resting.append((time.monotonic() + COOL_DOWN, port))

    def _bind(self, port: int) -> tuple[socket.socket, socket.socket] | None:
        rtp, rtcp = (socket.socket(self._family, socket.SOCK_DGRAM) for _ in range(2))
        try:
            rtp.bind((self._address, port))
            rtcp.bind((self._address, port + 1))
        except OSError:
            rtp.close()
            rtcp.close()
            return None
        return rtp, rtcp
