"""Servers at which a reader could stop for ever: one message, one folder, one date must not keep the rest back."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from agent.intake import Intake
from agent.model import SourceState
from agent.store.engine import Store
from agent.store.schema import evidence
from tests.unit.imap_lab import Reading, ScriptedServer, mail, reading, server, short_pauses

__all__ = ["reading", "server", "short_pauses"]  # fixtures

pytestmark = pytest.mark.timeout(120)


async def test_a_message_at_which_the_server_falls_becomes_a_note_and_stops_no_other(
    server: ScriptedServer, reading: Reading
) -> None:
    """* BYE in the middle of a literal, each time."""
    server.messages, server.uidnext = {uid: mail(uid) for uid in range(1, 30)}, 30
    server.deadly = {7, 20}
    reading.mailbox.start()
    await reading.until(lambda found: len(found) == 29)
    assert [uid for uid, problem in await reading.archived() if problem] == [7, 20]


async def test_a_connection_lost_once_or_twice_makes_no_note(server: ScriptedServer, reading: Reading) -> None:
    server.messages, server.uidnext = {uid: mail(uid) for uid in range(1, 6)}, 6
    server.deadly, server.falls_left = {3}, 3
    reading.mailbox.start()
    await reading.until(lambda found: len(found) == 5)
    assert all(not problem for _, problem in await reading.archived())


@pytest.mark.parametrize("word", ["FETCH", "IDLE"])
async def test_what_is_told_once_beside_an_answer_is_not_waited_for(
    server: ScriptedServer, intake: Intake, store: Store, word: str
) -> None:
    """A mail that comes between EXAMINE and IDLE, or in one piece with the word that the server idles."""
    server.messages, server.uidnext = {uid: mail(uid) for uid in (1, 2)}, 3
    reading = Reading(server, intake, store, poll_seconds=600)
    reading.mailbox.start()
    await reading.until_state(SourceState.RUNNING)
    await reading.mailbox.stop()
    server.messages[3], server.uidnext = mail(3), 4
    server.coming = {word: {4: mail(4)}}
    reading.mailbox = reading.open()
    reading.mailbox.start()
    await reading.until(lambda found: len(found) == 4)
    await reading.mailbox.stop()


@pytest.mark.parametrize(
    "time",
    [
        "99-Foo-2020 10:00:00 +0000",
        "01-Jan-0001 00:00:00 +1400",
        "31-Dec-9999 23:59:59 -1200",
        "02-Mar-2026 10:00:00 +9999",
        "02-Mar-2026 25:61:61 +0000",
        "30-Feb-2026 10:00:00 +0300",
        " 2-Mar-2026 10:00:00",
        "",
        "02-Mar-26 10:00:00 MSK",
    ],
)
async def test_a_time_that_is_none_is_no_reason_to_miss_a_mail(
    server: ScriptedServer, reading: Reading, store: Store, time: str
) -> None:
    server.messages, server.uidnext, server.times = {1: mail(1), 2: mail(2)}, 3, {2: time}
    reading.mailbox.start()
    await reading.until(lambda found: len(found) == 2)
    async with store.begin() as connection:
        query = select(evidence.c.received_at).where(evidence.c.source == f"imap:{reading.name}")
        assert all(2000 < one.year < 2200 for one in (await connection.execute(query)).scalars())


@pytest.mark.parametrize(
    "raw", ["Тест".encode(), b"a&b", b"&2AA-", b"007", b"&AGE-", b'"a \\"b\\" c"', b"\xff\xfe", b"Sent Items"]
)
async def test_a_folder_is_asked_for_by_the_name_it_was_listed_with(
    server: ScriptedServer, reading: Reading, raw: bytes
) -> None:
    server.messages, server.uidnext, server.folders = {1: mail(1)}, 2, [raw]
    reading.mailbox.start()
    await reading.until(lambda found: len(found) == 1)


async def test_a_folder_that_is_not_opened_is_named_and_stops_no_other(
    server: ScriptedServer, reading: Reading
) -> None:
    server.messages, server.uidnext, server.folders = {1: mail(1)}, 2, [b"INBOX", b"Shared", b"B"]
    server.closed = {b"Shared"}
    reading.mailbox.start()
    await reading.until_state(SourceState.FOLDER_MISSING)
    assert "Shared" in reading.details[-1]
    assert "Permission denied" in reading.details[-1]
    assert [uid for uid, _ in await reading.archived()] == [1, 1]


async def test_a_folder_at_which_the_server_falls_stops_no_other(server: ScriptedServer, reading: Reading) -> None:
    server.messages, server.uidnext = {1: mail(1)}, 2
    server.folders, server.falls_at = [b"INBOX", b"A", b"Bad", b"C"], {b"Bad"}
    reading.mailbox.start()
    await reading.until(lambda found: len(found) == 3)
    server.messages, server.uidnext = {1: mail(1), 2: mail(2)}, 3
    await reading.until(lambda found: len(found) == 6)


async def test_uids_made_of_the_time_are_not_searched_through(server: ScriptedServer, reading: Reading) -> None:
    server.messages = {uid: mail(uid) for uid in (3, 1_500_000_000, 1_700_000_000)}
    server.uidnext = 4_294_967_295
    reading.mailbox.start()
    await reading.until(lambda found: len(found) == 3)
    await reading.until_state(SourceState.RUNNING)
    assert server.commands < 200


async def test_a_uidvalidity_of_before_stands_for_nothing(server: ScriptedServer, reading: Reading) -> None:
    """A backup laid back, twice: UIDs that were known under it may be other messages by now."""
    server.messages, server.uidnext = {uid: mail(uid) for uid in (1, 2, 3)}, 4
    reading.mailbox.start()
    await reading.until(lambda found: len(found) == 3)
    server.uidvalidity, server.messages, server.uidnext = 8, {1: mail(4)}, 2
    await reading.until(lambda found: len(found) == 4)
    await reading.until_state(SourceState.RUNNING)
    server.uidvalidity, server.messages, server.uidnext = 7, {1: mail(1), 2: mail(5), 3: mail(6)}, 4
    await reading.until(lambda found: len(found) == 6)
