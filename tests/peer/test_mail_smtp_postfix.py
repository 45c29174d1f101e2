"""The SMTP door and the mail servers and tools of the world: Postfix, swaks, openssl, smtp-source."""

from __future__ import annotations

import asyncio
import contextlib
import os
import smtplib
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from agent.archive.blobs import Archive, open_archive
from agent.errors import BlobMissing, DatabaseUnavailable
from agent.intake import Intake
from agent.mail.parser import Parser
from agent.mail.sandbox import Sandbox
from agent.mail.smtp import SmtpServer
from agent.model import CapturedMail, EvidenceState
from agent.store import evidence, interactions
from agent.store.engine import Store
from agent.store.evidence import Evidence
from tests.certificates import Authority, KeyPair
from tests.peer.postfix import Postfix
from tests.peers import require
from tests.unit.journal_mails import journal
from tests.unit.smtp_lab import Client, MemoryIntake, door, settings

_PATIENCE = 60.0
JOURNAL = "journal@archive.example.net"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    return Authority(tmp_path_factory.mktemp("tls")).issue("mx")


@pytest.fixture(scope="module")
async def sandbox() -> AsyncIterator[Sandbox]:
    sandbox = Sandbox()
    yield sandbox
    await sandbox.stop()


@asynccontextmanager
async def postfix_towards(port: int, *, more: str = "") -> AsyncIterator[Postfix]:
    """A Postfix that sends a copy of all mail to the door on this port."""
    require("postfix")
    if os.geteuid() != 0:
        pytest.skip("Postfix runs only as root")
    lines = (
        f"always_bcc = {JOURNAL}\n"
        f"transport_maps = inline:{{archive.example.net=smtp:[127.0.0.1]:{port}}}\n"
        "smtp_connection_cache_on_demand = no\n"
    )
    with tempfile.TemporaryDirectory(prefix="cardline-postfix-") as name:
        Path(name).chmod(0o711)
        server = Postfix(Path(name) / "postfix", more=lines + more)
        await asyncio.to_thread(server.start)
        try:
            yield server
        finally:
            await asyncio.to_thread(server.stop)  # it may talk to us to the last


@asynccontextmanager
async def listening(intake: Intake, **more: object) -> AsyncIterator[SmtpServer]:
    server = SmtpServer(settings(journal=[JOURNAL], **more), intake)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def until(condition: Callable[[], Awaitable[bool]], *, why: Callable[[], str] = str) -> None:
    for _ in range(int(_PATIENCE / 0.1)):
        if await condition():
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"waited in vain: {why()}")


async def all_evidence(store: Store) -> list[Evidence]:
    async with store.begin() as connection:
        return await evidence.find_evidence(connection, list(range(1, 10_000)))


async def with_word(store: Store, archive: Archive, word: str) -> list[Evidence]:
    """The evidence in this archive whose bytes have this word."""
    found = []
    for one in await all_evidence(store):
        with contextlib.suppress(BlobMissing):  # another test's archive has it
            if one.blob is not None and word.encode() in archive.read(one.blob):
                found.append(one)
    return found


def mail(word: str, *, bcc: str = "") -> bytes:
    return (
        f"From: Boris <boris@client.example>\r\nTo: box@example.com\r\nSubject: {word}\r\n"
        f"Message-ID: <{word}@client.example>\r\nDate: Mon, 2 Mar 2026 10:00:00 +0300\r\n{bcc}\r\nHello {word}\r\n"
    ).encode()


async def hand_over(server: Postfix, *mails: bytes) -> None:
    """Give mails to Postfix as a client does."""

    def send() -> None:
        with smtplib.SMTP("127.0.0.1", server.port, timeout=30) as client:
            for raw in mails:
                client.sendmail("boris@client.example", ["box@example.com"], raw)

    await asyncio.to_thread(send)


async def test_always_bcc_and_the_mailbox_are_one_entry(
    store: Store, archive: Archive, intake: Intake, sandbox: Sandbox, pair: KeyPair
) -> None:
    word = uuid.uuid4().hex
    more = {"tls_certificate": str(pair.certificate), "tls_key": str(pair.key)}
    encrypt = "smtp_tls_security_level = encrypt\n"
    async with listening(intake, **more) as door, postfix_towards(door.port, more=encrypt) as postfix:
        await hand_over(postfix, mail(word))

        async def arrived() -> bool:
            return bool(await with_word(store, archive, word)) and postfix.delivered() == 1

        await until(arrived, why=postfix.log)
        [in_mailbox] = [path.read_bytes() for path in (postfix.mail / "new").iterdir()]
    [copy] = await with_word(store, archive, word)
    assert copy.details["doors"] == {JOURNAL: "journal"}
    assert copy.details["tls"] == "TLSv1.3"
    received = copy.received
    stored = await intake.store_evidence([CapturedMail(source="imap:box", key="1", raw=in_mailbox, received=received)])
    await Parser(store, archive, intake, sandbox).parse([copy.id, *stored])
    both = await with_word(store, archive, word)
    assert [one.state for one in both] == [EvidenceState.READ] * 2
    [number] = {one.interaction_id for one in both}
    assert number is not None
    async with store.begin() as connection:
        people = (await interactions.list_parties(connection, [number]))[number]
    assert {(one.position, one.value) for one in people} == {
        ("from", "boris@client.example"),
        ("to", "box@example.com"),
    }


async def test_a_250_that_is_lost_makes_no_second_entry(
    store: Store, archive: Archive, intake: Intake, sandbox: Sandbox
) -> None:
    """The answer to the first delivery never arrives, so Postfix delivers again."""
    word = uuid.uuid4().hex
    cut = 0

    async with listening(intake) as door:

        async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal cut
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", door.port)

            async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter, *, answers: bool) -> None:
                nonlocal cut
                with contextlib.suppress(ConnectionError):
                    while chunk := await source.read(65536):
                        if answers and b"250 2.0.0 Stored" in chunk and not cut:
                            cut += 1
                            writer.transport.abort()
                            return
                        target.write(chunk)
                        await target.drain()
                target.close()

            await asyncio.gather(pump(reader, far_writer, answers=False), pump(far_reader, writer, answers=True))

        proxy = await asyncio.start_server(pass_on, "127.0.0.1", 0)
        async with postfix_towards(proxy.sockets[0].getsockname()[1]) as postfix:
            await hand_over(postfix, mail(word))

            async def twice() -> bool:
                if cut:
                    await asyncio.to_thread(postfix.flush)
                return len(await with_word(store, archive, word)) == 2 and "status=sent" in postfix.log()

            await until(twice, why=postfix.log)
        proxy.close()
    found = await with_word(store, archive, word)
    assert cut == 1
    await Parser(store, archive, intake, sandbox).parse([one.id for one in found])
    assert len({one.interaction_id for one in await with_word(store, archive, word)}) == 1


async def test_what_cannot_be_stored_now_is_kept_by_postfix_and_comes_later(
    store: Store, archive: Archive, intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [uuid.uuid4().hex for _ in range(20)]
    refused = 0
    real = intake.store_deliveries

    async def away(*_: object, **__: object) -> list[int]:
        nonlocal refused
        refused += 1
        raise DatabaseUnavailable("The database does not answer.")

    monkeypatch.setattr(intake, "store_deliveries", away)
    async with listening(intake) as door, postfix_towards(door.port) as postfix:
        await hand_over(postfix, *map(mail, words))

        async def deferred() -> bool:
            return postfix.log().count("status=deferred") >= len(words)

        await until(deferred, why=postfix.log)
        assert "451 4.3.0" in postfix.log() and "status=bounced" not in postfix.log()
        monkeypatch.setattr(intake, "store_deliveries", real)

        async def all_there() -> bool:
            return len([one for word in words for one in await with_word(store, archive, word)]) >= len(words)

        await until(all_there, why=postfix.log)
    assert refused
    assert [len(await with_word(store, archive, word)) for word in words] == [1] * len(words)


async def test_killed_again_and_again_it_loses_nothing_and_makes_nothing_twice(
    store: Store, archive: Archive, intake: Intake, sandbox: Sandbox, tmp_path: Path
) -> None:
    """SIGKILL in the middle of deliveries: whatever got its 250 is there, and Postfix brings the rest again."""
    mark = uuid.uuid4().hex
    words = [f"{mark}-{number:03}" for number in range(150)]
    child = SmtpChild(store.url, tmp_path)
    await child.start()
    async with postfix_towards(child.port) as postfix:
        await hand_over(postfix, *map(mail, words))
        for enough in (20, 60):

            async def some_sent(least: int = enough) -> bool:
                return postfix.log().count(f"to=<{JOURNAL}>") >= least

            await until(some_sent, why=postfix.log)
            await child.kill()
            await child.start()

        async def all_sent() -> bool:
            lines = [line for line in postfix.log().splitlines() if f"to=<{JOURNAL}>" in line]
            return sum("status=sent" in line for line in lines) == len(words)

        await until(all_sent, why=postfix.log)
        assert "status=bounced" not in postfix.log()
    await child.kill()
    sealed = open_archive(tmp_path, "")
    stored = await with_word(store, sealed, mark)
    contents = b"".join(sealed.read(one.blob) for one in stored if one.blob is not None)
    assert [word for word in words if word.encode() not in contents] == []
    await Parser(store, sealed, intake, sandbox).parse([one.id for one in stored])
    assert len({one.interaction_id for one in await with_word(store, sealed, mark)}) == len(words)


class SmtpChild:
    """The door in a process of its own, on a port that stays."""

    def __init__(self, url: str, folder: Path) -> None:
        self._url, self._folder = url, folder
        self._process: asyncio.subprocess.Process | None = None
        self.port = 0

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.peer.smtp_door_child", self._url, str(self._folder), str(self.port), JOURNAL,
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert self._process.stdout is not None
        self.port = int(await asyncio.wait_for(self._process.stdout.readline(), _PATIENCE))

    async def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        await self._process.wait()


async def test_journal_reports_by_swaks_with_a_login_over_tls(
    store: Store, archive: Archive, intake: Intake, sandbox: Sandbox, pair: KeyPair, tmp_path: Path
) -> None:
    program = require("swaks")
    word = uuid.uuid4().hex
    report = tmp_path / "report.eml"
    report.write_bytes(journal().replace(b"order-7", word.encode()))
    more = {"tls_certificate": str(pair.certificate), "tls_key": str(pair.key)}
    accounts = [{"user": "exchange", "password": "Kolibri-7"}]
    async with listening(intake, **more, allow=["192.0.2.0/24"], account=accounts) as door:
        for port, tls, password, code in (
            (door.port, "--tls", "Kolibri-7", 0),
            (door.tls_port, "--tls-on-connect", "Kolibri-7", 0),
            (door.port, "--tls", "wrong", 28),
        ):
            options = ["--server", "127.0.0.1", "--port", str(port), "--from", "<>", "--to", JOURNAL, tls]
            login = ["--auth", "PLAIN", "--auth-user", "exchange", "--auth-password", password]
            process = await asyncio.create_subprocess_exec(
                program, *options, *login, "--data", f"@{report}", "--helo", "mail.example.com",
                stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            )  # fmt: skip
            said, _ = await process.communicate()
            assert process.returncode == code, said.decode()
    found = await with_word(store, archive, word)
    assert len(found) == 2
    await Parser(store, archive, intake, sandbox).parse([one.id for one in found])
    [number] = {one.interaction_id for one in await with_word(store, archive, word)}
    assert number is not None
    async with store.begin() as connection:
        people = (await interactions.list_parties(connection, [number]))[number]
    assert ("bcc", "head@example.com") in {(one.position, one.value) for one in people}


@pytest.mark.parametrize("way", ["starttls", "tls"])
async def test_openssl_shakes_hands(pair: KeyPair, way: str) -> None:
    program = require("openssl")
    intake = MemoryIntake()
    async with door(intake, tls_certificate=str(pair.certificate), tls_key=str(pair.key)) as server:
        port = server.port if way == "starttls" else server.tls_port
        process = await asyncio.create_subprocess_exec(
            program, "s_client", "-connect", f"127.0.0.1:{port}", "-quiet", "-crlf",
            *(["-starttls", "smtp"] if way == "starttls" else []),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        assert process.stdin is not None and process.stdout is not None
        said = b""
        for line in (b"EHLO x", b"MAIL FROM:<a@example.com>", b"RCPT TO:<b@example.com>", b"DATA"):
            process.stdin.write(line + b"\n")
            said += await asyncio.wait_for(process.stdout.readuntil(b"\n"), 20)
        while b"\r\n354 " not in said:
            said += await asyncio.wait_for(process.stdout.readuntil(b"\n"), 20)
        process.stdin.write(b"Subject: x\n\n1\n.\n")
        assert (await asyncio.wait_for(process.stdout.readuntil(b"\n"), 20))[:3] == b"250"
        process.stdin.close()
        process.terminate()
        await process.wait()
    assert [one.raw for one in intake.mails] == [b"Subject: x\r\n\r\n1\r\n"]


async def test_a_crowd_that_holds_on_keeps_no_mail_server_out() -> None:
    """One machine opens as many connections as it can, in the middle of everything; smtp-source brings its mail."""
    program = require("smtp-source")
    intake = MemoryIntake()
    async with door(intake, source_connections=100) as server:
        crowd = await asyncio.gather(*(Client.connect(server.port, source="127.0.0.9") for _ in range(500)))
        let_in = [one for one in crowd if (await one.reply())[:3] == "220"]
        assert len(let_in) == 100
        for number, one in enumerate(let_in):
            one.send((b"EHLO", b"EHLO x\r\nMAIL FROM:<", b"EHLO x\r\nMAIL FROM:<a@example.com>\r\n")[number % 3])
        process = await asyncio.create_subprocess_exec(
            program, "-s", "20", "-m", "500", "-l", "4000", "-f", "a@example.com", "-t", "b@example.com",
            f"inet:127.0.0.1:{server.port}",
        )  # fmt: skip
        assert await asyncio.wait_for(process.wait(), _PATIENCE) == 0
        for one in crowd:
            one.close()
    assert len(intake.mails) == 500
