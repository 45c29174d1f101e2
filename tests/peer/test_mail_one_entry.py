"""The same mail from three mailboxes of a live Dovecot and from a mail server's journal is one entry."""

from __future__ import annotations

import asyncio
import imaplib
import smtplib
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack

import pytest
from sqlalchemy import text

from agent.archive.blobs import Archive
from agent.intake import Intake
from agent.mail.parser import Parser
from agent.mail.sandbox import Sandbox
from agent.mail.smtp import SmtpServer
from agent.model import Identity, IdentityKind, LinkState
from agent.settings import Settings
from agent.store import cards, employees, evidence, history
from agent.store.engine import Store
from linker.link import Linker
from tests.peer.dovecot import PASSWORD, Dovecot
from tests.peer.mailbox_lab import Watched, dovecot, short_pauses, watch
from tests.unit.journal_mails import journal
from tests.unit.smtp_lab import settings

__all__ = ["dovecot", "short_pauses", "watch"]  # fixtures

pytestmark = pytest.mark.timeout(120)

ANNA, PETROV = "anna@example.com", "petrov@client.example.org"
HEADER = (
    "Message-ID: <offer-1@client.example.org>\r\nDate: Mon, 2 Mar 2026 10:00:00 +0300\r\n"
    f"From: Petrov <{PETROV}>\r\nTo: {ANNA}, boris@example.com\r\nCc: sales@example.com\r\n"
    "Subject: Delivery of tables\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
    "We take twenty tables, if they come before the end of the month.\r\n"
)


def as_received(by: str, *, footer: str = "") -> bytes:
    """A copy has the headers of its own way, and what a gateway adds."""
    return f"Received: from mx.example.com by {by}; Mon, 2 Mar 2026 10:00:05 +0300\r\n{HEADER}{footer}".encode()


@pytest.fixture
def mailboxes_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each user has a Maildir of his own."""
    prepare = Dovecot._prepare

    def with_users(self: Dovecot) -> None:
        prepare(self)
        path = self.folder / "dovecot.conf"
        path.write_text(path.read_text().replace(f"maildir:{self.mail}", f"maildir:{self.mail}/%n"))

    monkeypatch.setattr(Dovecot, "_prepare", with_users)


def append(server: Dovecot, user: str, message: bytes) -> None:
    client = imaplib.IMAP4("127.0.0.1", server.port)
    client.login(user, PASSWORD)
    assert client.append("INBOX", "", "", message)[0] == "OK"
    client.logout()


async def read_all(store: Store, archive: Archive, intake: Intake) -> None:
    """What the parse job does."""
    sandbox = Sandbox()
    async with store.begin() as connection:
        ids = list((await connection.execute(text("SELECT id FROM evidence ORDER BY id DESC"))).scalars())
    await Parser(store, archive, intake, sandbox).parse(ids)
    await sandbox.stop()


async def empty(store: Store) -> None:
    async with store.begin() as connection:
        tables = "interaction, client_card, employee, evidence, mailbox_folder, procrastinate_jobs"
        await connection.execute(text(f"TRUNCATE {tables} RESTART IDENTITY CASCADE"))


async def meet(store: Store) -> int:
    """Anna, and Petrov's card."""
    async with store.begin() as connection:
        anna = await employees.insert_employee(connection, "Anna")
        await employees.insert_identity(connection, anna, Identity(kind=IdentityKind.ADDRESS, value=ANNA))
        card_id = await cards.insert_card(connection, "Petrov")
        identity = Identity(kind=IdentityKind.ADDRESS, value=PETROV)
        await cards.insert_contact_point(connection, card_id, identity)
    return card_id


REPORT = (
    f"Sender: {PETROV}\r\nSubject: Delivery of tables\r\nMessage-ID: <offer-1@client.example.org>\r\n"
    f"To: {ANNA}\r\nTo: boris@example.com\r\nCc: sales@example.com\r\nBcc: head@example.com\r\n"
).encode()


@pytest.mark.parametrize(
    "journaled",
    [as_received("journal"), journal(REPORT, as_received("journal"))],
    ids=["a copy of Postfix", "a report of Exchange"],
)
async def test_three_mailboxes_and_a_journal_are_one_entry_with_four_pieces_of_evidence(
    journaled: bytes,
    mailboxes_apart: None,
    dovecot: Dovecot,
    watch: Callable[..., Watched],
    store: Store,
    archive: Archive,
    intake: Intake,
) -> None:
    await empty(store)
    card_id = await meet(store)
    copies = {
        ANNA: as_received("anna"),
        "boris@example.com": as_received("boris", footer="-- \r\nScanned by the gateway.\r\n"),
        "sales@example.com": as_received("sales"),
    }
    server = SmtpServer(settings(journal=("journal@",)), intake)
    await server.start()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(server.stop)
        for user, message in copies.items():
            await asyncio.to_thread(append, dovecot, user, message)
        boxes = [await stack.enter_async_context(watch(user=user)) for user in copies]
        await asyncio.to_thread(_journal, server.port, journaled)
        for box, message in zip(boxes, copies.values(), strict=True):
            await box.until_archived([message])
    await read_all(store, archive, intake)
    await _check(store, card_id, ["imap", "imap", "imap", "smtp"])


def _journal(port: int, message: bytes) -> None:
    with smtplib.SMTP("127.0.0.1", port, timeout=30) as client:
        client.sendmail(PETROV, ["journal@in.example.com"], message)


async def _check(store: Store, card_id: int, sources: Sequence[str]) -> None:
    async with store.begin() as connection:
        (number,) = (await connection.execute(text("SELECT id FROM interaction"))).scalars()
    await Linker(store, Settings()).link([number])
    async with store.begin() as connection:
        proofs = await evidence.list_evidence_of(connection, number)
        (place,) = await history.list_history(connection, card_id)
        (entry,) = await history.load_entries(connection, [place.id])
    assert sorted(one.source.partition(":")[0] for one in proofs) == list(sources)
    assert len({one.blob.name for one in proofs if one.blob is not None}) == len(sources)
    assert (entry.interaction.id, entry.evidence_count) == (number, len(sources))
    assert [one.state for one in entry.links] == [LinkState.LINKED]
    assert entry.message is not None
    assert entry.message.subject == "Delivery of tables"
