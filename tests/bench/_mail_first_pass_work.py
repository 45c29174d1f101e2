"""Our side of `mail-first-pass`, in a process of its own; arguments: folder, port of the server, number of messages.

A mailbox thread and a general worker, as the service has them, beside an embedded PostgreSQL. Prints one JSON object
when every message is archived, read, threaded, indexed and linked: the seconds from the start of the mailbox, the most
memory that our processes had at once, in MB, each page shared by several counted in parts (PSS), and the processor time
a message by process, in ms, which tells more than seconds where other programs use the machine too.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
from pathlib import Path

from sqlalchemy import text

from agent.demo.dovecot import PASSWORD, USER
from agent.mail.imap import Mailbox
from agent.parts import Parts, database
from agent.processes import ChildProcess, keep_heap_small
from agent.settings import MailboxSettings, load_settings
from agent.store.migrate import migrate

_PENDING = text("SELECT count(*) FROM procrastinate_jobs WHERE status IN ('todo', 'doing') AND queue_name <> 'words'")
_WORKERS = text("SELECT count(*) FROM procrastinate_workers")
_EVIDENCE = text("SELECT count(*) FROM evidence")
_MESSAGES = text("SELECT count(*) FROM message")


async def run(folder: Path, port: int, count: int) -> dict[str, object]:
    """Do the first pass."""
    keep_heap_small()
    config = folder / "cardline.toml"
    queues = '["parse", "link", "index"]'
    config.write_text(f'data_dir = "{folder / "data"}"\njobs = {{ speech = false, queues = {queues} }}\n')
    settings = load_settings(config)
    async with database(settings) as url:
        await migrate(url)
        parts = Parts(settings, url)
        environment = {"CARDLINE_DATABASE__URL": url, "CARDLINE_CONFIG": str(config)}
        worker = ChildProcess("general", ["agent.worker", "general"], environment=environment)
        await worker.start()
        await _until_equipped(parts)
        memory = Memory()
        watching = asyncio.create_task(memory.watch())
        mailbox = Mailbox(_mailbox(port), parts.intake, parts.store, on_state=lambda *_: None)
        before = await asyncio.to_thread(_cpu)
        began = time.monotonic()
        mailbox.start()
        archived = await _until_done(parts, count, began)
        seconds = time.monotonic() - began
        after = await asyncio.to_thread(_cpu)
        watching.cancel()
        await mailbox.stop()
        await worker.stop()
        await parts.close()
    return {
        "seconds": round(seconds, 2),
        "archived_s": round(archived, 2),
        "memory_mb": round(memory.most / 1024, 1),
        **{name: round(size / 1024, 1) for name, size in memory.parts.items()},
        "cpu_ms": {name: round((after[name] - before[name]) * 1000 / count, 2) for name in after},
    }


def _mailbox(port: int) -> MailboxSettings:
    return MailboxSettings.model_validate(
        {"name": "bench", "host": "127.0.0.1", "port": port, "tls": False, "user": USER, "password": PASSWORD}
    )


async def _until_equipped(parts: Parts) -> None:
    """The worker has loaded what it needs and asks for work; its start is no part of the work."""
    while True:
        async with parts.store.begin() as connection:
            if (await connection.execute(_WORKERS)).scalar_one():
                return
        await asyncio.sleep(0.1)


async def _until_done(parts: Parts, count: int, began: float) -> float:
    archived = 0.0
    while True:
        await asyncio.sleep(0.25)
        async with parts.store.begin() as connection:  # counts grow dear: no more of them than it takes
            if not archived and (await connection.execute(_EVIDENCE)).scalar_one() >= count:
                archived = time.monotonic() - began
            if not archived or (await connection.execute(_PENDING)).scalar_one():
                continue
            if (await connection.execute(_MESSAGES)).scalar_one() >= count:
                return archived


class Memory:
    """The most that this process and its children but PostgreSQL had at once, in KiB of PSS, looked at each second."""

    def __init__(self) -> None:
        self.most = 0
        self.parts: dict[str, int] = {}

    async def watch(self) -> None:
        while True:
            sizes = await asyncio.to_thread(_sizes)
            if sum(sizes.values()) > self.most:
                self.most, self.parts = sum(sizes.values()), sizes
            await asyncio.sleep(1)


def _sizes() -> dict[str, int]:
    sizes: dict[str, int] = {}
    for name, number in _processes():
        with contextlib.suppress(OSError):
            if name != "postgres":
                sizes[name] = sizes.get(name, 0) + _pss(number)
    return sizes


_NAMES = (("worker", "agent.worker general"), ("parse", "agent.mail.parse_child"), ("postgres", "postgres"))


def _processes() -> list[tuple[str, int]]:
    """This process as ``main``, and those below it that are ours by their names."""
    found, waiting = [("main", os.getpid())], _children(os.getpid())
    while waiting:
        number = waiting.pop()
        with contextlib.suppress(OSError):
            command = Path(f"/proc/{number}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            found += [(name, number) for name, pattern in _NAMES if pattern in command][:1]
            waiting += _children(number)
    return found


def _children(number: int) -> list[int]:
    """Processes that one of its threads started."""
    lists = (each.read_text() for each in Path(f"/proc/{number}/task").glob("*/children"))
    return [int(one) for each in lists for one in each.split()]


def _cpu() -> dict[str, float]:
    """Seconds of processor time so far, by process; those of parse children that ended count for ``parse``."""
    used = dict.fromkeys(("main", "worker", "parse", "postgres"), 0.0)
    for name, number in _processes():
        with contextlib.suppress(OSError):
            own, ended = _times(number)
            used[name] += own
            used[{"worker": "parse"}.get(name, name)] += ended if name != "main" else 0.0
    return used


def _times(number: int) -> tuple[float, float]:
    """Seconds of a process itself, and of its children that ended (proc(5), stat)."""
    fields = Path(f"/proc/{number}/stat").read_text().rsplit(")", 1)[1].split()
    own, ended = (sum(int(one) for one in fields[at : at + 2]) for at in (11, 13))
    return own / os.sysconf("SC_CLK_TCK"), ended / os.sysconf("SC_CLK_TCK")


def _pss(number: int) -> int:
    rollup = Path(f"/proc/{number}/smaps_rollup").read_text()
    return next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))))
