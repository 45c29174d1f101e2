"""What a mailbox's thread asks of the database. Each call waits for the event loop, which alone speaks to it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Future
from datetime import date, timedelta
from typing import Any, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import MailboxPosition
from agent.store import lostmail, mailboxes
from agent.store.engine import Store
from agent.store.lostmail import LostMail
from agent.store.mailboxes import FolderCopy, FolderState

T = TypeVar("T")


class Ledger:
    """Marks and copies of one mailbox's folders. All methods block and raise `Unavailable` when the database is away.

    To be called from the mailbox's thread only, never from the event loop, which they wait for.
    """

    def __init__(self, store: Store, loop: asyncio.AbstractEventLoop) -> None:
        self._store = store
        self._loop = loop

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Let the event loop do something, without waiting."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def _do(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        async def do() -> T:
            async with self._store.begin() as connection:
                return await work(connection)

        return self.submit(do()).result()

    def find_folder(self, mailbox: str, folder: str) -> FolderState | None:
        """See `agent.store.mailboxes`."""
        return self._do(lambda connection: mailboxes.find_folder(connection, mailbox, folder))

    def save_start(self, position: MailboxPosition, horizon: date | None, *, anew: bool) -> None:
        """See `agent.store.mailboxes`."""
        self._do(lambda connection: mailboxes.save_start(connection, position, horizon, anew=anew))

    def save_modseq(self, position: MailboxPosition, modseq: int) -> None:
        """See `agent.store.mailboxes`."""
        self._do(lambda connection: mailboxes.save_modseq(connection, position, modseq))

    def save_copies(self, position: MailboxPosition, copies: Sequence[FolderCopy]) -> None:
        """See `agent.store.mailboxes`."""
        self._do(lambda connection: mailboxes.save_copies(connection, position, copies))

    def list_uids(self, position: MailboxPosition, *, first: int, last: int) -> set[int]:
        """UIDs of copies known in a stretch, gone ones too."""
        living, gone = self._do(lambda connection: mailboxes.list_uids(connection, position, first=first, last=last))
        return living | gone

    def list_presence(self, position: MailboxPosition) -> tuple[set[int], set[int]]:
        """UIDs of copies that lie in the folder, and of those that are gone."""
        return self._do(lambda connection: mailboxes.list_uids(connection, position))

    def list_skipped(self, position: MailboxPosition, limit: int) -> list[int]:
        """See `agent.store.mailboxes`."""
        return self._do(lambda connection: mailboxes.list_skipped(connection, position, limit))

    def mark_gone(self, position: MailboxPosition, uids: Sequence[int], *, gone: bool) -> None:
        """See `agent.store.mailboxes`."""
        self._do(lambda connection: mailboxes.mark_gone(connection, position, uids, gone=gone))

    def save_flags(self, position: MailboxPosition, flags: Mapping[int, tuple[str, ...]]) -> None:
        """See `agent.store.mailboxes`."""
        self._do(lambda connection: mailboxes.save_flags(connection, position, flags))

    def retire_copies(self, position: MailboxPosition) -> None:
        """See `agent.store.mailboxes`."""
        self._do(lambda connection: mailboxes.retire_copies(connection, position))

    def retire_missing_folders(self, mailbox: str, folders: Sequence[str]) -> int:
        """See `agent.store.mailboxes`."""
        return self._do(lambda connection: mailboxes.retire_missing_folders(connection, mailbox, folders))

    def count_copies(self, mailbox: str) -> dict[str, int]:
        """See `agent.store.mailboxes`."""
        return self._do(lambda connection: mailboxes.count_copies(connection, mailbox))

    def list_lost(self, mailbox: str) -> list[LostMail]:
        """See `agent.store.lostmail`."""
        return self._do(lambda connection: lostmail.list_lost(connection, mailbox))

    def note_asking(self, lost: LostMail, pause: timedelta) -> None:
        """See `agent.store.lostmail`."""
        self._do(lambda connection: lostmail.note_asking(connection, lost, pause))

    def mark_found(self, lost: LostMail) -> None:
        """See `agent.store.lostmail`."""
        self._do(lambda connection: lostmail.mark_found(connection, lost))
