"""A mailbox that is read for ever: one thread each, since IMAP in Python is blocking.

Whatever fails, the mailbox is connected to again after a growing pause and goes on from the marks in the database.
What a person must know about it is told in three sorts: the login, a folder, or the server. ARCHITECTURE.md draws the
states and what leads from one to another.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import structlog

from agent.errors import (
    CardlineError,
    MailboxAuthFailed,
    MailboxFolderMissing,
    MailboxThrottled,
    MailboxUnreachable,
    Unavailable,
)
from agent.mail.imap import folders as choosing
from agent.mail.imap.fetchers import Fetchers, Losses, Refusals
from agent.mail.imap.ledger import Ledger
from agent.mail.imap.lost import Lost, Run
from agent.mail.imap.plan import FolderStatus
from agent.mail.imap.presence import Presence
from agent.mail.imap.progress import Progress
from agent.mail.imap.reader import FolderReader
from agent.mail.imap.session import IDLE_SECONDS, ImapSession, Token
from agent.mail.ports import EvidenceStore, OnState
from agent.model import SourceState
from agent.settings import MailboxSettings
from agent.store.engine import Store

log = structlog.get_logger()

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 300.0  # seconds
_LOGIN_PAUSE = 60.0  # at least, after a refused login: many attempts lock an account
_JOIN_SECONDS = 20.0
_TELL_SECONDS = 2.0  # from one word of progress to the next
_FOLDERS_TOLD = 5
_LONG_ROUND = 10.0  # seconds
_MANY_FOLDERS = 3  # from which on all are asked for in one command, where the server can
_LOOK_ANYWAY_SECONDS = 3600.0  # after which a folder is looked into whatever the server tells of it
_LIST_SECONDS = 900.0  # how often it is looked whether there are other folders


class Mailbox:
    """Archives one mailbox. ``on_state`` hears, from the mailbox's thread, what a person should see of it.

    ``token`` gives access tokens, for mailboxes that are not logged into with a password. In ``folder`` large mails
    lie, without names, until they are sealed; else where temporary files do.
    """

    def __init__(
        self,
        settings: MailboxSettings,
        intake: EvidenceStore,
        store: Store,
        *,
        on_state: OnState,
        token: Token | None = None,
        folder: Path | None = None,
    ) -> None:
        self._settings = settings
        self._intake = intake
        self._store = store
        self._on_state = on_state
        self._token = token
        self._folder = folder
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._fetchers: Fetchers | None = None
        self._refusals: Refusals = Counter()
        self._losses = Losses(self._refusals)
        self._asked = Run()
        self._faults: Counter[str] = Counter()  # how often the connection did not outlive a look into this folder
        self._failures = 0  # attempts in a row that failed before all folders had been looked at
        self._state: tuple[SourceState, str] | None = None
        self._told = 0.0

    def start(self) -> None:
        """Begin, on the running event loop."""
        loop = asyncio.get_running_loop()
        name = f"mailbox {self._settings.name}"
        self._thread = threading.Thread(target=self._run, args=(loop,), name=name, daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """End promptly; what was fetched but not committed is fetched again next time."""
        self._stopping.set()
        if self._fetchers is not None:
            self._fetchers.interrupt()
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

    def _connect(self) -> ImapSession:
        return ImapSession(self._settings, self._token, folder=self._folder)

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        session = self._connect()
        fetchers = self._fetchers = Fetchers(session, self._connect, self._settings.connections, self._losses)
        ledger = Ledger(self._store, loop)
        reader: FolderReader | None = None
        try:
            progress = Progress(ledger.count_copies(self._settings.name), self._tell_progress)
            reader = FolderReader(
                self._settings, session, fetchers, self._intake, ledger, refusals=self._refusals, progress=progress
            )
            visit = _Visit(
                session,
                fetchers,
                reader,
                Presence(session, reader, ledger),
                Lost(self._settings, session, reader, ledger, self._asked),
            )
            while not self._stopping.is_set():
                self._round(visit)
        finally:
            self._fetchers = None
            fetchers.narrow()
            session.close()
            if reader is not None:
                reader.abandon()

    def _round(self, visit: _Visit) -> None:
        """Look into every folder, the first one last: that is where the server then tells of new mail. Those over
        which connections were lost come behind the others, so that they keep none from being read."""
        visit.list_folders(self._settings)
        visit.ask_statuses()
        is_more = False
        for folder in visit.due(self._in_order(visit.choice.read), self._settings.poll_seconds):
            if is_more and self._faults[folder]:
                break
            if visit.is_unchanged(folder):
                continue
            try:
                is_more |= visit.look_into(folder)
                self._faults.pop(folder, None)
            except MailboxThrottled:
                raise
            except Exception as error:
                self._faults[folder] += not isinstance(error, Unavailable) or isinstance(error, MailboxUnreachable)
                raise
            if self._stopping.is_set():
                return
        visit.reader.settle()
        self._failures = 0
        if is_more:
            return
        self._report_folders(visit.missing(self._settings.name))
        visit.fetchers.narrow()
        self._wait(visit)

    def _in_order(self, folders: Sequence[str]) -> list[str]:
        order = list(reversed(folders))
        order.sort(key=lambda one: self._faults[one])
        return order if order[-1:] == list(folders[:1]) else [*order, folders[0]]

    def _wait(self, visit: _Visit) -> None:
        """Until the server tells of news in the first folder, or a look into the others is due."""
        read = visit.choice.read
        if visit.session.can_idle and read and visit.session.folder == read[0]:
            visit.session.wait_for_mail(min(self._settings.poll_seconds, IDLE_SECONDS))
        else:
            self._stopping.wait(self._settings.poll_seconds)

    # --- What a person sees -----------------------------------------------------------------------------------------

    def _tell_progress(self, words: str) -> None:
        if time.monotonic() - self._told >= _TELL_SECONDS:
            self._told = time.monotonic()
            self._report(SourceState.CATCHING_UP, words)

    def _report_folders(self, missing: list[str]) -> None:
        if not missing:
            self._report(SourceState.RUNNING, "")
            return
        told = sorted(missing)[:_FOLDERS_TOLD]
        more = [f"And {len(missing) - len(told)} more."] if len(missing) > len(told) else []
        self._report(SourceState.FOLDER_MISSING, str(MailboxFolderMissing(" ".join((*told, *more)))))

    def _report(self, state: SourceState, detail: str) -> None:
        if self._state == (state, detail):
            return
        self._state = (state, detail)
        with contextlib.suppress(RuntimeError):  # the event loop is closed already
            self._on_state(self._settings.name, state, detail)


class _Visit:
    """One connection's view of the mailbox: what it reads with, and which folders there are."""

    def __init__(
        self, session: ImapSession, fetchers: Fetchers, reader: FolderReader, presence: Presence, lost: Lost
    ) -> None:
        self.session = session
        self.fetchers = fetchers
        self.reader = reader
        self.presence = presence
        self.lost = lost
        self.choice = choosing.Choice(read=())
        self.listed = 0.0
        self._refused: dict[str, str] = {}  # folder → what the server said
        self._looked: dict[str, tuple[FolderStatus, float]] = {}  # how a folder stood when it was read to its end, when
        self._told: dict[str, FolderStatus] = {}  # how the server says they stand now
        self._rounded = self._round_took = 0.0  # seconds

    def list_folders(self, settings: MailboxSettings) -> None:
        """Which folders to read, looked at anew now and then, and each time while one is missing."""
        if self.listed and not self.choice.missing and time.monotonic() - self.listed < _LIST_SECONDS:
            return
        before = self.choice
        found = self.session.list_folders()
        self.choice = choosing.choose(found, settings.folders, settings.skip_folders)
        self.listed = time.monotonic()
        if self.choice != before:
            self.presence.forget_missing_folders(settings.name, [one.name for one in found])
            log.info(
                "mailbox_folders_chosen",
                mailbox=settings.name,
                read=self.choice.read,
                left_out=dict(self.choice.left_out),
            )

    def ask_statuses(self) -> None:
        """How all folders stand, in one command, where there are enough of them for that to be less."""
        many = len(self.choice.read) >= _MANY_FOLDERS
        self._told = self.session.list_statuses() if many and self._looked else {}

    def is_unchanged(self, folder: str) -> bool:
        """Whether a look would find what the last one found. The first folder is always looked into: it is the one
        that tells of news. Without HIGHESTMODSEQ nothing tells of flags."""
        seen, at = self._looked.get(folder, (None, 0.0))
        if seen is None or folder == self.choice.read[0] or time.monotonic() - at > _LOOK_ANYWAY_SECONDS:
            return False
        return seen.modseq > 0 and self._told.get(folder) == seen and not self.lost.is_wanted(folder)

    def due(self, order: Sequence[str], pause: float) -> Iterator[str]:
        """Of all folders those to look into now. A round through thousands takes minutes: meanwhile the first one is
        looked into now and then, and news in it alone is no reason for another round within ``pause`` seconds."""
        first = self.choice.read[:1]
        began = looked = time.monotonic()
        if self._round_took > _LONG_ROUND and began - self._rounded < pause:
            yield from first
            return
        for folder in order:
            if time.monotonic() - looked > _LONG_ROUND:
                yield from first
                looked = time.monotonic()
            yield folder
        self._rounded = time.monotonic()
        self._round_took = self._rounded - began

    def look_into(self, folder: str) -> bool:
        """Take what is new and some of what is old; whether there is more of the old."""
        try:
            status, archived, is_more = self.reader.read_some(folder)
        except MailboxFolderMissing as error:
            self._refused[folder] = error.what
            self.listed = 0.0  # it is gone, has another name, or is not for us
            return False
        self._refused.pop(folder, None)
        self._looked.pop(folder, None)
        if not is_more:
            self.reader.settle()
            self.presence.look(folder, status, archived)
            self.lost.look(folder, status)
            self._looked[folder] = (status, time.monotonic())
        return is_more

    def missing(self, mailbox: str) -> list[str]:
        """Sentences about folders that should be read and cannot be."""
        told = [f"The mailbox {mailbox} has no folder {one}." for one in self.choice.missing]
        return told + [words for folder, words in self._refused.items() if folder in self.choice.read]


def _pause(failures: int) -> float:
    """Seconds before the next attempt: doubled each time, with jitter so that mailboxes do not come back together."""
    return min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(failures, 12)) * random.uniform(0.5, 1.0)  # noqa: S311
