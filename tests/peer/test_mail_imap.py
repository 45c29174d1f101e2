"""Mailboxes on a live Dovecot, into the real archive and database."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence

import pytest

from agent.errors import DatabaseUnavailable
from agent.intake import Intake
from agent.mail.imap import wire
from agent.mail.imap.plan import FolderStatus
from agent.mail.imap.session import ImapSession
from agent.model import CapturedMail, MailboxPosition, SourceState
from tests.peer.dovecot import Dovecot
from tests.peer.mailbox_lab import Watched, dovecot, messages, short_pauses, until_state, watch

__all__ = ["dovecot", "short_pauses", "watch"]  # fixtures

pytestmark = pytest.mark.timeout(120)


async def test_inbox_and_sent_are_archived_byte_by_byte(dovecot: Dovecot, watch: Callable[..., Watched]) -> None:
    received, sent = messages(120), messages(30, start=1000, size=300_000 // 10)
    await asyncio.to_thread(dovecot.append, "INBOX", received)
    await asyncio.to_thread(dovecot.append, dovecot.sent, sent)
    async with watch() as watched:
        await watched.until_archived(received + sent)
        await until_state(watched, SourceState.RUNNING)
        inbox = await watched.position("INBOX")
        assert (inbox.low_uid, inbox.high_uid) == (1, 120)
    assert watched.state() is SourceState.STOPPED


async def test_large_mails_go_through_the_disk_byte_by_byte(
    dovecot: Dovecot, watch: Callable[..., Watched], monkeypatch: pytest.MonkeyPatch
) -> None:
    spooled = itertools.count()
    real = wire._unnamed
    monkeypatch.setattr(wire, "_unnamed", lambda folder: (next(spooled), real(folder))[1])
    received = [*messages(3), *messages(2, start=10, size=3_000_000), *messages(2, start=20)]
    await asyncio.to_thread(dovecot.append, "INBOX", received)
    async with watch() as watched:
        await watched.until_archived(received)
        await until_state(watched, SourceState.RUNNING)
    assert next(spooled) == 2


async def test_quiet_folders_are_asked_for_in_one_command(
    dovecot: Dovecot, watch: Callable[..., Watched], monkeypatch: pytest.MonkeyPatch
) -> None:
    """LIST-STATUS: in a round without news only the first folder is opened, and news are seen all the same."""
    opened: list[str] = []
    real = ImapSession.examine

    def examine(session: ImapSession, folder: str) -> FolderStatus:
        opened.append(folder)
        return real(session, folder)

    monkeypatch.setattr(ImapSession, "examine", examine)
    received, sent, more = messages(2), messages(1, start=10), messages(1, start=20)
    with dovecot.client() as client:
        client.create("Archive")
    await asyncio.to_thread(dovecot.append, "INBOX", received)
    await asyncio.to_thread(dovecot.append, dovecot.sent, sent)
    async with watch(poll_seconds=1) as watched:
        await watched.until_archived(received + sent)
        await until_state(watched, SourceState.RUNNING)
        opened.clear()
        async with asyncio.timeout(30):
            while opened.count("INBOX") < 3:  # noqa: ASYNC110 - told from another thread
                await asyncio.sleep(0.05)
        assert set(opened[2:]) == {"INBOX"}, opened
        await asyncio.to_thread(dovecot.append, "Archive", more)
        await watched.until_archived(received + sent + more)
        assert "Archive" in opened


async def test_nothing_is_marked_as_seen(dovecot: Dovecot, watch: Callable[..., Watched]) -> None:
    received = messages(3)
    await asyncio.to_thread(dovecot.append, "INBOX", received)
    async with watch() as watched:
        await watched.until_archived(received)
    with dovecot.client() as client:
        client.select("INBOX", readonly=True)
        assert client.search(None, "UNSEEN")[1] == [b"1 2 3"]


async def test_the_server_tells_of_new_mail(dovecot: Dovecot, watch: Callable[..., Watched]) -> None:
    """With a look every 300 seconds only IDLE can be the reason that it comes at once; Sent is looked at then too."""
    first, second, sent = messages(1), messages(2, start=1), messages(1, start=10)
    await asyncio.to_thread(dovecot.append, "INBOX", first)
    async with watch() as watched:
        await watched.until_archived(first)
        await asyncio.sleep(1)  # until it idles
        await asyncio.to_thread(dovecot.append, dovecot.sent, sent)
        await asyncio.to_thread(dovecot.append, "INBOX", second)
        await watched.until_archived(first + second + sent)


async def test_mail_that_comes_during_the_first_pass_is_archived(
    dovecot: Dovecot, watch: Callable[..., Watched], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.mail.imap.plan.BATCH_MAILS", 2)
    monkeypatch.setattr("agent.mail.imap.plan.FIRST_CHUNK", 5)
    old, new = messages(100), messages(20, start=100)
    await asyncio.to_thread(dovecot.append, "INBOX", old)
    async with watch() as watched:
        for one in new:
            await asyncio.to_thread(dovecot.append, "INBOX", [one])
        await watched.until_archived(old + new)


async def test_the_newest_come_first(
    dovecot: Dovecot, watch: Callable[..., Watched], intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[int] = []
    store_evidence = intake.store_evidence

    async def noting(mails: Sequence[CapturedMail], *, position: MailboxPosition | None = None) -> list[int]:
        order.extend(int(mail.envelope["uid"]) for mail in mails)
        return await store_evidence(mails, position=position)

    monkeypatch.setattr(intake, "store_evidence", noting)
    received = messages(70)
    await asyncio.to_thread(dovecot.append, "INBOX", received)
    async with watch() as watched:
        await watched.until_archived(received)
    assert order == list(range(70, 0, -1))


async def test_deleting_in_the_mailbox_deletes_nothing_here(dovecot: Dovecot, watch: Callable[..., Watched]) -> None:
    received, later = messages(10), messages(1, start=50)
    await asyncio.to_thread(dovecot.append, "INBOX", received)
    async with watch() as watched:
        await watched.until_archived(received)
        await asyncio.to_thread(dovecot.expunge, "INBOX", "3:10")
        await asyncio.to_thread(dovecot.append, "INBOX", later)
        await watched.until_archived(received + later)


async def test_a_killed_server_is_come_back_to(dovecot: Dovecot, watch: Callable[..., Watched]) -> None:
    first, second = messages(5), messages(5, start=5)
    await asyncio.to_thread(dovecot.append, "INBOX", first)
    async with watch() as watched:
        await watched.until_archived(first)
        dovecot.kill()
        detail = await until_state(watched, SourceState.UNREACHABLE)
        assert "127.0.0.1" in detail
        await dovecot.start()
        await asyncio.to_thread(dovecot.append, "INBOX", second)
        await watched.until_archived(first + second)
        await until_state(watched, SourceState.RUNNING)


async def test_an_archive_that_is_away_costs_nothing(
    dovecot: Dovecot, watch: Callable[..., Watched], intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every third commit fails: batches are fetched again, no mark moves past them, nothing comes twice."""
    monkeypatch.setattr("agent.mail.imap.plan.BATCH_MAILS", 5)
    store_evidence = intake.store_evidence
    attempts = itertools.count(1)

    async def failing(mails: Sequence[CapturedMail], *, position: MailboxPosition | None = None) -> list[int]:
        if next(attempts) % 3 == 0:
            raise DatabaseUnavailable("The database does not answer.")
        return await store_evidence(mails, position=position)

    monkeypatch.setattr(intake, "store_evidence", failing)
    received = messages(60)
    await asyncio.to_thread(dovecot.append, "INBOX", received)
    async with watch() as watched:
        await watched.until_archived(received)
    assert any("database" in detail for _, detail in watched.states)


async def test_a_wrong_password_is_said_to_be_that(watch: Callable[..., Watched]) -> None:
    async with watch(password="wrong") as watched:
        detail = await until_state(watched, SourceState.LOGIN_FAILED)
    assert "password" in detail
    assert "wrong" not in detail


async def test_nobody_listening_is_unreachable(watch: Callable[..., Watched]) -> None:
    async with watch(port=1) as watched:
        assert "port 1 cannot be reached" in await until_state(watched, SourceState.UNREACHABLE)


async def test_a_server_without_tls_is_unreachable(watch: Callable[..., Watched]) -> None:
    async with watch(tls=True) as watched:
        await until_state(watched, SourceState.UNREACHABLE)


async def test_a_missing_folder_is_named_and_the_others_are_read(
    dovecot: Dovecot, watch: Callable[..., Watched]
) -> None:
    received = messages(2)
    await asyncio.to_thread(dovecot.append, "INBOX", received)
    async with watch(folders=["INBOX", "Архив"], poll_seconds=1) as watched:
        assert "Архив" in await until_state(watched, SourceState.FOLDER_MISSING)
        await watched.until_archived(received)
        with dovecot.client() as client:
            client.create("&BBAEQARFBDgEMg-")
        await until_state(watched, SourceState.RUNNING)


async def test_a_change_of_uidvalidity_drops_nothing_and_doubles_nothing(
    dovecot: Dovecot, watch: Callable[..., Watched]
) -> None:
    first, second = messages(10), messages(2, start=10)
    await asyncio.to_thread(dovecot.append, "INBOX", first)
    async with watch() as watched:
        await watched.until_archived(first)
        before = await watched.position("INBOX")
        await watched.mailbox.stop()
        dovecot.kill()
        await asyncio.to_thread(dovecot.expunge_behind_its_back, 4)
        dovecot.change_uidvalidity()
        await dovecot.start()
        await asyncio.to_thread(dovecot.append, "INBOX", second)
        await watched.restart()
        await watched.until_archived(first + second)
        after = await watched.position("INBOX")
    assert after.uidvalidity != before.uidvalidity
    assert (after.low_uid, after.high_uid) == (1, 8)


async def test_a_restart_goes_on_where_it_was(dovecot: Dovecot, watch: Callable[..., Watched]) -> None:
    received, later = messages(30), messages(3, start=30)
    await asyncio.to_thread(dovecot.append, "INBOX", received)
    async with watch() as watched:
        await watched.until_archived(received)
        await watched.mailbox.stop()
        await asyncio.to_thread(dovecot.append, "INBOX", later)
        await watched.restart()
        await watched.until_archived(received + later)


async def test_stopping_is_prompt_while_it_idles(dovecot: Dovecot, watch: Callable[..., Watched]) -> None:
    async with watch() as watched:
        await until_state(watched, SourceState.RUNNING)
        await asyncio.sleep(1)
        async with asyncio.timeout(10):  # it would idle for 300 seconds
            await watched.mailbox.stop()
        assert watched.state() is SourceState.STOPPED
