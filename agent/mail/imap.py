"""A mailbox that is read for ever: one thread each, since IMAP in Python is blocking.

Whatever fails, the mailbox is connected to again after a growing pause and goes on from the marks in the database.
What a person must know about it is told in three sorts: the login, a folder, or the server.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections import Counter

import structlog

from agent.errors import (
    CardlineError,
    MailboxAuthFailed,
    MailboxFolderMissing,
    MailboxThrottled,
    MailboxUnreachable,
    Unavailable,
)
from agent.mail.imap_reader import FolderReader, Refusals
from agent.mail.imap_session import ImapSession
from agent.mail.ports import EvidenceStore, OnState
from agent.model import SourceState
from agent.settings import MailboxSettings
from agent.store.engine import Store

log = structlog.get_logger()

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 300.0  # seconds
_LOGIN_PAUSE = 60.0  # at least, after a refused login: many attempts lock an account
_JOIN_SECONDS = 20.0


class Mailbox:
    """Archives one mailbox. ``on_state`` hears, from the mailbox's thread, what a person should see of it."""

    def __init__(self, settings: MailboxSettings, intake: EvidenceStore, store: Store, *, on_state: OnState) -> None:
        self._settings = settings
        self._intake = intake
        self._store = store
        self._on_state = on_state
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._session: ImapSession | None = None
        self._refusals: Refusals = Counter()
        self._failures = 0  # attempts in a row that failed before all folders had been looked at
        self._state: tuple[SourceState, str] | None = None

    def start(self) -> None:
        """Begin, on the running event loop."""
        loop = asyncio.get_running_loop()
        name = f"mailbox {self._settings.name}"
        self._thread = threading.Thread(target=self._run, args=(loop,), name=name, daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """End promptly; what was fetched but not committed is fetched again next time."""
        self._stopping.set()
        if self._session is not None:
            self._session.interrupt()
        if self._thread is None:
            return
        await asyncio.to_thread(self._thread.join, _JOIN_SECONDS)
        if self._thread.is_alive():
            log.warning("mailbox_thread_left_behind", mailbox=self._settings.name)

    # --- In the thread ----------------------------------------------------------------------------------------------

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        self._report(SourceState.CONNECTING, "")
        while not self._stopping.is_set():
            self._failures += 1
            least_pause = self._attempt(loop)
            self._stopping.wait(max(least_pause, _pause(self._failures)))
        self._report(SourceState.STOPPED, "")

    def _attempt(self, loop: asyncio.AbstractEventLoop) -> float:
        """Serve until something fails; the least pause, in seconds, before the next attempt."""
        try:
            self._serve(loop)
        except MailboxAuthFailed as error:
            self._failed(SourceState.LOGIN_FAILED, error)
            return _LOGIN_PAUSE
        except MailboxThrottled as error:
            self._failed(SourceState.UNREACHABLE, error)
            return error.retry_after
        except MailboxUnreachable as error:
            self._failed(SourceState.UNREACHABLE, error)
        except Unavailable as error:  # our own database or archive
            self._failed(SourceState.CONNECTING, error)
        except Exception:
            log.exception("mailbox_fault", mailbox=self._settings.name)
            self._report(SourceState.UNREACHABLE, "Reading this mailbox failed in an unforeseen way; see the log.")
        return 0.0

    def _failed(self, state: SourceState, error: CardlineError) -> None:
        if not self._stopping.is_set():
            log.warning("mailbox_failed", mailbox=self._settings.name, state=state, reason=str(error))
            self._report(state, str(error))

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        session = self._session = ImapSession(self._settings)
        reader = FolderReader(self._settings, session, self._intake, self._store, loop=loop, refusals=self._refusals)
        try:
            folders = self._settings.folders or session.default_folders()
            self._report_folders([folder for folder in folders if not session.has_folder(folder)])
            while not self._stopping.is_set():
                self._round(session, reader, folders)
        finally:
            self._session = None
            session.close()
            reader.abandon()

    def _round(self, session: ImapSession, reader: FolderReader, folders: tuple[str, ...]) -> None:
        """Look into every folder, the first one last: that is where the server then tells of new mail."""
        missing = []
        is_more = False
        for folder in reversed(folders):
            try:
                is_more |= reader.read_some(folder)
            except MailboxFolderMissing:
                missing.append(folder)
            if self._stopping.is_set():
                return
        reader.settle()
        self._failures = 0
        self._report_folders(missing)
        if is_more:
            return
        if session.can_idle and folders[0] not in missing:
            session.wait_for_mail(self._settings.poll_seconds)
        else:
            self._stopping.wait(self._settings.poll_seconds)

    def _report_folders(self, missing: list[str]) -> None:
        if not missing:
            self._report(SourceState.RUNNING, "")
            return
        error = MailboxFolderMissing(f"The mailbox {self._settings.name} has no folder {', '.join(sorted(missing))}.")
        self._report(SourceState.FOLDER_MISSING, str(error))

    def _report(self, state: SourceState, detail: str) -> None:
        if self._state == (state, detail):
            return
        self._state = (state, detail)
        with contextlib.suppress(RuntimeError):  # the event loop is closed already
            self._on_state(self._settings.name, state, detail)


def _pause(failures: int) -> float:
    """Seconds before the next attempt: doubled each time, with jitter so that mailboxes do not come back together."""
    return min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(failures, 12)) * random.uniform(0.5, 1.0)  # noqa: S311
