"""Taking all datagrams that wait in a socket, with their arrival, in one system call: recvmmsg through ctypes.

A receiver owns buffers for a batch of packets of one expected size, with room for the head of a record before each.
Where a batch is as expected - that size, that sender - the buffer with the heads filled in is what goes to the packet
log, and no packet becomes an object of its own. Any other batch is looked at packet by packet. Where recvmmsg cannot
be had, `PlainReceiver` does it with recvmsg. Standard library only (see agent.sip.capture).
"""

from __future__ import annotations

import ctypes
import mmap
import socket
import struct
import sys
import time
from array import array
from collections.abc import Callable
from typing import Protocol, cast

from agent.sip.senders import SSRC, name_size, pack_address
from agent.sound.packetlog import RECORD

BATCH = 64  # packets a system call
LONGEST = 65535  # bytes of a packet
USUAL = 1500  # bytes expected of a packet while nothing better is known; more than that never is
MOST_SIZES = 32  # of packets that get buffers of their own, since they come from the network
SO_TIMESTAMPNS = 35  # asm-generic/socket.h; Python has no name for it
SECOND = 1_000_000_000  # nanoseconds

STAMP = struct.Struct("@qq")  # struct timespec: seconds since the epoch, nanoseconds
STAMP_SPACE = socket.CMSG_SPACE(STAMP.size)

Packet = tuple[int, bytes, "bytes | memoryview"]  # arrival in nanoseconds since the epoch, sender as sockaddr, data


class Receiver(Protocol):
    """Takes packets from sockets. ``count`` is always what `receive` has just returned."""

    def receive(self, sock: socket.socket) -> int:
        """Take up to BATCH packets that wait; how many they were. Never waits, never raises."""
        ...

    def records(self, count: int, sender: bytes, start: tuple[int, int]) -> bytes | None:
        """What to add to a log that began at ``start`` (seconds, nanoseconds); None unless all is as expected."""
        ...

    def last(self, count: int) -> tuple[int, bytes]:
        """Of the last packet the arrival in nanoseconds since the epoch, and the SSRC."""
        ...

    def packets(self, count: int) -> list[Packet]:
        """The packets one by one; their data is good until the next `receive` or `forget`."""
        ...

    def forget(self, count: int) -> None:
        """Overwrite the packets in memory."""
        ...


class Receivers:
    """The receivers of a process, one for each size of packets that came in quantity."""

    def __init__(self, *, plain: bool = False) -> None:
        """``plain``: do without recvmmsg even where it works."""
        self.batched = not plain and _recvmmsg_works()
        self._overflow = mmap.mmap(-1, BATCH * LONGEST) if self.batched else None
        self._known: dict[tuple[int, int], Receiver] = {}

    def expecting(self, family: int, size: int = USUAL) -> Receiver:
        """The receiver for sockets of a family that bring packets of ``size`` bytes."""
        if self._overflow is None:
            return PlainReceiver()
        if (known := self._known.get((family, size))) is not None:
            return known
        if size != USUAL and (size > USUAL or len(self._known) >= MOST_SIZES):
            return self.expecting(family)
        known = self._known[family, size] = BatchReceiver(size, name_size(family), self._overflow)
        return known


class BatchReceiver:
    """recvmmsg into buffers that are laid out as records. What is longer than expected runs over into ``overflow``."""

    def __init__(self, size: int, name_size: int, overflow: mmap.mmap) -> None:
        """``size`` of the packets expected, ``name_size`` of the sockaddr of a sender."""
        self._size, self._stride, self._name_size, self._overflow = size, RECORD.size + size, name_size, overflow
        self._data = bytearray(RECORD.pack(self._stride, size, 0) + bytes(size)) * BATCH
        self._names = bytearray(name_size * BATCH)
        self._stamps = bytearray(STAMP_SPACE * BATCH)
        self._heads = bytearray(ctypes.sizeof(Message) * BATCH)
        self._vectors = (IoVec * (2 * BATCH))()
        self._point()
        self._address = _address(self._heads)
        self._view = memoryview(self._data)
        self._lengths = memoryview(self._heads).cast("I")[Message.length.offset // 4 :: ctypes.sizeof(Message) // 4]
        words = memoryview(self._stamps).cast("q")
        first, step = socket.CMSG_LEN(0) // 8, STAMP_SPACE // 8
        self._seconds, self._nanoseconds = words[first::step], words[first + 1 :: step]

    def _point(self) -> None:
        """Tell the kernel where all parts of each message belong; it changes none of this when it succeeds."""
        data, names, stamps = _address(self._data), _address(self._names), _address(self._stamps)
        overflow, vectors = _address(self._overflow), ctypes.addressof(self._vectors)
        for number, message in enumerate((Message * BATCH).from_buffer(self._heads)):
            place = data + number * self._stride + RECORD.size
            self._vectors[2 * number] = IoVec(place, self._size)
            self._vectors[2 * number + 1] = IoVec(overflow + number * LONGEST, LONGEST - self._size)
            message.name, message.name_length = names + number * self._name_size, self._name_size
            message.vectors, message.vector_count = vectors + 2 * number * ctypes.sizeof(IoVec), 2
            message.control, message.control_length = stamps + number * STAMP_SPACE, STAMP_SPACE

    def receive(self, sock: socket.socket) -> int:
        count = _recvmmsg(sock.fileno(), self._address, BATCH, socket.MSG_DONTWAIT, None)
        return max(count, 0)

    def records(self, count: int, sender: bytes, start: tuple[int, int]) -> bytes | None:
        if self._lengths[:count].tolist().count(self._size) != count:
            return None
        if self._names[: count * self._name_size] != sender * count:
            return None
        seconds, nanoseconds = start
        arrivals = zip(self._seconds[:count].tolist(), self._nanoseconds[:count].tolist(), strict=True)
        try:
            offsets = array("I", [(s - seconds) * 1000 + (n - nanoseconds) // 1_000_000 for s, n in arrivals])
        except OverflowError:  # before the log's start
            return None
        if sys.byteorder == "little":
            offsets.byteswap()
        raw, end, stride = offsets.tobytes(), count * self._stride, self._stride
        for place in range(4):
            self._data[4 + place : end : stride] = raw[place::4]
        return self._view[:end].tobytes()

    def last(self, count: int) -> tuple[int, bytes]:
        place = (count - 1) * self._stride + RECORD.size
        return self._arrival(count - 1), bytes(self._data[place + SSRC.start : place + SSRC.stop])

    def packets(self, count: int) -> list[Packet]:
        size, name_size = self._size, self._name_size
        packets: list[Packet] = []
        for number, length in enumerate(self._lengths[:count].tolist()):
            place = number * self._stride + RECORD.size
            data: bytes | memoryview = self._view[place : place + min(length, size)]
            if length > size:
                data = bytes(data) + self._overflow[number * LONGEST : number * LONGEST + length - size]
            packets.append(
                (self._arrival(number), bytes(self._names[number * name_size : (number + 1) * name_size]), data)
            )
        return packets

    def forget(self, count: int) -> None:
        for number, length in enumerate(self._lengths[:count].tolist()):
            place = number * self._stride + RECORD.size
            self._view[place : place + self._size] = bytes(self._size)
            if length > self._size:
                over = length - self._size
                self._overflow[number * LONGEST : number * LONGEST + over] = bytes(over)

    def _arrival(self, number: int) -> int:
        return self._seconds[number] * SECOND + self._nanoseconds[number]


class PlainReceiver:
    """recvmsg a packet, for where recvmmsg cannot be had."""

    def __init__(self) -> None:
        self._packets: list[Packet] = []

    def receive(self, sock: socket.socket) -> int:
        self._packets = []
        for _ in range(BATCH):
            try:
                data, stamps, _, sender = sock.recvmsg(LONGEST, STAMP_SPACE)
            except BlockingIOError:
                break
            except OSError:  # an error of the network, which the kernel reports once; the next packet may be there
                continue
            self._packets.append((arrival_of(stamps), pack_address(sock.family, sender), data))
        return len(self._packets)

    def records(self, count: int, sender: bytes, start: tuple[int, int]) -> bytes | None:
        return None

    def last(self, count: int) -> tuple[int, bytes]:
        arrival, _, data = self._packets[count - 1]
        return arrival, bytes(data[SSRC])

    def packets(self, count: int) -> list[Packet]:
        return self._packets[:count]

    def forget(self, count: int) -> None:
        self._packets = []


class IoVec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class MessageHead(ctypes.Structure):
    """struct msghdr of recvmsg(2)."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("vectors", ctypes.c_void_p),
        ("vector_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class Message(ctypes.Structure):
    """struct mmsghdr of recvmmsg(2)."""

    _anonymous_ = ("head",)
    _fields_ = (("head", MessageHead), ("length", ctypes.c_uint))


def arrival_of(ancillary: list[tuple[int, int, bytes]]) -> int:
    """When a packet came, nanoseconds since the epoch: from what `socket.recvmsg` gave with it, or now."""
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS and len(data) == STAMP.size:
            seconds, nanoseconds = STAMP.unpack(data)
            return int(seconds * SECOND + nanoseconds)
    return time.time_ns()


def _address(buffer: bytearray | mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))


def _load() -> Callable[..., int]:
    """The function of the C library. It keeps Python's lock: a call that never waits is not worth letting go of it."""
    try:
        function = ctypes.PyDLL(None).recvmmsg
    except (OSError, AttributeError):
        return lambda *_: -1
    function.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p]
    return cast(Callable[..., int], function)


_recvmmsg = _load()


def _recvmmsg_works() -> bool:
    """Whether packets sent to ourselves come back whole, with their sender and their arrival."""
    if ctypes.sizeof(ctypes.c_void_p) != 8:  # the layouts here are those of 64-bit systems
        return False
    overflow = mmap.mmap(-1, BATCH * LONGEST)
    receiver, sent = (
        BatchReceiver(16, name_size(socket.AF_INET), overflow),
        [b"expected size 16", b"longer than expected"],
    )
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
            sock.bind(("127.0.0.1", 0))
            for one in sent:
                sock.sendto(one, sock.getsockname())
            packets = receiver.packets(receiver.receive(sock))
            sender = pack_address(sock.family, sock.getsockname())
    except OSError:
        return False
    near = all(abs(at - time.time_ns()) < 3600 * SECOND for at, _, _ in packets)
    return near and [(who, bytes(data)) for _, who, data in packets] == [(sender, one) for one in sent]
