"""The parent's handle on a process that reads hostile bytes: one question at a time, a time limit on each.

A child that takes too long or answers nonsense is ended, and the next question goes to a new one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from typing import Any

from agent.errors import Unavailable, Unreadable
from agent.mail.protocol import LENGTH_BYTES

_START_SECONDS = 60.0
_LONGEST_ANSWER = 256 * 1024 * 1024  # bytes
_PASSED_ON = ("PATH", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "SYSTEMROOT")  # no settings, no secrets


class ChildLost(Exception):
    """The child ended, answered nonsense or took too long; the text says which."""


class Child:
    """``python -m <module>``, started when it is asked something. ``questions`` are as many as one process answers:
    what a library leaks ends with its process.
    """

    def __init__(self, module: str, *, questions: int) -> None:
        self._module = module
        self._questions = questions
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()
        self._left = 0

    async def stop(self) -> None:
        """End the child."""
        async with self._turn:
            await self._kill()

    async def ask(self, request: dict[str, Any], raw: bytes, seconds: float) -> tuple[dict[str, Any], bytes]:
        """The two frames of the answer.

        Raises:
            Unreadable: the child says that nothing can be read; the text says why.
            ChildLost: it could not answer; another question may be answered.
            Unavailable: no child can be started now.
        """
        async with self._turn:
            child = await self._started()
            try:
                async with asyncio.timeout(seconds):
                    head, content = await _exchange(child, json.dumps(request).encode(), raw)
            except TimeoutError:
                await self._kill()
                raise ChildLost(f"it took more than {seconds:g} seconds") from None
            except (OSError, asyncio.IncompleteReadError, ValueError):
                await self._kill()
                raise ChildLost("reading it ended the process that reads mail") from None
            except BaseException:
                await self._kill()  # the answer still to come would be taken for the next one
                raise
            if self._left <= 0:
                await self._kill()
        if "error" in head:
            raise Unreadable(str(head["error"]))
        if "failed" in head:
            raise ChildLost(f"reading it failed ({head['failed']})")
        return head, content

    async def _started(self) -> asyncio.subprocess.Process:
        if self._process is not None and self._process.returncode is None:
            self._left -= 1
            return self._process
        self._left = self._questions
        try:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                self._module,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env={name: os.environ[name] for name in _PASSED_ON if name in os.environ} | {"PYTHONUTF8": "1"},
                start_new_session=True,  # Ctrl-C in a terminal is for us
            )
            assert self._process.stdout is not None
            async with asyncio.timeout(_START_SECONDS):
                await _read_frame(self._process.stdout)
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            await self._kill()
            raise Unavailable(f"The process that reads mail cannot be started: {error}.") from error
        except BaseException:
            await self._kill()
            raise
        return self._process

    async def _kill(self) -> None:
        child, self._process = self._process, None
        if child is None:
            return
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        if child.stdin is not None:
            child.stdin.close()
        await child.wait()


async def _exchange(child: asyncio.subprocess.Process, *frames: bytes) -> tuple[dict[str, Any], bytes]:
    assert child.stdin is not None
    assert child.stdout is not None
    for frame in frames:
        child.stdin.write(len(frame).to_bytes(LENGTH_BYTES, "big"))
        child.stdin.write(frame)
    await child.stdin.drain()
    head = json.loads(await _read_frame(child.stdout))
    if not isinstance(head, dict):
        raise ValueError("the answer is no object")  # noqa: TRY004 - nonsense of any sort is one thing here
    return head, await _read_frame(child.stdout)


async def _read_frame(stream: asyncio.StreamReader) -> bytes:
    length = int.from_bytes(await stream.readexactly(LENGTH_BYTES), "big")
    if length > _LONGEST_ANSWER:
        raise ValueError("the answer is too long")
    return await stream.readexactly(length)
