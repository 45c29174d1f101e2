"""RTP headers (RFC 3550, 5.1) of thousands of packets at once, and their counters without the wrap.

Pure. A block of packets is one byte buffer with the place and the length of each packet in it; every answer is a numpy
array with one entry a packet.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Bytes = NDArray[np.uint8]

FIXED_HEADER = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class RtpHeaders:
    """Headers, an entry a packet. Where ``valid`` is False the packet is no RTP and the other entries mean nothing.

    ``start`` and ``length`` place the payload in the buffer, without padding; ``sequence`` has 16 bits, ``timestamp``
    and ``ssrc`` 32, as sent.
    """

    valid: Bools
    sequence: Ints
    timestamp: Ints
    ssrc: Ints
    payload_type: Ints
    start: Ints
    length: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class RtpPacket:
    """One packet by itself."""

    sequence: int
    timestamp: int
    ssrc: int
    payload_type: int
    payload: bytes


def parse_headers(buffer: Bytes, starts: Ints, lengths: Ints) -> RtpHeaders:
    """Read the header of every packet of ``buffer``.

    Not RTP are: less than 12 bytes, a version other than 2, RTCP on the same port (RFC 5761, 4), and lists of sources,
    extensions or padding that do not fit into the packet.
    """
    safe = _Reader(buffer, starts, starts + lengths)
    first, second = safe.number(0, 1), safe.number(1, 1)
    body = FIXED_HEADER + 4 * (first & 0x0F)
    extended = (first & 0x10) != 0
    words = np.where(extended, safe.number(body + 2, 2), 0) if extended.any() else np.zeros_like(body)
    body = body + np.where(extended, 4 + 4 * words, 0)
    padded = (first & 0x20) != 0
    padding = np.where(padded, safe.number(lengths - 1, 1), 0) if padded.any() else np.zeros_like(body)
    length = lengths - body - padding
    valid = (lengths >= FIXED_HEADER) & (first >> 6 == 2) & (length >= 0) & ~(padded & (padding == 0))
    valid &= (second < 192) | (second > 223)
    return RtpHeaders(
        valid=valid,
        sequence=safe.number(2, 2),
        timestamp=safe.number(4, 4),
        ssrc=safe.number(8, 4),
        payload_type=second & 0x7F,
        start=starts + body,
        length=np.maximum(length, 0),
    )


def parse_packet(packet: bytes) -> RtpPacket | None:
    """Read one packet; None if it is no RTP."""
    buffer = np.frombuffer(packet, np.uint8)
    headers = parse_headers(buffer, np.zeros(1, np.int64), np.array([len(packet)], np.int64))
    if not headers.valid[0]:
        return None
    start = int(headers.start[0])
    return RtpPacket(
        sequence=int(headers.sequence[0]),
        timestamp=int(headers.timestamp[0]),
        ssrc=int(headers.ssrc[0]),
        payload_type=int(headers.payload_type[0]),
        payload=packet[start : start + int(headers.length[0])],
    )


def steps(counter: Ints, bits: int, previous: int) -> Ints:
    """How far a wrapping counter moved with each packet, the shorter way round; ``previous`` came before the first."""
    half = 1 << (bits - 1)
    moved = np.diff(counter, prepend=previous)
    return (moved + half & (1 << bits) - 1) - half


class _Reader:
    """Big-endian numbers at places that may lie outside their packet: those read as 0."""

    def __init__(self, buffer: Bytes, starts: Ints, ends: Ints) -> None:
        self._buffer, self._starts, self._ends = buffer, starts, ends

    def number(self, place: int | Ints, size: int) -> Ints:
        at = self._starts + place
        inside = (at >= self._starts) & (at + size <= self._ends)
        at = np.where(inside, at, 0)
        value = np.zeros(len(at), np.int64)
        if len(self._buffer) >= size:
            for index in range(size):
                value = value << 8 | self._buffer[at + index]
        return np.where(inside, value, 0)
