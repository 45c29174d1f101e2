"""The capture process as its parent sees it: started, kept alive, and spoken to over a socket."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import socket
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog

import agent
from agent.sip.capture import ALIVE, MESSAGE

log = structlog.get_logger()

RESTART = (0.05, 2.0)  # seconds from one start of the process to the next, at first and at most
FLUSH = 15.0  # seconds the process may take to end by itself
SILENT = 5.0  # seconds without a word of a process, after which it hangs: it says each second that it lives


class CaptureProcess:
    """Replaced whenever it dies; what is sent while there is none is lost, and ``on_start`` says it anew."""

    def __init__(
        self,
        folder: Path,
        *,
        on_start: Callable[[], None],
        on_message: Callable[[dict[str, Any]], None],
        on_death: Callable[[], None],
    ) -> None:
        """``folder`` of all captures. ``on_start`` is called with each process, ``on_message`` with what it tells."""
        self._folder, self._on_start, self._on_message, self._on_death = folder, on_start, on_message, on_death
        self._outbox: deque[tuple[bytes, tuple[int, ...]]] = deque()
        self._control: socket.socket | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._is_heard = False
        self._stopping = asyncio.Event()

    async def start(self) -> None:
        """Start it; from then on it is kept alive."""
        self._stopping.clear()
        await self._spawn()
        self._keeper = asyncio.create_task(self._keep(), name="capture-keeper")
        self._watch = asyncio.create_task(self._look_for_silence(), name="capture-watch")

    async def stop(self) -> None:
        """Let it write and sync what it has, and end."""
        self._stopping.set()
        if self._watch is not None:
            self._watch.cancel()
        self._disconnect()
        if self._process is not None and self._keeper is not None:
            done, _ = await asyncio.wait({self._keeper}, timeout=FLUSH)
            if not done:
                log.error("capture_process_hung", pid=self._process.pid)
                self._process.kill()
            await self._keeper

    @property
    def pid(self) -> int | None:
        """As long as it runs."""
        running = self._process is not None and self._process.returncode is None
        return self._process.pid if running and self._process else None

    def send(self, command: dict[str, Any], *fds: int) -> None:
        """Give it a command and descriptors, without waiting."""
        if self._control is not None:
            self._outbox.append((json.dumps(command).encode(), fds))
            self._flush()

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
            self._on_death()
            await asyncio.sleep(pause)
            if self._stopping.is_set():
                return
            try:
                await self._spawn()
            except OSError:
                log.exception("capture_process_not_started")
            if self._stopping.is_set():
                self._disconnect()

    async def _look_for_silence(self) -> None:
        """Kill a process that hangs, so that it is replaced before the sockets are full. It never waits for the disk,
        so a disk that hangs is not the reason; and where this process was stopped itself, what came is read first."""
        while True:
            self._is_heard = False
            watched = self._process
            await asyncio.sleep(SILENT)
            if self._is_heard or watched is None or watched is not self._process or watched.returncode is not None:
                continue
            log.error("capture_process_silent", pid=watched.pid, seconds=SILENT)
            watched.kill()

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
        self._on_start()

    def _disconnect(self) -> None:
        self._outbox.clear()
        if self._control is not None:
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._control)
            loop.remove_writer(self._control)
            self._control.close()
            self._control = None

    def _flush(self) -> None:
        """Send what can be sent without waiting; the rest follows when the process has read some."""
        if self._control is None:
            return
        loop = asyncio.get_running_loop()
        loop.remove_writer(self._control)
        while self._outbox:
            message, fds = self._outbox[0]
            try:
                socket.send_fds(self._control, [message], fds, socket.MSG_NOSIGNAL)
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
            self._is_heard = True
            told = json.loads(message)
            if told["event"] != ALIVE:
                self._on_message(told)
