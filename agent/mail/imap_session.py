"""One connection to an IMAP server, read-only: EXAMINE and BODY.PEEK[], so no mail is marked as seen.

The one file that knows IMAPClient. IMAPClient is not made for threads: everything here is called by the mailbox's own
thread, except `interrupt`. Failures come out as the three sorts a person sees: login, folder, server.
"""

from __future__ import annotations

import contextlib
import imaplib
import re
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog
from imapclient.exceptions import LoginError
from imapclient.imapclient import SENT, IMAPClient, SocketTimeout

from agent.errors import MailboxAuthFailed, MailboxFolderMissing, MailboxThrottled, MailboxUnreachable
from agent.mail.imap_plan import FolderStatus, UidRange
from agent.settings import MailboxSettings

log = structlog.get_logger()

_CONNECT_SECONDS = 15
_READ_SECONDS = 60
_IDLE_SECONDS = 600  # servers and routers drop a connection that is silent for longer (RFC 2177 allows 29 minutes)
_THROTTLE_SECONDS = 60.0
_UIDS_A_LINE = 500  # keeps a command line below what servers take (8 KiB)
_LIKELY_BYTES = 100_000  # size of a message whose size the server does not tell
_SUGGESTED = re.compile(r"suggested backoff time:\s*(\d+)\s*milliseconds", re.IGNORECASE)
_THROTTLED = re.compile(r"\[(THROTTLED|LIMIT|OVERQUOTA|INUSE)\]|throttl|too many|try again later", re.IGNORECASE)
_NOT_THE_PASSWORD = re.compile(r"\[(UNAVAILABLE|SERVERBUG|CONTACTADMIN)\]|temporary", re.IGNORECASE)
_SENT_NAMES = ("Отправленные", "Sent", "Sent Items", "Sent Messages", "INBOX.Sent")


class MessageRefused(MailboxUnreachable):
    """The server does not hand out a message that it has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedMail:
    """One message as the server keeps it."""

    uid: int
    raw: bytes
    received: datetime
    flags: tuple[str, ...]


class ImapSession:
    """A logged-in connection."""

    def __init__(self, settings: MailboxSettings) -> None:
        """Connect and log in.

        Raises:
            MailboxAuthFailed: user or password are refused.
            MailboxUnreachable: there is no such server, it does not answer, or TLS fails.
        """
        self._settings = settings
        with self._translated("connecting"):
            self._client = IMAPClient(
                settings.host,
                port=settings.port,
                ssl=settings.tls,
                use_uid=True,
                timeout=SocketTimeout(connect=_CONNECT_SECONDS, read=_READ_SECONDS),
            )
        self._client.normalise_times = False
        try:
            with self._translated("login"):
                self._client.login(settings.user, settings.password.get_secret_value())
        except BaseException:
            self.close()
            raise

    @contextlib.contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        where = f"{self._settings.host} port {self._settings.port}"
        try:
            yield
        except imaplib.IMAP4.error as error:
            said = _words(error)
            if _THROTTLED.search(said):
                found = _SUGGESTED.search(said)
                wait = int(found[1]) / 1000 if found else _THROTTLE_SECONDS
                raise MailboxThrottled(f"{where} asks to come back later: {said}.", retry_after=wait) from error
            if isinstance(error, LoginError) and not _NOT_THE_PASSWORD.search(said):
                raise MailboxAuthFailed(f"{where} refuses the login of {self._settings.user}: {said}.") from error
            raise MailboxUnreachable(f"{where} failed at {doing}: {said}.") from error
        except (OSError, EOFError) as error:
            raise MailboxUnreachable(f"{where} cannot be reached ({doing}): {_words(error)}.") from error

    @property
    def can_idle(self) -> bool:
        """Whether the server tells of new mail by itself (RFC 2177)."""
        with self._translated("capability"):
            return bool(self._client.has_capability("IDLE"))

    def default_folders(self) -> tuple[str, ...]:
        """INBOX, and where sent mail is kept: marked \\Sent (RFC 6154), or known by its name."""
        with self._translated("list"):
            sent = self._client.find_special_folder(SENT)
            if sent is None:
                names = {str(name) for _, _, name in self._client.list_folders()}
                sent = next((name for name in _SENT_NAMES if name in names), None)
        if sent is None:
            log.warning("mailbox_without_sent_folder", mailbox=self._settings.name)
        return ("INBOX",) if sent is None else ("INBOX", str(sent))

    def has_folder(self, folder: str) -> bool:
        """Whether the server has a folder of this name."""
        with self._translated(f"folder {folder}"):
            return bool(self._client.folder_exists(folder))

    def examine(self, folder: str) -> FolderStatus:
        """Open a folder, read-only, and say how its UIDs stand.

        Raises:
            MailboxFolderMissing: there is no such folder.
        """
        with self._translated(f"folder {folder}"):
            try:
                answer = self._client.select_folder(folder, readonly=True)
            except imaplib.IMAP4.abort:
                raise
            except imaplib.IMAP4.error as error:
                if _THROTTLED.search(_words(error)) or self._client.folder_exists(folder):
                    raise
                raise MailboxFolderMissing(
                    f"The mailbox {self._settings.name} has no folder {folder}: {_words(error)}."
                ) from error
            uidnext = answer.get(b"UIDNEXT") or self._uidnext(int(answer.get(b"EXISTS", 0)))
        return FolderStatus(uidvalidity=int(answer.get(b"UIDVALIDITY") or 0), uidnext=int(uidnext))

    def _uidnext(self, exists: int) -> int:
        """For a server that does not tell: one more than the last message's UID."""
        return max(self._client.search(["UID", "*"]), default=0) + 1 if exists else 1

    def list_sizes(self, stretch: UidRange) -> dict[int, int]:
        """UID → bytes of the messages there are. `UID SEARCH ALL` would break imaplib on a huge folder."""
        with self._translated("listing"):
            found = self._client.search(["UID", f"{stretch.first}:{stretch.last}"])
            uids = sorted(uid for uid in found if stretch.first <= uid <= stretch.last)
            sizes: dict[int, int] = {}
            for start in range(0, len(uids), _UIDS_A_LINE):
                some = uids[start : start + _UIDS_A_LINE]
                answer = self._client.fetch(some, ["RFC822.SIZE"])
                sizes |= {uid: int(answer.get(uid, {}).get(b"RFC822.SIZE") or _LIKELY_BYTES) for uid in some}
        return sizes

    def fetch(self, uids: Sequence[int]) -> dict[int, FetchedMail]:
        """The messages with these UIDs, as far as the server gives them.

        Raises:
            MessageRefused: the server answers NO.
        """
        with self._translated("fetching"):
            try:
                answer = self._client.fetch(uids, ["BODY.PEEK[]", "INTERNALDATE", "FLAGS"])
            except imaplib.IMAP4.abort:
                raise
            except imaplib.IMAP4.error as error:
                if _THROTTLED.search(_words(error)):
                    raise
                raise MessageRefused(f"{self._settings.host} does not give messages: {_words(error)}.") from error
        return {
            uid: FetchedMail(
                uid=uid,
                raw=items[b"BODY[]"],
                received=_aware(items.get(b"INTERNALDATE")),
                flags=tuple(flag.decode("ascii", "replace") for flag in items.get(b"FLAGS", ())),
            )
            for uid, items in answer.items()
            if uid in uids and isinstance(items.get(b"BODY[]"), bytes)
        }

    def wait_for_mail(self, seconds: float) -> None:
        """Wait, in the folder examined last, until the server tells of a new message; at most ``seconds``."""
        deadline = time.monotonic() + min(seconds, _IDLE_SECONDS)
        with self._translated("idle"):
            self._client.idle()
            while (left := deadline - time.monotonic()) > 0:
                said = self._client.idle_check(timeout=left)
                if not said or any(len(one) > 1 and one[1] == b"EXISTS" for one in said):
                    break  # nothing said before the time is over means that the connection ended
            self._client.idle_done()

    def interrupt(self) -> None:
        """End whatever the thread is waiting for; may be called from any thread."""
        with contextlib.suppress(OSError, AttributeError):
            self._client.socket().shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Hang up; never raises."""
        with contextlib.suppress(imaplib.IMAP4.error, OSError, EOFError, ValueError):
            self._client.logout()
        with contextlib.suppress(imaplib.IMAP4.error, OSError, EOFError, ValueError):
            self._client.shutdown()


def _aware(moment: object) -> datetime:
    if not isinstance(moment, datetime):
        return datetime.now(UTC)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _words(error: BaseException) -> str:
    """What the server said, without Python's marks of bytes."""
    return re.sub(r"\bb'([^']*)'", r"\1", str(error)).strip(" .") or type(error).__name__
