"""The job `parse` on the real archive and database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime

import pytest

from agent.archive.blobs import Archive
from agent.errors import BlobMissing, DatabaseUnavailable
from agent.intake import Intake
from agent.mail.parser import Parser
from agent.mail.ports import PROBLEM
from agent.mail.sandbox import Sandbox
from agent.model import CapturedMail, EvidenceState
from agent.model_mail import ParsedMessage
from agent.store import evidence
from agent.store.engine import Store
from agent.store.evidence import Evidence


@pytest.fixture(scope="module")
async def sandbox() -> AsyncIterator[Sandbox]:
    sandbox = Sandbox()
    yield sandbox
    await sandbox.stop()


@pytest.fixture
def parser(store: Store, archive: Archive, intake: Intake, sandbox: Sandbox) -> Parser:
    return Parser(store, archive, intake, sandbox)


def mail(key: str, raw: bytes, **envelope: object) -> CapturedMail:
    return CapturedMail(source="smtp", key=key, raw=raw, received=datetime.now(UTC), envelope=envelope)


async def stored(store: Store, ids: list[int]) -> list[Evidence]:
    async with store.begin() as connection:
        return await evidence.find_evidence(connection, ids)


async def test_read_unreadable_and_missing_in_one_batch(store: Store, intake: Intake, parser: Parser) -> None:
    good = b"From: a@example.com\r\nMessage-ID: <1@x>\r\nSubject: x\r\n\r\n"
    ids = await intake.store_evidence(
        [mail("1", good), mail("2", b" "), mail("3", b"note", **{PROBLEM: "The server does not give it."})]
    )
    await parser.parse(ids)
    first = await stored(store, ids)
    assert [one.state for one in first] == [EvidenceState.READ, EvidenceState.UNREADABLE, EvidenceState.UNREADABLE]
    assert [one.problem for one in first] == ["", "The mail is empty.", "The server does not give it."]
    await parser.parse(ids)
    assert await stored(store, ids) == first


async def test_two_deliveries_of_one_mail_are_one_message(store: Store, intake: Intake, parser: Parser) -> None:
    raw = b"From: a@example.com\r\nMessage-ID: <2@x>\r\n\r\n"
    ids = await intake.store_evidence([mail("4", raw), mail("5", b"Received: by mx\r\n" + raw)])
    await parser.parse(ids)
    assert len({one.interaction_id for one in await stored(store, ids)}) == 1


async def test_a_fault_stops_neither_the_batch_nor_the_next_attempt(
    store: Store, archive: Archive, intake: Intake, parser: Parser, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await intake.store_evidence(
        [mail(str(n), b"Subject: %d\r\nMessage-ID: <%d@y>\r\n\r\n" % (n, n)) for n in (6, 7)]
    )
    accept = intake.accept_messages

    async def failing(read: Sequence[tuple[int, ParsedMessage]]) -> Mapping[int, int]:
        if ids[0] in dict(read):
            raise DatabaseUnavailable("The database does not answer.")
        return await accept(read)

    monkeypatch.setattr(intake, "accept_messages", failing)
    with pytest.raises(DatabaseUnavailable):
        await parser.parse(ids)
    assert [one.state for one in await stored(store, ids)] == [EvidenceState.STORED, EvidenceState.READ]
    monkeypatch.undo()
    await parser.parse(ids)
    assert {one.state for one in await stored(store, ids)} == {EvidenceState.READ}


async def test_a_blob_that_is_missing_waits_for_the_backup(
    store: Store, archive: Archive, intake: Intake, parser: Parser, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await intake.store_evidence([mail("8", b"Subject: x\r\n\r\n")])

    def lost(_: object) -> None:
        raise BlobMissing("Blob x is missing.")

    monkeypatch.setattr(archive, "open", lost)
    with pytest.raises(BlobMissing):
        await parser.parse(ids)
    assert [one.state for one in await stored(store, ids)] == [EvidenceState.STORED]


async def test_ids_of_nothing(parser: Parser) -> None:
    await parser.parse([])
    await parser.parse([10**9])
