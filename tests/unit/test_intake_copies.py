"""Further copies of a mail: who took part is merged, each copy is evidence, an erased mail stays erased."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import text

from agent.archive.blobs import Archive
from agent.errors import DatabaseUnavailable
from agent.intake import Intake
from agent.model import CapturedMail, CapturedParty, IdentityKind, MessageCategory, SealedBlob
from agent.model_mail import JournalRecipient, ParsedMessage, Wrapping, WrappingKind
from agent.store import evidence
from agent.store.engine import Store

_NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


def party(position: str, value: str) -> CapturedParty:
    return CapturedParty(position=position, kind=IdentityKind.ADDRESS, value=value)


HEADER = (party("from", "client@example.net"), party("to", "sales@example.com"), party("reply_to", "r@example.net"))


def message(*more: CapturedParty, key: str = "", **facts: Any) -> ParsedMessage:
    number = key or uuid.uuid4().hex
    return ParsedMessage(
        logical_key=number,
        message_id=f"{number}@example.com",
        in_reply_to=(),
        references=(),
        subject="Offer",
        sent=_NOW,
        parties=(*HEADER, *more),
        category=MessageCategory.CONVERSATION,
        category_reason="between people",
        text="Hello there, here is our offer for you",
        html="",
        **facts,
    )


async def delivered(intake: Intake, count: int) -> list[int]:
    mails = [
        CapturedMail(source=f"smtp:{uuid.uuid4().hex}", key="1", raw=uuid.uuid4().bytes, received=_NOW)
        for _ in range(count)
    ]
    return [one for mail in mails for one in await intake.store_evidence([mail])]


async def parties(store: Store, interaction_id: int) -> list[tuple[str, str]]:
    query = text("SELECT position, value FROM party WHERE interaction_id = :id ORDER BY ordinal")
    async with store.begin() as connection:
        return [(row.position, row.value) for row in await connection.execute(query, {"id": interaction_id})]


async def link_jobs(store: Store, interaction_id: int) -> int:
    query = text(
        "SELECT count(*) FROM procrastinate_jobs "
        "WHERE task_name = 'link' AND args -> 'interaction_ids' @> to_jsonb(CAST(:id AS bigint))"
    )
    async with store.begin() as connection:
        return int((await connection.execute(query, {"id": interaction_id})).scalar_one())


async def test_a_journal_adds_whom_a_mailbox_does_not_know(store: Store, intake: Intake) -> None:
    first, second, third = await delivered(intake, 3)
    mailbox = message()
    number = await intake.accept_message(first, mailbox)
    journal = replace(
        mailbox,
        parties=(*HEADER, party("bcc", "Head@example.com"), party("expanded", "anna@example.com")),
        wrapping=Wrapping(
            kind=WrappingKind.JOURNAL,
            by="exchange@example.com",
            offset=7,
            size=9,
            sha256="ab",
            recipients=(JournalRecipient(field="to", address="anna@example.com", expanded="sales@example.com"),),
        ),
    )
    assert await intake.accept_message(second, journal) == number
    known = [(one.position, one.value) for one in journal.parties]
    assert await parties(store, number) == known
    assert await link_jobs(store, number) == 2
    assert await intake.accept_message(third, journal) == number
    assert await intake.accept_message(second, journal) == number
    assert await parties(store, number) == known
    assert await link_jobs(store, number) == 2
    async with store.begin() as connection:
        proofs = await evidence.list_evidence_of(connection, number)
    assert [one.id for one in proofs] == [first, second, third]
    assert [one.details.get("wrapping", {}).get("offset") for one in proofs] == [None, 7, 7]
    assert proofs[1].details["wrapping"]["recipients"][0]["expanded"] == "sales@example.com"


async def test_the_order_of_copies_makes_no_difference(store: Store, intake: Intake) -> None:
    found = []
    for swap in (False, True):
        plain = message()
        copies = [
            replace(plain, parties=(*HEADER, party("envelope", "a@example.com"), party("envelope", "b@example.com"))),
            replace(plain, parties=(*HEADER, party("bcc", "A@example.com"), party("expanded", "c@example.com"))),
            replace(plain, parties=(*HEADER, party("bcc", "c@example.com"))),
            plain,
        ]
        for one, copy in zip(await delivered(intake, 4), copies[::-1] if swap else copies, strict=True):
            number = await intake.accept_message(one, copy)
        found.append({(position, value.lower()) for position, value in await parties(store, number)})
    assert found[0] == found[1]
    assert {("bcc", "a@example.com"), ("envelope", "b@example.com"), ("bcc", "c@example.com")} <= found[0]


async def test_copies_in_one_batch_and_at_once(store: Store, intake: Intake) -> None:
    plain = message()
    copies = [replace(plain, parties=(*HEADER, party("bcc", f"{number % 7}@example.com"))) for number in range(40)]
    ids = await delivered(intake, len(copies))
    pairs = list(zip(ids, copies, strict=True))
    results = await asyncio.gather(*(intake.accept_messages(pairs[at : at + 5]) for at in range(0, 40, 5)))
    [number] = {one for result in results for one in result.values()}
    found = await parties(store, number)
    assert sorted(value for position, value in found if position == "bcc") == [f"{one}@example.com" for one in range(7)]
    assert len(found) == len(HEADER) + 7


async def test_the_header_of_further_copies_changes_nothing(store: Store, intake: Intake) -> None:
    """A mailing list rewrites From and To; anybody could send another header under a known id."""
    first, second = await delivered(intake, 2)
    plain = message()
    number = await intake.accept_message(first, plain)
    other = replace(plain, parties=(*HEADER, party("cc", "stranger@example.org"), party("from", "list@example.org")))
    assert await intake.accept_message(second, other) == number
    assert await parties(store, number) == [(one.position, one.value) for one in HEADER]
    assert await link_jobs(store, number) == 1


async def test_who_is_named_by_reply_to_only_may_have_been_in_bcc(store: Store, intake: Intake) -> None:
    first, second = await delivered(intake, 2)
    plain = message()
    number = await intake.accept_message(first, plain)
    await intake.accept_message(second, replace(plain, parties=(*HEADER, party("bcc", "R@example.net"))))
    assert ("bcc", "R@example.net") in await parties(store, number)


async def test_an_erased_mail_learns_nothing(store: Store, intake: Intake) -> None:
    first, second = await delivered(intake, 2)
    plain = message()
    number = await intake.accept_message(first, plain)
    async with store.begin() as connection:
        act = text(
            "INSERT INTO erasure (at, by, reason, basis, subject, links, blobs) "
            "VALUES (now(), 'admin', 'asked', '', '', '[]', 0) RETURNING id"
        )
        erasure = (await connection.execute(act)).scalar_one()
        await connection.execute(
            text("UPDATE interaction SET erasure_id = :act WHERE id = :id"), {"act": erasure, "id": number}
        )
    await intake.accept_message(second, replace(plain, parties=(*HEADER, party("bcc", "x@example.com"))))
    assert "x@example.com" not in {value for _, value in await parties(store, number)}


@pytest.mark.parametrize("count", [20_000])
async def test_no_more_parties_than_fit(store: Store, intake: Intake, count: int) -> None:
    first, *rest = await delivered(intake, 3)
    plain = message()
    number = await intake.accept_message(first, plain)
    many: Sequence[CapturedParty] = [party("bcc", f"{one}@example.com") for one in range(count)]
    for one, some in zip(rest, (many[:10_000], many[10_000:]), strict=True):
        await intake.accept_message(one, replace(plain, parties=(*HEADER, *some)))
    assert len(await parties(store, number)) == count + len(HEADER)


async def test_deliveries_are_sealed_without_a_question_only_while_the_database_answers(
    store: Store, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a database that is away would fill the disk with blobs that nothing vouches for."""
    intake = Intake(store, archive, host="test")
    sealed = 0
    real = archive.seal_all

    def count(sources: Sequence[bytes], *, media_type: str) -> list[SealedBlob]:
        nonlocal sealed
        sealed += len(sources)
        return real(sources, media_type=media_type)

    monkeypatch.setattr(archive, "seal_all", count)
    questions = 0
    find_known = evidence.find_known

    async def asked(*given: Any) -> Any:
        nonlocal questions
        questions += 1
        return await find_known(*given)

    monkeypatch.setattr(evidence, "find_known", asked)

    def some() -> list[CapturedMail]:
        keys = [uuid.uuid4().hex for _ in range(3)]
        return [CapturedMail(source="smtp", key=key, raw=key.encode(), received=_NOW) for key in keys]

    assert [len(await intake.store_deliveries(some())) for _ in range(3)] == [3, 3, 3]
    assert (sealed, questions) == (9, 1)
    gone = Store("postgresql:///cardline?host=/nonexistent&user=cardline")
    monkeypatch.setattr(intake, "_store", gone)
    for _ in range(5):
        with pytest.raises(DatabaseUnavailable):
            await intake.store_deliveries(some())
    assert sealed == 12  # the first of them only
    monkeypatch.undo()
    assert len(await intake.store_deliveries(some())) == 3
    await gone.close()
