"""What a killed Cardline leaves behind of its PostgreSQL: processes that still work in the data folder, and a pid file.

A separate file because it is the only place that looks at other processes of the machine and may end them.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

import structlog

from agent.errors import DatabaseUnavailable

log = structlog.get_logger()

_STALE_SECONDS = 20


def end_leftovers(folder: Path) -> None:
    """End the processes that a killed Cardline left in this data folder, and forget its pid file.

    The number in the file may by now be a zombie, or in a container some other process of ours; PostgreSQL would take
    either for a running server. The caller holds the lock and we have looked for processes that really work in this
    folder, backends without their postmaster included, so the file says nothing more.

    Raises:
        DatabaseUnavailable: something does not end even by SIGKILL.
    """
    for ending in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        numbers = _processes_in(folder)
        if ending is signal.SIGINT:  # only the postmaster takes it for a request to shut down
            numbers = [one for one in numbers if one == _pid_in(folder)]
        for number in numbers:
            log.warning("stale_postgres_ended", pid=number, signal=ending.name)
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, ending)
        if numbers:
            _wait_gone(folder, seconds=_STALE_SECONDS)
    if left := _processes_in(folder):
        raise DatabaseUnavailable(f"PostgreSQL processes of before do not end: {left}.")
    (folder / "postmaster.pid").unlink(missing_ok=True)


def _pid_in(folder: Path) -> int | None:
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int((folder / "postmaster.pid").read_text().splitlines()[0])
    return None


def _processes_in(folder: Path) -> list[int]:
    """Processes that work in this data folder: postgres by its working directory, initdb by its argument."""
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal() and _works_in(path, folder)]


def _works_in(process: Path, folder: Path) -> bool:
    with contextlib.suppress(OSError):  # it has just ended, or is not ours to see
        match (process / "comm").read_text().strip():
            case "postgres":
                return (process / "cwd").readlink() == folder.resolve()
            case "initdb":
                return f"--pgdata={folder}".encode() in (process / "cmdline").read_bytes().split(b"\0")
    return False


def _wait_gone(folder: Path, *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and _processes_in(folder):
        time.sleep(0.05)
