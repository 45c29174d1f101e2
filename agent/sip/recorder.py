"""The parent's handle on the capture process: it makes the sockets, hands them over, and keeps duplicates.

As every socket stays open here too, a capture process that dies is replaced by one that gets the same sockets, and what
came meanwhile waits in them.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import re
import resource
import socket
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import structlog

import agent
from agent.sip.capture import MESSAGE, SO_TIMESTAMPNS
from agent.sip.ports import PortRange

log = structlog.get_logger()

RECEIVE_BUFFER = 1 << 20  # bytes asked for; the kernel may give less (net.core.rmem_max)
RESTART = (0.05, 2.0)  # seconds from one start of the process to the next, at first and at most
FLUSH = 15.0  # seconds the process may take to end by itself
_COUNTS = ("packets", "strangers", "dropped")
_SAFE_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")


class CaptureEventKind(StrEnum):
    """What the capture process has to tell."""

    FIRST_PACKET = "first_packet"
    CLOSED = "closed"
    TROUBLE = "trouble"


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureEvent:
    """Something that happened to a capture; ``stream`` and ``capture_id`` are None where all are meant.

    ``text`` says in words what a TROUBLE is. ``details`` of CLOSED: ``packets`` logged, of ``strangers``, ``dropped``.
    """

    kind: CaptureEventKind
    capture_id: str | None
    stream: int | None
    at: datetime
    text: str = ""
    details: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class _Stream:
    """A stream that is being captured: its sockets here, and the sender it was locked to."""

    capture_id: str
    index: int
    rtp: socket.socket
    rtcp: socket.socket
    opened: float
    peer: list[Any] | None = None


class Recorder:
    """Opens and closes captures; the packets themselves never pass through this process."""

    def __init__(
        self, folder: Path, *, address: str, ports: tuple[int, int], on_event: Callable[[CaptureEvent], None]
    ) -> None:
        """``folder`` of all captures; ``address`` to bind to; first and last of ``ports``, of which pairs are taken."""
        self._folder, self._on_event = folder, on_event
        self._ports = PortRange(address, ports)
        self._streams: dict[tuple[str, int], _Stream] = {}
        self._closing: dict[str, asyncio.Future[None]] = {}
        self._outbox: deque[tuple[bytes, int | None]] = deque()
        self._stamper: socket.socket | None = None
        self._control: socket.socket | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()

    async def start(self) -> None:
        """Start the process; from then on it is kept alive."""
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        await asyncio.to_thread(self._folder.mkdir, mode=0o700, parents=True, exist_ok=True)
        self._stopping.clear()
        # As long as one socket asks for stamps the kernel makes them; it takes a while over the first such wish.
        self._stamper = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._stamper.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        await self._spawn()
        self._keeper = asyncio.create_task(self._keep(), name="capture-keeper")

    async def stop(self) -> None:
        """Let the process write and sync what it has, and end it; open captures stay as they are on disk."""
        self._stopping.set()
        self._disconnect()
        if self._process is not None and self._keeper is not None:
            done, _ = await asyncio.wait({self._keeper}, timeout=FLUSH)
            if not done:
                log.error("capture_process_hung", pid=self._process.pid)
                self._process.kill()
            await self._keeper
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
        running = self._process is not None and self._process.returncode is None
        return self._process.pid if running and self._process else None

    def open_stream(self, capture_id: str, index: int) -> int:
        """Open a pair of ports and record what comes there as ``<folder>/<capture_id>/<index>.rtpdump``.

        Returns the RTP port at once. A stream that is open already keeps its port.

        Raises:
            OSError: no pair of ports is free.
            ValueError: the name cannot be one of a folder.
        """
        if not _SAFE_NAME.fullmatch(capture_id):
            raise ValueError(f"{capture_id!r} cannot name a capture")
        known = self._streams.get((capture_id, index))
        if known is None:
            rtp, rtcp = self._ports.take()
            _prepare(rtp, rtcp)
            known = _Stream(capture_id=capture_id, index=index, rtp=rtp, rtcp=rtcp, opened=time.time())
            self._streams[capture_id, index] = known
            self._hand_over(known)
        return int(known.rtp.getsockname()[1])

    async def close_capture(self, capture_id: str) -> None:
        """Close all streams of a capture; returns when everything that came is on the disk, however long it takes."""
        if not any(stream.capture_id == capture_id for stream in self._streams.values()):
            return
        waiting = self._closing.get(capture_id)
        if waiting is None:
            waiting = self._closing[capture_id] = asyncio.get_running_loop().create_future()
            self._send({"op": "close", "capture": capture_id})
        await asyncio.shield(waiting)

    async def _keep(self) -> None:
        """Replace the process whenever it ends."""
        shortest, longest = RESTART
        pause = shortest
        while True:
            assert self._process is not None
            began = time.monotonic()
            code = await self._process.wait()
            self._disconnect()
            if self._stopping.is_set():
                return
            pause = shortest if time.monotonic() - began > longest else min(pause * 2, longest)
            log.error("capture_process_died", code=code, restart_in_s=pause)
            self._tell(CaptureEventKind.TROUBLE, text="the capture process died and was started again")
            await asyncio.sleep(pause)
            if self._stopping.is_set():
                return
            try:
                await self._spawn()
            except OSError:
                log.exception("capture_process_not_started")
            if self._stopping.is_set():
                self._disconnect()

    async def _spawn(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                self._process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-m",
                    "agent.sip.capture",
                    str(theirs.fileno()),
                    str(self._folder),
                    stdin=asyncio.subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(),),
                    start_new_session=True,
                    env={**os.environ, "PYTHONPATH": str(Path(agent.__file__).parents[1])},
                )
            except BaseException:
                ours.close()
                raise
        ours.setblocking(False)
        self._control = ours
        asyncio.get_running_loop().add_reader(ours, self._receive)
        for stream in self._streams.values():
            self._hand_over(stream)
        for capture_id in self._closing:
            self._send({"op": "close", "capture": capture_id})

    def _disconnect(self) -> None:
        self._outbox.clear()
        if self._control is not None:
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._control)
            loop.remove_writer(self._control)
            self._control.close()
            self._control = None

    def _hand_over(self, stream: _Stream) -> None:
        command = {
            "op": "open",
            "capture": stream.capture_id,
            "stream": stream.index,
            "path": str(self._folder / stream.capture_id / f"{stream.index}.rtpdump"),
            "at": stream.opened,
            "peer": stream.peer,
        }
        self._send(command, stream.rtp.fileno())

    def _send(self, command: dict[str, Any], fd: int | None = None) -> None:
        if self._control is not None:
            self._outbox.append((json.dumps(command).encode(), fd))
            self._flush()

    def _flush(self) -> None:
        """Send what can be sent without waiting; the rest follows when the process has read some."""
        if self._control is None:
            return
        loop = asyncio.get_running_loop()
        loop.remove_writer(self._control)
        while self._outbox:
            message, fd = self._outbox[0]
            try:
                socket.send_fds(self._control, [message], [fd] if fd is not None else [], socket.MSG_NOSIGNAL)
            except BlockingIOError:
                loop.add_writer(self._control, self._flush)
                return
            except OSError as error:
                if error.errno == errno.ETOOMANYREFS:
                    loop.call_later(0.05, self._flush)
                return  # else the process is gone: the next one gets everything anew
            self._outbox.popleft()

    def _receive(self) -> None:
        while self._control is not None:
            try:
                message = self._control.recv(MESSAGE)
            except BlockingIOError:
                return
            except OSError:
                message = b""
            if not message:
                self._disconnect()  # the keeper sees to the rest
                return
            self._take(json.loads(message))

    def _take(self, event: dict[str, Any]) -> None:
        kind, capture_id = CaptureEventKind(event["event"]), event["capture"]
        at = datetime.fromtimestamp(event["at"], UTC)
        details: dict[str, int] = {name: event[name] for name in _COUNTS if name in event}
        if kind is CaptureEventKind.FIRST_PACKET:
            stream = self._streams.get((capture_id, event["stream"]))
            if stream is None or stream.peer is not None:
                return  # told already by a process that died since
            stream.peer = event["peer"]
        elif kind is CaptureEventKind.CLOSED:
            self._closed(capture_id)
        else:
            log.warning("capture_trouble", capture_id=capture_id, stream=event["stream"], what=event["text"])
        self._tell(kind, capture_id, event["stream"], at=at, text=event.get("text", ""), details=details)

    def _closed(self, capture_id: str) -> None:
        for stream in [one for one in self._streams.values() if one.capture_id == capture_id]:
            del self._streams[stream.capture_id, stream.index]
            self._release(stream)
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


def _prepare(rtp: socket.socket, rtcp: socket.socket) -> None:
    """RTP: room for seconds of packets, each stamped on arrival. RTCP is bound so that its senders get no ICMP error;
    nobody reads it, and the kernel drops it once its small buffer is full."""
    rtp.setblocking(False)
    rtp.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    with contextlib.suppress(OSError):
        rtp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        rtcp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
