"""Messages over several connections at once, handed on in the order they were asked for.

Only fetching goes in parallel: marks still move batch by batch, so whatever happens, at most the batches under way are
fetched again. Connections beyond the first are a favour of the server: one that is refused or breaks is done without.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue

import structlog

from agent.errors import MailboxAuthFailed, MailboxThrottled, MailboxUnreachable
from agent.mail.imap.plan import Batch, FolderStatus
from agent.mail.imap.session import FetchedMail, ImapSession, MessageRefused

log = structlog.get_logger()


REFUSALS = 3  # how often a server may not give a message before that is noted and the message passed
_OFTEN_PUT_OFF = 12  # the same for «come back later», of which each costs minutes; so that a quota stops nothing …
_WHILE_OTHERS_COME = 4  # … it counts more where the server gives other messages meanwhile
_LOST = 2  # batches over which the connection was lost before each of their messages is asked for by itself

Refusals = Counter[tuple[str, int, int]]
"""(folder, UIDVALIDITY, UID) → how often the server did not give this message; outlives a connection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """What came of a batch: its mails, and UIDs that the server lists but does not give."""

    batch: Batch
    mails: tuple[FetchedMail, ...]
    withheld: tuple[int, ...] = ()


class Losses:
    """Over which messages connections were lost. There are messages at which a server falls, each time: such a one must
    not keep those behind it out of the archive. ``refusals`` are counted on; all of it outlives a connection."""

    def __init__(self, refusals: Refusals) -> None:
        self._refusals = refusals
        self._suspects: Refusals = Counter()
        self._put_off: Refusals = Counter()

    def fetch(self, session: ImapSession, folder: str, status: FolderStatus, batch: Batch, *, last: bool) -> Fetched:
        """The messages of a batch, in its order; one that was expunged meanwhile is in neither list. ``last``: there is
        no other connection to try, so it counts when this one is lost."""
        keys = {uid: (folder, status.uidvalidity, uid) for uid in batch.uids}
        if any(self._suspects[key] >= _LOST for key in keys.values()):
            found = self._fetch_each(session, keys, last=last)
        else:
            found = self._fetch_all(session, keys, last=last)
        mails, withheld = [], []
        for uid in batch.uids:
            mail = found.get(uid)
            if mail is not None:
                mails.append(mail)
            elif session.list_messages(uid, uid):
                withheld.append(uid)
        for key in keys.values():
            self._suspects.pop(key, None)
        return Fetched(batch=batch, mails=tuple(mails), withheld=tuple(withheld))

    def _fetch_all(
        self, session: ImapSession, keys: Mapping[int, tuple[str, int, int]], *, last: bool
    ) -> dict[int, FetchedMail]:
        try:
            found = session.fetch(list(keys)) if keys else {}
        except MessageRefused:
            found = {}  # one bad message spoils the answer to all: ask for each by itself
        except MailboxUnreachable:
            self._suspects.update(keys.values() if last else ())
            raise
        missing = {uid: key for uid, key in keys.items() if uid not in found}
        return found | self._fetch_each(session, missing, last=last)

    def _fetch_each(
        self, session: ImapSession, keys: Mapping[int, tuple[str, int, int]], *, last: bool
    ) -> dict[int, FetchedMail]:
        found: dict[int, FetchedMail] = {}
        for uid, key in sorted(keys.items(), key=lambda one: self._put_off[one[1]]):
            if self._refusals[key] >= REFUSALS or self._put_off[key] >= _OFTEN_PUT_OFF:
                continue
            try:
                mail = _fetch_one(session, uid)
            except MailboxThrottled:
                self._put_off[key] += _WHILE_OTHERS_COME if found else 1
                raise
            except MailboxUnreachable as error:
                log.warning("mailbox_connection_lost_over_message", folder=key[0], uid=uid, reason=str(error))
                self._refusals[key] += last
                raise
            if mail is not None:
                found[uid] = mail
        return found


def _turn_to(session: ImapSession, folder: str, status: FolderStatus) -> None:
    if session.folder != folder and session.examine(folder).uidvalidity != status.uidvalidity:
        raise MailboxUnreachable(f"Folder {folder} changed while it was read.")


def _fetch_one(session: ImapSession, uid: int) -> FetchedMail | None:
    try:
        return session.fetch([uid]).get(uid)
    except MessageRefused as error:
        log.warning("mailbox_message_refused", uid=uid, reason=error.what)
        return None


class Fetchers:
    """The mailbox's own connection and up to ``most - 1`` more, opened by ``connect`` when there is much to fetch."""

    def __init__(self, session: ImapSession, connect: Callable[[], ImapSession], most: int, losses: Losses) -> None:
        self._own = session
        self._losses = losses
        self._connect = connect
        self._most = most
        self._others: list[ImapSession] = []
        self._idle: SimpleQueue[ImapSession] = SimpleQueue()
        self._idle.put(session)
        self._pool: ThreadPoolExecutor | None = None

    def fetch(
        self, folder: str, status: FolderStatus, batches: Sequence[Batch], *, much: bool
    ) -> Generator[Fetched, None, None]:
        """Each batch with its messages, in order; to be closed, so that no connection is in use afterwards.

        ``much``: it is worth further connections.

        Raises:
            MailboxUnreachable: the mailbox's own connection broke.
        """
        if much and len(batches) > 1 and status.uidvalidity:
            self._widen()
        if not self._others:
            yield from (self._losses.fetch(self._own, folder, status, batch, last=True) for batch in batches)
            return
        assert self._pool is not None
        coming: deque[Future[Fetched]] = deque()
        waiting = deque(batches)
        try:
            while waiting or coming:
                while waiting and len(coming) <= len(self._others):
                    coming.append(self._pool.submit(self._fetch_on_any, folder, status, waiting.popleft()))
                yield coming.popleft().result()
        finally:
            for one in coming:
                one.cancel()
            for one in coming:
                if not one.cancelled():
                    one.exception()  # wait: the connection is in use until then

    def _fetch_on_any(self, folder: str, status: FolderStatus, batch: Batch) -> Fetched:
        while True:
            session = self._idle.get()
            try:
                _turn_to(session, folder, status)
                fetched = self._losses.fetch(session, folder, status, batch, last=session is self._own)
            except MailboxUnreachable as error:
                if session is self._own:
                    self._idle.put(session)
                    raise
                log.info("mailbox_connection_dropped", reason=str(error))
                self._drop(session)
            except BaseException:
                self._idle.put(session)
                raise
            else:
                self._idle.put(session)
                return fetched

    def _widen(self) -> None:
        while len(self._others) + 1 < self._most:
            try:
                session = self._connect()
            except (MailboxUnreachable, MailboxAuthFailed) as error:
                log.info("mailbox_further_connection_refused", connections=len(self._others) + 1, reason=str(error))
                self._most = len(self._others) + 1
                break
            self._others.append(session)
            self._idle.put(session)
        if self._others and self._pool is None:
            self._pool = ThreadPoolExecutor(self._most, thread_name_prefix="mailbox fetch")

    def _drop(self, session: ImapSession) -> None:
        self._most = max(1, self._most - 1)  # the server has had enough of us
        if session in self._others:
            self._others.remove(session)
        session.close()

    def narrow(self) -> None:
        """Give the further connections back: there is not much to fetch any more."""
        for session in self._others:
            session.close()
        self._others.clear()
        self._idle = SimpleQueue()
        self._idle.put(self._own)
        if self._pool is not None:
            self._pool.shutdown(wait=True)
            self._pool = None

    def interrupt(self) -> None:
        """End whatever is waited for; may be called from any thread."""
        for session in (self._own, *tuple(self._others)):
            session.interrupt()
