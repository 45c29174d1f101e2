"""Listening in to a call in progress: a child process decodes its packet logs, about a second behind.

A process of its own a listener, since what is decoded comes from strangers and the main process holds the signalling of
every call. It ends with the call, with the listener, and with us.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import agent

_PIECE = 64 * 1024


class ListeningPost:
    """Opens streams of calls whose logs lie on this host."""

    def __init__(self, captures: Path) -> None:
        self._captures = captures

    @asynccontextmanager
    async def open(self, capture_id: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """The sound as a WAV stream, in pieces as they come, until the call ends."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "agent.sip.listening_child",
            str(self._captures / Path(capture_id).name),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(Path(agent.__file__).parents[1]), "OPENBLAS_NUM_THREADS": "1"},
        )
        assert process.stdout is not None
        try:
            yield _pieces(process.stdout)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def _pieces(stream: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while piece := await stream.read(_PIECE):
        yield piece
