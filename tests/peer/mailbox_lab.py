"""A mailbox on a live Dovecot under test, into the real archive and database."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import pytest
from sqlalchemy import select

from agent.archive.blobs import Archive
from agent.intake import Intake
from agent.mail.imap import Mailbox, mailbox
from agent.mail.imap.session import Token
from agent.model import MailboxPosition, SourceState
from agent.settings import MailboxSettings
from agent.store import evidence, mailboxes
from agent.store.engine import Store
from agent.store.mailboxes import FolderCopy
from agent.store.schema import evidence as evidence_table
from tests.peer.dovecot import PASSWORD, USER, Dovecot
from tests.peers import require

_numbers = itertools.count(1)


@pytest.fixture
async def dovecot() -> AsyncIterator[Dovecot]:
    program = require("dovecot")
    with tempfile.TemporaryDirectory(prefix="dovecot-", ignore_cleanup_errors=True) as folder:
        server = Dovecot(Path(folder), program)
        await server.start()
        yield server
        server.kill()


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mailbox, "_FIRST_PAUSE", 0.1)
    monkeypatch.setattr(mailbox, "_LONGEST_PAUSE", 0.5)
    monkeypatch.setattr(mailbox, "_LOGIN_PAUSE", 0.5)


class Watched:
    """A mailbox under test and what it reported."""

    def __init__(self, server: Dovecot, intake: Intake, store: Store, archive: Archive, **changes: object) -> None:
        given: dict[str, object] = {
            "name": f"anna-{next(_numbers)}",
            "host": "127.0.0.1",
            "port": server.port,
            "tls": False,
            "user": USER,
            "password": PASSWORD,
            "poll_seconds": 300,
        }
        self.settings = MailboxSettings.model_validate(given | changes)
        self.states: list[tuple[SourceState, str]] = []
        self._store, self._archive, self._intake = store, archive, intake
        self.token: Token | None = None
        self.mailbox = self._new()

    def _new(self) -> Mailbox:
        return Mailbox(
            self.settings,
            self._intake,
            self._store,
            on_state=lambda _, state, detail: self.states.append((state, detail)),
            token=self.token,
        )

    async def __aenter__(self) -> Watched:
        self.mailbox.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.mailbox.stop()

    async def restart(self) -> None:
        await self.mailbox.stop()
        self.mailbox = self._new()
        self.mailbox.start()

    def state(self) -> SourceState | None:
        return self.states[-1][0] if self.states else None

    async def archived(self) -> list[bytes]:
        """The archived bytes, sorted."""
        async with self._store.begin() as connection:
            query = select(evidence_table.c.id).where(evidence_table.c.source == f"imap:{self.settings.name}")
            ids = list((await connection.execute(query)).scalars())
            found = await evidence.find_evidence(connection, ids)
        blobs = [one.blob for one in found if one.blob is not None]
        return await asyncio.to_thread(lambda: sorted(self._archive.open(blob).read() for blob in blobs))

    async def until_archived(self, messages: Sequence[bytes]) -> None:
        async def is_there() -> bool:
            return await self.archived() == sorted(messages)

        with contextlib.suppress(TimeoutError):
            await until(is_there)
        assert await self.archived() == sorted(messages)

    async def copies(self) -> dict[str, list[tuple[str, FolderCopy]]]:
        """Subject → (folder, copy), the oldest copy first."""
        async with self._store.begin() as connection:
            query = select(evidence_table.c.id).where(evidence_table.c.source == f"imap:{self.settings.name}")
            ids = list((await connection.execute(query)).scalars())
            found = {one.id: one.blob for one in await evidence.find_evidence(connection, ids)}
            by_id = await mailboxes.list_copies(connection, ids)

        def read() -> dict[str, list[tuple[str, FolderCopy]]]:
            raws = {one: self._archive.read(blob) for one, blob in found.items() if blob is not None}
            return {raw.split(b"<")[1].split(b"@")[0].decode(): by_id[one] for one, raw in raws.items()}

        return await asyncio.to_thread(read)

    async def until_copies(self, condition: Callable[[dict[str, list[tuple[str, FolderCopy]]]], bool]) -> None:
        async def holds() -> bool:
            return condition(await self.copies())

        with contextlib.suppress(TimeoutError):
            await until(holds, 15)
        found = await self.copies()
        assert condition(found), found

    async def position(self, folder: str) -> MailboxPosition:
        async with self._store.begin() as connection:
            found = await mailboxes.find_position(connection, self.settings.name, folder)
        assert found is not None
        return found


@pytest.fixture
async def watch(dovecot: Dovecot, intake: Intake, store: Store, archive: Archive) -> Callable[..., Watched]:
    return lambda **changes: Watched(dovecot, intake, store, archive, **changes)


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 30) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - it waits for a row in the database
            await asyncio.sleep(0.05)


async def until_state(watched: Watched, state: SourceState) -> str:
    async def reached() -> bool:
        return watched.state() is state

    await until(reached)
    return watched.states[-1][1]


def messages(count: int, *, start: int = 0, size: int = 200) -> list[bytes]:
    """Distinct messages with 8-bit bytes, dots and long lines in them."""
    return [
        b"Message-ID: <%d@example.com>\r\nSubject: \xcf\xf0\xe8\r\n\r\n.\r\n%s\r\n" % (number, b"\xe9z" * size)
        for number in range(start, start + count)
    ]
