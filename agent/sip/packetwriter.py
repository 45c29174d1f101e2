"""The disk side of the capture process: a thread that writes the packet logs, and one that makes them durable.

Standard library only (see agent.sip.capture).
"""

from __future__ import annotations

import ctypes
import os
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from agent.sound.packetlog import RECORD, PacketLogWriter, encode_record

MOST_BYTES = 256 * 1024 * 1024  # of packets kept while the disk takes nothing; the oldest go first
RETRY = 0.5  # seconds until a disk that refused is asked again
SYNC = 0.5  # seconds between two syncs while something is written
LAST_TRIES = 5.0  # seconds for which a disk that refuses is asked again at the end

STAMP = struct.Struct("@qq")  # struct timespec: seconds since the epoch, nanoseconds

Records = list[tuple[bytes, bytes]]  # arrival as STAMP, packet


class LogStream:
    """A packet log and what waits to be written to it; only the writer touches its file."""

    def __init__(self, path: Path, *, name: tuple[str, int], address: str, port: int, started: float) -> None:
        self.path, self.name, self.address, self.port, self.started = path, name, address, port, started
        self.file: PacketLogWriter | None = None
        self.waiting: deque[tuple[Records, int]] = deque()
        self.closed: Callable[[], None] | None = None
        self.trouble = ""
        self.dropped = 0

    def open(self) -> PacketLogWriter:
        if self.file is None:
            self.file = PacketLogWriter(self.path, address=self.address, port=self.port, started=self.started)
        return self.file

    def write(self, records: Records) -> None:
        file = self.open()
        start = round(file.start * 1000)
        parts: list[bytes] = []
        for stamp, packet in records:
            seconds, nanoseconds = STAMP.unpack(stamp)
            parts += encode_record(packet, seconds * 1000 + nanoseconds // 1_000_000 - start)
        file.append(b"".join(parts))


class Writer:
    """Opens, writes and closes logs on a thread of its own; a log that fails is tried again beside the others."""

    def __init__(self, syncer: Syncer, *, trouble: Callable[[tuple[str, int], str], None]) -> None:
        self._syncer, self._trouble = syncer, trouble
        self._changed = threading.Condition()
        self._dirty: dict[LogStream, None] = {}
        self._failed: dict[LogStream, None] = {}
        self._retry_at = 0.0
        self._waiting_bytes = 0
        self._deadline: float | None = None
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()

    def open(self, log: LogStream) -> None:
        """Create or continue the log soon, even if no packet should ever come."""
        with self._changed:
            self._dirty[log] = None
            self._changed.notify()

    def put(self, taken: list[tuple[LogStream, Records]]) -> None:
        """Write packets, each with its arrival, soon; the caller never waits for the disk.

        Handed over all at once, since two threads that work at the same time cost Python twice as much.
        """
        with self._changed:
            for log, records in taken:
                size = sum([len(packet) for _, packet in records]) + RECORD.size * len(records)
                log.waiting.append((records, size))
                self._waiting_bytes += size
                self._dirty[log] = None
            if self._waiting_bytes > MOST_BYTES:
                self._drop_oldest()
            self._changed.notify()

    def close(self, log: LogStream, closed: Callable[[], None]) -> None:
        """Write what waits, sync, close, then call ``closed`` from another thread."""
        log.closed = closed
        self.open(log)

    def finish(self) -> int:
        """Write everything and end; the number of bytes that the disk did not take."""
        with self._changed:
            self._deadline = time.monotonic() + LAST_TRIES
            self._changed.notify()
        self._thread.join()
        self._syncer.finish()
        return self._waiting_bytes

    def _drop_oldest(self) -> None:
        logs = {**self._failed, **self._dirty}
        log = max(logs, key=lambda one: sum(size for _, size in one.waiting))
        while log.waiting and self._waiting_bytes > MOST_BYTES:
            records, size = log.waiting.popleft()
            self._waiting_bytes -= size
            log.dropped += len(records)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._dirty) or self._deadline is not None, self._until_retry())
                if not self._until_retry():
                    self._dirty = {**self._failed, **self._dirty}
                    self._failed = {}
                logs, self._dirty = [log for log in self._dirty if log not in self._failed], {}
            for log in logs:
                self._serve(log)
            if logs:
                self._syncer.wake()
            if self._is_over():
                return

    def _until_retry(self) -> float | None:
        return max(self._retry_at - time.monotonic(), 0) if self._failed else None

    def _is_over(self) -> bool:
        if self._deadline is None or self._dirty:
            return False
        if not self._failed:
            return True
        time.sleep(RETRY / 5)
        return time.monotonic() > self._deadline

    def _serve(self, log: LogStream) -> None:
        try:
            file = log.open()
            while self._write_some(log):
                pass
        except OSError as error:
            self._fail(log, f"the packet log cannot be written: {error.strerror or error}")
            return
        if log.trouble:
            self._trouble(log.name, f"the packet log is written again; {log.dropped} packets were dropped meanwhile")
            log.trouble = ""
        closed, log.closed = log.closed, None
        if closed is not None:
            self._syncer.close(file, closed, lambda text: self._trouble(log.name, text))

    def _write_some(self, log: LogStream) -> bool:
        with self._changed:
            if not log.waiting:
                return False
            records, size = log.waiting.popleft()
        try:
            log.write(records)
        except OSError:
            with self._changed:
                log.waiting.appendleft((records, size))
            raise
        with self._changed:
            self._waiting_bytes -= size
        return True

    def _fail(self, log: LogStream, text: str) -> None:
        with self._changed:
            self._failed[log] = None
            self._retry_at = time.monotonic() + RETRY
        if log.trouble != text:
            self._trouble(log.name, text)
        log.trouble = text


class Syncer:
    """Brings what was written onto the disk, on a thread of its own: syncfs in a beat, fsync for a log that closes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._changed = threading.Condition()
        self._written = self._ending = False
        self._next_sync = 0.0
        self._closing: list[tuple[PacketLogWriter, Callable[[], None], Callable[[str], None]]] = []
        self._thread = threading.Thread(target=self._run, name="syncer", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Something was written."""
        with self._changed:
            self._written = True
            self._changed.notify()

    def close(self, file: PacketLogWriter, closed: Callable[[], None], failed: Callable[[str], None]) -> None:
        """Sync and close a log, then call ``closed``; before it ``failed`` if the disk reports an error."""
        with self._changed:
            self._closing.append((file, closed, failed))
            self._changed.notify()

    def finish(self) -> None:
        """Do what is left and end."""
        with self._changed:
            self._ending = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        syncfs = ctypes.CDLL(None, use_errno=True).syncfs
        fd = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        while not self._ending or self._closing:
            with self._changed:
                self._changed.wait_for(self._is_due, self._until_sync())
                closing, self._closing = self._closing, []
                sync = self._until_sync() == 0
                self._written = self._written and not sync
            for file, closed, failed in closing:
                self._finish_log(file, closed, failed)
            if sync:
                syncfs(fd)
                self._next_sync = time.monotonic() + SYNC

    def _until_sync(self) -> float | None:
        return max(self._next_sync - time.monotonic(), 0) if self._written else None

    def _is_due(self) -> bool:
        return bool(self._closing) or self._ending or self._until_sync() == 0

    def _finish_log(self, file: PacketLogWriter, closed: Callable[[], None], failed: Callable[[str], None]) -> None:
        try:
            file.sync()
        except OSError as error:
            failed(f"the disk did not confirm the packet log: {error.strerror or error}")
        file.close()
        closed()
