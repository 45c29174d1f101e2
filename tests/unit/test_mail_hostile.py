"""Hostile mails through the whole of reading: each is archived, and shown with what could be read; nothing hangs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime

import pytest
from sqlalchemy import select

from agent.archive.blobs import Archive
from agent.intake import Intake
from agent.mail.attachments.extractor import Extractor
from agent.mail.attachments.reading import AttachmentReader
from agent.mail.parser import Parser
from agent.mail.sandbox import Sandbox
from agent.model import CapturedMail, EvidenceState
from agent.store.attachments import WordsState
from agent.store.engine import Store
from agent.store.schema import attachment, evidence, message
from tests.unit.mail_hostile import hostile

_BATCH = 100


@pytest.fixture(scope="module")
async def sandbox() -> AsyncIterator[Sandbox]:
    sandbox = Sandbox(seconds=20)
    yield sandbox
    await sandbox.stop()


@pytest.fixture(scope="module")
async def reader() -> AsyncIterator[AttachmentReader]:
    reader = AttachmentReader(seconds=20)
    yield reader
    await reader.stop()


async def check(numbers: Sequence[int], store: Store, archive: Archive, intake: Intake, sandbox: Sandbox) -> list[int]:
    """Read these mails; returns the interactions they became."""
    mails = [
        CapturedMail(source="test:hostile", key=str(one), raw=hostile(one), received=datetime.now(UTC))
        for one in numbers
    ]
    ids = await intake.store_evidence(mails)
    assert len(ids) == len(mails)
    await Parser(store, archive, intake, sandbox).parse(ids)
    query = select(evidence.c.state, evidence.c.problem, evidence.c.interaction_id, message.c.text)
    query = query.outerjoin(message, message.c.interaction_id == evidence.c.interaction_id)
    async with store.begin() as connection:
        rows = list(await connection.execute(query.where(evidence.c.id.in_(ids))))
    for row in rows:
        if row.state == EvidenceState.UNREADABLE:
            assert "empty" in row.problem  # nothing else may be beyond reading
        else:
            assert row.state == EvidenceState.READ
            assert row.text is not None
    return [row.interaction_id for row in rows if row.interaction_id is not None]


async def test_five_hundred(
    store: Store, archive: Archive, intake: Intake, sandbox: Sandbox, reader: AttachmentReader
) -> None:
    became = [
        one
        for start in range(0, 500, _BATCH)
        for one in await check(range(start, start + _BATCH), store, archive, intake, sandbox)
    ]
    await Extractor(store, archive, reader).extract()
    query = select(attachment.c.text_state).where(attachment.c.interaction_id.in_(became))
    async with store.begin() as connection:
        states = set((await connection.execute(query)).scalars())
    assert WordsState.READ in states
    assert WordsState.WAITING not in states


@pytest.mark.soak
async def test_fifty_thousand(store: Store, archive: Archive, intake: Intake, sandbox: Sandbox) -> None:
    for start in range(1000, 51_000, _BATCH):
        await check(range(start, start + _BATCH), store, archive, intake, sandbox)
