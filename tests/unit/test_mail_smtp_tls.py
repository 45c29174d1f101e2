"""The SMTP door: STARTTLS, TLS from the first byte, logins, and what came before a handshake."""

from __future__ import annotations

import asyncio
import base64
import smtplib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from agent.errors import Misconfigured
from agent.mail.smtp import SmtpServer
from tests.certificates import Authority, KeyPair
from tests.unit.smtp_lab import Client, MemoryIntake, door, settings

ACCOUNT = {"user": "branch", "password": "Kolibri-7"}
MAIL = b"Subject: x\r\n\r\n1\r\n"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def pair(authority: Authority) -> KeyPair:
    return authority.issue("mx")


def tls(pair: KeyPair, **more: object) -> dict[str, object]:
    return {"tls_certificate": str(pair.certificate), "tls_key": str(pair.key), **more}


@pytest.fixture
def intake() -> MemoryIntake:
    return MemoryIntake()


@pytest.fixture
async def server(intake: MemoryIntake, pair: KeyPair) -> AsyncIterator[SmtpServer]:
    async with door(intake, **tls(pair)) as server:
        yield server


@pytest.fixture
async def outside(intake: MemoryIntake, pair: KeyPair) -> AsyncIterator[SmtpServer]:
    """We are no allowed network: a login is needed."""
    async with door(intake, **tls(pair, allow=["192.0.2.0/24"], account=[ACCOUNT])) as server:
        yield server


def send(client: smtplib.SMTP) -> dict[str, Any]:
    return client.sendmail("a@example.com", ["b@example.com"], MAIL)


async def test_starttls_and_tls_from_the_first_byte(
    server: SmtpServer, intake: MemoryIntake, authority: Authority
) -> None:
    context = authority.client_context()

    def both() -> None:
        with smtplib.SMTP("127.0.0.1", server.port, timeout=10) as client:
            client.ehlo()
            assert client.has_extn("starttls") and not client.has_extn("auth")
            client.starttls(context=context)
            client.ehlo()
            assert not client.has_extn("starttls")
            send(client)
            send(client)
        assert server.tls_port is not None
        with smtplib.SMTP_SSL("127.0.0.1", server.tls_port, timeout=10, context=context) as client:
            send(client)

    await asyncio.to_thread(both)
    assert [mail.raw for mail in intake.mails] == [MAIL] * 3
    assert {mail.envelope["tls"] for mail in intake.mails} == {"TLSv1.3"}


async def test_without_a_certificate_there_is_no_tls(intake: MemoryIntake) -> None:
    async with door(intake) as server:
        assert server.tls_port is None
        client = await Client.connect(server.port)
        await client.reply()
        client.send(b"EHLO x\r\n")
        offered = (await asyncio.wait_for(client.reader.readuntil(b"250 HELP\r\n"), 10)).decode()
        assert "STARTTLS" not in offered and "AUTH" not in offered
        assert (await client.ask(b"STARTTLS\r\n"))[:3] == "454"
        assert (await client.ask(b"AUTH PLAIN AGEAYg==\r\n"))[:3] == "503"
        client.close()


@pytest.mark.parametrize(
    "smuggled",
    [
        b"MAIL FROM:<evil@example.net>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n",
        b"EHLO evil\r\n",
        b"MAIL FROM:<evil@example.net>\r\n" * 500,
        b"MAIL FROM:<half@example.net>",
    ],
    ids=["mail", "ehlo", "many", "half a line"],
)
async def test_commands_before_the_handshake_are_dropped(
    server: SmtpServer, intake: MemoryIntake, authority: Authority, smuggled: bytes
) -> None:
    """STARTTLS injection (CVE-2011-0411): what came in the clear behind STARTTLS is not carried out after it."""
    client = await Client.connect(server.port)
    await client.reply()
    await client.ask(b"EHLO x\r\n")
    assert (await client.ask(b"STARTTLS\r\n" + smuggled))[:3] == "220"
    await client.writer.start_tls(authority.client_context(), server_hostname="127.0.0.1")
    assert (await client.ask(b"DATA\r\n"))[:3] == "503"  # neither MAIL nor the EHLO of before are known
    assert (await client.ask(b"EHLO good\r\n"))[:3] == "250"
    assert (await client.ask(b"MAIL FROM:<good@example.com>\r\n"))[:3] == "250"
    await client.ask(b"RCPT TO:<b@example.com>\r\n")
    await client.ask(b"DATA\r\n")
    assert (await client.ask(MAIL + b".\r\n"))[:3] == "250"
    client.close()
    assert [(mail.envelope["mail_from"], mail.envelope["helo"]) for mail in intake.mails] == [
        ("good@example.com", "good")
    ]


async def test_required_tls_is_required(intake: MemoryIntake, pair: KeyPair, authority: Authority) -> None:
    async with door(intake, **tls(pair, require_tls=True)) as server:
        client = await Client.connect(server.port)
        await client.reply()
        await client.ask(b"EHLO x\r\n")
        assert (await client.ask(b"MAIL FROM:<a@example.com>\r\n"))[:3] == "530"
        client.close()

        def whole() -> None:
            with smtplib.SMTP("127.0.0.1", server.port, timeout=10) as client:
                client.starttls(context=authority.client_context())
                send(client)

        await asyncio.to_thread(whole)
    assert len(intake.mails) == 1


async def test_a_login_opens_the_door_to_other_networks(
    outside: SmtpServer, intake: MemoryIntake, authority: Authority
) -> None:
    def sessions() -> None:
        assert outside.tls_port is not None
        with smtplib.SMTP_SSL("127.0.0.1", outside.tls_port, timeout=10, context=authority.client_context()) as client:
            with pytest.raises(smtplib.SMTPSenderRefused) as refused:
                send(client)
            assert refused.value.smtp_code == 530
            with pytest.raises(smtplib.SMTPAuthenticationError):
                client.login("branch", "wrong")
            client.login("branch", "Kolibri-7")
            send(client)
        with smtplib.SMTP("127.0.0.1", outside.port, timeout=10) as client:
            client.starttls(context=authority.client_context())
            client.user, client.password = "branch", "Kolibri-7"
            client.ehlo()
            assert client.auth("LOGIN", client.auth_login)[0] == 235
            send(client)

    await asyncio.to_thread(sessions)
    assert len(intake.mails) == 2


async def test_a_login_in_the_clear_is_refused(outside: SmtpServer) -> None:
    client = await Client.connect(outside.port)
    await client.reply()
    await client.ask(b"EHLO x\r\n")
    secret = base64.b64encode(b"\0branch\0Kolibri-7")
    assert (await client.ask(b"AUTH PLAIN " + secret + b"\r\n"))[:10] == "538 5.7.11"
    assert (await client.ask(b"MAIL FROM:<a@example.com>\r\n"))[:3] == "530"
    client.close()


async def test_odd_logins(outside: SmtpServer, authority: Authority) -> None:
    async def begin() -> Client:
        client = Client(*await asyncio.open_connection("127.0.0.1", outside.tls_port, ssl=authority.client_context()))
        await client.reply()
        return client

    client = await begin()
    assert (await client.ask(b"AUTH PLAIN\r\n"))[:3] == "503"
    await client.ask(b"EHLO x\r\n")
    assert (await client.ask(b"AUTH\r\n"))[:3] == "504"
    assert (await client.ask(b"AUTH GSSAPI\r\n"))[:3] == "504"
    assert (await client.ask(b"AUTH plain =\r\n"))[:3] == "501"
    assert (await client.ask(b"AUTH PLAIN ####\r\n"))[:3] == "501"
    assert (await client.ask(b"AUTH LOGIN\r\n"))[:3] == "334"
    assert (await client.ask(b"*\r\n"))[:3] == "501"
    assert (await client.ask(b"AUTH LOGIN\r\n"))[:3] == "334"
    assert (await client.ask(b"/w==\r\n"))[:3] == "501"
    assert (await client.ask(b"AUTH PLAIN\r\n"))[:3] == "334"
    assert (await client.ask(base64.b64encode(b"\0branch\0Kolibri-7") + b"\r\n"))[:3] == "235"
    assert (await client.ask(b"AUTH PLAIN\r\n"))[:3] == "503"
    client.close()

    client = await begin()
    await client.ask(b"EHLO x\r\n")
    guess = b"AUTH PLAIN " + base64.b64encode(b"\0branch\0guess") + b"\r\n"
    assert [(await client.ask(guess))[:3] for _ in range(3)] == ["535"] * 3
    assert (await client.reply())[:3] == "421"
    assert await client.reply() == ""
    client.close()


async def test_a_handshake_that_fails_costs_one_connection(server: SmtpServer, intake: MemoryIntake) -> None:
    client = await Client.connect(server.port)
    await client.reply()
    await client.ask(b"EHLO x\r\n")
    await client.ask(b"STARTTLS\r\n")
    client.send(b"this is no ClientHello\r\n" * 100)
    assert "250" not in await client.reply()
    plain = await Client.connect(server.tls_port or 0)
    plain.send(b"EHLO x\r\nMAIL FROM:<a@example.com>\r\n")
    assert (await asyncio.wait_for(plain.reader.read(3), 10)) != b"220"
    for one in (client, plain):
        one.close()
    other = await Client.connect(server.port)
    assert (await other.begin())[:3] == "354"
    other.close()


async def test_a_renewed_certificate_is_shown_without_a_restart(
    intake: MemoryIntake, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.mail.smtp.server._RENEW_SECONDS", 0.01)
    pair = authority.issue("renewed")

    async def serial(port: int) -> str:
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=authority.client_context())
        found: str = writer.get_extra_info("peercert")["serialNumber"]
        writer.close()
        return found

    async with door(intake, **tls(pair)) as server:
        assert server.tls_port is not None
        first = await serial(server.tls_port)
        authority.issue("renewed")
        for _ in range(1000):
            if await serial(server.tls_port) != first:
                return
            await asyncio.sleep(0.01)
    raise AssertionError("the old one is still shown")


async def test_a_certificate_that_cannot_be_used_ends_the_start(tmp_path: Path, pair: KeyPair) -> None:
    (tmp_path / "x").write_text("nonsense")
    server = SmtpServer(settings(tls_certificate=str(pair.certificate), tls_key=str(tmp_path / "x")), MemoryIntake())
    with pytest.raises(Misconfigured, match=r"smtp\.tls_key"):
        await server.start()


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
async def test_old_versions_are_refused(server: SmtpServer, authority: Authority) -> None:
    old = authority.client_context()
    old.set_ciphers("ALL:@SECLEVEL=0")
    old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with pytest.raises(OSError):
        await asyncio.open_connection("127.0.0.1", server.tls_port, ssl=old)
