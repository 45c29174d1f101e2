"""The recorder's side of commands: what pages and CRMs ask of a call in progress is done where the call is recorded.

A person or a program pauses and a person or a program resumes, or whoever speaks does so by a code of keys; nothing
here resumes by itself, and the end of the call ends the pause. While a call is paused its sound is written nowhere;
that it was paused, when and by whom is written into its journal.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from pathlib import Path
from typing import Protocol

import structlog

from agent.errors import Unavailable
from agent.sip.journal import CLOSED, Journal, read_journal
from agent.sip.sounding import PAUSED, RESUMED
from agent.store import commands
from agent.store.commands import CallCommand, CommandKind
from agent.store.engine import Store

log = structlog.get_logger()

LOOK_SECONDS = 5.0  # a notice may get lost with its connection; the table is looked at this often anyway
RETRY_SECONDS = 0.5
ENDED = "the call had ended"
NOTHING_RECORDED = "nothing is being recorded of this call"
BY_KEYS = "keys"  # whose pause it is where a code was entered in the call


class PausableRecorder(Protocol):
    """What of `agent.sip.recorder.Recorder` is needed here; both are idempotent."""

    def pause(self, capture_id: str, at: datetime | None = None) -> datetime:
        """From this instant on, or the one it was asked for ``at``, nothing is kept, until `resume`; the instant.

        Raises:
            LookupError: nothing is being recorded.
        """
        ...

    def resume(self, capture_id: str) -> datetime:
        """Record again from this instant on; the instant.

        Raises:
            LookupError: nothing is being recorded, or it was never paused.
        """
        ...


class CommandDesk:
    """Carries out the commands that wait for this host, in their order. One a service."""

    def __init__(self, store: Store, recorder: PausableRecorder, captures: Path, *, host: str) -> None:
        self._store, self._recorder, self._captures, self._host = store, recorder, captures, host
        self._asked = asyncio.Event()
        self._entered: dict[str, datetime | None] = {}  # since when captures are paused by keys; pages shall hear of it

    def enter(self, capture_id: str, kind: CommandKind, at: datetime) -> None:
        """Somebody in the call entered a code, letting go of its last key ``at`` that time. It is done at once, with or
        without a database."""
        is_pause = kind is CommandKind.PAUSE
        try:
            done = self._recorder.pause(capture_id, at) if is_pause else self._recorder.resume(capture_id)
        except LookupError:  # the call has just ended, or was not paused
            return
        log.info("call_code_entered", kind=kind, capture_id=capture_id)
        _mark(Journal(self._captures / capture_id), PAUSED if is_pause else RESUMED, done, BY_KEYS)
        self._entered[capture_id] = done if is_pause else None
        self._asked.set()

    def hear(self, payload: str | None) -> None:
        """A notice: this host has something to do, or the connection is new and something may have been missed."""
        if payload is None or payload == self._host:
            self._asked.set()

    async def run(self) -> None:
        """Work for ever; a database that is away is waited for."""
        while True:
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._asked.wait()
            except TimeoutError:
                pass
            self._asked.clear()
            try:
                await self.work()
            except Unavailable as error:
                log.warning("call_commands_wait", reason=str(error))
                await self._again()
            except Exception:  # a bug here must not end the recording of everybody
                log.exception("call_commands_failed")
                await self._again()

    async def _again(self) -> None:
        await asyncio.sleep(RETRY_SECONDS)
        self._asked.set()

    async def work(self) -> None:
        """Everything that waits now."""
        await self._tell_entered()
        async with self._store.begin() as connection:
            waiting = await commands.list_waiting(connection, self._host)
        for command in waiting:
            problem = await self._obey(command)
            log.info("call_command_done", kind=command.kind, capture_id=command.capture_id, problem=problem)
            async with self._store.begin() as connection:
                await commands.mark_done(connection, command, problem=problem)

    async def _tell_entered(self) -> None:
        """Have pages show what was paused by keys; a call that the database does not know yet is told of later."""
        for capture_id, paused in tuple(self._entered.items()):
            async with self._store.begin() as connection:
                is_known = await commands.save_pause(connection, capture_id, paused)
            is_gone = not is_known and not await asyncio.to_thread((self._captures / capture_id).exists)
            if (is_known or is_gone) and self._entered.get(capture_id) == paused:
                self._entered.pop(capture_id, None)

    async def _obey(self, command: CallCommand) -> str:
        """Do it; returns why not in words, if it could not be done."""
        journal = Journal(self._captures / command.capture_id)
        facts = await asyncio.to_thread(read_journal, journal.folder)
        if not facts or any(fact.kind == CLOSED for fact in facts):
            return ENDED
        is_pause = command.kind is CommandKind.PAUSE
        try:
            at = (self._recorder.pause if is_pause else self._recorder.resume)(command.capture_id)
        except LookupError:
            return NOTHING_RECORDED if is_pause else ""
        except Exception:  # whatever it is, the one who asked must hear of it, and the next command be done
            log.exception("call_command_failed", kind=command.kind, capture_id=command.capture_id)
            return "the recorder could not do it"
        _mark(journal, PAUSED if is_pause else RESUMED, at, command.by)
        return ""


def _mark(journal: Journal, kind: str, at: datetime, by: str) -> None:
    """Where the disk is full the pause holds all the same; only its mark is missing."""
    try:
        journal.write(kind, at=at, by=by)
    except OSError as error:
        log.error("pause_not_marked", capture_id=journal.capture_id, reason=str(error))  # noqa: TRY400 - says it all
