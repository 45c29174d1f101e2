"""Servers that lie: about sizes, about which message is which, about the end of an answer. No mail is taken cut or
mixed up, no reader hangs, and memory is ours."""

from __future__ import annotations

import asyncio
import itertools
import resource

import pytest
from sqlalchemy import select

from agent.archive.blobs import Archive
from agent.mail.imap import session, wire
from agent.mail.ports import PROBLEM
from agent.model import SourceState
from agent.store import evidence as pieces
from agent.store.engine import Store
from agent.store.schema import evidence
from tests.unit.imap_lab import Reading, ScriptedServer, mail, reading, server, short_pauses

__all__ = ["reading", "server", "short_pauses"]  # fixtures

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "_READ_SECONDS", 0.5)


async def _contents(reading: Reading, store: Store, archive: Archive) -> dict[int, bytes]:
    """UID → bytes of what came."""
    async with store.begin() as connection:
        query = select(evidence.c.id).where(evidence.c.source == f"imap:{reading.name}")
        found = await pieces.find_evidence(connection, list((await connection.execute(query)).scalars()))
    there = [(one.details["uid"], one.blob) for one in found if one.blob is not None and PROBLEM not in one.details]
    return {uid: await asyncio.to_thread(archive.read, blob) for uid, blob in there}


@pytest.mark.parametrize("announced", [99_999_999_999_999, 600 * 1024 * 1024, 60, 5, 0])
async def test_a_literal_of_another_length_than_said_is_never_taken(
    server: ScriptedServer, reading: Reading, store: Store, archive: Archive, announced: int
) -> None:
    server.messages, server.uidnext = {uid: mail(uid) for uid in range(1, 6)}, 6
    server.announced = {3: announced}
    reading.mailbox.start()
    await reading.until(lambda found: len(found) == 5)
    assert await _contents(reading, store, archive) == {uid: mail(uid) for uid in (1, 2, 4, 5)}


@pytest.mark.parametrize("rest", [b"END)", b"WHAT EVER)", b"X Y)"])
async def test_more_bytes_than_said_on_one_line_are_no_items(
    server: ScriptedServer, reading: Reading, store: Store, archive: Archive, rest: bytes
) -> None:
    """Such an answer could be read, and the message would be cut."""
    server.messages, server.uidnext = {1: mail(1), 2: b"Subject: x\r\n\r\n" + rest[:-1], 3: mail(3)}, 4
    server.announced = {2: len(server.messages[2]) - len(rest) + 1}
    reading.mailbox.start()
    await reading.until(lambda found: len(found) == 3)
    assert await _contents(reading, store, archive) == {uid: mail(uid) for uid in (1, 3)}


async def test_a_server_that_answers_for_other_messages(
    server: ScriptedServer, reading: Reading, store: Store, archive: Archive
) -> None:
    """Nothing is archived under the wrong UID, and what was asked for comes as soon as the server gives it."""
    server.messages, server.uidnext, server.other_uids = {uid: mail(uid) for uid in range(1, 4)}, 4, True
    reading.mailbox.start()
    await reading.until_state(SourceState.UNREACHABLE)
    server.messages[4], server.uidnext = mail(4), 5
    server.other_uids = False
    await reading.until(lambda found: len(found) == 4)
    contents = await _contents(reading, store, archive)
    assert contents == {uid: mail(uid) for uid in contents}
    assert 4 in contents


@pytest.mark.parametrize("after_done", ["silence", "talk"])
async def test_idle_that_does_not_end(
    server: ScriptedServer, reading: Reading, monkeypatch: pytest.MonkeyPatch, after_done: str
) -> None:
    monkeypatch.setattr(session, "_DONE_SECONDS", 0.5)
    server.messages, server.uidnext, server.after_done = {1: mail(1)}, 2, after_done
    reading.mailbox.start()
    await reading.until_state(SourceState.RUNNING)
    await reading.until_state(SourceState.UNREACHABLE)
    server.messages[2], server.uidnext = mail(2), 3
    await reading.until(lambda found: len(found) == 2)


async def test_a_limit_for_one_message_holds_up_no_other(
    server: ScriptedServer, reading: Reading, store: Store, archive: Archive
) -> None:
    """Some servers say of a message what others say of everything: come back later. Each time."""
    server.messages, server.uidnext, server.limited = {uid: mail(uid) for uid in range(1, 5)}, 5, {2}
    reading.mailbox.start()
    await reading.until(lambda found: len(found) == 4)
    assert await _contents(reading, store, archive) == {uid: mail(uid) for uid in (1, 3, 4)}
    assert [uid for uid, problem in await reading.archived() if problem] == [2]


async def test_large_literals_lie_on_the_disk_whatever_size_was_told(
    server: ScriptedServer, reading: Reading, store: Store, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten messages that are said to have ten bytes and have a megabyte; two of them may be in memory."""
    monkeypatch.setattr(wire, "HELD_BYTES", 2_100_000)
    large = {uid: b"Subject: %d\r\n\r\n%s\r\n" % (uid, b"\xe9" * 1_000_000) for uid in range(1, 11)}
    spooled = itertools.count()
    real = wire._unnamed
    monkeypatch.setattr(wire, "_unnamed", lambda folder: (next(spooled), real(folder))[1])
    server.messages, server.uidnext = large, 11
    reading.mailbox.start()
    await reading.until(lambda found: len(found) == 10)
    assert await _contents(reading, store, archive) == large
    assert next(spooled) == 8


async def test_an_answer_without_an_end_takes_no_memory(
    server: ScriptedServer, reading: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "_LINES_BYTES", 1_000_000)
    server.messages, server.uidnext = {1: mail(1)}, 2
    server.folders = [b"INBOX", *(b"folder-%d" % number for number in range(60_000))]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    reading.mailbox.start()
    await reading.until_state(SourceState.UNREACHABLE)
    assert "bytes without a message" in reading.details[-1]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KB
