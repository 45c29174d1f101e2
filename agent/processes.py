"""Child processes of the service: started, restarted with growing pauses when they end, and gone when we are gone.

A child holds the reading end of a pipe as its standard input; when our process dies, however it dies, the pipe ends
and the child leaves at once (`leave_with_parent`). No pid files, no signals to guess.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import sys
import threading
import time
from collections.abc import Mapping, Sequence

import structlog

log = structlog.get_logger()

_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 30.0
_HEALTHY_SECONDS = 60.0
_STOP_SECONDS = 20.0
_SMALL_HEAP = {-8: 2, -3: 256 * 1024, -1: 1024 * 1024}  # malloc.h: arenas; bytes: M_MMAP_THRESHOLD, M_TRIM_THRESHOLD
_WARM_HEAP = {-8: 1, -3: 4 * 1024 * 1024, -1: 8 * 1024 * 1024}


class ChildProcess:
    """``python -m <arguments>``, kept running."""

    def __init__(
        self, name: str, arguments: Sequence[str], *, environment: Mapping[str, str], descriptors: Sequence[int] = ()
    ) -> None:
        """``descriptors`` are open in it under the same numbers."""
        self.name = name
        self._descriptors = tuple(descriptors)
        self._arguments = [sys.executable, "-m", *arguments]
        self._environment = {**os.environ, **environment}
        self._process: asyncio.subprocess.Process | None = None
        self._keeper: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return self._process.pid if self._process is not None else None

    async def start(self) -> None:
        """Start it and keep it running from now on."""
        await self._spawn()
        self._keeper = asyncio.create_task(self._keep_running(), name=f"keep-{self.name}")

    async def stop(self) -> None:
        """Ask it to finish what it does (SIGTERM), and after 20 s no longer ask."""
        if self._keeper is not None:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper
        if self._process is None or self._process.returncode is not None:
            return
        self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), _STOP_SECONDS)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    async def _spawn(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *self._arguments,
            stdin=asyncio.subprocess.PIPE,
            env=self._environment,
            pass_fds=self._descriptors,
            start_new_session=True,  # Ctrl-C in a terminal is for us; we end it in order
        )
        log.info("process_started", name=self.name, pid=self._process.pid)

    async def _keep_running(self) -> None:
        pause = _FIRST_PAUSE_SECONDS
        while True:
            assert self._process is not None
            began = time.monotonic()
            code = await self._process.wait()
            if time.monotonic() - began > _HEALTHY_SECONDS:
                pause = _FIRST_PAUSE_SECONDS
            log.error("process_ended", name=self.name, exit_code=code, restart_in_seconds=pause)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
            try:
                await self._spawn()
            except OSError as error:  # no memory, no process to be had: the old one counts as ended once more
                log.error("process_not_started", name=self.name, reason=str(error))  # noqa: TRY400 - says it all


def leave_with_parent() -> None:
    """In a child: end this process as soon as its standard input ends, that is, when the parent is gone."""

    def wait_for_end() -> None:
        while os.read(0, 1024):
            pass
        os._exit(1)

    threading.Thread(target=wait_for_end, name="leave-with-parent", daemon=True).start()


def use_huge_pages() -> None:
    """Begin this very process anew so that its large pieces of memory come in pages of 2 MB: to be said first of all.

    A speech model takes and gives back a hundred megabytes for each half minute of sound; in pages of 4 KB the kernel
    spends as long on them as the model computes. glibc (2.35 and newer) reads the wish when a process begins; whoever
    has told it something else in GLIBC_TUNABLES knows better.
    https://www.gnu.org/software/libc/manual/html_node/Memory-Allocation-Tunables.html
    """
    if "GLIBC_TUNABLES" not in os.environ:
        os.environ["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - this very command


def keep_heap_small() -> None:
    """Let all threads of this process share two heaps, and give large pieces back to the system when they are freed.

    Otherwise each thread keeps a heap of what its largest batch needed, and glibc, seeing pieces of megabytes come and
    go, begins to keep those too. See mallopt(3); to be said before there are threads. Only glibc has it and needs it.
    """
    _tell_heap(_SMALL_HEAP)


def keep_heap_warm() -> None:
    """Let this process keep what it needs again and again, up to a bound; `give_memory_back` ends that. As above."""
    _tell_heap(_WARM_HEAP)


def _tell_heap(wishes: Mapping[int, int]) -> None:
    with contextlib.suppress(AttributeError, OSError):
        allocator = ctypes.CDLL(None)
        for parameter, value in wishes.items():
            allocator.mallopt(parameter, value)


def give_memory_back() -> None:
    """Have the allocator give what is free to the system, after something large is gone. See malloc_trim(3)."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
