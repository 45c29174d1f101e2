"""The SMTP door, spoken to by smtplib and by raw sockets."""

from __future__ import annotations

import asyncio
import smtplib
import socket
from collections.abc import AsyncIterator

import pytest

from agent.errors import ArchiveUnavailable
from agent.mail.smtp import SmtpServer
from tests.unit.smtp_lab import Client, MemoryIntake, deliver, settings, talk


@pytest.fixture
def intake() -> MemoryIntake:
    return MemoryIntake()


@pytest.fixture
async def server(intake: MemoryIntake) -> AsyncIterator[SmtpServer]:
    server = SmtpServer(settings(max_bytes=8 * 1024 * 1024), intake)
    await server.start()
    yield server
    await server.stop()


NASTY = {
    "8 bit": b"Subject: \xcf\xf0\xe8\xe2\xe5\xf2\r\n\r\n\xc4\xee\xe1\xf0\xfb\xe9 \xe4\xe5\xed\xfc \x80\xff\x00\r\n",
    "long line": b"Subject: x\r\n\r\n" + b"a" * 3_000_000 + b"\r\n",
    "dots": b"Subject: x\r\n\r\n.\r\n..\r\n.a\r\n...\r\n end\r\n",
    "trailing blanks": b"Subject:   x  \r\n\tfolded \t\r\n\r\n\r\n \t \r\n\r\n",
    "no header": b"\r\n",
    "no colon": b"this is no header at all\r\n",
    "bare cr and lf": b"Subject: x\r\n\r\na\rb\nc\n\nd\r\re\r\n",
    "many lines": b"Subject: x\r\n\r\n" + b"0123456789\r\n" * 100_000,
}


@pytest.mark.parametrize("content", NASTY.values(), ids=NASTY.keys())
async def test_bytes_are_kept_exactly_as_sent(server: SmtpServer, intake: MemoryIntake, content: bytes) -> None:
    stuffed = b"\r\n".join(b"." + line if line.startswith(b".") else line for line in content.split(b"\r\n"))
    answers = await talk(
        server.port,
        b"EHLO pbx.example.com\r\nMAIL FROM:<a@example.com> BODY=8BITMIME\r\nRCPT TO:<b@example.com>\r\nDATA\r\n",
        stuffed + b".\r\nQUIT\r\n",
        replies=7,
    )
    assert [answer[:3] for answer in answers] == ["220", "250", "250", "250", "354", "250", "221"]
    assert [mail.raw for mail in intake.mails] == [content]


async def test_the_envelope_is_kept(server: SmtpServer, intake: MemoryIntake) -> None:
    await talk(
        server.port,
        b"EHLO pbx.example.com\r\nMAIL FROM:<> BODY=8BITMIME SIZE=20\r\nRCPT TO:<b@example.com>\r\n",
        "RCPT TO:<анна@example.com>\r\nRCPT TO:<odd..@example.com>\r\nRCPT TO:<\udcff@example.com>\r\n".encode(
            "utf-8", "surrogateescape"
        ),
        b"DATA\r\n",
        b"Subject: x\r\n\r\n.\r\nQUIT\r\n",
        replies=9,
    )
    [mail] = intake.mails
    assert mail.source == "smtp"
    assert mail.envelope == {
        "mail_from": "",
        "rcpt_to": ["b@example.com", "анна@example.com", "odd..@example.com", "\\xff@example.com"],
        "mail_options": ["BODY=8BITMIME", "SIZE=20"],
        "helo": "pbx.example.com",
        "esmtp": True,
        "peer": "127.0.0.1",
    }


async def test_each_delivery_is_an_evidence_of_its_own(server: SmtpServer, intake: MemoryIntake) -> None:
    content = b"Message-ID: <1@example.com>\r\n\r\nsame\r\n"
    assert await asyncio.to_thread(deliver, server.port, content, times=2) == [250, 250]
    assert len({mail.key for mail in intake.mails}) == 2


@pytest.mark.parametrize("fault", [ArchiveUnavailable("The disk is full."), RuntimeError("a bug"), KeyError("x")])
async def test_a_fault_of_ours_is_temporary_and_the_session_goes_on(
    server: SmtpServer, intake: MemoryIntake, fault: Exception
) -> None:
    intake.fault = fault
    client = await Client.connect(server.port)
    assert (await client.begin())[:3] == "354"
    assert (await client.ask(b"Subject: x\r\n\r\n1\r\n.\r\n"))[:3] == "451"
    intake.fault = None
    client.send(b"MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n")
    assert [(await client.reply())[:3] for _ in range(3)] == ["250", "250", "354"]
    assert (await client.ask(b"Subject: x\r\n\r\n1\r\n.\r\n"))[:3] == "250"
    assert (await client.ask(b"QUIT\r\n"))[:3] == "221"
    client.close()
    assert len(intake.mails) == 1


async def test_no_250_before_the_commit(server: SmtpServer, intake: MemoryIntake) -> None:
    intake.gate.clear()
    delivery = asyncio.create_task(asyncio.to_thread(deliver, server.port, b"Subject: x\r\n\r\n1\r\n"))
    done, _ = await asyncio.wait({delivery}, timeout=0.5)
    assert not done
    assert intake.mails == []
    intake.gate.set()
    assert await delivery == [250]
    assert len(intake.mails) == 1


async def test_a_fault_outside_of_the_handler_is_temporary_too(
    server: SmtpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("agent.mail.smtp.connection.Connection._captured", explode)
    assert await asyncio.to_thread(deliver, server.port, b"Subject: x\r\n\r\n") == [451]


SMUGGLED = (
    b"\nMAIL FROM:<evil@example.net>\r\nRCPT TO:<b@example.com>\r\nDATA\r\nSubject: smuggled\r\n\r\n.\r\nQUIT\r\n"
)


@pytest.mark.parametrize("end", [b"\n.\r", b"\n.", b"\r.\r", b"\r."], ids=repr)
async def test_only_crlf_dot_crlf_ends_a_message(server: SmtpServer, intake: MemoryIntake, end: bytes) -> None:
    """SMTP smuggling: an end of data with bare CR or LF begins no second message (RFC 5321, 4.1.1.4)."""
    await talk(
        server.port,
        b"EHLO x\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n",
        b"Subject: first\r\n\r\nx" + end + SMUGGLED,
        replies=7,
    )
    assert [mail.envelope["mail_from"] for mail in intake.mails] == ["a@example.com"]
    assert b"smuggled" in intake.mails[0].raw


async def test_a_message_over_the_limit_is_refused_for_good(server: SmtpServer, intake: MemoryIntake) -> None:
    content = b"Subject: x\r\n\r\n" + b"0123456789\r\n" * 800_000
    lines = await talk(
        server.port,
        b"EHLO x\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n",
        content + b".\r\n",
        b"MAIL FROM:<a@example.com> SIZE=99999999\r\nQUIT\r\n",
        replies=8,
    )
    assert [line[:3] for line in lines] == ["220", "250", "250", "250", "354", "552", "552", "221"]
    assert intake.mails == []


async def test_ehlo_offers_what_is_kept(server: SmtpServer) -> None:
    def offered() -> set[str]:
        with smtplib.SMTP("127.0.0.1", server.port, timeout=10) as client:
            client.ehlo("x")
            return set(client.esmtp_features)

    assert {"size", "8bitmime", "smtputf8", "pipelining"} <= await asyncio.to_thread(offered)


async def test_a_cut_connection_stores_nothing(server: SmtpServer, intake: MemoryIntake) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"EHLO x\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.com>\r\nDATA\r\nSubject: half")
    await writer.drain()
    writer.close()
    assert await asyncio.to_thread(deliver, server.port, b"Subject: whole\r\n\r\n") == [250]
    assert len(intake.mails) == 1


async def test_garbage_costs_one_session(server: SmtpServer) -> None:
    await talk(server.port, bytes(range(256)) * 100 + b"\r\n" * 50, replies=1)
    assert await asyncio.to_thread(deliver, server.port, b"Subject: x\r\n\r\n") == [250]


async def test_foreign_networks_are_refused(intake: MemoryIntake) -> None:
    server = SmtpServer(settings(allow=["192.0.2.0/24"]), intake)
    await server.start()
    lines = await talk(server.port, b"EHLO x\r\n", replies=9)
    await server.stop()
    assert [line[:3] for line in lines] == ["554"]


async def test_too_many_connections_are_asked_to_come_back(intake: MemoryIntake) -> None:
    server = SmtpServer(settings(max_connections=1), intake)
    await server.start()
    with socket.create_connection(("127.0.0.1", server.port)) as first:
        greeting = await asyncio.to_thread(first.recv, 3)
        lines = await talk(server.port, replies=9)
    assert greeting == b"220"
    assert [line[:3] for line in lines] == ["421"]
    await server.stop()
