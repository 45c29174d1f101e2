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
STEP = SECOND // 20  # nanoseconds; by more than that the wall clock is not slewed between two ticks, but was set
LATE = SECOND  # a packet stamped before the socket was emptied has been put into it that long after at most

_MEMINFO, _DROPS, _COUNTERS = 55, 8, struct.Struct("=9I")  # SO_MEMINFO, SK_MEMINFO_DROPS: linux/sock_diag.h


class CaptureStream:
    """Reads one socket into records. What is counted: packets logged, of strangers, in pauses, with a masked event."""

    __slots__ = (
        "_keypad",
        "_log_start",
        "_looked_at",
        "_masked",
        "_receivers",
        "_set_by",
        "_set_by_before",
        "_size",
        "_watched",
        "capture",
        "clock",
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
        self.clock = 0  # `wall_clock` when the log began, or when it was last set forward
        self.pauses: Sequence[Pause] = ()
        self.packets = self.paused = self.masked = 0
        self.taken = 0  # packets of anybody, since the last tick
        self.latest = 0  # arrival of the last packet that was logged, nanoseconds since the epoch
        self.entered: tuple[int, str] | None = None  # a code nobody was told of yet: its arrival, its name
        self._masked = self._watched = self._looked_at = frozenset[int]()
        self._keypad = Keypad(codes) if codes else None
        self._size = USUAL
        self._set_by, self._set_by_before = 0, 0  # nanoseconds by which the clock was set since the log began
        self._log_start = log.start  # by the clock as it is now

    def set_clock(self, clock: int) -> None:
        """What `agent.sip.capture.wall_clock` is now. Where the clock was set back since the log began, the log goes on
        in time as it was, a pause goes on, and nobody has fallen silent by it. Where it was set forward, or the machine
        was stopped for a while, which nobody can tell apart, the log has a gap."""
        by = clock - self.clock
        if by > -STEP:
            self.clock, by = clock, 0
        change = by - self._set_by
        self._set_by_before, self._set_by = self._set_by, by
        self._log_start = divmod(self.log.start[0] * SECOND + self.log.start[1] + by, SECOND)
        self.pause(self.pauses)
        self.latest += change if self.latest else 0
        self.lock.last += change if self.lock.last else 0

    def pause(self, pauses: Sequence[Pause]) -> None:
        """Keep out of the log what comes in these times. One that goes on and has not begun yet began before the clock
        was set back."""
        now = time.time_ns()
        self.pauses = [(0 if end is None and begin > now else begin, end) for begin, end in pauses]

    def by_the_log(self, pauses: Sequence[Pause]) -> Sequence[Pause]:
        """Pauses by the clock of now, by that of the log."""
        if not self._set_by:
            return pauses
        return [(begin - self._set_by, None if end is None else end - self._set_by) for begin, end in pauses]

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
                self._set_by_before = self._set_by  # what came before the clock was set has been taken
                break
        if self.pauses:
            self._end_pauses()
        return blocks

    def _as_expected(self, receiver: Receiver, count: int) -> Block | None:
        """The quick way: packets of the size that always comes, all of the peer, none to be kept out of the log."""
        if self.pauses or self.lock.peer is None or self._set_by_before != self._set_by:
            return None
        records = receiver.records(count, self.lock.peer, self._log_start)
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
        seconds, nanoseconds = self._log_start
        start = seconds * SECOND + nanoseconds
        if self._set_by_before != self._set_by:  # it came before or after; what fits to now is true
            before, now = start + self._set_by_before - self._set_by, time.time_ns() - start
            start = min((start, before), key=lambda one: abs(at - one - now))
        return (at - start) // 1_000_000

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
