"""Asks again for messages in whose place there is a note: servers are repaired, settings changed.

With growing pauses, and whenever a person wants it. An attempt is noted before it is made, so that a message at which
a server falls costs one connection a pause. The first copy that comes takes the note off the list *To be sorted*.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import structlog

from agent.errors import MailboxThrottled
from agent.mail.imap.ledger import Ledger
from agent.mail.imap.plan import FolderStatus
from agent.mail.imap.reader import FolderReader
from agent.mail.imap.session import FetchedMail, ImapSession, MessageRefused
from agent.settings import MailboxSettings
from agent.store.lostmail import FIRST_PAUSE, LostMail

log = structlog.get_logger()

_LOOK_SECONDS = 20.0  # from one look at what is due to the next
_A_LOOK = 20  # messages asked for at a time: whoever waits for new mail waits behind them
_LONGEST_PAUSE = timedelta(days=1)


class Run:
    """One run of the service: what was lost before it is asked for once at its start, whatever the pause, since an
    operator who has repaired something or set another limit starts it anew."""

    def __init__(self) -> None:
        self._began = datetime.now(UTC)
        self.asked: set[int] = set()

    def is_first(self, lost: LostMail) -> bool:
        """Whether it is from before this run and was not asked for in it."""
        return lost.noted < self._began and lost.evidence_id not in self.asked


class Lost:
    """Of the folders of one connection; to be asked when a folder is read to its end. ``run`` outlives a connection."""

    def __init__(
        self, settings: MailboxSettings, session: ImapSession, reader: FolderReader, ledger: Ledger, run: Run
    ) -> None:
        self._settings = settings
        self._session = session
        self._reader = reader
        self._ledger = ledger
        self._run = run
        self._listed = 0.0
        self._lost: list[LostMail] = []

    def look(self, folder: str, status: FolderStatus) -> None:
        """Ask for what is due in a folder.

        Raises:
            MailboxUnreachable: the server fell over a message; it is asked for again after its pause.
        """
        if not self._reader.has_lasting_uids(folder):
            return  # it is read anew by each connection
        self._list()
        here = [one for one in self._lost if one.folder == folder]
        self._lost = [one for one in self._lost if one.folder != folder]
        for one in here:
            if one.uidvalidity != status.uidvalidity:  # read anew: the message came then, or has another note
                self._ledger.mark_found(one)
        due = [one for one in here if one.uidvalidity == status.uidvalidity and (one.is_due or self._run.is_first(one))]
        for one in due[:_A_LOOK]:
            self._ask(folder, one)

    def is_wanted(self, folder: str) -> bool:
        """Whether something is due in a folder in which nothing has changed."""
        self._list()
        return any(one.folder == folder and (one.is_due or self._run.is_first(one)) for one in self._lost)

    def _list(self) -> None:
        if not self._listed or time.monotonic() - self._listed > _LOOK_SECONDS:
            self._lost = self._ledger.list_lost(self._settings.name)
            self._listed = time.monotonic()

    def _ask(self, folder: str, lost: LostMail) -> None:
        self._run.asked.add(lost.evidence_id)
        self._ledger.note_asking(lost, pause_after(lost.asked))
        mail = self._fetch(lost.uid)
        if mail is None:
            log.info("mailbox_message_still_missing", mailbox=self._settings.name, folder=folder, uid=lost.uid)
            return
        self._reader.keep(folder, mail)
        self._ledger.mark_found(lost)
        log.info("mailbox_message_came_at_last", mailbox=self._settings.name, folder=folder, uid=lost.uid)

    def _fetch(self, uid: int) -> FetchedMail | None:
        listed = self._session.list_messages(uid, uid).get(uid)
        if listed is None or self._reader.is_too_large(listed.size):
            return None
        try:
            return self._session.fetch([uid]).get(uid)
        except (MessageRefused, MailboxThrottled):  # some servers say of one message what others say of all
            return None


def pause_after(asked: int) -> timedelta:
    """How long to wait behind an attempt, with ``asked`` of them before it."""
    return min(_LONGEST_PAUSE, FIRST_PAUSE * (1 << min(asked, 10)))
