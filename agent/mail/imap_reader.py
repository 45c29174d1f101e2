"""Takes what is new in the folders of one connection into the archive. Runs in the mailbox's thread.

The event loop commits a batch while the next one is fetched; at most one is under way, so marks move in order.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import uuid
from collections import Counter
from collections.abc import Coroutine
from concurrent.futures import Future
from datetime import UTC, datetime
from typing import Any, TypeVar

import structlog

from agent.errors import MailboxUnreachable
from agent.mail import imap_plan as plan
from agent.mail.imap_session import FetchedMail, ImapSession, MessageRefused
from agent.mail.ports import PROBLEM, EvidenceStore
from agent.model import CapturedMail, MailboxPosition
from agent.settings import MailboxSettings
from agent.store import mailboxes
from agent.store.engine import Store

log = structlog.get_logger()

_T = TypeVar("_T")
_REFUSALS = 3  # how often a server may not give a message before that is noted and the message passed

Refusals = Counter[tuple[str, int, int]]
"""(folder, UIDVALIDITY, UID) → how often the server did not give this message; outlives a connection."""


class FolderReader:
    """Reads folders over ``session`` and keeps their marks."""

    def __init__(
        self,
        settings: MailboxSettings,
        session: ImapSession,
        intake: EvidenceStore,
        store: Store,
        *,
        loop: asyncio.AbstractEventLoop,
        refusals: Refusals,
    ) -> None:
        self._settings = settings
        self._session = session
        self._intake = intake
        self._store = store
        self._loop = loop
        self._refusals = refusals
        self._committing: Future[list[int]] | None = None
        self._positions: dict[str, MailboxPosition] = {}
        self._key_marks: dict[str, str] = {}
        self._chunks: dict[str, int] = {}

    def read_some(self, folder: str) -> bool:
        """Archive all new mail of a folder, then a stretch of the old; whether there was anything or is more.

        Raises:
            MailboxFolderMissing, MailboxUnreachable: see `ImapSession`.
            Unavailable: the archive or the database is away.
        """
        status = self._session.examine(folder)
        position = self._position(folder, status)
        archived = 0
        first = position.high_uid + 1
        while (newer := plan.newer_range(first, status, self._chunk(folder))) is not None:
            archived += self._read_stretch(folder, newer, status)
            first = newer.last + 1
        older = plan.older_range(self._positions[folder], self._chunk(folder))
        if older is not None:
            self._read_stretch(folder, older, status)
        return archived > 0 or older is not None

    def _chunk(self, folder: str) -> int:
        return self._chunks.setdefault(folder, plan.FIRST_CHUNK)

    def settle(self) -> None:
        """Wait for the commit under way; raises what it raised."""
        committing, self._committing = self._committing, None
        if committing is not None:
            committing.result()

    def abandon(self) -> None:
        """Wait for the commit under way, whatever becomes of it: the next connection starts from the database."""
        committing, self._committing = self._committing, None
        if committing is not None:
            concurrent.futures.wait([committing])

    def _position(self, folder: str, status: plan.FolderStatus) -> MailboxPosition:
        known = self._positions.get(folder)
        if known is None:
            known = self._wait(self._find_position(folder))
        elif status.uidvalidity == 0:
            return known  # UIDs without UIDVALIDITY hold for one connection, and this is still the same
        position, are_reused = plan.starting_position(self._settings.name, folder, status, known)
        if known is not None and position is not known:
            log.warning("mailbox_folder_read_anew", mailbox=self._settings.name, folder=folder)
        if are_reused:
            self._key_marks[folder] = f"/{uuid.uuid4().hex[:12]}"
        self._positions[folder] = position
        return position

    async def _find_position(self, folder: str) -> MailboxPosition | None:
        async with self._store.begin() as connection:
            return await mailboxes.find_position(connection, self._settings.name, folder)

    def _read_stretch(self, folder: str, stretch: plan.UidRange, status: plan.FolderStatus) -> int:
        sizes = self._session.list_sizes(stretch)
        for batch in plan.plan_batches(self._positions[folder], stretch, sizes, status):
            mails = self._fetch(folder, batch)
            self.settle()
            storing = self._intake.store_evidence(mails, position=batch.position)
            self._committing = asyncio.run_coroutine_threadsafe(storing, self._loop)
            self._positions[folder] = batch.position
        self._chunks[folder] = plan.next_chunk(self._chunk(folder), len(sizes))
        if sizes:
            log.info("mailbox_stretch_read", mailbox=self._settings.name, folder=folder, messages=len(sizes))
        return len(sizes)

    def _fetch(self, folder: str, batch: plan.Batch) -> list[CapturedMail]:
        try:
            fetched = self._session.fetch(batch.uids) if batch.uids else {}
        except MessageRefused:
            fetched = {}  # one bad message spoils the answer to all: ask for each by itself
        mails = []
        for uid in batch.uids:
            mail = fetched.get(uid) or self._fetch_one(uid)
            if mail is not None:
                mails.append(self._captured(folder, batch.position, mail))
            elif self._is_there(uid):
                mails.append(self._missing(folder, batch.position, uid))
        return mails

    def _fetch_one(self, uid: int) -> FetchedMail | None:
        try:
            return self._session.fetch([uid]).get(uid)
        except MessageRefused as error:
            log.warning("mailbox_message_refused", mailbox=self._settings.name, uid=uid, reason=error.what)
            return None

    def _is_there(self, uid: int) -> bool:
        return bool(self._session.list_sizes(plan.UidRange(first=uid, last=uid, upwards=True)))

    def _captured(self, folder: str, position: MailboxPosition, mail: FetchedMail) -> CapturedMail:
        return CapturedMail(
            source=f"imap:{self._settings.name}",
            key=f"{folder}/{position.uidvalidity}/{mail.uid}{self._key_marks.get(folder, '')}",
            raw=mail.raw,
            received=mail.received,
            envelope=self._envelope(folder, position, mail.uid) | {"flags": list(mail.flags)},
        )

    def _envelope(self, folder: str, position: MailboxPosition, uid: int) -> dict[str, Any]:
        return {
            "mailbox": self._settings.name,
            "user": self._settings.user,
            "folder": folder,
            "uidvalidity": position.uidvalidity,
            "uid": uid,
        }

    def _missing(self, folder: str, position: MailboxPosition, uid: int) -> CapturedMail:
        """A note in the place of a message that the server lists but does not give, shown to a person.

        Raises:
            MailboxUnreachable: it was asked for less than three times; the mark stays before it.
        """
        key = (folder, position.uidvalidity, uid)
        self._refusals[key] += 1
        problem = f"The mail server does not give message {uid} of folder {folder}, which it lists."
        if self._refusals[key] < _REFUSALS:
            raise MailboxUnreachable(problem)
        log.error("mailbox_message_missing", mailbox=self._settings.name, folder=folder, uid=uid)
        return CapturedMail(
            source=f"imap:{self._settings.name}",
            key=f"{folder}/{position.uidvalidity}/{uid}/missing",
            raw=f"{self._settings.name} {position.uidvalidity}: {problem}\n".encode(),
            received=datetime.now(UTC),
            envelope=self._envelope(folder, position, uid) | {PROBLEM: problem},
        )

    def _wait(self, work: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()
