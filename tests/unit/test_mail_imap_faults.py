"""Servers that misbehave in ways Dovecot does not: a scripted one that throttles, refuses messages, gives no UIDs."""

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
from agent.store.engine import Store
from agent.store.schema import evidence

_numbers = itertools.count(1)


class ScriptedServer:
    """Speaks just the IMAP that a mailbox needs. What is public here is set by the test."""

    def __init__(self) -> None:
        self.messages: dict[int, bytes] = {}
        self.uidvalidity: int | None = 7
        self.uidnext: int | None = None
        self.login_answers: list[str] = []  # said instead of OK, one a login
        self.refused: set[int] = set()
        self.silent: set[int] = set()  # listed, and left out of FETCH without a word
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
                tag, _, command = line.decode().strip().partition(" ")
                if tag == "DONE":
                    continue
                if command == "IDLE":
                    writer.write(b"+ idling\r\n")
                    await reader.readline()
                untagged, final = self._answer(command)
                writer.write(b"".join(untagged) + f"{tag} {final}\r\n".encode())
                await writer.drain()
        writer.close()

    def _answer(self, command: str) -> tuple[list[bytes], str]:
        word = command.upper().split(" ")[0]
        if word == "CAPABILITY":
            return [b"* CAPABILITY IMAP4rev1 IDLE\r\n"], "OK done"
        if word == "LOGIN":
            self.logins.append(asyncio.get_running_loop().time())
            return [], self.login_answers.pop(0) if self.login_answers else "OK done"
        if word == "LIST":
            return [b'* LIST () "/" INBOX\r\n'], "OK done"
        if word == "EXAMINE":
            return self._examine(), "OK [READ-ONLY] done"
        if command.upper().startswith("UID SEARCH"):
            return [f"* SEARCH {' '.join(map(str, sorted(self.messages)))}\r\n".encode()], "OK done"
        if command.upper().startswith("UID FETCH"):
            return self._fetch(command)
        return [], "OK done"

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
            sizes = [f"* {uid} FETCH (UID {uid} RFC822.SIZE 10)\r\n" for uid in uids if uid in self.messages]
            return [size.encode() for size in sizes], "OK done"
        if self.refused & set(uids):
            return [], "NO [SERVERBUG] that message cannot be retrieved"
        return [
            b"* %d FETCH (UID %d BODY[] {%d}\r\n%s)\r\n" % (uid, uid, len(self.messages[uid]), self.messages[uid])
            for uid in uids
            if uid in self.messages and uid not in self.silent
        ], "OK done"


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
    def __init__(self, server: ScriptedServer, intake: Intake, store: Store) -> None:
        self.name = f"scripted-{next(_numbers)}"
        self.states: list[SourceState] = []
        self._store = store
        settings = MailboxSettings.model_validate(
            {"name": self.name, "host": "127.0.0.1", "port": server.port, "tls": False, "user": "u", "password": "p"}
            | {"poll_seconds": 1}
        )
        self.mailbox = Mailbox(settings, intake, store, on_state=lambda _, state, __: self.states.append(state))

    async def archived(self) -> list[tuple[int, str]]:
        """(UID, problem) of what was archived."""
        async with self._store.begin() as connection:
            query = select(evidence.c.details).where(evidence.c.source == f"imap:{self.name}")
            details = (await connection.execute(query)).scalars().all()
        return sorted((one["uid"], one.get(PROBLEM, "")) for one in details)

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


async def test_throttling_is_obeyed(server: ScriptedServer, reading: Reading) -> None:
    server.messages, server.uidnext = {1: mail(1)}, 2
    server.login_answers = ["NO User is throttled. Suggested Backoff Time: 1500 milliseconds"]
    reading.mailbox.start()
    await reading.until(lambda found: len(found) == 1)
    assert server.logins[1] - server.logins[0] >= 1.5
    assert SourceState.UNREACHABLE in reading.states
    assert SourceState.LOGIN_FAILED not in reading.states


async def test_a_login_server_in_trouble_is_no_wrong_password(server: ScriptedServer, reading: Reading) -> None:
    server.messages, server.uidnext = {1: mail(1)}, 2
    server.login_answers = ["NO [UNAVAILABLE] Temporary authentication failure."] * 2
    reading.mailbox.start()
    await reading.until(lambda found: len(found) == 1)
    assert SourceState.LOGIN_FAILED not in reading.states


@pytest.mark.parametrize("how", ["refused", "silent"])
async def test_a_message_that_is_not_given_becomes_a_note_and_stops_no_other(
    server: ScriptedServer, reading: Reading, how: str
) -> None:
    server.messages, server.uidnext = {uid: mail(uid) for uid in range(1, 6)}, 6
    setattr(server, how, {3})
    reading.mailbox.start()
    await reading.until(lambda found: len(found) == 5)
    assert [(uid, bool(problem)) for uid, problem in await reading.archived()] == [
        (1, False),
        (2, False),
        (3, True),
        (4, False),
        (5, False),
    ]


async def test_a_message_given_at_last_is_archived(server: ScriptedServer, reading: Reading) -> None:
    server.messages, server.uidnext, server.refused = {1: mail(1), 2: mail(2)}, 3, {1}
    reading.mailbox.start()
    async with asyncio.timeout(10):
        while SourceState.UNREACHABLE not in reading.states:  # noqa: ASYNC110 - told from another thread
            await asyncio.sleep(0.001)
    server.refused = set()
    await reading.until(lambda found: [uid for uid, _ in found] == [1, 2])
    assert all(not problem for _, problem in await reading.archived())


async def test_a_server_that_tells_neither_uidnext_nor_uidvalidity(server: ScriptedServer, reading: Reading) -> None:
    """Its UIDs hold for one connection; the same UID later is another message, the same message is no new one."""
    server.messages, server.uidvalidity = {1: mail(1), 2: mail(2)}, None
    reading.mailbox.start()
    await reading.until(lambda found: len(found) == 2)
    server.messages = {1: mail(2), 2: mail(3), 3: mail(4)}
    await reading.until(lambda found: len(found) >= 3)
    await reading.mailbox.stop()
    again = Mailbox(
        reading.mailbox._settings, reading.mailbox._intake, reading.mailbox._store, on_state=lambda *_: None
    )
    again.start()
    await reading.until(lambda found: len(found) == 4)
    await again.stop()
    assert len(await reading.archived()) == 4


async def test_uids_that_start_again_lose_nothing(server: ScriptedServer, reading: Reading) -> None:
    """A server restored from a backup gives used UIDs to new mail without a new UIDVALIDITY."""
    server.messages, server.uidnext = {uid: mail(uid) for uid in range(1, 6)}, 6
    reading.mailbox.start()
    await reading.until(lambda found: len(found) == 5)
    server.messages, server.uidnext = {1: mail(1), 2: mail(20), 3: mail(30)}, 4
    await reading.until(lambda found: len(found) == 7)
    assert [uid for uid, _ in await reading.archived()] == [1, 2, 2, 3, 3, 4, 5]
