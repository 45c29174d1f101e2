"""A mailbox under everything that can happen to it, in the whole program: nothing lost, nothing twice.

Mails are appended, moved, deleted, flagged and drafted while Dovecot, our process and the database are killed, UIDs are
given anew, and the database is away for 30 s. All the while no mark passes a UID whose bytes are not archived.
``CARDLINE_SOAK_SECONDS`` sets how long (default 90), ``CARDLINE_SOAK_SEED`` what happens.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text

from agent.archive.chain import verify
from tests.acceptance.service import ServiceUnderTest
from tests.peer.dovecot import PASSWORD, USER, Dovecot
from tests.peers import require

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1800)]

SECONDS = float(os.environ.get("CARDLINE_SOAK_SECONDS", "90"))
SEED = int(os.environ.get("CARDLINE_SOAK_SEED", "1"))
AWAY_SECONDS = 30
_FLAGS = {"flag": r"(\Flagged)", "draft": r"(\Draft)"}
_EVIDENCE = text("SELECT m.message_id, e.id FROM evidence e JOIN message m USING (interaction_id)")
_MARKS = text("SELECT uidvalidity, low_uid, high_uid FROM mailbox_folder WHERE folder = 'INBOX'")
_COPIES = text("SELECT uid FROM mailbox_copy WHERE folder = 'INBOX' AND uidvalidity = :validity AND evidence_id > 0")
_ACCOUNTED = text(
    "SELECT uid FROM mailbox_copy WHERE folder = 'INBOX' AND uidvalidity = :validity"
    " AND (evidence_id IS NOT NULL OR skipped <> '')"
)


class Box:
    """The mailbox and what was put into it."""

    def __init__(self, server: Dovecot) -> None:
        self.server = server
        self.put: list[str] = []
        self._number = 0

    def append(self, count: int) -> None:
        """Put mails into the INBOX; one counts when the server has said OK."""
        with contextlib.suppress(OSError, AssertionError, EOFError), self.server.client() as client:
            for _ in range(count):
                self._number += 1
                name = f"{self._number}.{SEED}@example.org"
                raw = f"From: a@example.org\r\nTo: {USER}\r\nMessage-ID: <{name}>\r\nSubject: s\r\n\r\n{name}\r\n"
                if client.append("INBOX", "", "", raw.encode())[0] == "OK":
                    self.put.append(name)

    def uids(self) -> tuple[int, set[int]]:
        """UIDVALIDITY and UIDs of the INBOX."""
        with self.server.client() as client:
            client.select("INBOX", readonly=True)
            validity = int(client.response("UIDVALIDITY")[1][0] or b"0")
            found = client.uid("SEARCH", "ALL")[1][0]
        return validity, {int(one) for one in (found or b"").split()}

    def act(self, chance: random.Random, archived: set[int]) -> str:
        """Something a person or a mail program does with a mail that is archived."""
        _, there = self.uids()
        known = sorted(archived & there)
        if not known:
            return "nothing"
        uid, act = str(chance.choice(known)), chance.choice(("move", "expunge", "flag", "draft"))
        with self.server.client() as client:
            client.select("INBOX")
            if act == "move":
                client.uid("MOVE", uid, "Moved")
            elif act == "expunge":
                client.uid("STORE", uid, "+FLAGS", r"(\Deleted)")
                client.expunge()
            else:
                client.uid("STORE", uid, "+FLAGS" if chance.random() < 0.5 else "-FLAGS", _FLAGS[act])
        return act


@pytest.fixture
async def box() -> AsyncIterator[Box]:
    with tempfile.TemporaryDirectory(prefix="dovecot-", ignore_cleanup_errors=True) as folder:
        server = Dovecot(Path(folder), require("dovecot"))
        await server.start()
        with server.client() as client:
            client.create("Moved")
        yield Box(server)
        server.kill()


@pytest.fixture
async def service(tmp_path: Path, box: Box) -> AsyncIterator[ServiceUnderTest]:
    mailbox = f"""
[[mailbox]]
name = "anna"
host = "127.0.0.1"
port = {box.server.port}
tls = false
user = "{USER}"
password = "{PASSWORD}"
poll_seconds = 1
"""
    one = ServiceUnderTest(tmp_path, mailbox)
    yield one
    await one.stop()


async def _copies(service: ServiceUnderTest, validity: int) -> set[int]:
    async with service.store() as store, store.begin() as connection:
        return set((await connection.execute(_COPIES, {"validity": validity})).scalars())


async def _marks_hold(service: ServiceUnderTest, box: Box) -> None:
    """Each UID between the marks that the server has is archived, or noted as a draft that is not sent yet."""
    async with service.store() as store, store.begin() as connection:
        marks = (await connection.execute(_MARKS)).first()
    validity, there = await asyncio.to_thread(box.uids)
    if marks is not None and marks.uidvalidity == validity:
        between = {uid for uid in there if marks.low_uid <= uid <= marks.high_uid}
        async with service.store() as store, store.begin() as connection:
            accounted = set((await connection.execute(_ACCOUNTED, {"validity": validity})).scalars())
        assert between <= accounted


def _postgres_of(service: ServiceUnderTest) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                command = (entry / "cmdline").read_bytes()
                if b"bin/postgres" in command and str(service.folder).encode() in command:
                    found.append(int(entry.name))
    return found


async def _hurt(service: ServiceUnderTest, box: Box, chance: random.Random) -> str:
    what = chance.choice(("dovecot", "main", "postgres", "uidvalidity"))
    if what == "main":
        await service.kill()
        await service.start()
    elif what == "postgres":
        await service.kill_postgres()
    else:
        box.server.kill()
        if what == "uidvalidity":
            box.server.change_uidvalidity()
        await box.server.start()
    return what


async def _away(service: ServiceUnderTest) -> None:
    """The database takes no commands for half a minute."""
    numbers = _postgres_of(service)
    for number in numbers:
        os.kill(number, signal.SIGSTOP)
    await asyncio.sleep(AWAY_SECONDS)
    for number in numbers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(number, signal.SIGCONT)


async def test_whatever_happens_to_a_mailbox_nothing_is_lost_and_nothing_comes_twice(
    service: ServiceUnderTest, box: Box
) -> None:
    chance = random.Random(SEED)
    await asyncio.to_thread(box.append, 300)
    await service.start(speech=False)
    happened: Counter[str] = Counter()
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        await asyncio.to_thread(box.append, chance.randrange(1, 20))
        with contextlib.suppress(OSError, EOFError):
            validity, _ = await asyncio.to_thread(box.uids)
            archived = await _copies(service, validity)
            happened[await asyncio.to_thread(box.act, chance, archived)] += 1
        await _marks_hold(service, box)
        if chance.random() < 0.3:
            happened[await _hurt(service, box, chance)] += 1
        await asyncio.sleep(chance.uniform(0.2, 2))
    await _away(service)
    await asyncio.to_thread(box.append, 5)

    async def all_there() -> bool:
        with contextlib.suppress(Exception):
            async with service.store() as store, store.begin() as connection:
                rows = (await connection.execute(_EVIDENCE)).all()
            return {row.message_id for row in rows} >= set(box.put)
        return False

    await service.until(all_there, 300)
    await _marks_hold(service, box)
    async with service.store() as store:
        async with store.begin() as connection:
            counts = Counter(row.message_id for row in await connection.execute(_EVIDENCE))
        assert (await verify(store, service.archive())).first_bad is None
    print(f"\n{dict(happened)}; {len(box.put)} mails, {len(counts)} messages")
    assert {name: count for name, count in counts.items() if count != 1} == {}
