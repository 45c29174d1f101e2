"""One connection to an IMAP server, read-only: EXAMINE and BODY.PEEK[], so no mail is marked as seen.

The one file that knows IMAPClient, but for wire.py below it, and answers.py and names.py, which read what it gets.
IMAPClient is not made for threads: one thread at a time uses a session, except for `interrupt`. Failures come out as
the three sorts a person sees: login, folder, server.
"""

from __future__ import annotations

import contextlib
import imaplib
import re
import socket
import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import structlog
from imapclient.exceptions import LoginError
from imapclient.imapclient import SocketTimeout

from agent.errors import ArchiveUnavailable, CardlineError, MailboxFolderMissing, MailboxUnreachable
from agent.mail.imap import answers, names, refusals, statuses
from agent.mail.imap.folders import Folder
from agent.mail.imap.plan import FolderStatus
from agent.mail.imap.wire import SPOOLED_FROM, BoundedClient, MailTooLarge, Spooled
from agent.settings import MailboxSettings

log = structlog.get_logger()

_CONNECT_SECONDS = 15
_READ_SECONDS = 60
_ANSWER_SECONDS = 300.0  # from a command to its answer, unless much comes of it
_DONE_SECONDS = 60.0  # from DONE to the end of IDLE
_BYE_SECONDS = 5.0
_MB = 1024 * 1024
IDLE_SECONDS = 600.0  # servers and routers drop a connection that is silent for longer (RFC 2177 allows 29 minutes)
_UIDS_A_LINE = 500  # keeps a command line below what servers take (8 KiB)
UIDS_AN_ANSWER = 50_000  # keeps a line of SEARCH below what imaplib takes (1,000,000 bytes)
_LIKELY_BYTES = 100_000  # size of a message whose size the server does not tell
_YEARS = range(1970, 2200)  # in which a message can have come
_NEWS = (b"EXISTS", b"EXPUNGE", b"FETCH")


class Token(Protocol):
    """Gives access tokens."""

    def __call__(self, *, refused: str = "") -> str:
        """One that is valid now, and another than ``refused``, which the server did not take.

        Raises:
            MailboxAuthFailed: nobody has logged in, or the login was withdrawn.
            MailboxUnreachable: the provider's login service does not answer.
        """
        ...


class MessageRefused(MailboxUnreachable):
    """The server does not hand out a message that it has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedMail:
    """One message as the server keeps it; of a large one the bytes lie in ``file``, and ``raw`` is empty."""

    uid: int
    raw: bytes
    file: BinaryIO | None = None
    received: datetime
    flags: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """What a server says of a message without giving it: ``size`` in bytes."""

    size: int
    flags: tuple[str, ...]


class ImapSession:
    """A logged-in connection. ``folder`` is the one examined last."""

    def __init__(self, settings: MailboxSettings, token: Token | None = None, *, folder: Path | None = None) -> None:
        """Connect and log in: with an access token (SASL XOAUTH2) if ``token`` is given, else with the password.
        Large messages come to lie, without a name, in ``folder``.

        Raises:
            MailboxAuthFailed: user, password or token are refused.
            MailboxUnreachable: there is no such server, it does not answer, or TLS fails.
        """
        self._settings = settings
        self._where = f"{settings.host} port {settings.port}"
        self.folder = ""
        self._exists = 0  # messages in the folder, when it was examined
        self._raw_names: Mapping[str, bytes] = {}  # of folders, as far as they were listed
        self._is_broken = False  # whether nothing that comes over it is sure to be the answer any more
        access = token() if token is not None else ""
        with self._translated("connecting"):
            self._client = BoundedClient(
                settings.host,
                port=settings.port,
                ssl=settings.tls,
                use_uid=True,
                timeout=SocketTimeout(connect=_CONNECT_SECONDS, read=_READ_SECONDS),
            )
        self._client.wire.folder = folder
        self._client.normalise_times = False
        self._client._imap.debug = 0  # else imaplib writes out every answer for a log that nobody reads
        try:
            if settings.starttls:
                with self._translated("STARTTLS"):
                    self._client.starttls(ssl.create_default_context())
            self._login(token, access)
            if self.has_modseq and self._has("ENABLE"):
                with self._translated("enable"):  # Dovecot counts changes only for who has said so
                    self._client.enable("CONDSTORE")
        except BaseException:
            self.close()
            raise

    def _login(self, token: Token | None, access: str) -> None:
        user = self._settings.user
        with self._translated("login"):
            try:
                if token is None:
                    self._client.login(user, self._settings.password.get_secret_value())
                elif not self._takes(access):  # a token may be taken back before its end; a second refusal is meant
                    self._client.oauth2_login(user, token(refused=access))
            except imaplib.IMAP4.abort:
                raise
            except LoginError as error:
                raise refusals.refused_login(self._where, user, _words(error)) from error
            except imaplib.IMAP4.error as error:
                if token is None:
                    raise
                raise refusals.refused_login(self._where, user, _words(error)) from error

    def _takes(self, access: str) -> bool:
        try:
            self._client.oauth2_login(self._settings.user, access)
        except imaplib.IMAP4.abort:
            raise
        except imaplib.IMAP4.error:
            return False
        return True

    @contextlib.contextmanager
    def _translated(self, doing: str, *, most: int = SPOOLED_FROM, seconds: float = _ANSWER_SECONDS) -> Iterator[None]:
        """``most``: bytes of a literal that may come; ``seconds``: how long it may take if little comes."""
        if doing != "connecting":
            self._client.wire.expect(most=most, seconds=seconds)
        try:
            yield
        except (MailTooLarge, ArchiveUnavailable):
            self._is_broken = True
            raise
        except imaplib.IMAP4.error as error:
            self._is_broken |= isinstance(error, imaplib.IMAP4.abort)
            raise refusals.failed(self._where, doing, _words(error)) from error
        except (OSError, EOFError) as error:
            self._is_broken = True
            raise MailboxUnreachable(f"{self._where} cannot be reached ({doing}): {_words(error)}.") from error
        except (ValueError, TypeError, LookupError) as error:  # where IMAPClient reads what is no IMAP
            self._is_broken = True
            raise MailboxUnreachable(f"{self._where} answers in a way not understood ({doing}).") from error

    @property
    def can_idle(self) -> bool:
        """Whether the server tells of new mail by itself (RFC 2177)."""
        return self._has("IDLE")

    @property
    def has_modseq(self) -> bool:
        """Whether changes of flags can be asked for since a point (CONDSTORE, RFC 7162)."""
        return self._has("CONDSTORE") or self._has("QRESYNC")

    def _has(self, capability: str) -> bool:
        with self._translated("capability"):
            return bool(self._client.has_capability(capability))

    def list_folders(self) -> list[Folder]:
        """All folders with their special use (RFC 6154)."""
        with self._translated("list"):
            kind, said = self._client._imap.list('""', '"*"')
            self._client._checkok("list", kind, said)
        found = names.read_list(said)
        if found.odd:
            log.warning("mailbox_folders_not_understood", mailbox=self._settings.name, lines=found.odd[:5])
        self._raw_names = found.raw
        return list(found.folders)

    def list_statuses(self) -> dict[str, FolderStatus]:
        """How the folders listed last stand, as far as the server tells that in one answer (RFC 5819)."""
        if not (self._has("LIST-STATUS") and self.has_modseq):
            return {}
        with self._translated("list"):
            found = statuses.ask(self._client)
        return {name: found[raw] for name, raw in self._raw_names.items() if raw in found}

    def examine(self, folder: str) -> FolderStatus:
        """Open a folder, read-only, and say how its UIDs stand.

        Raises:
            MailboxFolderMissing: there is no such folder, or the server does not open it.
        """
        with self._translated(f"folder {folder}"):
            self.folder = ""
            try:
                answer = self._select(self._raw_names.get(folder) or names.usual(folder))
            except imaplib.IMAP4.abort:
                raise
            except imaplib.IMAP4.error as error:
                if refusals.is_throttling(_words(error)):
                    raise
                answer = self._select_again(folder, error)
            exists = self._exists = int(answer.get(b"EXISTS") or 0)
            uidnext = answer.get(b"UIDNEXT") or self._uidnext(exists)
        self.folder = folder
        return FolderStatus(
            uidvalidity=int(answer.get(b"UIDVALIDITY") or 0),
            uidnext=int(uidnext),
            exists=exists,
            modseq=int(answer.get(b"HIGHESTMODSEQ") or 0),
        )

    def _select(self, raw: bytes) -> dict[bytes, Any]:
        self._client._command_and_check("select", names.quoted(raw), True)
        answer: dict[bytes, Any] = self._client._process_select_response(self._client._imap.untagged_responses)
        return answer

    def _select_again(self, folder: str, error: imaplib.IMAP4.error) -> dict[bytes, Any]:
        """It may have another name for the server than we thought; else it is not there, or we may not look into it."""
        tried = self._raw_names.get(folder) or names.usual(folder)
        is_there = any(one.name == folder for one in self.list_folders())
        if is_there and self._raw_names[folder] != tried:
            return self._select(self._raw_names[folder])
        does = f"does not open its folder {folder}" if is_there else f"has no folder {folder}"
        raise MailboxFolderMissing(f"The mailbox {self._settings.name} {does}: {_words(error)}.") from error

    def _uidnext(self, exists: int) -> int:
        """For a server that does not tell: one more than the last message's UID."""
        return max(self._client.search(["UID", "*"]), default=0) + 1 if exists else 1

    def find_uids(self, first: int, last: int, since: date | None = None) -> list[int]:
        """UIDs there are from ``first`` to ``last``, of messages that came in on ``since`` or later."""
        criteria: list[Any] = ["UID", f"{first}:{last}"]
        if since is not None:
            criteria += ["SINCE", since]
        with self._translated("listing"):
            found = self._client.search(criteria)
        return sorted(uid for uid in found if first <= uid <= last)  # n:* gives the last message even past the end

    def find_all_uids(self, last: int, exists: int, since: date | None = None) -> set[int]:
        """All UIDs up to ``last``, asked for in pieces: one answer for a huge folder would break imaplib. ``exists``:
        how many there are at most; some servers make UIDs of the time, so that few lie far apart."""
        found: set[int] = set()
        first = 1
        while first <= last:
            end = last if exists - len(found) <= UIDS_AN_ANSWER else min(first + UIDS_AN_ANSWER - 1, last)
            found.update(self.find_uids(first, end, since))
            first = end + 1
        return found

    def list_messages(self, first: int, last: int, since: date | None = None) -> dict[int, Listed]:
        """UID → size and flags of the messages there are."""
        uids = self.find_uids(first, last, since)
        listed: dict[int, Listed] = {}
        for start in range(0, len(uids), _UIDS_A_LINE):
            some = uids[start : start + _UIDS_A_LINE]
            answer = self._fetch(some, ["RFC822.SIZE", "FLAGS"])
            for uid in some:
                items = answer.get(uid, {})
                listed[uid] = Listed(
                    size=int(items.get(b"RFC822.SIZE") or _LIKELY_BYTES), flags=_flags(items.get(b"FLAGS"))
                )
        return listed

    def list_flags(self, uids: Sequence[int]) -> dict[int, tuple[str, ...]]:
        """UID → flags of these messages, as far as they are there."""
        found: dict[int, tuple[str, ...]] = {}
        for start in range(0, len(uids), _UIDS_A_LINE):
            answer = self._fetch(uids[start : start + _UIDS_A_LINE], ["FLAGS"])
            found |= {uid: _flags(items[b"FLAGS"]) for uid, items in answer.items() if b"FLAGS" in items}
        return found

    def list_changed_flags(self, last: int, exists: int, modseq: int) -> dict[int, tuple[str, ...]]:
        """UID → flags of all messages up to UID ``last`` whose flags changed after ``modseq`` (RFC 7162, 3.1.5)."""
        uids: list[int] = []
        step = last if exists <= UIDS_AN_ANSWER else UIDS_AN_ANSWER
        for first in range(1, last + 1, step or 1):
            with self._translated("flags"):
                uids += self._client.search(
                    ["UID", f"{first}:{min(first + step - 1, last)}", "MODSEQ", str(modseq + 1)]
                )
        return self.list_flags(uids)

    def _fetch(self, uids: Sequence[int], items: list[str]) -> answers.Answer:
        with self._translated("listing"):
            return answers.fetch(self._client, uids, items)

    def fetch(self, uids: Sequence[int]) -> dict[int, FetchedMail]:
        """The messages with these UIDs, as far as the server gives them.

        Raises:
            MessageRefused: the server answers NO.
        """
        with self._translated("fetching", most=self._settings.largest_mb * _MB):
            try:
                answer = answers.fetch(self._client, uids, ["BODY.PEEK[]", "INTERNALDATE", "FLAGS"])
            except imaplib.IMAP4.abort:
                raise
            except imaplib.IMAP4.error as error:
                if refusals.is_throttling(_words(error)):
                    raise
                raise MessageRefused(f"{self._settings.host} does not give messages: {_words(error)}.") from error
        wanted = set(uids)
        return {
            uid: _fetched(uid, items)
            for uid, items in answer.items()
            if uid in wanted and isinstance(items.get(b"BODY[]"), bytes)
        }

    def wait_for_mail(self, seconds: float) -> None:
        """Wait, in the folder examined last, until the server tells of a change; at most ``seconds``."""
        if self._was_told():
            return
        deadline = time.monotonic() + seconds
        with self._translated("idle", seconds=seconds + _ANSWER_SECONDS):
            self._client.idle()
            said = answers.read_on(self._client)
            while not self._is_news(said) and (left := deadline - time.monotonic()) > 0:
                said = self._client.idle_check(timeout=left)
                if not said:
                    break  # before the time is over: the connection ended
            self._client.wire.expect(seconds=_DONE_SECONDS)
            self._client.idle_done()

    def _was_told(self) -> bool:
        """Whether the server told of a change beside an answer since EXAMINE, for it does not tell it again in IDLE."""
        said = self._client._imap.untagged_responses
        return "EXPUNGE" in said or any(int(one) != self._exists for one in said.get("EXISTS", ()))

    def _is_news(self, said: Sequence[Any]) -> bool:
        """Some servers say again how many messages there are whenever one waits."""
        return any(len(one) > 1 and one[1] in _NEWS and one[:2] != (self._exists, b"EXISTS") for one in said)

    def interrupt(self) -> None:
        """End whatever the thread is waiting for; may be called from any thread."""
        with contextlib.suppress(OSError, AttributeError):
            self._client.socket().shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Hang up, politely where the server still listens; never raises."""
        with contextlib.suppress(imaplib.IMAP4.error, OSError, EOFError, ValueError, AttributeError, CardlineError):
            if not self._is_broken:
                self._client.socket().settimeout(_BYE_SECONDS)
                self._client.wire.expect(seconds=_BYE_SECONDS)
                self._client.logout()
        with contextlib.suppress(imaplib.IMAP4.error, OSError, EOFError, ValueError, AttributeError):
            self._client.shutdown()


def _fetched(uid: int, items: Mapping[bytes, Any]) -> FetchedMail:
    body = items[b"BODY[]"]
    return FetchedMail(
        uid=uid,
        raw=b"" if isinstance(body, Spooled) else body,
        file=body.file if isinstance(body, Spooled) else None,
        received=_aware(items.get(b"INTERNALDATE")),
        flags=_flags(items.get(b"FLAGS")),
    )


def _flags(given: Any) -> tuple[str, ...]:
    return tuple(flag.decode("ascii", "replace") for flag in given or () if isinstance(flag, bytes))


def _aware(moment: object) -> datetime:
    """In UTC; now where the server tells no time that there was."""
    with contextlib.suppress(ValueError, OverflowError):  # an offset of days, or the year 0
        if isinstance(moment, datetime):
            found = (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).astimezone(UTC)
            if found.year in _YEARS:
                return found
    return datetime.now(UTC)


def _words(error: BaseException) -> str:
    """What the server said, without Python's marks of bytes."""
    return re.sub(r"\bb'([^']*)'", r"\1", str(error)).strip(" .") or type(error).__name__
