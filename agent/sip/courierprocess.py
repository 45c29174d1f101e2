"""The courier in a process of its own: an answer to an INVITE never waits on SQL, not even for the interpreter's sake.

What is on its way is known here and lies in the journals on the disk, so a courier process that dies is replaced and
told everything anew; delivering twice changes nothing.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import structlog

import agent
from agent.sip.courier import find_left_over

log = structlog.get_logger()

RESTART_S = (0.5, 10.0)  # from one start of the process to the next, at first and at most
STOP_S = 5.0


class CourierProcess:
    """The same as `agent.sip.courier.Courier` for those who tell it of calls. ``environment`` has settings and URL."""

    def __init__(self, captures: Path, *, environment: Mapping[str, str]) -> None:
        self._captures = captures
        self._environment = {**os.environ, "PYTHONPATH": str(Path(agent.__file__).parents[1]), **environment}
        self._underway: dict[str, bool] = {}  # capture id → whether the call has ended
        self._delivered = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None
        self._keeper: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """Calls that go on or whose end the database does not have yet."""
        return len(self._underway)

    @property
    def pid(self) -> int | None:
        """Of the process, while it runs."""
        return self._process.pid if self._process and self._process.returncode is None else None

    async def start(self) -> None:
        """Start the process and keep it running from now on."""
        await self._spawn()
        self._keeper = asyncio.create_task(self._keep_running(), name="courier-keeper")

    async def stop(self) -> None:
        """Leave the rest to `recover` at the next start."""
        if self._keeper is not None:
            self._keeper.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeper
        process = self._process
        if process is None or process.returncode is not None:
            return
        if process.stdin is not None:
            process.stdin.close()  # it leaves when its input ends
        try:
            await asyncio.wait_for(process.wait(), STOP_S)
        except TimeoutError:
            process.kill()
            await process.wait()

    def tell(self, capture_id: str) -> None:
        """The journal of a call has something new."""
        self._underway.setdefault(capture_id, False)
        self._say(capture_id)

    def tell_ended(self, capture_id: str) -> None:
        """The call has ended and its packet logs are complete."""
        self._underway[capture_id] = True
        self._say(capture_id)

    async def recover(self) -> int:
        """Bring in every folder left over from before; returns how many. Does not wait for the database."""
        left_over = await asyncio.to_thread(find_left_over, self._captures, frozenset(self._underway))
        for capture_id in left_over:
            self.tell_ended(capture_id)
        if left_over:
            log.info("calls_recovered", calls=len(left_over))
        return len(left_over)

    async def drain(self, timeout_s: float) -> bool:
        """Wait until every ended call stands in the database; False when that took too long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while any(self._underway.values()):
                    self._delivered.clear()
                    await self._delivered.wait()
        return not any(self._underway.values())

    def _say(self, capture_id: str) -> None:
        process = self._process
        if process is None or process.returncode is not None or process.stdin is None:
            return  # the next one is told everything
        line = json.dumps({"capture": capture_id, "ended": self._underway[capture_id]})
        process.stdin.write(line.encode() + b"\n")

    async def _spawn(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "agent.sip.courier_child", str(self._captures)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=self._environment,
            start_new_session=True,
        )
        log.info("process_started", name="courier", pid=self._process.pid)
        for capture_id in self._underway:
            self._say(capture_id)

    async def _keep_running(self) -> None:
        pause, longest = RESTART_S
        while True:
            assert self._process is not None and self._process.stdout is not None
            while line := await self._process.stdout.readline():
                self._underway.pop(line.decode().strip(), None)
                self._delivered.set()
                pause = RESTART_S[0]  # a process that delivers is healthy
            code = await self._process.wait()
            log.error("process_ended", name="courier", exit_code=code, restart_in_seconds=pause)
            await asyncio.sleep(pause)
            pause = min(2 * pause, longest)
            try:
                await self._spawn()
            except OSError as error:  # no memory, no process to be had: the old one counts as ended once more
                log.error("process_not_started", name="courier", reason=str(error))  # noqa: TRY400 - says it all
