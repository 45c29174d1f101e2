"""One RTP socket, its RTCP socket, and what of that goes into the packet log. Standard library only."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterable, Mapping, Sequence

from agent.sip.keypad import Keypad
from agent.sip.packetwriter import Block, LogStream
from agent.sip.receiving import BATCH, SECOND, STAMP_SPACE, USUAL, Receiver, Receivers, arrival_of
from agent.sip.senders import SenderLock, host_of, pack_address
from agent.sound.packetlog import Pause, encode_record

MOST_BATCHES = 64  # taken from one socket before the others have their turn
MOST_REPORTS = 8  # RTCP packets taken at a time; who sends more is not listened to more often
SENDER_REPORT = 200  # RFC 3550, 6.4.1
_REPORT_SIZE = 28  # with no report blocks
LATE = SECOND  # a packet stamped before the socket was emptied has been put into it that long after at most

_MEMINFO, _DROPS, _COUNTERS = 55, 8, struct.Struct("=9I")  # SO_MEMINFO, SK_MEMINFO_DROPS: linux/sock_diag.h


class CaptureStream:
    """Reads one socket into records. What is counted: packets logged, of strangers, in pauses, with a masked event."""

    __slots__ = (
        "_keypad",
        "_looked_at",
        "_masked",
        "_receivers",
        "_size",
        "_watched",
        "capture",
        "entered",
        "latest",
        "lock",
        "log",
        "masked",
        "number",
        "packets",
        "paused",
        "pauses",
        "rtcp",
        "rtp",
        "taken",
    )

    def __init__(
        self,
        name: tuple[str, int],
        rtp: socket.socket,
        rtcp: socket.socket | None,
        log: LogStream,
        receivers: Receivers,
        *,
        codes: Mapping[str, str] | None = None,
    ) -> None:
        self.capture, self.number = name
        self.rtp, self.rtcp, self.log, self._receivers = rtp, rtcp, log, receivers
        self.lock = SenderLock()
        self.pauses: Sequence[Pause] = ()
        self.packets = self.paused = self.masked = 0
        self.taken = 0  # packets of anybody, since the last tick
        self.latest = 0  # arrival of the last packet that was logged, nanoseconds since the epoch
        self.entered: tuple[int, str] | None = None  # a code nobody was told of yet: its arrival, its name
        self._masked = self._watched = self._looked_at = frozenset[int]()
        self._keypad = Keypad(codes) if codes else None
        self._size = USUAL

    def mask(self, payload_types: Iterable[int]) -> None:
        """From now on packets of these types (telephone-event, RFC 4733) are logged with zeros for a payload."""
        self._masked = _with_marker(payload_types)
        self._looked_at = self._masked | self._watched

    def watch(self, payload_types: Iterable[int]) -> None:
        """From now on packets of these types are keys, by which a code may be entered."""
        self._watched = _with_marker(payload_types) if self._keypad is not None else frozenset()
        self._looked_at = self._masked | self._watched

    def read(self) -> list[Block]:
        """Take all packets that wait in the socket, as records for the log."""
        blocks: list[Block] = []
        for _ in range(MOST_BATCHES):
            receiver = self._receivers.expecting(self.rtp.family, self._size)
            count = receiver.receive(self.rtp)
            self.taken += count
            if count:
                block = self._as_expected(receiver, count) or self._sift(receiver, count)
                if block[0]:
                    blocks.append(block)
                    self.packets += block[1]
            if count < BATCH:
                break
        if self.pauses:
            self._end_pauses()
        return blocks

    def _as_expected(self, receiver: Receiver, count: int) -> Block | None:
        """The quick way: packets of the size that always comes, all of the peer, none to be kept out of the log."""
        if self.pauses or self.lock.peer is None:
            return None
        records = receiver.records(count, self.lock.peer, self.log.start)
        if records is None or (self._looked_at and not self._looked_at.isdisjoint(records[9 :: len(records) // count])):
            return None
        self.latest, self.lock.ssrc = receiver.last(count)
        self.lock.last = self.latest
        return records, count

    def _sift(self, receiver: Receiver, count: int) -> Block:
        """Look at each packet: whose it is, and whether all of it may be written."""
        parts: list[bytes | memoryview] = []
        logged, secrets = 0, self.paused + self.masked
        packets = receiver.packets(count)
        for at, sender, data in packets:
            if not data or not self.lock.admits(at, sender, data):
                continue
            if len(data) > 1 and data[1] in self._watched:
                self._press(at, data)
            if any(begin <= at and (end is None or at < end) for begin, end in self.pauses):
                self.paused += 1
                continue
            if len(data) > 1 and data[1] in self._masked:
                self.masked += 1
                data = without_payload(data)  # noqa: PLW2901
            parts += encode_record(data, self._offset(at))
            logged, self.latest = logged + 1, at
        block = b"".join(parts), logged
        if self.paused + self.masked > secrets:
            receiver.forget(count)
        sizes = {len(data) for _, _, data in packets}
        if len(sizes) == 1 and min(sizes) >= 12:
            self._size = sizes.pop()
        return block

    def _press(self, at: int, packet: bytes | memoryview) -> None:
        """A key, also one of a pause, or there were no end of it; of several codes the last one counts."""
        assert self._keypad is not None
        if (name := self._keypad.press(at, packet, payload_of(packet))) is not None:
            self.entered = at, name

    def _offset(self, at: int) -> int:
        seconds, nanoseconds = self.log.start
        return (at - seconds * SECOND - nanoseconds) // 1_000_000

    def _end_pauses(self) -> None:
        emptied = time.time_ns()
        self.pauses = [(begin, end) for begin, end in self.pauses if end is None or end + LATE > emptied]

    def read_reports(self) -> list[Block]:
        """Take the RTCP that waits; sender reports of the peer's host go into the log."""
        records = b""
        for _ in range(MOST_REPORTS if self.rtcp else 0):
            assert self.rtcp is not None
            try:
                data, ancillary, _, sender = self.rtcp.recvmsg(USUAL, STAMP_SPACE)
            except BlockingIOError:
                break
            except OSError:  # an error of the network, which the kernel reports once
                continue
            if self._is_report(data, pack_address(self.rtcp.family, sender)):
                records += b"".join(encode_record(data, self._offset(arrival_of(ancillary)), rtcp=True))
        return [(records, 0)] if records else []

    def _is_report(self, data: bytes, sender: bytes) -> bool:
        """Whether it begins with a sender report, as a compound packet of a sender must (RFC 3550, 6.1)."""
        if self.lock.peer is None or host_of(sender) != host_of(self.lock.peer):
            return False
        return len(data) >= _REPORT_SIZE and data[0] >> 6 == 2 and data[1] == SENDER_REPORT

    def counts(self) -> dict[str, int]:
        """What `agent.sip.recorder.CaptureEvent` says of a capture that was closed, but for what the disk dropped."""
        return {
            "packets": self.packets,
            "strangers": self.lock.strangers,
            "paused": self.paused,
            "masked": self.masked,
            "overflowed": self.overflowed(),
        }

    def overflowed(self) -> int:
        """Packets that the kernel had no room for since the socket was made."""
        try:
            counters = self.rtp.getsockopt(socket.SOL_SOCKET, _MEMINFO, _COUNTERS.size)
        except OSError:
            return 0
        return int(_COUNTERS.unpack(counters)[_DROPS]) if len(counters) == _COUNTERS.size else 0

    def close(self) -> None:
        self.rtp.close()
        if self.rtcp is not None:
            self.rtcp.close()


def payload_of(packet: bytes | memoryview) -> int:
    """Where the payload of an RTP packet begins (RFC 3550, 5.1 and 5.3.1); a header that is too long ends at once."""
    header = 12 + 4 * (packet[0] & 0x0F)
    if packet[0] & 0x10 and len(packet) >= header + 4:
        header += 4 + 4 * int.from_bytes(packet[header + 2 : header + 4], "big")
    return header if header <= len(packet) else 12


def without_payload(packet: bytes | memoryview) -> bytes:
    """An RTP packet with zeros after its header."""
    header = payload_of(packet)
    return bytes(packet[:header]) + bytes(len(packet) - header)


def _with_marker(payload_types: Iterable[int]) -> frozenset[int]:
    """The second byte of packets of these types, without and with the marker bit."""
    return frozenset(number | marker for number in payload_types for marker in (0, 0x80))
