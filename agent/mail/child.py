"""The parent's handle on a process that reads hostile bytes: one question after the other, a time limit on each.

A child that takes too long or answers nonsense is ended, and the next question goes to a new one. Several questions may
be on their way to it at once, so that it never waits for us between two.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from agent.errors import Unavailable, Unreadable
from agent.mail.protocol import LENGTH_BYTES

_START_SECONDS = 60.0
_LONGEST_ANSWER = 256 * 1024 * 1024  # bytes
_LARGE, _PIECE = 8 * 1024 * 1024, 256 * 1024  # bytes
_PASSED_ON = ("PATH", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "SYSTEMROOT")  # no settings, no secrets


class ChildLost(Exception):
    """The child ended, answered nonsense or took too long; the text says which."""


Answer = tuple[dict[str, Any], bytes]


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

    async def ask(self, request: Mapping[str, Any], raw: bytes, seconds: float) -> Answer:
        """The two frames of the answer.

        Raises:
            Unreadable: the child says that nothing can be read; the text says why.
            ChildLost: it could not answer; another question may be answered.
            Unavailable: no child can be started now.
        """
        (answer,) = await self.ask_all([(request, raw)], seconds)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def ask_all(
        self, questions: Sequence[tuple[Mapping[str, Any], bytes]], seconds: float
    ) -> list[Answer | Unreadable | ChildLost]:
        """The same of many, each with ``seconds`` to itself: its answer, or what `ask` would raise. One that ends the
        child costs no other its answer. All of them are held in memory until they are sent.

        Raises:
            Unavailable: no child can be started now.
        """
        answers: list[Answer | Unreadable | ChildLost] = []
        async with self._turn:
            while len(answers) < len(questions):
                child = await self._started()
                before = len(answers)
                await self._hear(child, questions[before:], answers, seconds)
                self._left -= len(answers) - before
                if self._left <= 0:
                    await self._kill()
        return answers

    async def _hear(
        self,
        child: asyncio.subprocess.Process,
        questions: Sequence[tuple[Mapping[str, Any], bytes]],
        answers: list[Answer | Unreadable | ChildLost],
        seconds: float,
    ) -> None:
        """Add answers until all are there, or the child is lost."""
        now = asyncio.get_running_loop().time
        try:
            async with asyncio.timeout(seconds) as limit:
                await _send(child, questions)
                for _ in questions:
                    answers.append(await _receive(child))
                    limit.reschedule(now() + seconds)
        except TimeoutError:
            await self._kill()
            answers.append(ChildLost(f"it took more than {seconds:g} seconds"))
        except (OSError, asyncio.IncompleteReadError, ValueError):
            await self._kill()
            answers.append(ChildLost("reading it ended the process that reads mail"))
        except BaseException:
            await self._kill()  # the answers still to come would be taken for the next ones
            raise

    async def _started(self) -> asyncio.subprocess.Process:
        if self._process is not None and self._process.returncode is None:
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


async def _send(child: asyncio.subprocess.Process, questions: Sequence[tuple[Mapping[str, Any], bytes]]) -> None:
    """Without waiting until they have gone: the child takes the next when it has told the one before. Only what is
    large, and so alone, goes piece by piece: else it would lie in memory thrice."""
    assert child.stdin is not None
    for request, raw in questions:
        head = json.dumps(request).encode()
        if len(raw) < _LARGE or len(questions) > 1:
            child.stdin.writelines((_length(head), head, _length(raw), raw))
            continue
        child.stdin.writelines((_length(head), head, _length(raw)))
        for begin in range(0, len(raw), _PIECE):
            child.stdin.write(raw[begin : begin + _PIECE])
            await child.stdin.drain()


def _length(frame: bytes) -> bytes:
    return len(frame).to_bytes(LENGTH_BYTES, "big")


async def _receive(child: asyncio.subprocess.Process) -> Answer | Unreadable | ChildLost:
    assert child.stdout is not None
    head, content = json.loads(await _read_frame(child.stdout)), await _read_frame(child.stdout)
    if not isinstance(head, dict):
        raise ValueError("the answer is no object")  # noqa: TRY004 - nonsense of any sort is one thing here
    if "error" in head:
        return Unreadable(str(head["error"]))
    if "failed" in head:
        return ChildLost(f"reading it failed ({head['failed']})")
    return head, content


async def _read_frame(stream: asyncio.StreamReader) -> bytes:
    length = int.from_bytes(await stream.readexactly(LENGTH_BYTES), "big")
    if length > _LONGEST_ANSWER:
        raise ValueError("the answer is too long")
    return await stream.readexactly(length)
