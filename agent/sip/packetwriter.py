"""The disk side of the capture process: a thread that writes the packet logs, and one that makes them durable.

Standard library only (see agent.sip.capture).
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from agent.sound.packetlog import PacketLogWriter, Pause, blank_records, move_records

MOST_BYTES = 256 * 1024 * 1024  # of packets kept while the disk takes nothing; the oldest go first
RETRY = 0.5  # seconds until a disk that refused is asked again
SYNC = 0.45  # seconds between two syncs at least, so that each tick of the capture process gets its own
LAST_TRIES = 5.0  # seconds for which a disk that refuses is asked again at the end
AT_ONCE = 1 << 20  # bytes given to the disk in one piece where much waits

_libc = ctypes.CDLL(None, use_errno=True)  # Python has no syncfs

Block = tuple[bytes, int]  # records for a log, and how many they are
_BLANK: Block = b"", 0  # stands where the pauses of a log are to be taken out of its file
Trouble = Callable[["tuple[str, int] | None", str], None]  # told which log, or None for all, and what in words


class LogStream:
    """A packet log and what waits to be written to it; only the writer touches its file.

    ``start`` of the log in seconds and nanoseconds is what the records that wait count from.
    """

    def __init__(self, path: Path, *, name: tuple[str, int], address: str, port: int, started: float) -> None:
        self.path, self.name, self.address, self.port, self.started = path, name, address, port, started
        seconds, microseconds = divmod(int(started * 1e6), 1_000_000)
        self.start = seconds, microseconds * 1000
        self.file: PacketLogWriter | None = None
        self.waiting: deque[Block] = deque()
        self.waiting_bytes = 0
        self.pauses: Sequence[Pause] = ()  # still to be blanked in the file
        self.closed: Callable[[], None] | None = None
        self.trouble = ""
        self.dropped = 0

    def open(self) -> PacketLogWriter:
        if self.file is None:
            self.file = PacketLogWriter(self.path, address=self.address, port=self.port, started=self.started)
        return self.file

    def write(self, records: bytes) -> None:
        file = self.open()
        earlier = (self.start[0] * 1_000_000 + self.start[1] // 1000 - round(file.start * 1e6)) // 1000
        file.append(move_records(records, earlier) if earlier else records)

    def blank(self, pauses: Sequence[Pause]) -> None:
        """Take the sound of pauses out of what waits, and out of the file once that is written. What comes
        later was looked at to the nanosecond, and a file is blanked to the millisecond."""
        self.pauses = pauses
        self.waiting = deque([*map(self.blanked, self.waiting), _BLANK])

    def blanked(self, block: Block) -> Block:
        """Records without the sound of pauses that are still to be blanked in the file."""
        records, count = block
        return blank_records(records, self.start[0] * 1_000_000_000 + self.start[1], self.pauses), count


class Writer:
    """Opens, writes and closes logs on a thread of its own; a log that fails is tried again beside the others."""

    def __init__(self, syncer: Syncer, *, trouble: Trouble) -> None:
        self.busy_since: float | None = None  # time.monotonic() when the disk was asked for what it has not yet done
        self._syncer, self._trouble = syncer, trouble
        self._changed = threading.Condition()
        self._dirty: dict[LogStream, None] = {}
        self._failed: dict[LogStream, None] = {}
        self._retry_at = 0.0
        self._waiting_bytes = 0
        self._deadline: float | None = None
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()

    @property
    def waiting_bytes(self) -> int:
        """Of sound that the disk has not taken yet."""
        return self._waiting_bytes

    def open(self, log: LogStream) -> None:
        """Create or continue the log soon, even if no packet should ever come."""
        with self._changed:
            self._dirty[log] = None
            self._changed.notify()

    def put(self, taken: Sequence[tuple[LogStream, Sequence[Block]]]) -> None:
        """Write records soon; the caller never waits for the disk.

        Handed over all at once, since two threads that work at the same time cost Python twice as much.
        """
        with self._changed:
            for log, blocks in taken:
                size = sum([len(records) for records, _ in blocks])
                log.waiting.extend(blocks)
                log.waiting_bytes += size
                self._waiting_bytes += size
                self._dirty[log] = None
            if self._waiting_bytes > MOST_BYTES:
                self._drop_oldest()
            self._changed.notify()

    def blank(self, log: LogStream, pauses: Sequence[Pause]) -> None:
        """Take out what was written, or waits to be, of packets that came during a pause."""
        with self._changed:
            log.blank(pauses)
            self._dirty[log] = None
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
        while self._waiting_bytes > MOST_BYTES:
            log = max({**self._failed, **self._dirty}, key=lambda one: one.waiting_bytes)
            if not log.waiting:
                return
            records, count = log.waiting.popleft()
            log.waiting_bytes -= len(records)
            self._waiting_bytes -= len(records)
            log.dropped += count

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._dirty) or self._deadline is not None, self._until_retry())
                if not self._until_retry():
                    self._dirty = {**self._failed, **self._dirty}
                    self._failed = {}
                logs, self._dirty = [log for log in self._dirty if log not in self._failed], {}
            for log in logs:
                self.busy_since = time.monotonic()
                self._serve(log)
            self.busy_since = None
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
            while log.waiting or log.pauses:
                if not self._write_some(log):
                    self._blank(log, file)
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
        """Give the disk the oldest of what waits, all of it unless that is very much; false where the file is to be
        blanked before anything else."""
        with self._changed:
            taken, size = [], 0
            while log.waiting and size < AT_ONCE and log.waiting[0] != _BLANK:
                taken.append(log.waiting.popleft())
                size += len(taken[-1][0])
            log.waiting_bytes -= size
            if not taken:
                if log.waiting:
                    log.waiting.popleft()
                return False
        try:
            log.write(taken[0][0] if len(taken) == 1 else b"".join([records for records, _ in taken]))
        except OSError:
            with self._changed:
                log.waiting.extendleft([log.blanked(one) for one in reversed(taken)])
                log.waiting_bytes += size
            raise
        with self._changed:
            self._waiting_bytes -= size
        return True

    def _blank(self, log: LogStream, file: PacketLogWriter) -> None:
        pauses = log.pauses
        file.blank(pauses)
        with self._changed:
            if log.pauses is pauses:
                log.pauses = ()

    def _fail(self, log: LogStream, text: str) -> None:
        with self._changed:
            self._failed[log] = None
            self._retry_at = time.monotonic() + RETRY
        if log.trouble != text:
            self._trouble(log.name, text)
        log.trouble = text


class Syncer:
    """Brings what was written onto the disk, on a thread of its own: syncfs in a beat, fsync for a log that closes."""

    def __init__(self, folder: Path, *, trouble: Trouble) -> None:
        self.busy_since: float | None = None  # as in Writer
        self._folder, self._trouble = folder, trouble
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
        fd = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        while not self._ending or self._closing:
            with self._changed:
                self._changed.wait_for(self._is_due, self._until_sync())
                closing, self._closing = self._closing, []
                sync = self._until_sync() == 0
                self._written = self._written and not sync
            for file, closed, failed in closing:
                self.busy_since = time.monotonic()
                self._finish_log(file, closed, failed)
            if sync:
                self.busy_since = time.monotonic()
                self._sync(fd)
            self.busy_since = None

    def _sync(self, fd: int) -> None:
        if _libc.syncfs(fd) < 0:
            self._trouble(None, f"the disk did not confirm what was written: {os.strerror(ctypes.get_errno())}")
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
