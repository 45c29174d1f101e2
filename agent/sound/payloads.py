"""How several frames of a speech codec lie in one RTP payload, cut into frames as the decoders take them. Pure.

A cutter gives the frames in order, None for one that the sender left silent, and raises ValueError for a payload that
cannot be one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

Cutter = Callable[[bytes], Sequence[bytes | None]]

# Bits of a frame by its type (3GPP TS 26.101 and 26.201); what is left out is reserved
_AMR = {0: 95, 1: 103, 2: 118, 3: 134, 4: 148, 5: 159, 6: 204, 7: 244}
_AMR_WB = {0: 132, 1: 177, 2: 253, 3: 285, 4: 317, 5: 365, 6: 397, 7: 461, 8: 477}
_SILENT = {8: 39, 15: 0}  # comfort noise, and nothing at all
_SILENT_WB = {9: 40, 14: 0, 15: 0}
_G723 = (24, 20, 4, 1)


def amr_cutter(*, wide: bool, octet_aligned: bool) -> Cutter:
    """Frames of AMR or AMR-WB in the storage format (RFC 4867, 4.3, 4.4 and 5.3), one byte of head before each."""
    speech, silent = (_AMR_WB, _SILENT_WB) if wide else (_AMR, _SILENT)
    sizes = speech | silent

    def cut(payload: bytes) -> Sequence[bytes | None]:
        bits = _Bits(payload)
        bits.take(8 if octet_aligned else 4)  # the mode that the sender would like to hear
        more, heads = True, []
        while more:
            head = bits.take(8) >> 2 if octet_aligned else bits.take(6)
            more = bool(head & 32)
            heads.append((head >> 1 & 15, head & 1))
        frames: list[bytes | None] = []
        for kind, good in heads:
            if kind not in sizes:
                raise ValueError(f"frame type {kind} is reserved")
            size = -(-sizes[kind] // 8)
            data = bits.take(size * 8) if octet_aligned else bits.take(sizes[kind]) << size * 8 - sizes[kind]
            storage = bytes([kind << 3 | good << 2]) + data.to_bytes(size, "big")
            frames.append(storage if good and kind in speech else None)
        return frames

    return cut


class _Bits:
    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data, "big"), len(data) * 8

    def take(self, count: int) -> int:
        if count > self._left:
            raise ValueError("the payload ends within a frame")
        self._left -= count
        return self._value >> self._left & (1 << count) - 1


def cut_g723(payload: bytes) -> Sequence[bytes | None]:
    """Frames of G.723.1, whose first two bits tell their size (RFC 3551, 4.5.3); comfort noise is silence here."""
    frames: list[bytes | None] = []
    at = 0
    while at < len(payload):
        size = _G723[payload[at] & 3]
        if at + size > len(payload):
            raise ValueError("the payload ends within a frame")
        frames.append(payload[at : at + size] if size > 4 else None)
        at += size
    return frames


def equal_cutter(size: int) -> Cutter:
    """Frames that are all equally long."""

    def cut(payload: bytes) -> Sequence[bytes | None]:
        if len(payload) % size:
            raise ValueError(f"the payload is no multiple of {size} bytes")
        return [payload[at : at + size] for at in range(0, len(payload), size)]

    return cut
