"""Notes what became of messages that are archived: flags changed, deleted, moved, there again. Deletes nothing.

A UID that a FETCH leaves out proves nothing (RFC 9051, 6.4.8), so presence is the difference of two sets: UIDs that
SEARCH finds and copies we know. It is asked for only when the number of messages is not the one expected; flags only
when HIGHESTMODSEQ has moved (RFC 7162), so a quiet folder costs one EXAMINE.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from agent.mail.imap.ledger import Ledger
from agent.mail.imap.plan import FolderStatus
from agent.mail.imap.reader import FolderReader, is_draft
from agent.mail.imap.session import ImapSession
from agent.model import MailboxPosition

log = structlog.get_logger()

_DRAFTS = 500  # asked about at a time; who keeps more drafts is asked about the newest


class Presence:
    """Of the folders of one connection. To be asked after `FolderReader.read_some` has read the folder to its end."""

    def __init__(self, session: ImapSession, reader: FolderReader, ledger: Ledger) -> None:
        self._session = session
        self._reader = reader
        self._ledger = ledger
        self._expected: dict[str, int] = {}  # messages the server should have, if nothing was deleted
        self._modseqs: dict[str, int] = {}

    def look(self, folder: str, status: FolderStatus, archived: int) -> None:
        """Compare a folder with what is known of it; ``archived`` messages were taken since the last time."""
        if not self._reader.has_lasting_uids(folder):
            return
        position = self._reader.position(folder)
        expected = self._expected.get(folder)
        if expected is None or status.exists != expected + archived:
            self._expected[folder] = self._compare(folder, position, status)
        else:
            self._expected[folder] = status.exists
        self._look_at_flags(folder, position, status)
        self._look_at_drafts(folder, position, status)

    def forget_missing_folders(self, mailbox: str, folders: Sequence[str]) -> None:
        """What lay in a folder that is deleted or renamed lies there no more; ``folders`` are those there are."""
        if count := self._ledger.retire_missing_folders(mailbox, folders):
            log.info("mailbox_folders_gone", mailbox=mailbox, copies=count)

    def _compare(self, folder: str, position: MailboxPosition, status: FolderStatus) -> int:
        """Mark what is gone, unmark what is back, take what was never taken; how many messages there are."""
        there = self._session.find_all_uids(position.high_uid, status.exists)
        living, gone = self._ledger.list_presence(position)
        vanished, returned = sorted(living - there), sorted(gone & there)
        if vanished:
            self._ledger.mark_gone(position, vanished, gone=True)
        if returned:
            self._ledger.mark_gone(position, returned, gone=False)
        if vanished or returned:
            log.info("mailbox_copies_changed", folder=folder, gone=len(vanished), back=len(returned))
        self._take_unseen(folder, there - living - gone, status)
        return len(there)

    def _take_unseen(self, folder: str, uids: set[int], status: FolderStatus) -> None:
        """Messages that a server showed only after a mark had passed them; not those beyond the horizon."""
        if uids and self._reader.horizon is not None:
            uids &= self._session.find_all_uids(max(uids), status.exists, self._reader.horizon)
        if uids:
            log.warning("mailbox_messages_shown_late", folder=folder, count=len(uids))
            self._reader.take_late(folder, sorted(uids, reverse=True), status)

    def _look_at_flags(self, folder: str, position: MailboxPosition, status: FolderStatus) -> None:
        if not status.modseq or not self._session.has_modseq:
            return
        known = self._modseqs.get(folder)
        if known is None:
            state = self._ledger.find_folder(position.mailbox, folder)
            known = state.modseq if state is not None else 0
        if known and status.modseq > known:
            changed = self._session.list_changed_flags(position.high_uid, status.exists, known)
            self._ledger.save_flags(position, changed)
        if status.modseq != known:
            self._ledger.save_modseq(position, status.modseq)
        self._modseqs[folder] = status.modseq

    def _look_at_drafts(self, folder: str, position: MailboxPosition, status: FolderStatus) -> None:
        """A draft that lost its flag was sent."""
        drafts = self._ledger.list_skipped(position, _DRAFTS)
        sent = [uid for uid, flags in self._session.list_flags(drafts).items() if uid in drafts and not is_draft(flags)]
        if sent:
            self._reader.take_late(folder, sent, status)
