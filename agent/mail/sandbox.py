"""The parent's handle on the process that reads hostile mail (`agent.mail.parse_child`).

One child at a time reads one mail at a time. A mail that takes too long, or kills its reader, is read again with less
effort by a new child; what even then cannot be read is `Unreadable`. The service itself never parses a mail.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Mapping
from typing import Any

import structlog
from pydantic import ValidationError

from agent.errors import Unavailable, Unreadable
from agent.mail.parse import Effort
from agent.mail.parse_child import LENGTH_BYTES, MESSAGE
from agent.model import ParsedMessage

log = structlog.get_logger()

_MODULE = "agent.mail.parse_child"
_START_SECONDS = 60.0
_LONGEST_ANSWER = 256 * 1024 * 1024  # bytes
_MAILS_A_CHILD = 2000  # what a library leaks ends with its process
_PASSED_ON = ("PATH", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "SYSTEMROOT")  # no settings, no secrets


class _ChildLost(Exception):
    """The child ended, answered nonsense or took too long; the text says which."""


class Sandbox:
    """Reads mails in a process of their own. ``seconds`` is the time limit of the first attempt at a mail."""

    def __init__(self, *, seconds: float = 20.0, module: str = _MODULE) -> None:
        self._limits = {Effort.FULL: seconds, Effort.NO_HTML: seconds / 2, Effort.HEADER: seconds / 4}
        self._module = module
        self._child: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()
        self._mails_left = 0

    async def parse(self, raw: bytes, envelope: Mapping[str, Any]) -> ParsedMessage:
        """Read a mail, with less effort where reading all of it fails.

        Raises:
            Unreadable: nothing could be read; the text says why.
            Unavailable: no child can be started now.
        """
        problem = ""
        for effort, seconds in self._limits.items():
            try:
                head, _ = await self._ask({"envelope": dict(envelope), "effort": effort}, raw, seconds)
                return _message(head)
            except _ChildLost as error:
                problem = str(error)
                log.warning("mail_hard_to_read", effort=effort, size=len(raw), reason=problem)
        raise Unreadable(f"The mail could not be read: {problem}.")

    async def extract_part(self, raw: bytes, part: int) -> tuple[bytes, str, str]:
        """Bytes, file name and media type of one attachment by its number.

        Raises:
            Unreadable: there is no such part, or it could not be read.
            Unavailable: no child can be started now.
        """
        try:
            head, content = await self._ask({"part": part}, raw, self._limits[Effort.FULL])
            return content, str(head["name"]), str(head["media_type"])
        except (_ChildLost, KeyError) as error:
            raise Unreadable(f"The attachment could not be read: {error}.") from error

    async def stop(self) -> None:
        """End the child."""
        async with self._turn:
            await self._kill()

    async def _ask(self, request: dict[str, Any], raw: bytes, seconds: float) -> tuple[dict[str, Any], bytes]:
        async with self._turn:
            child = await self._started()
            try:
                async with asyncio.timeout(seconds):
                    head, content = await _exchange(child, json.dumps(request).encode(), raw)
            except TimeoutError:
                await self._kill()
                raise _ChildLost(f"it took more than {seconds:g} seconds") from None
            except (OSError, asyncio.IncompleteReadError, ValueError):
                await self._kill()
                raise _ChildLost("reading it ended the process that reads mail") from None
            except BaseException:
                await self._kill()  # the answer still to come would be taken for the next one
                raise
            if self._mails_left <= 0:
                await self._kill()
        if "error" in head:
            raise Unreadable(str(head["error"]))
        if "failed" in head:
            raise _ChildLost(f"reading it failed ({head['failed']})")
        return head, content

    async def _started(self) -> asyncio.subprocess.Process:
        if self._child is not None and self._child.returncode is None:
            self._mails_left -= 1
            return self._child
        self._mails_left = _MAILS_A_CHILD
        try:
            self._child = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                self._module,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env={name: os.environ[name] for name in _PASSED_ON if name in os.environ} | {"PYTHONUTF8": "1"},
                start_new_session=True,  # Ctrl-C in a terminal is for us
            )
            assert self._child.stdout is not None
            async with asyncio.timeout(_START_SECONDS):
                await _read_frame(self._child.stdout)
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            await self._kill()
            raise Unavailable(f"The process that reads mail cannot be started: {error}.") from error
        except BaseException:
            await self._kill()
            raise
        return self._child

    async def _kill(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        if child.stdin is not None:
            child.stdin.close()
        await child.wait()


def _message(head: dict[str, Any]) -> ParsedMessage:
    try:
        return MESSAGE.validate_python(head["message"])
    except (KeyError, ValidationError):
        raise _ChildLost("its reader answered nonsense") from None


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
