"""Messages in whose place there is a note: they are asked for again, and one that comes takes its note off the list."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import select

from agent.archive.blobs import Archive
from agent.intake import Intake
from agent.mail.imap import lost
from agent.store import evidence as pieces
from agent.store import lostmail
from agent.store.engine import Store
from agent.store.schema import evidence, mailbox_copy
from tests.unit.imap_lab import Reading, ScriptedServer, mail, reading, server, short_pauses

__all__ = ["reading", "server", "short_pauses"]  # fixtures

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(autouse=True)
def looks_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lost, "_LOOK_SECONDS", 0.0)


async def _noted(server: ScriptedServer, reading: Reading, how: str = "refused") -> None:
    """Message 2 of three became a note that waits for a person."""
    server.messages, server.uidnext = {uid: mail(uid) for uid in range(1, 4)}, 4
    if how in ("refused", "silent", "deadly"):
        setattr(server, how, {2})
    reading.mailbox.start()
    await reading.until(lambda found: len(found) == 3)
    await reading.read_notes()
    assert len(await reading.waiting()) == 1


async def _until_none_waits(reading: Reading) -> None:
    async with asyncio.timeout(20):
        while await reading.waiting():  # noqa: ASYNC110 - it waits for a row in the database
            await asyncio.sleep(0.05)


async def _raw(reading: Reading, store: Store, archive: Archive, uid: int) -> bytes:
    """The bytes of what lies in the folder under a UID."""
    async with store.begin() as connection:
        query = select(mailbox_copy.c.evidence_id).where(
            mailbox_copy.c.mailbox == reading.name, mailbox_copy.c.uid == uid
        )
        (found,) = await pieces.find_evidence(connection, list((await connection.execute(query)).scalars()))
    assert found.blob is not None
    blob = found.blob
    return await asyncio.to_thread(lambda: archive.open(blob).read())


@pytest.mark.parametrize("how", ["refused", "silent", "deadly"])
async def test_a_person_asks_again_and_it_comes(
    server: ScriptedServer, reading: Reading, store: Store, archive: Archive, how: str
) -> None:
    await _noted(server, reading, how)
    server.refused, server.silent, server.deadly = set(), set(), set()
    ((number, _),) = await reading.waiting()
    async with store.begin() as connection:
        assert await lostmail.ask_now(connection, number)
    await _until_none_waits(reading)
    assert await _raw(reading, store, archive, 2) == mail(2)


async def test_it_is_asked_for_by_itself_after_its_pause(
    server: ScriptedServer, reading: Reading, store: Store, monkeypatch: pytest.MonkeyPatch, archive: Archive
) -> None:
    await _noted(server, reading)
    server.refused = set()
    monkeypatch.setattr(lostmail, "FIRST_PAUSE", timedelta(0))
    await _until_none_waits(reading)
    assert await _raw(reading, store, archive, 2) == mail(2)


async def test_a_new_start_asks_whatever_the_pause(
    server: ScriptedServer, reading: Reading, store: Store, archive: Archive
) -> None:
    await _noted(server, reading)
    await reading.mailbox.stop()
    server.refused = set()
    reading.mailbox = reading.open()
    reading.mailbox.start()
    await _until_none_waits(reading)
    assert await _raw(reading, store, archive, 2) == mail(2)


async def test_one_at_which_the_server_falls_costs_one_connection_a_pause(
    server: ScriptedServer, reading: Reading, store: Store
) -> None:
    """The attempt is noted before it is made, so new mail comes in between."""
    await _noted(server, reading, "deadly")
    ((number, _),) = await reading.waiting()
    async with store.begin() as connection:
        assert await lostmail.ask_now(connection, number)
    before = server.asked.count(2)
    async with asyncio.timeout(20):
        while server.asked.count(2) == before:  # noqa: ASYNC110 - told from the server's task
            await asyncio.sleep(0.02)
    for uid in (4, 5):
        server.messages[uid], server.uidnext = mail(uid), uid + 1
        await reading.until(lambda found, count=uid: len(found) == count)  # type: ignore[misc]
    assert server.asked.count(2) == before + 1
    async with store.begin() as connection:
        details = (await connection.execute(select(evidence.c.details).where(evidence.c.id == number))).scalar_one()
    assert details["asked"] == 1


async def test_pauses_grow_up_to_a_day() -> None:
    assert [lost.pause_after(asked) / timedelta(hours=1) for asked in (0, 1, 4, 5, 1000)] == [1, 2, 16, 24, 24]


async def test_a_folder_read_anew_leaves_no_old_note(server: ScriptedServer, reading: Reading) -> None:
    """Under another UIDVALIDITY the message comes by itself, and nobody can ask for it under the old one."""
    await _noted(server, reading)
    server.refused, server.uidvalidity = set(), 8
    await _until_none_waits(reading)


async def test_too_large_a_message_is_told_of_and_comes_when_the_setting_allows(
    server: ScriptedServer, intake: Intake, store: Store, archive: Archive
) -> None:
    """It is not even asked for, and keeps no other back."""
    reading = Reading(server, intake, store, largest_mb=1)
    server.sizes = {2: 3 * 1024 * 1024}
    await _noted(server, reading, "size")
    ((_, problem),) = await reading.waiting()
    assert problem == "Message 2 of folder INBOX has 3 MB, 1 are taken."
    assert 2 not in server.asked
    await reading.mailbox.stop()
    larger = Reading(server, intake, store, largest_mb=10)
    larger.mailbox._settings = larger.mailbox._settings.model_copy(update={"name": reading.name})
    larger.mailbox.start()
    await _until_none_waits(reading)
    await larger.mailbox.stop()
    assert await _raw(reading, store, archive, 2) == mail(2)
