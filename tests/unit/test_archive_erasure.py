"""Erasure on demand: keys gone, text gone, the chain whole; what could not go is said, and nothing comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from agent.archive.chain import verify
from agent.archive.erasure import Demand, NothingToErase, erase
from agent.archive.offline import verify_copy
from agent.errors import BlobErased, Misconfigured
from agent.intake import Intake
from agent.model import CapturedMail, Utterance
from agent.model_mail import ParsedAttachment
from agent.store import erasures, recordings, transcripts
from agent.store.engine import Store
from agent.store.schema import metadata
from tests.postgres import PostgresForTests
from tests.unit.evidence_lab import Lab
from tests.web_world import Builder, address, extension, phone, settings_for

_WHEN = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
_SECRETS = ("Petrova", "petrova@client.example.org", "+74950000001", "grey paint", "Kolomna", "invoice-7")
_DEMAND = Demand(by="anna", reason="the client demanded it", basis="GDPR Art. 17")


@dataclass(slots=True)
class World:
    lab: Lab
    builder: Builder
    petrova: int
    works: int
    call: int
    mail: int
    shared: int
    other: int


@pytest.fixture
async def world(postgres: PostgresForTests, tmp_path: Path) -> AsyncIterator[World]:
    """Petrova has a call with transcript and a mail with attachment; one mail she shares with the works."""
    store = Store(await postgres.new_database())
    lab = Lab.open(store, tmp_path)
    made = Builder(store, lab.archive, Intake(store, lab.archive, host="test"), settings_for(tmp_path / "data"))
    await made.employee("Anna", extension("101"), address("anna@cardline.example.com"))
    petrova = await made.card("Petrova", phone("+74950000001"), address("petrova@client.example.org"))
    works = await made.card("Works", address("works@client.example.org"))
    call = await made.call("+74950000001", "101", _WHEN, caller_name="Petrova", flags=("from Kolomna",))
    said = [(0, 1.0, "grey paint to Kolomna"), (1, 4.0, "of course")]
    await made.recording(call, _WHEN, b"fLaC" + bytes(100), 10, said=said)
    part = ParsedAttachment(part=2, name="invoice-7.pdf", media_type="application/pdf", size=3, sha256="0" * 64)
    us, her = ("Anna", "anna@cardline.example.com"), ("Petrova", "petrova@client.example.org")
    _, mail = await made.mail(her, us, _WHEN, "grey paint", "to Kolomna", html="<p>grey paint</p>", attachments=(part,))
    _, shared = await made.mail(her, us, _WHEN, "grey paint again", "for both")
    _, other = await made.mail(("Works", "works@client.example.org"), us, _WHEN, "blue", "other")
    async with store.begin() as connection:
        await connection.execute(
            text(
                "INSERT INTO link (interaction_id, client_card_id, started_at, state, reason)"
                " VALUES (:one, :card, now(), 'linked', 'x')"
            ),
            {"one": shared, "card": works},
        )
        told = "UPDATE evidence SET details = '{}' WHERE interaction_id IN (1, 2, 3)"
        await connection.execute(text(told.format('{"from": "petrova@client.example.org"}')))
    yield World(lab, made, petrova, works, call, mail, shared, other)
    await store.close()


def _demand(**more: Any) -> Demand:
    return Demand(by=_DEMAND.by, reason=_DEMAND.reason, basis=_DEMAND.basis, **more)


async def _everything(store: Store) -> str:
    """All text of all tables but those that name things for good: logical keys, message ids, jobs, accounts."""
    left: list[str] = []
    async with store.begin() as connection:
        for table in metadata.sorted_tables:
            for row in (await connection.execute(table.select())).mappings():
                left += [f"{table.name}.{name}: {value}" for name, value in row.items() if value is not None]
    return "\n".join(left)


async def test_a_client_is_erased(world: World) -> None:
    lab, store = world.lab, world.lab.store
    before = await _everything(store)
    assert all(secret in before for secret in _SECRETS)
    done = await erase(store, _demand(card_id=world.petrova, shared=True))
    assert done.interactions == (world.call, world.mail, world.shared)
    assert (done.blobs, done.shared, done.unfinished) == (3, (), ())
    left = await _everything(store)
    assert [line for line in left.splitlines() if any(secret in line for secret in _SECRETS)] == []
    assert "works@client.example.org" in left
    assert "erased 20" in left
    found = await verify(store, lab.archive)
    assert found.holds
    assert [(act.by, act.reason, act.basis, act.count) for act in found.erased] == [
        ("anna", "the client demanded it", "GDPR Art. 17", 3)
    ]
    async with store.begin() as connection:
        (sound,) = await recordings.list_recordings(connection, [world.call])
    with pytest.raises(BlobErased):
        lab.archive.open(sound.blob)


async def test_what_others_share_is_kept_unless_asked_for(world: World) -> None:
    done = await erase(world.lab.store, _demand(card_id=world.petrova))
    assert done.shared == (world.shared,)
    left = await _everything(world.lab.store)
    assert "grey paint again" in left
    assert "invoice-7" not in left


async def test_a_seal_made_before_holds_after_and_an_exported_copy_says_what_was_erased(world: World) -> None:
    lab = world.lab
    await lab.add(1)
    await lab.seal()
    done = await erase(lab.store, _demand(interaction_ids=[world.mail]))
    await lab.seal()
    found = verify_copy(await lab.export(with_keys=True), lab.trust(), blobs=lab.blobs, keys=lab.keys, workers=1)
    assert found.holds
    assert found.independent is not None
    assert found.independent.seal.length == found.length == done.sequence
    assert [(act.sequence, act.count) for act in found.erased] == [(done.sequence, 1)]


async def test_an_act_that_is_taken_back_or_reworded_is_found(world: World) -> None:
    lab = world.lab
    done = await erase(lab.store, _demand(interaction_ids=[world.mail]))
    await lab.seal()
    await lab.execute("UPDATE erasure SET by = 'boris'")
    assert (await verify(lab.store, lab.archive)).first_bad == done.sequence
    await lab.execute("UPDATE erasure SET by = 'anna', links = '[[1, 1], [2, 2]]'")
    assert (await verify(lab.store, lab.archive)).first_bad == done.sequence


async def test_a_call_that_is_not_assembled_is_left_and_said(world: World) -> None:
    lab = world.lab
    going_on = await world.builder.call("+74950000001", "101", _WHEN, ended=False, capture_id="20260302T090000-x")
    done = await erase(lab.store, _demand(card_id=world.petrova, shared=True))
    assert done.unfinished == (going_on,)
    assert "petrova@client.example.org" in await _everything(lab.store)  # her card stays until all is erased
    with pytest.raises(NothingToErase):
        await erase(lab.store, _demand(interaction_ids=[going_on]))


async def test_a_transcript_that_comes_late_is_dropped(world: World) -> None:
    store = world.lab.store
    async with store.begin() as connection:
        (sound,) = await recordings.list_recordings(connection, [world.call])
    await erase(store, _demand(interaction_ids=[world.call]))
    late = [Utterance(channel=0, start=0, end=1, text="grey paint", confidence=1)]
    async with store.begin() as connection:
        facts: dict[str, Any] = {"recording_id": sound.id, "language": "ru", "utterances": late}
        assert await transcripts.save_transcript(connection, model="large", **facts) is None


async def test_a_transcript_that_is_being_saved_is_waited_for(world: World) -> None:
    store = world.lab.store
    late = [Utterance(channel=0, start=0, end=1, text="a late word", confidence=1)]
    async with store.begin() as connection:
        (sound,) = await recordings.list_recordings(connection, [world.call])
        await transcripts.save_transcript(
            connection, recording_id=sound.id, model="large", language="ru", utterances=late
        )
        act = asyncio.create_task(erase(store, _demand(interaction_ids=[world.call])))
        async with store.begin() as watch:
            waits = text("SELECT pg_sleep(0.01) IS NULL, count(*) FROM pg_locks WHERE NOT granted")
            while not (await watch.execute(waits)).one()[1]:
                pass
    await act
    assert "a late word" not in await _everything(store)


async def test_the_same_mail_does_not_come_back_from_its_mailbox(world: World) -> None:
    lab = world.lab
    intake = Intake(lab.store, lab.archive, host="test")
    mail = CapturedMail(source="imap:sales", key="INBOX/1/1", raw=b"Subject: x\r\n\r\n", received=_WHEN)
    (proof,) = await intake.store_evidence([mail])
    await lab.execute(f"UPDATE evidence SET interaction_id = {world.mail} WHERE id = {proof}")
    await erase(lab.store, _demand(interaction_ids=[world.mail]))
    assert await intake.store_evidence([mail]) == []


async def test_an_erasure_says_who_why_and_on_what_basis(world: World) -> None:
    for empty in ("by", "reason", "basis"):
        words = {"by": "anna", "reason": "x", "basis": "y", empty: " "}
        with pytest.raises(Misconfigured, match=f"Give {empty}"):
            await erase(world.lab.store, Demand(card_id=world.petrova, **words))  # type: ignore[arg-type]
    with pytest.raises(NothingToErase):
        await erase(world.lab.store, _demand(interaction_ids=[999]))
    assert (await verify(world.lab.store, world.lab.archive)).erased == ()


async def test_an_erasure_that_breaks_leaves_everything(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(erasures, "wipe_card", broken)
        with pytest.raises(RuntimeError):
            await erase(world.lab.store, _demand(card_id=world.petrova, shared=True))
    left = await _everything(world.lab.store)
    assert all(secret in left for secret in _SECRETS)
    assert (await verify(world.lab.store, world.lab.archive)).erased == ()


async def test_old_rows_are_written_away(world: World) -> None:
    """`purge` leaves no dead row behind in the tables that held what was erased."""
    store = world.lab.store
    await erase(store, _demand(card_id=world.petrova, shared=True))
    await erasures.purge(store.url)
    async with store.begin() as connection:
        found = await connection.execute(
            text("SELECT sum(pg_relation_size(c.oid)) FROM pg_class c WHERE relname IN ('utterance', 'attachment')")
        )
        assert found.scalar_one() == 0  # all of their rows were this client's


def test_every_column_of_text_around_an_interaction_is_wiped_or_kept_for_a_reason() -> None:
    """Whoever adds a column that may hold what was said or written says here what an erasure does with it."""
    wiped = {(table.name, name) for table, values in erasures.WIPED.items() for name in values}
    deleted = {table.name for table in erasures.DELETED}
    open_questions = [
        f"{column.table.name}.{column.name}"
        for column in erasures.text_columns()
        if (column.table.name, column.name) not in wiped
        and column.table.name not in deleted
        and column.table.name not in erasures.KEPT
        and f"{column.table.name}.{column.name}" not in erasures.KEPT
    ]
    assert open_questions == []
