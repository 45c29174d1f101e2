"""The door for mail: bytes and rows or nothing, each content once a mailbox, each mail one interaction."""

from __future__ import annotations

import asyncio
import errno
import os
import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from agent.archive.blobs import Archive, open_archive
from agent.errors import ArchiveUnavailable, DatabaseUnavailable
from agent.intake import Intake
from agent.model import CapturedMail, CapturedParty, EvidenceState, IdentityKind, MailboxPosition, MessageCategory
from agent.model_mail import ParsedAttachment, ParsedMessage
from agent.store import evidence, mailboxes, messages, search
from agent.store.engine import Store

_NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


def _mail(source: str, uid: int, *, raw: bytes | None = None) -> CapturedMail:
    content = raw if raw is not None else b"Subject: hello\r\n\r\n" + uuid.uuid4().bytes
    return CapturedMail(source=source, key=f"INBOX/1/{uid}", raw=content, received=_NOW, envelope={"folder": "INBOX"})


def _position(mailbox: str, high: int, *, uidvalidity: int = 1) -> MailboxPosition:
    return MailboxPosition(mailbox=mailbox, folder="INBOX", uidvalidity=uidvalidity, low_uid=1, high_uid=high)


def _message(**more: Any) -> ParsedMessage:
    number = uuid.uuid4().hex
    facts: dict[str, Any] = {
        "logical_key": number,
        "message_id": f"{number}@example.com",
        "in_reply_to": (),
        "references": (),
        "subject": "Offer",
        "sent": _NOW - timedelta(minutes=1),
        "parties": (
            CapturedParty(position="from", kind=IdentityKind.ADDRESS, value="client@example.com"),
            CapturedParty(position="to", kind=IdentityKind.ADDRESS, value="sales@example.com"),
        ),
        "category": MessageCategory.CONVERSATION,
        "category_reason": "between people",
        "text": "Hello",
        "html": "",
    }
    return ParsedMessage(**{**facts, **more})


async def _rows(store: Store, query: str, **values: Any) -> Sequence[Any]:
    async with store.begin() as connection:
        return (await connection.execute(text(query), values)).all()


async def _count(store: Store, table: str, source: str) -> int:
    return len(await _rows(store, f"SELECT 1 FROM {table} WHERE source = :source", source=source))


async def _parse_jobs(store: Store, ids: Sequence[int]) -> int:
    query = "SELECT 1 FROM procrastinate_jobs WHERE task_name = 'parse' AND args -> 'evidence_ids' @> to_jsonb(:id)"
    return sum([len(await _rows(store, query.replace(":id", str(int(one))))) for one in ids])


@pytest.fixture
def source() -> str:
    return f"imap:{uuid.uuid4().hex}"


async def test_bytes_row_and_job_are_there_together(
    source: str, store: Store, intake: Intake, archive: Archive
) -> None:
    mails = [_mail(source, uid) for uid in range(5)]
    ids = await intake.store_evidence(mails)
    async with store.begin() as connection:
        found = await evidence.find_evidence(connection, ids)
    assert [one.state for one in found] == [EvidenceState.STORED] * 5
    assert [one.details for one in found] == [{"folder": "INBOX"}] * 5
    blobs = [one.blob for one in found if one.blob is not None]
    assert [archive.read(blob) for blob in blobs] == [mail.raw for mail in mails]
    assert await _parse_jobs(store, ids) == 5
    jobs = await _rows(
        store, "SELECT 1 FROM procrastinate_jobs WHERE args = jsonb_build_object('evidence_ids', CAST(:ids AS jsonb))",
        ids=str(ids),
    )  # fmt: skip
    assert len(jobs) == 1


async def test_the_same_keys_twice_are_stored_once(source: str, store: Store, intake: Intake) -> None:
    mails = [_mail(source, uid) for uid in range(3)]
    ids = await intake.store_evidence(mails)
    assert await intake.store_evidence(mails) == []
    assert await intake.store_evidence([*mails, _mail(source, 9)]) != []
    assert await _count(store, "evidence", source) == 4
    assert await _count(store, "blob", source) == 4
    assert await _parse_jobs(store, ids) == 3


async def test_the_same_keys_at_once_are_stored_once(source: str, store: Store, intake: Intake) -> None:
    mails = [_mail(source, uid) for uid in range(3)]
    results = await asyncio.gather(*(intake.store_evidence(mails) for _ in range(8)))
    assert sorted(len(ids) for ids in results) == [0] * 7 + [3]
    assert await _count(store, "evidence", source) == 3
    assert await _count(store, "blob", source) == 3


async def test_a_key_twice_in_one_batch(source: str, store: Store, intake: Intake) -> None:
    mail = _mail(source, 1)
    assert len(await intake.store_evidence([mail, mail])) == 1
    assert await _count(store, "blob", source) == 1


async def test_content_under_other_uids_is_recognised_and_the_position_moves(
    source: str, store: Store, intake: Intake
) -> None:
    mails = [_mail(source, uid) for uid in range(1, 4)]
    await intake.store_evidence(mails, position=_position(source, 3))
    moved = [replace(mail, key=f"INBOX/2/{uid}") for uid, mail in enumerate(mails, 11)]
    fresh = _mail(source, 14)
    ids = await intake.store_evidence([*moved, fresh], position=_position(source, 14, uidvalidity=2))
    assert len(ids) == 1
    assert await _count(store, "evidence", source) == 4
    async with store.begin() as connection:
        assert await mailboxes.find_position(connection, source, "INBOX") == _position(source, 14, uidvalidity=2)


async def test_equal_mails_in_one_batch_of_a_mailbox_are_one(source: str, store: Store, intake: Intake) -> None:
    mails = [_mail(source, uid, raw=b"Subject: same\r\n\r\n") for uid in range(3)]
    assert len(await intake.store_evidence(mails, position=_position(source, 2))) == 1


async def test_equal_mails_over_smtp_are_each_kept(source: str, store: Store, intake: Intake) -> None:
    mails = [_mail(source, uid, raw=b"Subject: same\r\n\r\n") for uid in range(3)]
    assert len(await intake.store_evidence(mails)) == 3


async def test_other_mailboxes_keep_their_own_copy(source: str, store: Store, intake: Intake) -> None:
    mail = _mail(source, 1)
    other = replace(mail, source=f"{source}-2")
    assert len(await intake.store_evidence([mail], position=_position(source, 1))) == 1
    assert len(await intake.store_evidence([other], position=_position(other.source, 1))) == 1


async def test_an_empty_batch_moves_the_position(source: str, store: Store, intake: Intake) -> None:
    assert await intake.store_evidence([], position=_position(source, 7)) == []
    assert await intake.store_evidence([]) == []
    async with store.begin() as connection:
        assert await mailboxes.find_position(connection, source, "INBOX") == _position(source, 7)


async def test_a_position_that_cannot_move_takes_everything_with_it(
    source: str, store: Store, intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*arguments: object) -> None:
        raise RuntimeError("in the middle")

    mails = [_mail(source, 1)]
    with monkeypatch.context() as patch:
        patch.setattr(mailboxes, "save_position", fail)
        with pytest.raises(RuntimeError):
            await intake.store_evidence(mails, position=_position(source, 1))
    assert await _count(store, "evidence", source) == 0
    assert await _count(store, "blob", source) == 0
    (ids,) = [await intake.store_evidence(mails, position=_position(source, 1))]
    assert await _parse_jobs(store, ids) == 1


async def test_a_full_disk_stores_nothing_and_moves_nothing(
    source: str, store: Store, intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write
    written = 0

    def fills_up(descriptor: int, data: bytes) -> int:
        nonlocal written
        written += 1
        if written > 3:  # of one write a mail
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data)

    with monkeypatch.context() as patch:
        patch.setattr("agent.archive.local.os.write", fills_up)
        with pytest.raises(ArchiveUnavailable):
            await intake.store_evidence([_mail(source, uid) for uid in range(6)], position=_position(source, 6))
    assert await _count(store, "evidence", source) == 0
    async with store.begin() as connection:
        assert await mailboxes.find_position(connection, source, "INBOX") is None


async def test_a_database_that_is_away_leaves_no_sealed_files(tmp_path: Path) -> None:
    store = Store("postgresql:///cardline?host=/nonexistent&user=cardline")
    intake = Intake(store, open_archive(tmp_path, ""), host="test")
    for position in (None, _position("x", 1)):
        with pytest.raises(DatabaseUnavailable):
            await intake.store_evidence([_mail("smtp", 1)], position=position)
    assert [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()] == []
    await store.close()


async def test_one_mail_from_two_sources_is_one_interaction_with_two_proofs(
    source: str, store: Store, intake: Intake
) -> None:
    ids = [
        *await intake.store_evidence([_mail(source, 1)], position=_position(source, 1)),
        *await intake.store_evidence([_mail("smtp:journal", int(uuid.uuid4()))]),
    ]
    parsed = _message()
    first, second = [await intake.accept_message(one, parsed) for one in ids]
    assert first == second
    async with store.begin() as connection:
        proofs = await evidence.list_evidence_of(connection, first)
    assert [one.id for one in proofs] == ids
    assert {one.state for one in proofs} == {EvidenceState.READ}


async def test_accepting_at_once_and_again(source: str, store: Store, intake: Intake) -> None:
    ids = await intake.store_evidence([_mail(source, uid) for uid in range(10)])
    parsed = _message(attachments=(ParsedAttachment(part=1, name="a", media_type="text/plain", size=1, sha256="00"),))
    results = await asyncio.gather(*(intake.accept_message(one, parsed) for one in ids * 2))
    assert len(set(results)) == 1
    assert len(await _rows(store, "SELECT 1 FROM message WHERE logical_key = :key", key=parsed.logical_key)) == 1
    assert len(await _rows(store, "SELECT 1 FROM attachment WHERE interaction_id = :id", id=results[0])) == 1
    assert len(await _rows(store, "SELECT 1 FROM party WHERE interaction_id = :id", id=results[0])) == 2
    query = "SELECT 1 FROM procrastinate_jobs WHERE task_name = 'link' AND args ->> 'interaction_ids' = :ids"
    assert len(await _rows(store, query, ids=f"[{results[0]}]")) == 1


async def test_what_was_read_is_put_on_cards_and_indexed_before_more_is_read(
    source: str, store: Store, intake: Intake
) -> None:
    (one,) = await intake.store_evidence([_mail(source, 1)])
    (other,) = await intake.store_evidence([_mail(source, 2)])
    number = await intake.accept_message(one, _message())
    async with store.begin() as connection:
        await search.changed(connection, [number])
    query = """
        SELECT task_name FROM procrastinate_jobs
        WHERE task_name = 'index' AND status = 'todo' OR args -> 'interaction_ids' @> to_jsonb(CAST(:number AS bigint))
              OR args -> 'evidence_ids' @> to_jsonb(CAST(:other AS bigint))
        ORDER BY priority DESC, id
    """
    found = [row.task_name for row in await _rows(store, query, number=number, other=other)]
    assert (set(found[:-1]), found[-1]) == ({"link", "index"}, "parse")


async def test_a_conversation_accepted_at_once_in_any_order_is_one_thread(
    source: str, store: Store, intake: Intake
) -> None:
    ids = await intake.store_evidence([_mail(source, uid) for uid in range(8)])
    names = [f"{uuid.uuid4().hex}@example.com" for _ in ids]
    parsed = [_message(message_id=name, references=tuple(names[:place])) for place, name in enumerate(names)]
    await asyncio.gather(
        *(intake.accept_message(one, what) for one, what in reversed(list(zip(ids, parsed, strict=True))))
    )
    threads = await _rows(store, "SELECT DISTINCT thread_id FROM message WHERE message_id = ANY(:names)", names=names)
    assert len(threads) == 1


async def _started(store: Store, intake: Intake, parsed: ParsedMessage) -> datetime:
    (one,) = await intake.store_evidence([_mail(f"smtp:{uuid.uuid4().hex}", 1)])
    interaction_id = await intake.accept_message(one, parsed)
    (row,) = await _rows(store, "SELECT started_at FROM interaction WHERE id = :id", id=interaction_id)
    started: datetime = row.started_at
    return started


async def test_the_time_of_a_mail(store: Store, intake: Intake) -> None:
    sent = _NOW - timedelta(days=400)
    assert await _started(store, intake, _message(sent=sent)) == sent
    assert await _started(store, intake, _message(sent=None)) == _NOW
    assert await _started(store, intake, _message(sent=_NOW + timedelta(days=400))) == _NOW
    assert await _started(store, intake, _message(sent=_NOW + timedelta(hours=3))) == _NOW + timedelta(hours=3)


async def test_a_mail_with_no_parties_and_no_ids(store: Store, intake: Intake) -> None:
    bare = _message(parties=(), message_id="", subject="", sent=None, text="")
    assert await _started(store, intake, bare) == _NOW
    assert await _started(store, intake, replace(bare, logical_key=uuid.uuid4().hex)) == _NOW
    query = "SELECT count(DISTINCT thread_id) FROM message WHERE message_id = '' AND subject = ''"
    assert (await _rows(store, query))[0][0] == 2


async def test_a_mail_to_twenty_thousand(store: Store, intake: Intake) -> None:
    parties = tuple(
        CapturedParty(position="to", kind=IdentityKind.ADDRESS, value=f"u{number}@example.com")
        for number in range(20_000)
    )
    (one,) = await intake.store_evidence([_mail(f"smtp:{uuid.uuid4().hex}", 1)])
    interaction_id = await intake.accept_message(one, _message(parties=parties))
    query = "SELECT count(*) FROM party WHERE interaction_id = :id"
    assert (await _rows(store, query, id=interaction_id))[0][0] == 20_000


async def test_hostile_letters_and_lengths(store: Store, intake: Intake) -> None:
    noise = "".join(
        uuid.uuid4().hex for _ in range(15)
    )  # 480 letters that do not compress away; the parser cuts at 500
    odd = _message(
        subject="\x00\ud800",
        text="a\x00b" * 1_000_000,
        message_id=f"{noise}@example.com",
        references=(f"{noise}2@example.com", "\x00@example.com"),
        problems=("the header \x00 was broken",),
    )
    (one,) = await intake.store_evidence([_mail(f"smtp:{uuid.uuid4().hex}", 1)])
    assert await intake.accept_message(one, odd) == await intake.accept_message(one, odd)


async def test_a_rejected_mail_stays_with_its_reason(source: str, store: Store, intake: Intake) -> None:
    (one,) = await intake.store_evidence([_mail(source, 1)])
    await intake.reject_evidence(one, "it has no header at all")
    await intake.reject_evidence(one, "it has no header at all")
    async with store.begin() as connection:
        (found,) = await evidence.find_evidence(connection, [one])
        assert one in [each.id for each in await evidence.list_unreadable(connection, 100)]
    assert (found.state, found.problem) == (EvidenceState.UNREADABLE, "it has no header at all")
    assert found.blob is not None
    await intake.accept_message(one, _message())  # a better parser may read it later
    async with store.begin() as connection:
        (found,) = await evidence.find_evidence(connection, [one])
    assert (found.state, found.problem) == (EvidenceState.READ, "")


async def test_each_mail_of_a_batch_has_its_own_words_and_its_own_page(
    source: str, store: Store, intake: Intake
) -> None:
    texts = ["Привет, мир", "", "a\0b \udcff", "𝄞" * 3000, "plain"]
    pages = ["<p>Привет</p>", "<b>only a page</b>", "", "<i>𝄞</i>" * 3000, "<p>x</p>"]
    ids = await intake.store_evidence([_mail(source, uid) for uid in range(len(texts))])
    read = [(one, _message(text=words, html=page)) for one, words, page in zip(ids, texts, pages, strict=True)]
    became = await intake.accept_messages(read)
    async with store.begin() as connection:
        stored = {one.interaction_id: one for one in await messages.list_messages(connection, list(became.values()))}
    found = [stored[became[one]] for one in ids]
    assert [one.text for one in found] == [*texts[:2], "a\ufffdb ?", *texts[3:]]
    assert [one.html for one in found] == pages
