"""The capture process, `python -m agent.sip.capture`: it holds the RTP sockets and writes what comes to packet logs.

Nothing that can fail stands between a socket and the disk. Sockets come from the parent as file descriptors, with
duplicates kept there, and twice a second each is emptied and what was in it written at once: between two such
ticks packets lie in the kernel, stamped with their arrival, where a killed process does not lose them. A thread writes,
another calls syncfs, so a slow or full disk never keeps the sockets waiting. Standard library only, to start quickly
and stay small.

The parent speaks JSON datagrams over a SOCK_SEQPACKET pair; times are nanoseconds since the epoch but for "at":
    {"op": "open", "capture", "stream", "path", "at", "clock", "peer", "expected", "pauses", "masked", "watched",
        "codes"} with the descriptors of the RTP and the RTCP socket; "at" in seconds since the epoch, "clock" what
        `wall_clock` was then, "peer" null or the sender the stream was locked to before, "codes" the names of codes by
        their keys, the rest as in the commands below
    {"op": "expect", "capture", "stream", "expected"}: the sender announced, as [host, port], or [] for anybody
    {"op": "pause", "capture", "pauses"}: all that were or are of late, as [from, until or null]
    {"op": "events", "capture", "stream", "masked", "watched"}: payload types that are logged with zeros for a payload,
        and those that are keys by which a code may be entered
    {"op": "close", "capture"}
and hears {"event": "first_packet" | "moved" | "code" | "closed" | "trouble", "capture", "stream", "at", ...} (see
agent.sip.recorder), and each second {"event": "alive"}: a process that is silent is killed and replaced. When the
parent's end is gone, and on SIGTERM, everything is written and synced, and the process ends.
"""

from __future__ import annotations

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

from agent.sip.capturestream import STEP, CaptureStream
from agent.sip.packetwriter import LogStream, Syncer, Writer
from agent.sip.receiving import SECOND, SO_TIMESTAMPNS, Receivers
from agent.sip.senders import pack_address, say_address, unpack_address

TICK = 0.5  # seconds between two emptyings of the sockets
MESSAGE = 65536  # bytes of a command
FLOOD = 500  # packets of a tick, past which a socket is emptied whenever something comes, before it overflows
STALL = 2.0  # seconds without an answer after which the disk is called stuck
HOLD = 1.0  # seconds for which packets are left in the sockets while those taken before are not written yet
ALIVE, ALIVE_TICKS = "alive", 2  # the sign of life, and ticks from one to the next


class Capture:
    """The whole process but its threads."""

    def __init__(self, control: socket.socket, folder: Path) -> None:
        self._control = control
        control.setblocking(False)  # recv_fds passes no flags on (Python 3.11)
        self._streams: dict[int, CaptureStream] = {}  # by file descriptor of the RTP socket
        self._silent: set[int] = set()  # those whose first packet is awaited
        self._flooded: set[int] = set()  # those on which somebody sends far too much
        self._with_reports: dict[int, CaptureStream] = {}  # by file descriptor of the RTCP socket
        self._poll, self._reports_poll = select.epoll(), select.epoll()
        self._events: deque[bytes] = deque()
        self._receivers = Receivers()
        self._syncer = Syncer(folder, trouble=self._trouble)
        self._writer = Writer(self._syncer, trouble=self._trouble)
        self._stuck = self._ending = False
        self._held_since: float | None = None
        self._clock = wall_clock()
        self._ticks = 0

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
            ready = self._poll.poll(max(next_tick - time.monotonic(), 0))
            while self._command():
                pass  # before the sockets: what comes after the end of a pause was sent after the command that says so
            for fd, _ in ready:
                self._handle(fd)
            if time.monotonic() >= next_tick:
                self._tick()
                next_tick = max(next_tick + TICK, time.monotonic())
        self._finish()

    def _end(self, *_: object) -> None:
        self._ending = True

    def _handle(self, fd: int) -> None:
        if (stream := self._streams.get(fd)) is not None:
            self._read([stream])

    def _tick(self) -> None:
        if abs((clock := wall_clock()) - self._clock) > STEP:
            self._clock = clock
            for stream in self._streams.values():
                stream.set_clock(clock)
        for fd, _ in self._reports_poll.poll(0):
            stream = self._with_reports[fd]
            if blocks := stream.read_reports():
                self._writer.put([(stream.log, blocks)])
        if not self._holds_back():
            self._read([stream for fd, stream in self._streams.items() if fd not in self._silent])
            self._watch_floods()
        self._watch_disk()
        self._ticks += 1
        if self._ticks % ALIVE_TICKS == 0:
            self._tell(event=ALIVE, capture=None, stream=None)
        self._send()

    def _holds_back(self) -> bool:
        """Whether what came may stay in the sockets for now. A disk that is slow to take what was taken from them last
        would otherwise cost a second batch if this process is killed: the kernel keeps packets, our memory does not."""
        if not self._writer.waiting_bytes:
            self._held_since = None
            return False
        if self._held_since is None:
            self._held_since = time.monotonic()
        return time.monotonic() - self._held_since < HOLD

    def _read(self, streams: Iterable[CaptureStream]) -> None:
        taken = []
        for stream in streams:
            if blocks := stream.read():
                taken.append((stream.log, blocks))
            if stream.lock.newcomer or stream.lock.stranger:
                self._tell_senders(stream)
            if stream.entered is not None:
                self._tell_code(stream)
        if taken:
            self._writer.put(taken)

    def _tell_senders(self, stream: CaptureStream) -> None:
        lock, fd, name = stream.lock, stream.rtp.fileno(), {"capture": stream.capture, "stream": stream.number}
        if (peer := lock.newcomer) is not None:
            kind = "first_packet" if fd in self._silent else "moved"
            self._hear(fd)
            self._tell(event=kind, **name, peer=unpack_address(peer), text=f"sound comes from {say_address(peer)}")
        if (stranger := lock.stranger) is not None:
            text = f"{say_address(stranger)} sends to the port of this stream too; it is not recorded"
            self._tell(event="trouble", **name, text=text)
        lock.newcomer = lock.stranger = None

    def _tell_code(self, stream: CaptureStream) -> None:
        """Which code was entered and when; the keys themselves go nowhere."""
        assert stream.entered is not None
        at, name = stream.entered
        stream.entered = None
        self._tell(event="code", at=at / SECOND, capture=stream.capture, stream=stream.number, text=name)

    def _hear(self, fd: int) -> None:
        """From now on a socket is emptied in each tick and wakes nobody."""
        for watched in (self._silent, self._flooded):
            if fd in watched:
                watched.discard(fd)
                self._poll.unregister(fd)

    def _command(self) -> bool:
        """Do what the next command says; whether there was one."""
        try:
            message, fds, _, _ = socket.recv_fds(self._control, MESSAGE, 4)
        except BlockingIOError:
            return False
        except OSError:
            message, fds = b"", []
        if not message:
            self._ending = True
            return False
        sockets: list[socket.socket] = []
        try:
            sockets += map(_adopt, fds)
            self._obey(json.loads(message), sockets)
        except Exception as error:  # whatever is wrong with a command, the calls go on
            for sock in sockets:
                sock.close()
            self._trouble(None, f"command not understood: {error!r}")
        return True

    def _obey(self, command: dict[str, Any], sockets: list[socket.socket]) -> None:
        op, capture = command["op"], str(command["capture"])
        if op == "open":
            self._open(command, *sockets)
            return
        streams = [one for one in self._streams.values() if one.capture == capture]
        if op == "close":
            self._close(capture, streams)
            return
        for stream in streams:
            if command.get("stream") in (None, stream.number):
                self._adjust(stream, command)

    def _open(self, command: dict[str, Any], rtp: socket.socket, rtcp: socket.socket | None = None) -> None:
        for sock in (rtp, rtcp):
            if sock is not None:
                sock.setblocking(False)
                sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        address, port = rtp.getsockname()[:2]
        name = str(command["capture"]), int(command["stream"])
        log = LogStream(Path(command["path"]), name=name, address=address, port=port, started=float(command["at"]))
        codes = {str(keys): str(word) for keys, word in (command.get("codes") or {}).items()}
        stream = CaptureStream(name, rtp, rtcp, log, self._receivers, codes=codes)
        if command.get("peer"):
            stream.lock.peer = pack_address(rtp.family, command["peer"])
        self._streams[rtp.fileno()] = stream
        if stream.lock.peer is None:
            self._silent.add(rtp.fileno())
            self._poll.register(rtp, select.EPOLLIN)
        if rtcp is not None:
            self._with_reports[rtcp.fileno()] = stream
            self._reports_poll.register(rtcp, select.EPOLLIN)
        try:
            stream.clock = int(command.get("clock") or self._clock)
            stream.set_clock(self._clock)  # it may have been set before this process began
            self._adjust(stream, command)
        except BaseException:
            self._forget(stream)
            raise
        self._writer.open(log)

    def _adjust(self, stream: CaptureStream, command: dict[str, Any]) -> None:
        """Do what a command says of a stream that is, or is about to be, open."""
        if (expected := command.get("expected")) is not None:
            stream.lock.expect(pack_address(stream.rtp.family, expected) if expected else b"")
        if "masked" in command:
            stream.mask(command["masked"])
        if "watched" in command:
            stream.watch(command["watched"])
        if pauses := command.get("pauses"):
            told = [(int(begin), None if end is None else int(end)) for begin, end in pauses]
            stream.pause(told)
            if command["op"] == "open" or stream.latest >= told[-1][0] or stream.log.pauses:
                # written before the pause was known, or by a process that died, or not yet taken out for the last one
                self._writer.blank(stream.log, stream.by_the_log(told))
                stream.latest = 0
            self._read([stream])

    def _close(self, capture: str, streams: list[CaptureStream]) -> None:
        left = {stream.number for stream in streams}
        counts = dict.fromkeys(("packets", "strangers", "dropped", "paused", "masked", "overflowed"), 0)
        if not left:
            self._tell(event="closed", capture=capture, stream=None, **counts)
        for stream in streams:
            self._take_last(stream)
            for name, count in stream.counts().items():
                counts[name] += count
            self._forget(stream)
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

    def _take_last(self, stream: CaptureStream) -> None:
        self._read([stream])
        if blocks := stream.read_reports():
            self._writer.put([(stream.log, blocks)])

    def _forget(self, stream: CaptureStream) -> None:
        fd = stream.rtp.fileno()
        self._hear(fd)
        del self._streams[fd]
        if stream.rtcp is not None:
            del self._with_reports[stream.rtcp.fileno()]
            self._reports_poll.unregister(stream.rtcp)
        stream.close()

    def _watch_floods(self) -> None:
        for fd, stream in self._streams.items():
            if (stream.taken > FLOOD) != (fd in self._flooded) and fd not in self._silent:
                self._flooded ^= {fd}
                if fd in self._flooded:
                    self._poll.register(fd, select.EPOLLIN)
                else:
                    self._poll.unregister(fd)
            stream.taken = 0

    def _watch_disk(self) -> None:
        """Say so when the disk neither takes nor refuses what it is given, and when it does again."""
        since = [one.busy_since for one in (self._writer, self._syncer) if one.busy_since is not None]
        stuck = bool(since) and time.monotonic() - min(since) > STALL
        if stuck and not self._stuck:
            kept = self._writer.waiting_bytes // 1024
            self._trouble(None, f"the disk does not answer; sound is kept in memory, {kept} KiB so far")
        elif self._stuck and not stuck:
            self._trouble(None, "the disk answers again")
        self._stuck = stuck

    def _finish(self) -> None:
        for stream in list(self._streams.values()):
            self._take_last(stream)
            self._forget(stream)
            self._writer.close(stream.log, lambda: None)
        lost = self._writer.finish()
        if lost:
            sys.stderr.write(f"capture: the disk took no more, {lost} bytes of sound could not be written\n")

    def _trouble(self, name: tuple[str, int] | None, text: str) -> None:
        capture, stream = name or (None, None)
        self._tell(event="trouble", capture=capture, stream=stream, text=text)

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


def wall_clock() -> int:
    """By how many nanoseconds the wall clock is ahead of that since the boot, which nobody sets: a change is a step."""
    return time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def _adopt(fd: int) -> socket.socket:
    """The socket of a descriptor, which is closed if it is none."""
    try:
        return socket.socket(fileno=fd)
    except OSError:
        os.close(fd)
        raise


def main() -> None:
    """Start with the descriptor of the control socket and the captures folder as arguments."""
    control = socket.socket(fileno=int(sys.argv[1]))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    os.umask(0o077)
    Capture(control, Path(sys.argv[2])).run()


if __name__ == "__main__":
    main()
