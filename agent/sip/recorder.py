"""The parent's handle on the capture process: it makes the sockets, hands them over, and keeps duplicates.

As every socket stays open here too, a capture process that dies is replaced by one that gets the same sockets, and what
came meanwhile waits in them.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import re
import resource
import socket
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import structlog

from agent.sip.capture import wall_clock
from agent.sip.captureprocess import CaptureProcess
from agent.sip.ports import PortRange
from agent.sip.receiving import SO_TIMESTAMPNS
from agent.sip.senders import pack_address

log = structlog.get_logger()

RECEIVE_BUFFER = 1 << 20  # bytes asked for; the kernel may give less (net.core.rmem_max)
REPORTS_BUFFER = 16384  # bytes for RTCP
FILES_A_STREAM = 3  # descriptors in the capture process: two sockets and the log
OTHER_FILES = 64  # that a process has open besides
LATE = 10.0  # seconds for which a pause may begin in the past
REMEMBERED = 600.0  # seconds for which a pause that is over is told to a process that starts anew
_COUNTS = ("packets", "strangers", "dropped", "paused", "masked", "overflowed")
_SAFE_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")


class CaptureEventKind(StrEnum):
    """What the capture process has to tell."""

    FIRST_PACKET = "first_packet"
    MOVED = "moved"
    CODE = "code"
    CLOSED = "closed"
    TROUBLE = "trouble"


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureEvent:
    """Something that happened to a capture; ``stream`` and ``capture_id`` are None where all are meant.

    ``text`` says in words what a TROUBLE is, where sound comes from since FIRST_PACKET or MOVED, and by its name which
    CODE was entered by keys; ``at`` is then when its last key was let go. ``details`` of
    CLOSED: ``packets`` logged; not logged because of ``strangers``, in a pause (``paused``), for want of a disk
    (``dropped``) or of time (``overflowed``, which the kernel counts); telephone events ``masked``. After a restart of
    the process they count from there.
    """

    kind: CaptureEventKind
    capture_id: str | None
    stream: int | None
    at: datetime
    text: str = ""
    details: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class _Stream:
    """A stream that is being captured: its sockets here, the sender it was locked to, the one that was announced."""

    capture_id: str
    index: int
    rtp: socket.socket
    rtcp: socket.socket
    opened: float
    clock: int
    peer: list[Any] | None = None
    expected: list[Any] | None = None
    events: frozenset[int] = frozenset()


class Recorder:
    """Opens and closes captures; the packets themselves never pass through this process."""

    def __init__(
        self,
        folder: Path,
        *,
        address: str,
        ports: tuple[int, int],
        on_event: Callable[[CaptureEvent], None],
        mask_dtmf: bool = False,
        codes: Mapping[str, str] | None = None,
    ) -> None:
        """``folder`` of all captures; ``address`` to bind to; first and last of ``ports``, of which pairs are taken.

        With ``mask_dtmf`` the digits that somebody dials during a call (RFC 4733) are never written down. ``codes``
        has a name for each sequence of keys of which an event is to tell.
        """
        self._folder, self._on_event, self._mask_dtmf = folder, on_event, mask_dtmf
        self._codes = dict(codes or {})
        self._ports = PortRange(address, ports)
        self._most_streams = sys.maxsize
        self._streams: dict[tuple[str, int], _Stream] = {}
        self._closing: dict[str, asyncio.Future[None]] = {}
        self._pauses: dict[str, list[tuple[int, int | None]]] = {}
        self._paused_since: dict[str, int] = {}  # by the monotonic clock
        self._stamper: socket.socket | None = None
        self._process = CaptureProcess(
            folder, on_start=self._hand_over_all, on_message=self._take, on_death=self._note_death
        )

    async def start(self) -> None:
        """Start the process; from then on it is kept alive."""
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        self._most_streams = _streams_within(most)
        await asyncio.to_thread(self._folder.mkdir, mode=0o700, parents=True, exist_ok=True)
        # As long as one socket asks for stamps the kernel makes them; it takes a while over the first such wish.
        self._stamper = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._stamper.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        await self._process.start()

    async def stop(self) -> None:
        """Let the process write and sync what it has, and end it; open captures stay as they are on disk."""
        await self._process.stop()
        for stream in self._streams.values():
            self._release(stream)
        self._streams.clear()
        if self._stamper is not None:
            self._stamper.close()
        for waiting in self._closing.values():
            waiting.cancel()

    @property
    def pid(self) -> int | None:
        """Of the capture process, as long as it runs."""
        return self._process.pid

    def open_stream(self, capture_id: str, index: int, *, events: frozenset[int] = frozenset()) -> int:
        """Open a pair of ports and record what comes there as ``<folder>/<capture_id>/<index>.rtpdump``.

        Returns the RTP port at once. A stream that is open already keeps its port. ``events``: payload types that
        carry telephone events in this stream, for ``mask_dtmf`` and ``codes``; those told last are in force.

        Raises:
            OSError: no pair of ports is free, or the capture process may not open as many files.
            ValueError: the name cannot be one of a folder.
        """
        if not _SAFE_NAME.fullmatch(capture_id):
            raise ValueError(f"{capture_id!r} cannot name a capture")
        known = self._streams.get((capture_id, index))
        if known is None:
            if len(self._streams) >= self._most_streams:
                what = (
                    f"no file can be opened for more than {self._most_streams} streams; raise LimitNOFILE (ulimit -n)"
                )
                raise OSError(errno.EMFILE, what)
            rtp, rtcp = self._ports.take()
            _prepare(rtp, rtcp)
            known = _Stream(
                capture_id=capture_id,
                index=index,
                rtp=rtp,
                rtcp=rtcp,
                opened=time.time(),
                clock=wall_clock(),
                events=events,
            )
            self._streams[capture_id, index] = known
            self._hand_over(known)
        elif events != known.events:
            known.events = events
            self._process.send({"op": "events", "capture": capture_id, "stream": index, **self._looked_at(known)})
        return int(known.rtp.getsockname()[1])

    def expect(self, capture_id: str, index: int, peer: tuple[str, int] | None) -> None:
        """Follow a sender that changes: ``peer`` is the address a re-INVITE announces, None whoever comes next.

        The stream stays with its sender until the new one sends, from any port of that address; where another address
        sends instead (a NAT), once the old sender has fallen silent. Call it when the announced address changes, not
        for each re-INVITE. Nothing happens for a stream that is not open, and for an address that only says "hold".
        """
        known = self._streams.get((capture_id, index))
        if known is None or (peer is not None and _is_hold(peer[0])):
            return
        known.expected = []
        if peer is not None:
            with contextlib.suppress(ValueError):  # a name: whoever it is
                pack_address(known.rtp.family, (peer[0], 0))
                known.expected = [peer[0], 0]
        self._process.send({"op": "expect", "capture": capture_id, "stream": index, "expected": known.expected})

    def pause(self, capture_id: str, at: datetime | None = None) -> datetime:
        """Keep what is said from this instant on out of the logs and of every file, for card data; the instant.

        ``at`` says that it was asked for a little earlier (LATE at most): what was written since is overwritten.
        Packets are counted and thrown away. It holds through a death of the capture process. A capture that is paused
        already stays so, from the instant it was.

        Raises:
            LookupError: no stream of this capture is open, so that nothing is being recorded.
        """
        pauses = self._open_pauses(capture_id)
        if not pauses or pauses[-1][1] is not None:
            pauses.append((_begin(at, pauses), None))
            self._paused_since[capture_id] = time.monotonic_ns() - (time.time_ns() - pauses[-1][0])
            self._send_pauses(capture_id)
        return datetime.fromtimestamp(pauses[-1][0] / 1e9, UTC)

    def resume(self, capture_id: str) -> datetime:
        """Record again what is said from this instant on; the instant, or when it was resumed before.

        Raises:
            LookupError: no stream of this capture is open, or it was never paused.
        """
        pauses = self._open_pauses(capture_id)
        if not pauses:
            raise LookupError(f"capture {capture_id} is not paused")
        begin, end = pauses[-1]
        if end is None:
            end = time.time_ns()  # which is before its beginning where the clock was set back meanwhile
            elapsed = time.monotonic_ns() - self._paused_since[capture_id]
            pauses[-1] = (begin if begin <= end else end - elapsed), end
            self._send_pauses(capture_id)
        return datetime.fromtimestamp(end / 1e9, UTC)

    def is_paused(self, capture_id: str) -> bool:
        """Whether a pause goes on."""
        pauses = self._pauses.get(capture_id, [])
        return bool(pauses) and pauses[-1][1] is None

    def _open_pauses(self, capture_id: str) -> list[tuple[int, int | None]]:
        if not any(stream.capture_id == capture_id for stream in self._streams.values()):
            raise LookupError(f"capture {capture_id} is not open")
        return self._pauses.setdefault(capture_id, [])

    def _send_pauses(self, capture_id: str) -> None:
        self._process.send({"op": "pause", "capture": capture_id, "pauses": self._late_pauses(capture_id)})

    def _late_pauses(self, capture_id: str) -> list[tuple[int, int | None]]:
        """Those that a packet still waiting in the kernel, or just written by a process that died, may belong to."""
        oldest = time.time_ns() - int(REMEMBERED * 1e9)
        return [(begin, end) for begin, end in self._pauses.get(capture_id, ()) if end is None or end > oldest]

    def _looked_at(self, stream: _Stream) -> dict[str, list[int]]:
        events = sorted(stream.events)
        return {"masked": events if self._mask_dtmf else [], "watched": events if self._codes else []}

    async def close_capture(self, capture_id: str) -> None:
        """Close all streams of a capture; returns when everything that came is on the disk, however long it takes."""
        if not any(stream.capture_id == capture_id for stream in self._streams.values()):
            return
        waiting = self._closing.get(capture_id)
        if waiting is None:
            waiting = self._closing[capture_id] = asyncio.get_running_loop().create_future()
            self._process.send({"op": "close", "capture": capture_id})
        await asyncio.shield(waiting)

    def _hand_over_all(self) -> None:
        """Tell a process that has just begun all there is."""
        for stream in self._streams.values():
            self._hand_over(stream)
        for capture_id in self._closing:
            self._process.send({"op": "close", "capture": capture_id})

    def _hand_over(self, stream: _Stream) -> None:
        command = {
            "op": "open",
            "capture": stream.capture_id,
            "stream": stream.index,
            "path": str(self._folder / stream.capture_id / f"{stream.index}.rtpdump"),
            "at": stream.opened,
            "clock": stream.clock,
            "peer": stream.peer,
            "expected": stream.expected,
            "pauses": self._late_pauses(stream.capture_id),
            "codes": self._codes,
            **self._looked_at(stream),
        }
        self._process.send(command, stream.rtp.fileno(), stream.rtcp.fileno())

    def _note_death(self) -> None:
        self._tell(CaptureEventKind.TROUBLE, text="the capture process died and was started again")

    def _take(self, event: dict[str, Any]) -> None:
        kind, capture_id = CaptureEventKind(event["event"]), event["capture"]
        at = datetime.fromtimestamp(event["at"], UTC)
        details: dict[str, int] = {name: event[name] for name in _COUNTS if name in event}
        if kind in (CaptureEventKind.FIRST_PACKET, CaptureEventKind.MOVED):
            stream = self._streams.get((capture_id, event["stream"]))
            if stream is None:
                return
            stream.peer = event["peer"]
            if kind is CaptureEventKind.MOVED:
                stream.expected = None
                log.info("capture_sender_moved", capture_id=capture_id, stream=event["stream"], what=event["text"])
        elif kind is CaptureEventKind.CLOSED:
            self._closed(capture_id)
            if details["dropped"] or details["overflowed"]:
                log.error("capture_lost_packets", capture_id=capture_id, **details)
        elif kind is CaptureEventKind.TROUBLE:
            log.warning("capture_trouble", capture_id=capture_id, stream=event["stream"], what=event["text"])
        self._tell(kind, capture_id, event["stream"], at=at, text=event.get("text", ""), details=details)

    def _closed(self, capture_id: str) -> None:
        for stream in [one for one in self._streams.values() if one.capture_id == capture_id]:
            del self._streams[stream.capture_id, stream.index]
            self._release(stream)
        self._pauses.pop(capture_id, None)
        self._paused_since.pop(capture_id, None)
        waiting = self._closing.pop(capture_id, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    def _release(self, stream: _Stream) -> None:
        self._ports.give_back(int(stream.rtp.getsockname()[1]))
        stream.rtp.close()
        stream.rtcp.close()

    def _tell(
        self,
        kind: CaptureEventKind,
        capture_id: str | None = None,
        stream: int | None = None,
        *,
        at: datetime | None = None,
        text: str = "",
        details: dict[str, int] | None = None,
    ) -> None:
        try:
            self._on_event(
                CaptureEvent(
                    kind=kind,
                    capture_id=capture_id,
                    stream=stream,
                    at=at or datetime.now(UTC),
                    text=text,
                    details=details or {},
                )
            )
        except Exception:
            log.exception("capture_event_failed", kind=kind)


def _begin(at: datetime | None, before: list[tuple[int, int | None]]) -> int:
    """When a pause that was asked for ``at`` begins: not in the future, not long ago, and not within the last one."""
    now = time.time_ns()
    begin = now if at is None else min(max(int(at.timestamp() * 1e9), now - int(LATE * 1e9)), now)
    return min(max(begin, (before[-1][1] or 0) if before else 0), now)


def _streams_within(files: int) -> int:
    """How many streams there can be where a process may open so many files; one past that would be answered, its
    sockets kept here, and never arrive in the capture process."""
    if files == resource.RLIM_INFINITY:
        return sys.maxsize
    return max((files - OTHER_FILES) // FILES_A_STREAM, 1)


def _is_hold(host: str) -> bool:
    """Whether an address of SDP names nobody: 0.0.0.0 puts a stream on hold (RFC 3264, 8.4)."""
    return host in ("0.0.0.0", "::")  # noqa: S104


def _prepare(rtp: socket.socket, rtcp: socket.socket) -> None:
    """RTP: room for seconds of packets; RTCP: for some reports. Each packet is stamped on arrival."""
    for sock, size in ((rtp, RECEIVE_BUFFER), (rtcp, REPORTS_BUFFER)):
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
