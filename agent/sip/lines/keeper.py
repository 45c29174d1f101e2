"""Keeps the process of one line running, and makes calls of what it tells.

The process dies: its calls are closed as cut short, with the sound they have, and a new one registers. We die: it sees
its input end, hangs up and leaves. pjsua2 is never imported here.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog

import agent
from agent.errors import Misconfigured, Unavailable
from agent.model import SourceState
from agent.settings_lines import LineSettings, SipSettings
from agent.sip.lines.linecalls import KeyRules, LineCalls
from agent.sip.lines.network import resolve
from agent.sip.lines.state import occupancy, registration_state, source_of
from agent.sip.lines.words import (
    CONFIGURE,
    LONGEST_LINE,
    READY,
    REFUSED,
    REGISTERED,
    SOURCES,
    LineFact,
    read_fact,
    write_order,
)
from agent.sip.taps import Taps

log = structlog.get_logger()

OnState = Callable[[str, SourceState, str], None]

MODULE = "agent.sip.lines.line"
RESTART_S = (0.5, 30.0)  # from the end of the process to the next one, at first and at most
_MISCONFIGURED_S = 60.0
_RESOLVE_S = 60.0  # how often the registrar's name is looked up
_STOP_S = 10.0
SILENT_S = 30.0  # without a sign of life, after which a process counts as dead
_REFUSALS_S = 60.0  # strangers try all day long: one line of the log so often
_PASSED_ON = ("PATH", "PYTHONHOME", "VIRTUAL_ENV", "LANG", "LC_ALL", "TZ")  # no settings, no secrets


class LineKeeper:
    """One line. ``on_state`` hears what a person should see of it."""

    def __init__(
        self,
        settings: LineSettings,
        sip: SipSettings,
        taps: Taps,
        *,
        on_state: OnState,
        keys: KeyRules = KeyRules(),  # noqa: B008 - frozen
        module: str = MODULE,
    ) -> None:
        self._settings, self._sip, self._on_state, self._module = settings, sip, on_state, module
        self._calls = LineCalls(settings, taps, self._order, keys=keys)
        self._process: asyncio.subprocess.Process | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._state: tuple[SourceState, str] | None = None
        self._pause = RESTART_S[0]
        self._refused_at = 0.0
        self._is_stopping = False
        self._port = 0  # of the process; the next one gets the same, if it can

    @property
    def pid(self) -> int | None:
        """Of the process, while it runs."""
        return self._process.pid if self._process and self._process.returncode is None else None

    @property
    def port(self) -> int:
        """Where it listens for SIP; 0 before it first did."""
        return self._port

    @property
    def state(self) -> tuple[SourceState, str] | None:
        """What a person sees of it, and why."""
        return self._state

    def start(self) -> None:
        """Keep the line up from now on."""
        self._keeper = asyncio.create_task(self._keep_running(), name=f"line-{self._settings.name}")

    async def stop(self) -> None:
        """End its calls with a goodbye, unregister, and end the process."""
        if self._keeper is None:
            return
        self._is_stopping = True
        if (process := self._process) is not None and process.returncode is None and process.stdin is not None:
            process.stdin.close()  # it leaves when its input ends; what it says until then is still heard
            await asyncio.wait({self._keeper}, timeout=_STOP_S)
        self._keeper.cancel()
        with suppress(asyncio.CancelledError):
            await self._keeper
        self._report(SourceState.STOPPED, "")

    async def _keep_running(self) -> None:
        self._report(SourceState.CONNECTING, "")
        while True:
            pause = self._pause
            try:
                await self._serve()
            except Misconfigured as error:
                log.error("line_misconfigured", line=self._settings.name, reason=str(error))  # noqa: TRY400 - says it all
                self._report(SourceState.STOPPED, str(error))
                pause = _MISCONFIGURED_S
            except Unavailable as error:
                log.warning("line_unreachable", line=self._settings.name, reason=str(error))
                self._report(SourceState.UNREACHABLE, str(error))
            except Exception:
                log.exception("line_failed", line=self._settings.name)
                self._report(SourceState.UNREACHABLE, "Keeping this line failed in an unforeseen way; see the log.")
            if self._is_stopping:
                return
            await asyncio.sleep(pause)
            self._pause = min(2 * self._pause, RESTART_S[1])

    async def _serve(self) -> None:
        """One life of the process."""
        await asyncio.to_thread(check_line, self._settings)
        sources = await resolve(self._settings)
        self._process = process = await self._spawn()
        self._order(CONFIGURE, **self._account(sources))
        resolving = asyncio.create_task(self._keep_resolving(sources))
        try:
            assert process.stdout is not None
            while line := await self._line(process.stdout):
                if (fact := read_fact(line)) is not None:
                    self._hear(fact)
        finally:
            resolving.cancel()
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()
            code = await process.wait()
            await self._calls.lose_all(datetime.now(UTC))
        if self._is_stopping:
            return
        log.error("process_ended", name=source_of(self._settings.name), exit_code=code, restart_in_seconds=self._pause)
        self._report(SourceState.CONNECTING, "The process of this line ended; it is started again.")

    async def _line(self, source: asyncio.StreamReader) -> bytes:
        """The next one; empty at the end, which is also that of a process without a sign of life."""
        try:
            async with asyncio.timeout(SILENT_S):
                return await source.readline()
        except TimeoutError:
            log.error("line_process_hangs", line=self._settings.name)  # noqa: TRY400 - says it all
            return b""

    async def _spawn(self) -> asyncio.subprocess.Process:
        path = {"PYTHONPATH": str(Path(agent.__file__).parents[1])}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", self._module),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=2 * LONGEST_LINE,
            env={name: os.environ[name] for name in _PASSED_ON if name in os.environ} | path,
            start_new_session=True,
        )
        log.info("process_started", name=source_of(self._settings.name), pid=process.pid)
        return process

    def _account(self, sources: list[str]) -> dict[str, Any]:
        told = self._settings.model_dump(include={"name", "registrar", "proxy", "user", "auth_user", "transport"})
        return {
            **told,
            "extension": self._settings.extension,
            "secret": self._settings.secret.get_secret_value(),
            "announcement": str(self._settings.announcement.absolute()) if self._settings.announcement else "",
            "beep_s": self._settings.beep_s if self._settings.record else 0,
            "listen": self._sip.listen,
            "port": self._port,
            "rtp_ports": self._sip.rtp_ports,
            "sources": sources,
        }

    async def _keep_resolving(self, known: list[str]) -> None:
        while True:
            await asyncio.sleep(_RESOLVE_S)
            with suppress(Unavailable):
                found = await resolve(self._settings)
                if found != known:
                    known = found
                    self._order(SOURCES, sources=found)

    def _order(self, kind: str, **values: Any) -> None:
        process = self._process
        if process is not None and process.stdin is not None and not process.stdin.is_closing():
            process.stdin.write(write_order(kind, **values))

    def _hear(self, fact: LineFact) -> None:
        if fact.kind == REGISTERED:
            state, detail = registration_state(fact, self._settings.registrar)
            if state is SourceState.RUNNING:
                self._pause = RESTART_S[0]
            else:
                log.warning("line_not_registered", line=self._settings.name, reason=detail)
            self._report(state, detail or occupancy(self._calls.count))
        elif fact.kind == READY:
            self._port = fact.number("port")
        elif fact.kind == REFUSED:
            self._note_refusal(fact)
        else:
            self._calls.hear(fact)
            if self._state and self._state[0] is SourceState.RUNNING:
                self._report(SourceState.RUNNING, occupancy(self._calls.count))

    def _note_refusal(self, fact: LineFact) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._refused_at < _REFUSALS_S:
            return
        self._refused_at = now
        told = {name: fact.data.get(name) for name in ("status", "reason", "peer")}
        log.warning("line_call_refused", line=self._settings.name, **told)

    def _report(self, state: SourceState, detail: str) -> None:
        if self._state != (state, detail):
            self._state = state, detail
            self._on_state(source_of(self._settings.name), state, detail)


def check_line(settings: LineSettings) -> None:
    """What must be there before a line may carry a call. Blocks.

    Raises:
        Misconfigured: pjsua2 or the announcement is missing, with what to do about it.
    """
    if importlib.util.find_spec("pjsua2") is None:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise Misconfigured(
            f"SIP lines cannot run: pjsua2 is not installed, and has no wheel for Python {version}.",
            remedy="Install Cardline on Python 3.11 or 3.12; everything else works without lines.",
        )
    if settings.announcement is not None and not os.access(settings.announcement, os.R_OK):
        raise Misconfigured(
            f"The announcement {settings.announcement} of the line {settings.name} cannot be read.",
            remedy="Put the WAV file there, readable for the service; until then this line takes no calls.",
        )
