"""Who may send to a stream: addresses as the kernel has them, and the lock to the first sender.

Standard library only (see agent.sip.capture).
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Sequence
from typing import Any

QUIET = 500_000_000  # nanoseconds of silence after which a sender may have moved
SSRC = slice(8, 12)  # of an RTP packet (RFC 3550, 5.1)

_FAMILY, _IN, _IN6, _SCOPE = struct.Struct("@H"), struct.Struct("!H4s8x"), struct.Struct("!HI16s"), struct.Struct("@I")
_MAPPED = b"\0" * 10 + b"\xff\xff"  # before an IPv4 address in an IPv6 one


def name_size(family: int) -> int:
    """Bytes of the sockaddr of a family: sockaddr_in or sockaddr_in6."""
    return 28 if family == socket.AF_INET6 else 16


def pack_address(family: int, address: Sequence[Any]) -> bytes:
    """Host, port and what else Python gives, as the sockaddr that a socket of the family has for it.

    Raises:
        ValueError: the host is no IP address, or not one of the family, or the port none.
    """
    host, port, *rest = address
    if not 0 <= int(port) <= 0xFFFF:
        raise ValueError(f"{port} is no port")
    number = ipaddress.ip_address(str(host).partition("%")[0]).packed
    if family != socket.AF_INET6:
        if len(number) != 4:
            raise ValueError(f"{host} is no IPv4 address")
        return _FAMILY.pack(socket.AF_INET) + _IN.pack(int(port), number)
    number = number if len(number) == 16 else _MAPPED + number
    scope = int(rest[1]) if len(rest) > 1 else 0
    return _FAMILY.pack(socket.AF_INET6) + _IN6.pack(int(port), 0, number) + _SCOPE.pack(scope)


def unpack_address(name: bytes) -> tuple[Any, ...]:
    """The other way round: host and port; for IPv6 also flow and scope."""
    if len(name) == name_size(socket.AF_INET):
        port, number = _IN.unpack_from(name, _FAMILY.size)
        return socket.inet_ntop(socket.AF_INET, number), port
    port, _, number = _IN6.unpack_from(name, _FAMILY.size)
    return socket.inet_ntop(socket.AF_INET6, number), port, 0, _SCOPE.unpack_from(name, 24)[0]


def say_address(name: bytes) -> str:
    """For people: ``192.0.2.1:4000`` or ``[2001:db8::1]:4000``."""
    host, port, *_ = unpack_address(name)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def host_of(name: bytes) -> bytes:
    """The part of a sockaddr that tells hosts apart."""
    return name[8:24] if len(name) == name_size(socket.AF_INET6) else name[4:8]


def is_rtp(packet: bytes | memoryview) -> bool:
    """Whether it can be RTP: version 2, a whole header, and no RTCP on the same port (RFC 5761, 4)."""
    return len(packet) >= 12 and packet[0] >> 6 == 2 and not 192 <= packet[1] <= 223


class SenderLock:
    """A stream listens to the first that sends RTP, and to another one only for a reason.

    The reasons: the new address was announced (re-INVITE); another one was, as happens behind a NAT, and the old
    sender has fallen silent; the old one has fallen silent and the new one goes on with its SSRC, which only who hears
    the stream can know (a NAT that forgot). A new SSRC from the same address is none of this class's business: it is
    the same sender.
    """

    __slots__ = ("_expected", "_former", "_reported", "last", "newcomer", "peer", "ssrc", "stranger", "strangers")

    def __init__(self, peer: bytes | None = None) -> None:
        self.peer = peer  # whom the stream listens to
        self.ssrc = b""
        self.last = 0  # arrival of the last packet of the peer, nanoseconds since the epoch
        self.strangers = 0  # packets of others
        self.newcomer: bytes | None = None  # a peer that nobody was told of yet
        self.stranger: bytes | None = None  # somebody else who sends RTP, the same
        self._expected: bytes | None = None
        self._former: bytes | None = None
        self._reported: bytes | None = None

    def expect(self, announced: bytes) -> None:
        """The sender is about to be, or has become, another one; empty: whoever it may be."""
        self._expected = announced

    def admits(self, at: int, sender: bytes, packet: bytes | memoryview) -> bool:
        """Whether a packet that arrived ``at`` belongs to the stream. A newcomer who is let in becomes the peer."""
        if sender != self.peer:
            if not is_rtp(packet) or not (self.peer is None or self._may_follow(at, sender, packet)):
                self._turn_away(sender, packet)
                return False
            if self._is_announced(sender):
                self._expected = None
            self._former, self.peer, self.newcomer = self.peer, sender, sender
        self.last = at
        self.ssrc = bytes(packet[SSRC])
        return True

    def _is_announced(self, sender: bytes) -> bool:
        announced = self._expected
        return announced is not None and (not announced or host_of(sender) == host_of(announced))

    def _may_follow(self, at: int, sender: bytes, packet: bytes | memoryview) -> bool:
        quiet = at - self.last > QUIET
        return self._is_announced(sender) or (quiet and (self._expected is not None or packet[SSRC] == self.ssrc))

    def _turn_away(self, sender: bytes, packet: bytes | memoryview) -> None:
        self.strangers += 1
        known = (self._former, self._reported)
        if self.peer is not None and is_rtp(packet) and sender not in known:
            self.stranger = self._reported = sender
