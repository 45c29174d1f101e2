"""Packet logs read a megabyte at a time, with the headers of thousands of packets parsed in one go."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from agent.sound.packetlog import RECORD, read_head
from agent.sound.rtp import FIXED_HEADER, Bools, Bytes, Floats, Ints, RtpHeaders, parse_headers
from agent.sound.srtp import Opener

BLOCK = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Packets in the order they came: arrival in seconds since the epoch, the bytes and the headers in them.

    ``refused`` are packets that look like RTP and were authentic under no key; their headers are not ``valid``, and
    their payload is empty.
    """

    arrival: Floats
    buffer: Bytes
    headers: RtpHeaders
    refused: Bools


class BatchReader(Iterator[Batch]):
    """The packets of a log, some thousands at a time; ``torn`` says in words if the log ends in garbage.

    ``unread`` is the number of bytes of that garbage.

    Encrypted packets are opened by ``opener``. What came within ``pauses`` (seconds since the epoch) is passed over,
    whatever it is: that sound is not to exist. No more than ``size`` bytes are read, where the log still grows.
    """

    def __init__(
        self,
        path: Path,
        *,
        opener: Opener | None = None,
        pauses: Sequence[tuple[float, float]] = (),
        size: int | None = None,
    ) -> None:
        self.torn: str | None = None
        self.unread = 0
        self._opener, self._pauses, self._size = opener, pauses, size
        self._batches = self._read(path)

    def __next__(self) -> Batch:
        return next(self._batches)

    def _read(self, path: Path) -> Iterator[Batch]:
        with path.open("rb") as file:
            head = read_head(file)
            if head is None:
                self.torn = "the log has no readable head"
                self.unread = path.stat().st_size
                return
            done, rest = head.size, b""
            left = self._size - head.size if self._size is not None else None
            while block := file.read(BLOCK if left is None else max(0, min(BLOCK, left))):
                left = left - len(block) if left is not None else None
                data = rest + block
                starts, lengths, sizes, offsets, end, broken = find_records(data)
                if len(starts):
                    yield self._batch(
                        data, starts, np.minimum(lengths - RECORD.size, sizes), head.start + offsets / 1000
                    )
                done, rest = done + end, data[end:]
                if broken:
                    break
            if rest:
                self.torn = f"the log is torn at byte {done}"
                self.unread = path.stat().st_size - done

    def _batch(self, data: bytes, starts: Ints, sizes: Ints, arrival: Floats) -> Batch:
        kept = sizes > 0  # 0 marks RTCP
        for begin, end in self._pauses:
            kept &= (arrival < begin) | (arrival >= end)
        starts, sizes, arrival = starts[kept] + RECORD.size, sizes[kept], arrival[kept]
        if self._opener is not None:
            return open_packets(self._opener, data, starts, sizes, arrival)
        buffer = np.frombuffer(data, np.uint8)
        return Batch(
            arrival=arrival,
            buffer=buffer,
            headers=parse_headers(buffer, starts, sizes),
            refused=np.zeros(len(starts), np.bool_),
        )


def open_packets(opener: Opener, data: bytes, starts: Ints, sizes: Ints, arrival: Floats) -> Batch:
    """A batch of the packets within those of ``data``; what comes a second time is left out."""
    opened, refused, kept = [], [], []
    for number, (start, size) in enumerate(zip(starts.tolist(), sizes.tolist(), strict=True)):
        packet = data[start : start + size]
        plain = opener.open(packet)
        if plain == b"":
            continue
        kept.append(number)
        refused.append(plain is None)
        opened.append(plain if plain is not None else packet[:FIXED_HEADER])
    lengths = np.array([len(one) for one in opened], np.int64)
    buffer = np.frombuffer(b"".join(opened), np.uint8)
    headers = parse_headers(buffer, np.cumsum(lengths) - lengths, lengths)
    shut = np.array(refused, np.bool_)
    looks = (buffer[np.minimum(np.cumsum(lengths) - lengths, max(len(buffer) - 1, 0))] >> 6 == 2) & (lengths >= 12)
    return Batch(
        arrival=arrival[np.array(kept, np.int64)],
        buffer=buffer,
        headers=replace(headers, valid=headers.valid & ~shut),
        refused=shut & looks,
    )


def find_records(data: bytes) -> tuple[Ints, Ints, Ints, Ints, int, bool]:
    """Where the records of ``data`` begin, their lengths, the packets' lengths, their offsets in ms.

    Then where the last whole record ends, and whether what follows is garbage and not just the beginning of one more.
    Packets of G.711 are all equally long, so a run of equal records is found by one comparison.
    """
    buffer = np.frombuffer(data, np.uint8)
    position, broken, pieces, last = 0, False, [], len(data) - RECORD.size
    while position <= last:
        length, size, _ = RECORD.unpack_from(data, position)
        if length < RECORD.size or size > length - RECORD.size:
            broken = True
            break
        count = (len(data) - position) // length
        if not count:
            break
        if count > 1 and data[position : position + 4] == data[position + length : position + length + 4]:
            count = _equal(buffer[position : position + count * length].reshape(count, length))
        else:
            count = 1
        pieces.append((position, length, count))
        position += length * count
    starts = _expand(pieces)
    fields = buffer[starts[:, None] + np.arange(RECORD.size)].astype(np.int64) if len(starts) else _NONE
    lengths, sizes = fields[:, 0] << 8 | fields[:, 1], fields[:, 2] << 8 | fields[:, 3]
    offsets = fields[:, 4] << 24 | fields[:, 5] << 16 | fields[:, 6] << 8 | fields[:, 7]
    return starts, lengths, sizes, offsets, position, broken


_NONE = np.zeros((0, RECORD.size), np.int64)


def _equal(rows: Bytes) -> int:
    """How many of the rows begin with the same two lengths as the first one; a short look comes before the long."""
    for some in (rows[:64], rows):
        other = np.flatnonzero((some[:, :4] != rows[0, :4]).any(axis=1))
        if len(other):
            return int(other[0])
    return len(rows)


def _expand(pieces: list[tuple[int, int, int]]) -> Ints:
    if not pieces:
        return np.zeros(0, np.int64)
    position, length, count = np.array(pieces, np.int64).T
    within = np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count, count)
    starts: Ints = np.repeat(position, count) + within * np.repeat(length, count)
    return starts
