"""The capture process, `python -m agent.sip.capture`: it holds the RTP sockets and writes what comes to packet logs.

Nothing that can fail stands between a socket and the disk. Sockets come from the parent as file descriptors, with
duplicates kept there, and four times a second each is emptied and what was in it written at once: between two such
ticks packets lie in the kernel, stamped with their arrival, where a killed process does not lose them. A thread writes,
another calls syncfs, so a slow or full disk never keeps the sockets waiting. Standard library only, to start quickly
and stay small.

The parent speaks JSON datagrams over a SOCK_SEQPACKET pair:
    {"op": "open", "capture", "stream", "path", "at", "peer"} with one descriptor; "at" in seconds since the epoch,
        "peer" null or the sender the stream was locked to before
    {"op": "close", "capture"}
and hears {"event": "first_packet" | "closed" | "trouble", "capture", "stream", "at", ...} (see agent.sip.recorder).
When the parent's end is gone, and on SIGTERM, everything is written and synced, and the process ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from agent.sip.packetwriter import STAMP, LogStream, Records, Syncer, Writer

TICK = 0.25  # seconds between two emptyings of the sockets
AT_ONCE = 100  # sockets emptied before what was in them is handed to the writer
MOST_PACKETS = 4096  # taken from one socket before the others have their turn
LONGEST = 65535  # bytes of a packet
MESSAGE = 8192  # bytes of a command
SO_TIMESTAMPNS = 35  # asm-generic/socket.h; Python has no name for it
_STAMP_SPACE = socket.CMSG_SPACE(STAMP.size)

Address = tuple[Any, ...]


class CaptureStream:
    """One RTP socket and the log it goes to."""

    __slots__ = ("capture", "log", "number", "packets", "peer", "sock", "strangers")

    def __init__(self, capture: str, number: int, sock: socket.socket, log: LogStream, peer: Address | None) -> None:
        self.capture, self.number, self.sock, self.log, self.peer = capture, number, sock, log, peer
        self.packets = self.strangers = 0

    def admits(self, packet: bytes, sender: Address) -> bool:
        """Whether a packet belongs to this stream: the first that sends RTP is who we listen to from then on.

        The one place to decide about a sender that changes lawfully in mid-call.
        """
        if self.peer is None and len(packet) >= 12 and packet[0] >> 6 == 2:
            self.peer = sender
        return sender == self.peer

    def read(self) -> Records:
        """Take all packets that wait in the socket, each with its arrival; those of strangers are only counted."""
        receive, peer, records = self.sock.recvmsg, self.peer, Records()
        for _ in range(MOST_PACKETS):
            try:
                packet, stamps, _, sender = receive(LONGEST, _STAMP_SPACE)
            except BlockingIOError:
                break
            except OSError:  # an error of the network, which the kernel reports once; the next packet may be there
                continue
            if sender != peer or peer is None:
                if not self.admits(packet, sender):
                    self.strangers += 1
                    continue
                peer = self.peer
            records.append((stamps[0][2] if stamps else _now(), packet))
        self.packets += len(records)
        return records


def _now() -> bytes:
    """A stamp for a packet that the kernel gave none."""
    return STAMP.pack(*divmod(time.time_ns(), 1_000_000_000))


class Capture:
    """The whole process but its threads."""

    def __init__(self, control: socket.socket, folder: Path) -> None:
        self._control = control
        self._streams: dict[int, CaptureStream] = {}  # by file descriptor
        self._silent: set[int] = set()  # descriptors whose first packet is awaited
        self._poll = select.epoll()
        self._events: deque[bytes] = deque()
        self._writer = Writer(Syncer(folder), trouble=self._trouble)
        self._ending = False

    def run(self) -> None:
        """Serve until the parent is gone or SIGTERM comes; then flush."""
        wake, waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(waker)
        signal.signal(signal.SIGTERM, self._end)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._poll.register(wake, select.EPOLLIN)
        self._poll.register(self._control, select.EPOLLIN)
        next_tick = time.monotonic() + TICK
        while not self._ending:
            for fd, _ in self._poll.poll(max(next_tick - time.monotonic(), 0)):
                self._handle(fd)
            if time.monotonic() >= next_tick:
                self._tick()
                next_tick = max(next_tick + TICK, time.monotonic())
        self._finish()

    def _end(self, *_: object) -> None:
        self._ending = True

    def _handle(self, fd: int) -> None:
        if fd == self._control.fileno():
            self._command()
        elif (stream := self._streams.get(fd)) is not None and self._read([stream]):
            self._first_packet(fd, stream)

    def _read(self, streams: Iterable[CaptureStream]) -> bool:
        taken = [(stream.log, records) for stream in streams if (records := stream.read())]
        if taken:
            self._writer.put(taken)
        return bool(taken)

    def _command(self) -> None:
        try:
            message, fds, _, _ = socket.recv_fds(self._control, MESSAGE, 4, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            message, fds = b"", []
        if not message:
            self._ending = True
            return
        try:
            self._obey(json.loads(message), fds)
        except (ValueError, KeyError, TypeError, IndexError, OSError) as error:
            for fd in fds:
                with contextlib.suppress(OSError):
                    os.close(fd)
            self._tell(event="trouble", capture=None, stream=None, text=f"command not understood: {error!r}")

    def _obey(self, command: dict[str, Any], fds: list[int]) -> None:
        if command["op"] == "open":
            self._open(command, fds[0])
        elif command["op"] == "close":
            self._close(command["capture"])

    def _open(self, command: dict[str, Any], fd: int) -> None:
        sock = socket.socket(fileno=fd)
        sock.setblocking(False)
        address, port = sock.getsockname()[:2]
        capture, number = str(command["capture"]), int(command["stream"])
        log = LogStream(
            Path(command["path"]), name=(capture, number), address=address, port=port, started=float(command["at"])
        )
        peer = tuple(command["peer"]) if command.get("peer") else None
        self._streams[fd] = CaptureStream(capture, number, sock, log, peer)
        self._silent.add(fd)
        self._poll.register(fd, select.EPOLLIN)
        self._writer.open(log)

    def _close(self, capture: str) -> None:
        streams = [(fd, stream) for fd, stream in self._streams.items() if stream.capture == capture]
        left = {stream.number for _, stream in streams}
        counts = {"packets": 0, "strangers": 0, "dropped": 0}
        if not left:
            self._tell(event="closed", capture=capture, stream=None, **counts)
        for fd, stream in streams:
            self._read([stream])
            self._forget(fd, stream)
            counts["packets"] += stream.packets
            counts["strangers"] += stream.strangers
            self._writer.close(stream.log, self._closer(capture, stream, left, counts))

    def _closer(
        self, capture: str, stream: CaptureStream, left: set[int], counts: dict[str, int]
    ) -> Callable[[], None]:
        def closed() -> None:
            left.discard(stream.number)
            counts["dropped"] += stream.log.dropped
            if not left:
                self._tell(event="closed", capture=capture, stream=None, **counts)

        return closed

    def _forget(self, fd: int, stream: CaptureStream) -> None:
        del self._streams[fd]
        if fd in self._silent:
            self._silent.discard(fd)
            self._poll.unregister(fd)
        stream.sock.close()

    def _first_packet(self, fd: int, stream: CaptureStream) -> None:
        if fd in self._silent:
            self._silent.discard(fd)
            self._poll.unregister(fd)
            self._tell(event="first_packet", capture=stream.capture, stream=stream.number, peer=stream.peer)

    def _tick(self) -> None:
        heard = [stream for fd, stream in self._streams.items() if fd not in self._silent]
        for place in range(0, len(heard), AT_ONCE):
            self._read(heard[place : place + AT_ONCE])
        self._send()

    def _finish(self) -> None:
        for fd, stream in list(self._streams.items()):
            self._read([stream])
            self._forget(fd, stream)
            self._writer.close(stream.log, lambda: None)
        lost = self._writer.finish()
        if lost:
            sys.stderr.write(f"capture: the disk took no more, {lost} bytes of sound could not be written\n")

    def _trouble(self, name: tuple[str, int], text: str) -> None:
        self._tell(event="trouble", capture=name[0], stream=name[1], text=text)

    def _tell(self, **event: Any) -> None:
        """Send an event, from any thread; if the parent is busy, it is sent with a later tick."""
        self._events.append(json.dumps({"at": time.time(), **event}).encode())
        self._send()

    def _send(self) -> None:
        while self._events:
            event = self._events.popleft()
            try:
                self._control.send(event, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
            except BlockingIOError:
                self._events.appendleft(event)
                return
            except (OSError, IndexError):
                return


def main() -> None:
    """Start with the descriptor of the control socket and the captures folder as arguments."""
    control = socket.socket(fileno=int(sys.argv[1]))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    os.umask(0o077)
    Capture(control, Path(sys.argv[2])).run()


if __name__ == "__main__":
    main()
