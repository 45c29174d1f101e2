"""The whole program as its users run it: a process with a configuration file, that can be killed and started again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import smtplib
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg

from agent.archive.blobs import Archive, open_archive
from agent.demo.report import Histories, read_histories
from agent.settings import load_settings
from agent.store.engine import Store
from agent.store.postgres import running_url

START_SECONDS = 60


class ServiceUnderTest:
    """One data directory, and the service in it, as often as the test starts it."""

    def __init__(self, folder: Path, extra: str = "") -> None:
        self.folder = folder
        self._extra = extra
        self.settings_of_speech = 'model = "tiny-demo"'
        self._process: asyncio.subprocess.Process | None = None
        self._pid = 0
        self.addresses: dict[str, tuple[str, int]] = {}

    async def start(
        self, *, queues: Sequence[str] | None = None, speech: bool = True, prefix: Sequence[str] = ()
    ) -> None:
        """Start it and wait until everything runs. ``queues`` None means all, empty none."""
        config = self.folder / "cardline.toml"
        config.write_text(self._configuration(queues, speech))
        log_file = self.folder / "service.log"
        log_file.unlink(missing_ok=True)
        with log_file.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                *prefix,
                sys.executable,
                "-m",
                "agent.cli",
                "--config",
                str(config),
                "run",
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        await self.until(self._is_ready, START_SECONDS)
        found = json.loads((self.folder / "data" / "service.json").read_text())
        self._pid = int(found["pid"])  # not the process started, where another program such as strace runs it
        self.addresses = {name: (at[0], at[1]) for name, at in found.items() if isinstance(at, list)}

    def _configuration(self, queues: Sequence[str] | None, speech: bool) -> str:
        general = "true" if queues is None or queues else "false"
        return f"""
data_dir = "{self.folder / "data"}"
siprec = {{ listen = "127.0.0.1", port = 0, rtp_ports = [42000, 42999] }}
smtp = {{ listen = "127.0.0.1", port = 0 }}
web = {{ listen = "127.0.0.1", port = 0, processes = 2 }}
transcribe = {{ {self.settings_of_speech} }}
jobs = {{ general = {general}, speech = {str(speech).lower()}, queues = {json.dumps(list(queues or ()))} }}
{self._extra}
"""

    async def _is_ready(self) -> bool:
        assert self._process is not None
        assert self._process.returncode is None, self.log()
        return "service_ready" in self.log()

    def log(self) -> str:
        """What it has said since its last start."""
        return (self.folder / "service.log").read_text(errors="replace")

    async def kill(self) -> None:
        """SIGKILL to the main process, as the kernel does when memory runs out; its children see to themselves."""
        assert self._process is not None
        os.kill(self._pid, signal.SIGKILL)
        await self._process.wait()

    async def stop(self) -> None:
        """SIGTERM and wait."""
        if self._process is not None and self._process.returncode is None:
            os.kill(self._pid, signal.SIGTERM)
            await self._process.wait()

    async def kill_postgres(self) -> None:
        """SIGKILL to the postmaster, and wait until the service has brought it back."""
        before = self._postmaster()
        os.kill(before, signal.SIGKILL)
        await self.until(lambda: self._has_new_postmaster(before), START_SECONDS)

    def _postmaster(self) -> int:
        (pid_file,) = (self.folder / "data" / "postgres").glob("*/postmaster.pid")
        return int(pid_file.read_text().splitlines()[0])

    async def _has_new_postmaster(self, before: int) -> bool:
        with contextlib.suppress(ValueError, psycopg.Error, OSError, IndexError):
            if self._postmaster() != before:
                url = running_url(self.folder / "data")
                assert url is not None
                await asyncio.to_thread(lambda: psycopg.connect(url).close())
                return True
        return False

    def children(self, module: str) -> list[int]:
        """Process ids of its children that run this module."""
        found = []
        for status in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                parent = int(status.read_text().rpartition(")")[2].split()[1])
                if parent == self._pid and module.encode() in (status.parent / "cmdline").read_bytes().split(b"\0"):
                    found.append(int(status.parent.name))
        return found

    @property
    def settings_file(self) -> Path:
        """The configuration it runs with."""
        return self.folder / "cardline.toml"

    @asynccontextmanager
    async def store(self) -> AsyncIterator[Store]:
        """The running service's database."""
        url = running_url(self.folder / "data")
        assert url is not None, "the service does not run"
        store = Store(url)
        try:
            yield store
        finally:
            await store.close()

    def archive(self) -> Archive:
        """Its archive, opened beside it."""
        return open_archive(load_settings(self.settings_file).data_dir, "")

    async def histories(self) -> Histories:
        """All entries, on cards and off."""
        async with self.store() as store:
            return await read_histories(store)

    async def send_mail(self, raw: bytes, *, sender: str = "someone@example.org") -> None:
        """Through the SMTP door; returns after its 250."""

        def send() -> None:
            with smtplib.SMTP(*self.addresses["smtp"], timeout=30) as client:
                client.sendmail(sender, ["journal@cardline.example.com"], raw, mail_options=["BODY=8BITMIME"])

        await asyncio.to_thread(send)

    @staticmethod
    async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 60.0) -> None:
        """Ask a condition again and again; the time is only there to end a test that hangs."""
        deadline = time.monotonic() + seconds
        while not await condition():
            assert time.monotonic() < deadline, f"waited {seconds} s in vain"
            await asyncio.sleep(0.2)
