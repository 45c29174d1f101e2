"""Packet logs: what came over the network, as it came, in the rtpdump format of rtptools, which Wireshark opens too.

A log is `#!rtpplay1.0 address/port\\n`, a header of 16 bytes (start of the log) and one record a packet: the record's
length, the packet's length and the milliseconds since the start, big-endian. It only ever grows at its end. Standard
library only, since the capture process stands on this file.
"""

from __future__ import annotations

import errno
import os
import struct
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import BinaryIO, Self

MAGIC = b"#!rtpplay1.0 "
RECORD = struct.Struct("!HHI")  # RD_packet_t: length with these 8 bytes, length of the packet, offset in ms
LONGEST_PACKET = 0xFFFF - RECORD.size
_pack = RECORD.pack
_HEADER = struct.Struct("!IIIHH")  # RD_hdr_t: seconds, microseconds, address, port, padding
_LONGEST_LINE = 128
_TAIL = 256 * 1024  # bytes from the end in which a repair looks for the chain of records
_BLOCK = 1 << 20  # bytes read at once where a log is walked

Bytes = bytes | memoryview
Pause = tuple[int, int | None]  # from, until in nanoseconds since the epoch; None: it goes on


@dataclass(frozen=True, slots=True, kw_only=True)
class LogHead:
    """The head of a log: ``start`` in seconds since the epoch, and the number of bytes it takes."""

    start: float
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedPacket:
    """One packet; ``at`` is its arrival in seconds since the epoch, exact to 1 ms."""

    at: float
    data: bytes


def encode_record(packet: Bytes, offset_ms: int, *, rtcp: bool = False) -> tuple[bytes, Bytes]:
    """The two parts of the record for a packet that came ``offset_ms`` after the log's start, or before it (0)."""
    size = len(packet)
    if size > LONGEST_PACKET:
        packet, size = packet[:LONGEST_PACKET], LONGEST_PACKET
    return _pack(size + 8, 0 if rtcp else size, offset_ms if 0 <= offset_ms < 1 << 32 else 0), packet


def blank_records(records: bytes, start: int, pauses: Sequence[Pause]) -> bytes:
    """The records, with zeros for each packet that came during a pause, and 0 for its length as if it were RTCP.

    ``start`` of the log in nanoseconds since the epoch. As arrivals are kept to the millisecond, a packet is blanked
    if its millisecond touches a pause. RTCP itself stays, since it carries no sound.
    """
    blanked: bytearray | None = None
    position, last = 0, len(records) - RECORD.size
    while position <= last:
        length, size, offset = RECORD.unpack_from(records, position)
        if length < RECORD.size:
            break
        at = start + offset * 1_000_000
        if size and any(begin - 1_000_000 < at and (end is None or at < end) for begin, end in pauses):
            blanked = blanked or bytearray(records)
            blanked[position : position + length] = _pack(length, 0, offset) + bytes(length - RECORD.size)
        position += length
    return bytes(blanked) if blanked else records


def move_records(records: bytes, by_ms: int) -> bytes:
    """The records for a log that began ``by_ms`` earlier."""
    moved, position, last = bytearray(records), 0, len(records) - RECORD.size
    while position <= last:
        length, size, offset = RECORD.unpack_from(records, position)
        RECORD.pack_into(moved, position, length, size, min(max(offset + by_ms, 0), 0xFFFFFFFF))
        position += max(length, RECORD.size)
    return bytes(moved)


def read_head(file: BinaryIO) -> LogHead | None:
    """Read the head and leave the file after it; None if this is no packet log."""
    line = file.readline(_LONGEST_LINE)
    header = file.read(_HEADER.size)
    if not (line.startswith(MAGIC) and line.endswith(b"\n")) or len(header) < _HEADER.size:
        return None
    seconds, microseconds, *_ = _HEADER.unpack(header)
    return LogHead(start=seconds + microseconds / 1e6, size=len(line) + _HEADER.size)


class PacketReader(Iterator[LoggedPacket]):
    """The packets of a log in order of arrival.

    A log whose end is torn or garbage simply ends there; ``torn`` then says so in words. Nothing is ever raised for
    what is in the file.
    """

    def __init__(self, path: Path) -> None:
        self.torn: str | None = None
        self._file = path.open("rb")
        self._head = read_head(self._file)
        if self._head is None:
            self.torn = "the log has no readable head"

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> LoggedPacket:
        packet = self._next()
        if packet is None:
            self._file.close()
            raise StopIteration
        return packet

    def _next(self) -> LoggedPacket | None:
        while self._head is not None and self.torn is None and not self._file.closed:
            head = self._file.read(RECORD.size)
            if not head:
                return None
            length, size, offset = RECORD.unpack(head) if len(head) == RECORD.size else (0, 0, 0)
            body = self._file.read(max(length - RECORD.size, 0))
            if length < RECORD.size or size > length - RECORD.size or len(body) < length - RECORD.size:
                self.torn = f"the log is torn at byte {self._file.tell() - len(head) - len(body)}"
            elif size:  # 0 marks RTCP
                return LoggedPacket(at=self._head.start + offset / 1000, data=body[:size])
        return None


def read_packets(path: Path) -> PacketReader:
    """All packets of the log at ``path``, one after the other; see `PacketReader.torn` for how it ended."""
    return PacketReader(path)


class PacketLogWriter:
    """A log open for appending. Opening an existing one cuts off a torn last record and keeps the start it has."""

    def __init__(self, path: Path, *, address: str, port: int, started: float) -> None:
        """Open or create ``path`` with mode 0600, its folder with 0700; ``started`` in seconds since the epoch.

        Raises:
            OSError: the disk is full, or the folder or the file cannot be written.
        """
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = path
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            self.start, self._first, self.size = self._resume() or self._begin(address, port, started)
        except BaseException:
            os.close(self._fd)
            raise

    def append(self, records: bytes) -> None:
        """Add whole records; after an error the file is as it was, so that the same records may be tried again.

        Raises:
            OSError: not all of it could be written.
        """
        try:
            written = os.write(self._fd, records)
            while written < len(records):
                written += os.write(self._fd, memoryview(records)[written:])
        except OSError:
            os.ftruncate(self._fd, self.size)
            raise
        self.size += len(records)

    def blank(self, pauses: Sequence[Pause]) -> None:
        """Overwrite in place, down to the disk, what is in the log of packets that came during a pause.

        For what was written between the instant of a pause and its being known here. See `blank_records`.

        Raises:
            OSError: the file cannot be read or written.
        """
        file = os.open(f"/proc/self/fd/{self._fd}", os.O_RDWR | os.O_CLOEXEC)  # pwrite would append to ours
        try:
            position, start = self._first, round(self.start * 1e6) * 1000
            while records := _whole_records(os.pread(file, _BLOCK, position)):
                blanked = blank_records(records, start, pauses)
                if blanked is not records and os.pwrite(file, blanked, position) < len(blanked):
                    raise OSError(errno.ENOSPC, "the pause could not be written")
                position += len(records)
            os.fdatasync(file)
        finally:
            os.close(file)

    def sync(self) -> None:
        """Wait until everything, the entry in the folder included, is on the disk."""
        os.fsync(self._fd)
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def close(self) -> None:
        """Close without waiting for the disk."""
        os.close(self._fd)

    def _begin(self, address: str, port: int, started: float) -> tuple[float, int, int]:
        microseconds = int(started * 1e6)
        number = int(IPv4Address(address)) if ":" not in address else 0
        head = MAGIC + f"{address}/{port}\n".encode()
        head += _HEADER.pack(microseconds // 1_000_000, microseconds % 1_000_000, number, port, 0)
        os.ftruncate(self._fd, 0)
        self.size = 0
        self.append(head)
        return microseconds / 1e6, len(head), len(head)

    def _resume(self) -> tuple[float, int, int] | None:
        """Start of the log, where its first record begins and its last one ends; None: there is no log yet."""
        with os.fdopen(os.dup(self._fd), "rb") as file:
            length = file.seek(0, os.SEEK_END)
            file.seek(0)
            head = read_head(file)
            if head is None and length > _LONGEST_LINE + _HEADER.size:
                self._set_aside()  # not ours to overwrite: whatever it is, it may be evidence
                return None
            if head is None:
                return None
            end = _end_of_records(file, head, length)
        os.ftruncate(self._fd, end)
        return head.start, head.size, end

    def _set_aside(self) -> None:
        self.path.rename(self.path.with_name(f"{self.path.name}.unreadable-{int(time.time())}"))
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        os.dup2(fd, self._fd, inheritable=False)
        os.close(fd)


def _end_of_records(file: BinaryIO, head: LogHead, length: int) -> int:
    """Where the last whole record ends.

    A long log is not walked from its beginning: near its end only the true boundaries of records make a chain that
    reaches the end, so the chain is sought there; without one the whole log is walked.
    """
    if length - head.size > 2 * _TAIL:
        file.seek(length - _TAIL)
        tail = file.read(_TAIL)
        for start in range(LONGEST_PACKET):
            end, count = _walk(tail, start)
            if count >= 8 and len(tail) - end < LONGEST_PACKET and _whole_to(tail, end):
                return length - len(tail) + end
    file.seek(head.size)
    position, rest = head.size, b""
    while block := file.read(1 << 20):
        rest += block
        end, _ = _walk(rest, 0)
        position, rest = position + end, rest[end:]
        if len(rest) > LONGEST_PACKET + RECORD.size:
            break
    return position


def _whole_records(data: bytes) -> bytes:
    return data[: _walk(data, 0)[0]]


def _whole_to(tail: bytes, end: int) -> bool:
    """Whether what follows ``end`` is nothing or the beginning of one record."""
    if len(tail) - end < RECORD.size:
        return True
    length, size, _ = RECORD.unpack_from(tail, end)
    return bool(size == length - RECORD.size and length > len(tail) - end)


def _walk(data: bytes, position: int) -> tuple[int, int]:
    """Follow whole records from ``position``: where they end, and how many they are."""
    count, last = 0, len(data) - RECORD.size
    while position <= last:
        length, size, _ = RECORD.unpack_from(data, position)
        if length < RECORD.size or size > length - RECORD.size or position + length > len(data):
            break
        position, count = position + length, count + 1
    return position, count
