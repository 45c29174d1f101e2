"""Takes what is new in the folders of one connection into the archive. Runs in the mailbox's thread.

The event loop commits a batch while the next ones are fetched; at most one commit is under way, so marks move in order.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import structlog

from agent.errors import MailboxUnreachable
from agent.mail.imap import plan
from agent.mail.imap.fetchers import REFUSALS, Fetched, Fetchers, Refusals
from agent.mail.imap.ledger import Ledger
from agent.mail.imap.progress import Progress
from agent.mail.imap.session import UIDS_AN_ANSWER, FetchedMail, ImapSession, Listed
from agent.mail.ports import PROBLEM, EvidenceStore
from agent.model import CapturedMail, MailboxPosition
from agent.settings import MailboxSettings
from agent.store.mailboxes import FolderCopy

log = structlog.get_logger()

DRAFT = "\\draft"
_SKIPPED_DRAFT = "a draft; it is read once it is sent"
_MB = 1024 * 1024
_MUCH = 2000  # messages in a folder from which on its first pass is worth further connections


class FolderReader:
    """Reads folders over ``session`` and keeps their marks."""

    def __init__(
        self,
        settings: MailboxSettings,
        session: ImapSession,
        fetchers: Fetchers,
        intake: EvidenceStore,
        ledger: Ledger,
        *,
        refusals: Refusals,
        progress: Progress,
    ) -> None:
        self._settings = settings
        self._session = session
        self._fetchers = fetchers
        self._intake = intake
        self._ledger = ledger
        self._refusals = refusals
        self._progress = progress
        self._committing: Future[list[int]] | None = None
        self._positions: dict[str, MailboxPosition] = {}
        self._chunks: dict[str, int] = {}
        self._horizon = plan.horizon(datetime.now(UTC).date(), settings.since, settings.horizon_months)

    def read_some(self, folder: str) -> tuple[plan.FolderStatus, int, bool]:
        """Archive all new mail of a folder, then a stretch of the old.

        Returns how the folder stands, how many new messages were taken, and whether the first pass has more to do.

        Raises:
            MailboxFolderMissing, MailboxUnreachable: see `ImapSession`.
            Unavailable: the archive or the database is away.
        """
        status = self._session.examine(folder)
        position = self._position(folder, status)
        self._progress.saw(folder, status.exists)
        self._progress.horizon = self._horizon
        self._progress.is_under_way = position.low_uid > 1
        archived = 0
        first = position.high_uid + 1
        while (newer := plan.newer_range(first, status, self._chunk(folder))) is not None:
            count, first = self._read_stretch(folder, newer, status)
            archived += count
        older = plan.older_range(self._positions[folder], self._chunk(folder))
        if older is not None:
            self._read_stretch(folder, older, status)
            if self._positions[folder].low_uid <= 1:
                self._end_first_pass(folder)
        return status, archived, older is not None

    def position(self, folder: str) -> MailboxPosition:
        """The marks of a folder that was read over this connection."""
        return self._positions[folder]

    @property
    def horizon(self) -> date | None:
        """The day before which mail is passed over."""
        return self._horizon

    def has_lasting_uids(self, folder: str) -> bool:
        """Whether a UID of this folder means the same message tomorrow."""
        return bool(self._positions[folder].uidvalidity)

    def _end_first_pass(self, folder: str) -> None:
        self.settle()
        if self.has_lasting_uids(folder):
            self._ledger.retire_copies(self._positions[folder])
        log.info("mailbox_first_pass_done", mailbox=self._settings.name, folder=folder)

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

    # --- Marks ------------------------------------------------------------------------------------------------------

    def _position(self, folder: str, status: plan.FolderStatus) -> MailboxPosition:
        known = self._positions.get(folder)
        if known is None:
            known = self._known_position(folder)
        elif status.uidvalidity == 0:
            return known  # UIDs without UIDVALIDITY hold for one connection, and this is still the same
        position, are_reused = plan.starting_position(self._settings.name, folder, status, known)
        if known is not None and position is not known:
            log.warning("mailbox_folder_read_anew", mailbox=self._settings.name, folder=folder)
        if folder not in self._positions or position is not known:
            self._ledger.save_start(position, self._horizon, anew=are_reused)
        self._positions[folder] = position
        return position

    def _known_position(self, folder: str) -> MailboxPosition | None:
        """The marks of the last run. Months back from the first start stay where they were then."""
        state = self._ledger.find_folder(self._settings.name, folder)
        if state is None:
            return None
        if state.horizon is not None and self._horizon is not None and self._settings.since is None:
            self._horizon = min(self._horizon, state.horizon)
        widened = plan.widened(state.position, state.horizon, self._horizon)
        if widened is not state.position:
            log.info("mailbox_horizon_moved", mailbox=self._settings.name, folder=folder)
        return widened

    # --- Messages ---------------------------------------------------------------------------------------------------

    def _read_stretch(self, folder: str, stretch: plan.UidRange, status: plan.FolderStatus) -> tuple[int, int]:
        """How many messages there were, and the UID behind the stretch."""
        listed = self._session.list_messages(stretch.first, stretch.last, self._horizon)
        if not listed and status.exists <= UIDS_AN_ANSWER:
            stretch = self._across_the_gap(stretch, status)
        wanted = self._unknown(folder, stretch, listed)
        self._take(folder, stretch, wanted, status)
        self._chunks[folder] = plan.next_chunk(self._chunk(folder), len(listed))
        if listed:
            log.info("mailbox_stretch_read", mailbox=self._settings.name, folder=folder, messages=len(listed))
        return len(listed), stretch.last + 1

    def _across_the_gap(self, stretch: plan.UidRange, status: plan.FolderStatus) -> plan.UidRange:
        """An empty stretch, up to the next message: some servers make UIDs of the time, a thousand million apart."""
        if stretch.upwards:
            if stretch.last >= status.uidnext - 1:
                return stretch
            uids = self._session.find_uids(stretch.last + 1, status.uidnext - 1, self._horizon)
            return replace(stretch, last=min(uids, default=status.uidnext) - 1)
        uids = self._session.find_uids(1, stretch.first - 1, self._horizon) if stretch.first > 1 else []
        return replace(stretch, first=max(uids, default=0) + 1)

    def _unknown(self, folder: str, stretch: plan.UidRange, listed: dict[int, Listed]) -> dict[int, Listed]:
        """Those that were not taken under the same UID before: where a horizon moved, or another run came this far."""
        if not listed or not self.has_lasting_uids(folder):
            return listed
        known = self._ledger.list_uids(self._positions[folder], first=stretch.first, last=stretch.last)
        return {uid: one for uid, one in listed.items() if uid not in known}

    def _take(self, folder: str, stretch: plan.UidRange, listed: dict[int, Listed], status: plan.FolderStatus) -> None:
        drafts = {uid: one for uid, one in listed.items() if is_draft(one.flags)}
        self._skip_drafts(folder, drafts)
        large = {uid: one.size for uid, one in listed.items() if uid not in drafts and self.is_too_large(one.size)}
        self._note_large(folder, large)
        sizes = {uid: one.size for uid, one in listed.items() if uid not in drafts and uid not in large}
        batches = list(plan.plan_batches(self._positions[folder], stretch, sizes, status))
        much = not stretch.upwards and status.exists >= _MUCH
        with contextlib.closing(self._fetchers.fetch(folder, status, batches, much=much)) as coming:
            for fetched in coming:
                self._commit(folder, fetched, fetched.batch.position)

    def take_late(self, folder: str, uids: Sequence[int], status: plan.FolderStatus) -> None:
        """Messages below the upper mark that were not taken: drafts that were sent, mails a server showed late."""
        position = self._positions[folder]
        for start in range(0, len(uids), plan.BATCH_MAILS):
            batch = plan.Batch(uids=tuple(uids[start : start + plan.BATCH_MAILS]), position=position)
            with contextlib.closing(self._fetchers.fetch(folder, status, [batch], much=False)) as coming:
                for fetched in coming:
                    self._commit(folder, fetched, position)
        self.settle()

    def _commit(self, folder: str, fetched: Fetched, position: MailboxPosition) -> None:
        mails = [self._captured(folder, position, mail) for mail in fetched.mails]
        mails += [self._missing(folder, position, uid) for uid in fetched.withheld]
        self.settle()
        self._committing = self._ledger.submit(self._intake.store_evidence(mails, position=position))
        self._positions[folder] = position
        self._progress.took(folder, len(mails), min((one.received for one in fetched.mails), default=None))

    def _skip_drafts(self, folder: str, drafts: dict[int, Listed]) -> None:
        """Noted before a mark passes them, so that a draft that is sent in its place is not forgotten."""
        if drafts:
            copies = [FolderCopy(uid=uid, flags=one.flags, skipped=_SKIPPED_DRAFT) for uid, one in drafts.items()]
            self._ledger.save_copies(self._positions[folder], copies)
            self._progress.took(folder, len(drafts), None)
            log.info("mailbox_drafts_skipped", mailbox=self._settings.name, folder=folder, count=len(drafts))

    def is_too_large(self, size: int) -> bool:
        """Whether a message of so many bytes is more than the settings take."""
        return size > self._settings.largest_mb * _MB

    def _note_large(self, folder: str, large: dict[int, int]) -> None:
        """Notes for a person, before a mark passes the messages; UID → bytes."""
        position, most = self._positions[folder], self._settings.largest_mb
        notes = [
            self._note(
                folder, position, uid, f"Message {uid} of folder {folder} has {-(-size // _MB)} MB, {most} are taken."
            )
            for uid, size in large.items()
        ]
        if notes:
            log.error("mailbox_messages_too_large", mailbox=self._settings.name, folder=folder, uids=list(large))
            self.settle()
            self._ledger.submit(self._intake.store_evidence(notes, position=position)).result()
            self._progress.took(folder, len(notes), None)

    def keep(self, folder: str, mail: FetchedMail) -> None:
        """One message of those the marks have passed; it is committed when this returns."""
        position = self._positions[folder]
        self.settle()
        work = self._intake.store_evidence([self._captured(folder, position, mail)], position=position)
        self._ledger.submit(work).result()

    def _captured(self, folder: str, position: MailboxPosition, mail: FetchedMail) -> CapturedMail:
        return CapturedMail(
            source=f"imap:{self._settings.name}",
            key=f"{folder}/{position.uidvalidity}/{mail.uid}",
            raw=mail.raw,
            file=mail.file,
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
        if self._refusals[key] < REFUSALS:
            raise MailboxUnreachable(problem)
        log.error("mailbox_message_missing", mailbox=self._settings.name, folder=folder, uid=uid)
        return self._note(folder, position, uid, problem)

    def _note(self, folder: str, position: MailboxPosition, uid: int, problem: str) -> CapturedMail:
        return CapturedMail(
            source=f"imap:{self._settings.name}",
            key=f"{folder}/{position.uidvalidity}/{uid}/missing",
            raw=f"{self._settings.name} {position.uidvalidity}: {problem}\n".encode(),
            received=datetime.now(UTC),
            envelope=self._envelope(folder, position, uid) | {PROBLEM: problem},
        )


def is_draft(flags: tuple[str, ...]) -> bool:
    """Whether a message is not sent yet (RFC 9051, 2.3.2)."""
    return any(flag.lower() == DRAFT for flag in flags)
