"""The command as a user types it: a process of its own, with its own configuration and nothing of our environment."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_PATIENCE_SECONDS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What a command said and how it ended."""

    code: int
    out: str
    err: str


class Installation:
    """One configuration file and the data directory it names."""

    def __init__(self, folder: Path, extra: str = "", **top: str) -> None:
        self.data = folder / "data"
        self.config = folder / "cardline.toml"
        settings = {"data_dir": str(self.data), **top}
        lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
        self.config.write_text("\n".join([*lines, _QUIET, extra]))

    async def run(self, *arguments: str, typed: str = "", **variables: str) -> Done:
        """Run a command to its end."""
        process = await self._start(*arguments, variables=variables)
        async with asyncio.timeout(_PATIENCE_SECONDS):
            out, err = await process.communicate(typed.encode())
        assert process.returncode is not None
        return Done(code=process.returncode, out=out.decode(), err=err.decode())

    @asynccontextmanager
    async def service(self) -> AsyncIterator[asyncio.subprocess.Process]:
        """`cardline run`, ready to serve, and ended in order."""
        process = await self._start("run")
        assert process.stderr is not None
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                while b"service_ready" not in (line := await process.stderr.readline()):
                    assert line, "the service ended"
            drain = asyncio.create_task(process.stderr.read())
            yield process
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
            await process.wait()
        await drain

    async def _start(self, *arguments: str, variables: Mapping[str, str] | None = None) -> asyncio.subprocess.Process:
        ours = {name: value for name, value in os.environ.items() if not name.startswith("CARDLINE_")}
        pipes: Any = dict.fromkeys(("stdin", "stdout", "stderr"), asyncio.subprocess.PIPE)
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "agent.cli",
            "--config",
            str(self.config),
            *arguments,
            env={**ours, **(variables or {})},
            **pipes,
        )


_QUIET = """
siprec = { listen = "127.0.0.1", port = 0, rtp_ports = [43000, 43099] }
smtp = { listen = "127.0.0.1", port = 0 }
transcribe = { enabled = false }
jobs = { general = false, speech = false }
web = { listen = "127.0.0.1", port = 0 }
"""
