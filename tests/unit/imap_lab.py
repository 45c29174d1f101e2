"""A scripted IMAP server, for what Dovecot does not do, and a mailbox that reads it into archive and database."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable

import pytest
from sqlalchemy import select

from agent.intake import Intake
from agent.mail.imap import Mailbox, mailbox
from agent.mail.ports import PROBLEM
from agent.model import SourceState
from agent.settings import MailboxSettings
from agent.store import waiting
from agent.store.engine import Store
from agent.store.evidence import mark_unreadable
from agent.store.schema import evidence

_numbers = itertools.count(1)


class Fall(Exception):
    """The server says this and hangs up."""

    def __init__(self, last_words: bytes) -> None:
        super().__init__()
        self.last_words = last_words


class ScriptedServer:
    """Speaks just the IMAP that a mailbox needs. What is public here is set by the test."""

    def __init__(self) -> None:
        self.messages: dict[int, bytes] = {}
        self.uidvalidity: int | None = 7
        self.uidnext: int | None = None
        self.login_answers: list[str] = []  # said instead of OK, one a login
        self.refused: set[int] = set()
        self.silent: set[int] = set()  # listed, and left out of FETCH without a word
        self.deadly: set[int] = set()  # the server falls in the middle of it …
        self.falls_left: int | None = None  # … so often (None: each time)
        self.opened = b""  # where there are several, each has messages of its own
        self.commands = 0
        self.coming: dict[
            str, dict[int, bytes]
        ] = {}  # messages that come with the answer to a command, told of only then
        self.times: dict[int, str] = {}  # INTERNALDATE of a message, as it stands there
        self.folders = [b"INBOX"]  # as they stand in an answer to LIST
        self.closed: set[bytes] = set()  # folders that are listed and not opened
        self.falls_at: set[bytes] = set()  # … and those at which the connection ends
        self.sizes: dict[int, int] = {}  # RFC822.SIZE as it is told; else 10
        self.announced: dict[int, int] = {}  # how long a literal is said to be
        self.limited: set[int] = set()  # «come back later», whenever it is asked for
        self.other_uids = False  # FETCH is answered with what was not asked for
        self.after_done: str = ""  # "silence" or "talk": instead of the end of IDLE
        self.asked: list[int] = []  # messages asked for, one after the other
        self.logins: list[float] = []
        self.port = 0

    async def start(self) -> asyncio.Server:
        server = await asyncio.start_server(self._talk, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"* OK hello\r\n")
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while line := await reader.readline():
                tag, _, command = line.decode("latin-1").strip().partition(" ")
                if tag == "DONE":
                    continue
                if command == "IDLE":
                    writer.write(b"+ idling\r\n" + b"".join(self._come("IDLE")))
                    await reader.readline()
                    while self.after_done:
                        writer.write(b"* OK still here\r\n" if self.after_done == "talk" else b"")
                        await writer.drain()
                        await asyncio.sleep(0.01)
                try:
                    untagged, final = self._answer(command)
                except Fall as fall:
                    writer.write(fall.last_words)
                    break
                writer.write(b"".join(untagged) + f"{tag} {final}\r\n".encode())
                await writer.drain()
        writer.close()

    def _answer(self, command: str) -> tuple[list[bytes], str]:
        word = command.upper().split(" ")[0]
        self.commands += 1
        if word == "CAPABILITY":
            return [b"* CAPABILITY IMAP4rev1 IDLE\r\n"], "OK done"
        if word == "LOGIN":
            self.logins.append(asyncio.get_running_loop().time())
            return [], self.login_answers.pop(0) if self.login_answers else "OK done"
        if word == "LIST":
            return [b'* LIST () "/" %s\r\n' % one for one in self.folders], "OK done"
        if word == "EXAMINE":
            return self._open(command.partition(" ")[2].encode("latin-1"))
        if command.upper().startswith("UID SEARCH"):
            return [f"* SEARCH {' '.join(map(str, sorted(self.messages)))}\r\n".encode()], "OK done"
        if command.upper().startswith("UID FETCH"):
            return self._fetch(command)
        return [], "OK done"

    def _open(self, name: bytes) -> tuple[list[bytes], str]:
        names = {one.strip(b'"') for one in self.folders}
        if name.strip(b'"') in self.falls_at:
            raise Fall(b"")
        if name.strip(b'"') in self.closed:
            return [], "NO [NOPERM] Permission denied"
        if name.strip(b'"') not in names:
            return [], "NO [NONEXISTENT] Unknown mailbox"
        self.opened = name if len(names) > 1 else b""
        return self._examine(), "OK [READ-ONLY] done"

    def _examine(self) -> list[bytes]:
        lines = [b"* FLAGS ()\r\n", f"* {len(self.messages)} EXISTS\r\n".encode(), b"* 0 RECENT\r\n"]
        if self.uidvalidity is not None:
            lines.append(f"* OK [UIDVALIDITY {self.uidvalidity}] x\r\n".encode())
        if self.uidnext is not None:
            lines.append(f"* OK [UIDNEXT {self.uidnext}] x\r\n".encode())
        return lines

    def _fetch(self, command: str) -> tuple[list[bytes], str]:
        uids = [uid for one in command.split(" ")[2].split(",") for uid in _uids(one)]
        if "BODY" not in command:
            there = [(uid, self.sizes.get(uid, 10)) for uid in uids if uid in self.messages]
            return [b"* %d FETCH (UID %d RFC822.SIZE %d)\r\n" % (uid, uid, size) for uid, size in there], "OK done"
        self.asked += uids
        if self.limited & set(uids):
            return [], "NO [LIMIT] Suggested Backoff Time: 20 milliseconds"
        if self.refused & set(uids):
            return [], "NO [SERVERBUG] that message cannot be retrieved"
        if self.other_uids:
            uids = [uid for uid in self.messages if uid not in uids]
        given = [uid for uid in uids if uid in self.messages and uid not in self.silent]
        lines = [self._whole(uid) for uid in given]
        for at, uid in enumerate(given):
            if uid in self.deadly and self.falls_left != 0:
                self.falls_left = self.falls_left and self.falls_left - 1
                cut = lines[at][: -len(self.messages[uid]) // 2]
                raise Fall(b"".join(lines[:at]) + cut + b"\r\n* BYE internal error\r\n")
        return lines + self._come("FETCH"), "OK done"

    def _come(self, word: str) -> list[bytes]:
        if word not in self.coming:
            return []
        self.messages |= self.coming.pop(word)
        self.uidnext = max(self.messages) + 1
        return [b"* %d EXISTS\r\n" % len(self.messages)]

    def _whole(self, uid: int) -> bytes:
        raw = self.messages[uid] + self.opened
        time = f'INTERNALDATE "{self.times[uid]}" '.encode() if uid in self.times else b""
        size = self.announced.get(uid, len(raw))
        return b"* %d FETCH (UID %d %sBODY[] {%d}\r\n%s)\r\n" % (uid, uid, time, size, raw)


def _uids(part: str) -> range:
    first, _, last = part.partition(":")
    return range(int(first), int(last or first) + 1)


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    scripted = ScriptedServer()
    listening = await scripted.start()
    yield scripted
    listening.close()


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mailbox, "_FIRST_PAUSE", 0.02)
    monkeypatch.setattr(mailbox, "_LONGEST_PAUSE", 0.1)
    monkeypatch.setattr(mailbox, "_LOGIN_PAUSE", 0.1)


class Reading:
    def __init__(
        self, server: ScriptedServer, intake: Intake, store: Store, *, poll_seconds: int = 1, **changes: object
    ) -> None:
        self.name = f"scripted-{next(_numbers)}"
        self.states: list[SourceState] = []
        self.details: list[str] = []
        self._store = store
        settings = MailboxSettings.model_validate(
            {"name": self.name, "host": "127.0.0.1", "port": server.port, "tls": False, "user": "u", "password": "p"}
            | {"poll_seconds": poll_seconds}
            | changes
        )
        self.open: Callable[[], Mailbox] = lambda: Mailbox(settings, intake, store, on_state=self._note)
        self.mailbox = self.open()

    def _note(self, _name: str, state: SourceState, detail: str) -> None:
        self.details.append(detail)
        self.states.append(state)

    async def until_state(self, state: SourceState) -> None:
        """From now on."""
        async with asyncio.timeout(20):
            while self.states[-1:] != [state]:  # noqa: ASYNC110 - told from another thread
                await asyncio.sleep(0.02)

    async def archived(self) -> list[tuple[int, str]]:
        """(UID, problem) of what was archived."""
        async with self._store.begin() as connection:
            query = select(evidence.c.details).where(evidence.c.source == f"imap:{self.name}")
            details = (await connection.execute(query)).scalars().all()
        return sorted((one["uid"], one.get(PROBLEM, "")) for one in details)

    async def waiting(self) -> list[tuple[int, str]]:
        """(evidence, problem) of what stands on the page «To be sorted»."""
        async with self._store.begin() as connection:
            listed = await waiting.list_unreadable(connection, limit=1000)
        return [(one.id, one.problem) for one in listed if one.source == f"imap:{self.name}"]

    async def read_notes(self) -> None:
        """What the job `parse` does with a note."""
        async with self._store.begin() as connection:
            query = select(evidence.c.id, evidence.c.details).where(evidence.c.source == f"imap:{self.name}")
            for row in (await connection.execute(query)).all():
                if PROBLEM in row.details:
                    await mark_unreadable(connection, row.id, row.details[PROBLEM])

    async def until(self, condition: Callable[[list[tuple[int, str]]], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition(await self.archived()):  # noqa: ASYNC110 - it waits for a row in the database
                await asyncio.sleep(0.05)


@pytest.fixture
async def reading(server: ScriptedServer, intake: Intake, store: Store) -> AsyncIterator[Reading]:
    reading = Reading(server, intake, store)
    yield reading
    await reading.mailbox.stop()


def mail(number: int) -> bytes:
    return b"Subject: %d\r\n\r\n%d\r\n" % (number, number)
