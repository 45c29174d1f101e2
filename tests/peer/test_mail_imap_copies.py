"""What becomes of messages in a live mailbox: moved, deleted, there again, flagged, drafted; and which are read."""

from __future__ import annotations

import asyncio
import imaplib
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy import select

from agent.mail.imap import reader
from agent.mail.imap.session import ImapSession, Listed
from agent.model import SourceState
from agent.store.engine import Store
from agent.store.schema import mailbox_copy
from tests.peer.dovecot import Dovecot
from tests.peer.mailbox_lab import Watched, dovecot, messages, short_pauses, until, until_state, watch

__all__ = ["dovecot", "short_pauses", "watch"]  # fixtures

pytestmark = pytest.mark.timeout(120)


def command(server: Dovecot, folder: str, *words: str, expunge: bool = False) -> None:
    """UID command in a folder that is open for writing, as a mail program does."""
    with server.client() as client:
        client.select(folder)
        status, answer = client.uid(*words)
        assert status == "OK", answer
        if expunge:
            client.expunge()


def create(server: Dovecot, folder: str) -> None:
    with server.client() as client:
        assert client.create(folder)[0] == "OK"


async def test_a_deleted_message_gets_a_mark_and_stays(dovecot: Dovecot, watch: Callable[..., Watched]) -> None:
    received = messages(5)
    await asyncio.to_thread(dovecot.append, "INBOX", received)
    async with watch(poll_seconds=1) as watched:
        await watched.until_archived(received)
        await asyncio.to_thread(dovecot.expunge, "INBOX", "2:3")
        await watched.until_copies(lambda found: {key for key, ((_, one),) in found.items() if one.gone} == {"1", "2"})
        assert await watched.archived() == sorted(received)


async def test_a_moved_message_is_gone_here_and_there_elsewhere_and_is_no_second_one(
    dovecot: Dovecot, watch: Callable[..., Watched]
) -> None:
    received = messages(3)
    await asyncio.to_thread(dovecot.append, "INBOX", received)
    await asyncio.to_thread(create, dovecot, "Clients")
    async with watch(poll_seconds=1) as watched:
        await watched.until_archived(received)
        await asyncio.to_thread(command, dovecot, "INBOX", "MOVE", "2", "Clients")
        await watched.until_copies(
            lambda found: (
                [(folder, bool(one.gone)) for folder, one in sorted(found["1"], key=lambda pair: pair[0])]
                == [("Clients", False), ("INBOX", True)]
            )
        )
        assert await watched.archived() == sorted(received)


async def test_a_renamed_folder_is_no_second_one(
    dovecot: Dovecot, watch: Callable[..., Watched], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.mail.imap.mailbox._LIST_SECONDS", 1.0)
    filed = messages(2)
    await asyncio.to_thread(create, dovecot, "Kazan")
    await asyncio.to_thread(dovecot.append, "Kazan", filed)
    async with watch(poll_seconds=1) as watched:
        await watched.until_archived(filed)
        with dovecot.client() as client:
            client.rename("Kazan", "Tver")
        await watched.until_copies(
            lambda found: (
                [(folder, bool(one.gone)) for folder, one in sorted(found["0"], key=lambda pair: pair[0])]
                == [("Kazan", True), ("Tver", False)]
            )
        )
        assert await watched.archived() == sorted(filed)


async def test_a_message_that_is_taken_out_of_the_trash_loses_its_mark(
    dovecot: Dovecot, watch: Callable[..., Watched]
) -> None:
    """The trash is not read, so what lies in it is gone until it is put back."""
    received = messages(2)
    await asyncio.to_thread(dovecot.append, "INBOX", received)
    await asyncio.to_thread(create, dovecot, "Trash")
    async with watch(poll_seconds=1) as watched:
        await watched.until_archived(received)
        await asyncio.to_thread(command, dovecot, "INBOX", "MOVE", "1", "Trash")
        await watched.until_copies(lambda found: all(one.gone for _, one in found["0"]))
        await asyncio.to_thread(command, dovecot, "Trash", "MOVE", "1", "INBOX")
        await watched.until_copies(lambda found: any(not one.gone for _, one in found["0"]))
        assert await watched.archived() == sorted(received)


async def test_flags_are_followed_from_here_on(dovecot: Dovecot, watch: Callable[..., Watched]) -> None:
    received = messages(3)
    await asyncio.to_thread(dovecot.append, "INBOX", received)
    async with watch(poll_seconds=1) as watched:
        await watched.until_archived(received)
        await until_state(watched, SourceState.RUNNING)
        await asyncio.to_thread(command, dovecot, "INBOX", "STORE", "2", "+FLAGS", r"(\Answered)")
        await watched.until_copies(
            lambda found: {key for key, ((_, one),) in found.items() if "\\Answered" in one.flags} == {"1"}
        )


async def test_a_draft_is_read_once_it_is_sent(dovecot: Dovecot, watch: Callable[..., Watched]) -> None:
    """Some programs keep a draft among the mails and take its flag away when it is sent."""
    received, draft = messages(2), messages(1, start=7)
    await asyncio.to_thread(dovecot.append, "INBOX", received + draft)
    await asyncio.to_thread(command, dovecot, "INBOX", "STORE", "3", "+FLAGS", r"(\Draft)")
    async with watch(poll_seconds=1) as watched:
        await watched.until_archived(received)
        await until_state(watched, SourceState.RUNNING)
        await asyncio.to_thread(command, dovecot, "INBOX", "STORE", "3", "-FLAGS", r"(\Draft)")
        await watched.until_archived(received + draft)


async def test_an_archived_mail_that_is_a_draft_when_uids_are_given_anew_is_accounted_for_and_no_second_one(
    dovecot: Dovecot, watch: Callable[..., Watched], store: Store
) -> None:
    """Some programs mark mails as drafts that were none. Between the marks each has its bytes here, or says why not."""
    received = messages(3)
    await asyncio.to_thread(dovecot.append, "INBOX", received)
    async with watch(poll_seconds=1) as watched:
        await watched.until_archived(received)
        await watched.mailbox.stop()
        await asyncio.to_thread(command, dovecot, "INBOX", "STORE", "2", "+FLAGS", r"(\Draft)")
        dovecot.kill()
        dovecot.change_uidvalidity()
        await dovecot.start()
        await watched.restart()
        await until_state(watched, SourceState.RUNNING)
        position = await watched.position("INBOX")
        query = select(mailbox_copy).where(
            mailbox_copy.c.mailbox == position.mailbox, mailbox_copy.c.uidvalidity == position.uidvalidity
        )
        async with store.begin() as connection:
            found = {
                row.uid: (row.evidence_id is not None, row.skipped != "") for row in await connection.execute(query)
            }
        assert (position.low_uid, position.high_uid) == (1, 3)
        assert found == {1: (True, False), 2: (False, True), 3: (True, False)}
        await asyncio.to_thread(command, dovecot, "INBOX", "STORE", "2", "-FLAGS", r"(\Draft)")
        await watched.until_copies(lambda found: all(any(not one.gone for _, one in each) for each in found.values()))
        assert await watched.archived() == sorted(received)


async def test_folders_of_ones_own_are_read_and_junk_is_not(dovecot: Dovecot, watch: Callable[..., Watched]) -> None:
    filed, junk, private = messages(2), messages(2, start=10), messages(1, start=20)
    for folder, some in (("Projects/Kazan", filed), ("Junk", junk), ("Private", private)):
        await asyncio.to_thread(create, dovecot, folder.replace("/", "."))
        await asyncio.to_thread(dovecot.append, folder.replace("/", "."), some)
    async with watch(skip_folders=["Priv*"]) as watched:
        await until_state(watched, SourceState.RUNNING)
        await watched.until_archived(filed)


async def test_what_lies_beyond_the_horizon_is_left_until_it_moves_back(
    dovecot: Dovecot, watch: Callable[..., Watched]
) -> None:
    old, new = messages(4), messages(3, start=10)
    with dovecot.client() as client:
        for one in old:
            long_ago = imaplib.Time2Internaldate(datetime(2020, 5, 5, tzinfo=UTC))
            assert client.append("INBOX", "", long_ago, one)[0] == "OK"
    await asyncio.to_thread(dovecot.append, "INBOX", new)
    since = date.today() - timedelta(days=30)  # noqa: DTZ011
    async with watch(since=since, poll_seconds=1) as watched:
        await until_state(watched, SourceState.RUNNING)
        await watched.until_archived(new)
        watched.settings = watched.settings.model_copy(update={"since": None})
        await watched.restart()
        await watched.until_archived(old + new)


async def test_a_large_mailbox_is_read_over_several_connections_with_progress(
    dovecot: Dovecot, watch: Callable[..., Watched], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "_MUCH", 50)
    monkeypatch.setattr("agent.mail.imap.plan.BATCH_MAILS", 10)
    monkeypatch.setattr("agent.mail.imap.mailbox._TELL_SECONDS", 0.0)
    received = messages(150)
    await asyncio.to_thread(dovecot.append, "INBOX", received)
    async with watch(connections=3) as watched:
        await watched.until_archived(received)
        await until_state(watched, SourceState.RUNNING)
    told = [detail for state, detail in watched.states if state is SourceState.CATCHING_UP]
    assert any(one.startswith("10 of 150, back to ") for one in told), told
    assert dovecot.log().count("Login: ") >= 3


async def test_a_server_that_grants_one_connection_only_is_read_over_that(
    dovecot: Dovecot, watch: Callable[..., Watched], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "_MUCH", 50)
    monkeypatch.setattr("agent.mail.imap.plan.BATCH_MAILS", 10)
    received = messages(100)
    await asyncio.to_thread(dovecot.append, "INBOX", received)
    dovecot.kill()
    config = dovecot.folder / "dovecot.conf"
    dovecot.changes = ("mail_max_userip_connections = 50", "mail_max_userip_connections = 1")
    await dovecot.start()
    assert "connections = 1\n" in config.read_text()
    async with watch(connections=4) as watched:
        await watched.until_archived(received)


async def test_a_message_shown_late_is_taken_all_the_same(
    dovecot: Dovecot, watch: Callable[..., Watched], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that leaves a message out of its answers while the mark passes it."""
    listing = ImapSession.list_messages
    hidden = {3}

    def hiding(session: ImapSession, first: int, last: int, since: date | None = None) -> dict[int, Listed]:
        return {uid: one for uid, one in listing(session, first, last, since).items() if uid not in hidden}

    monkeypatch.setattr(ImapSession, "list_messages", hiding)
    received = messages(5)
    await asyncio.to_thread(dovecot.append, "INBOX", received)
    async with watch(poll_seconds=1) as watched:
        await watched.until_archived(received)


async def test_states_in_order(dovecot: Dovecot, watch: Callable[..., Watched]) -> None:
    await asyncio.to_thread(dovecot.append, "INBOX", messages(3))
    async with watch() as watched:
        await until_state(watched, SourceState.RUNNING)

        async def is_settled() -> bool:
            return len(await watched.archived()) == 3

        await until(is_settled)
    states = [state for state, _ in watched.states]
    assert states[0] is SourceState.CONNECTING
    assert states[-2:] == [SourceState.RUNNING, SourceState.STOPPED]
