"""The chain: whatever was changed, removed or slipped in is found, and named by its link."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from agent.archive import chain
from agent.archive.blobs import Archive, open_archive
from agent.archive.chain import Chainer, append_erasure, verify
from agent.archive.verify import KEY_GONE
from agent.store import blobs, erasures
from agent.store.engine import Store
from tests.postgres import PostgresForTests


@pytest.fixture
async def fresh(postgres: PostgresForTests) -> AsyncIterator[Store]:
    """A database of this one test, since each test breaks its own."""
    store = Store(await postgres.new_database())
    yield store
    await store.close()


@pytest.fixture
def sealed(tmp_path: Path) -> Archive:
    return open_archive(tmp_path, "")


async def _add(store: Store, archive: Archive, count: int, *, prefix: str = "mail") -> list[int]:
    made = [archive.seal(f"{prefix} {number}".encode(), media_type="text/plain") for number in range(count)]
    async with store.begin() as connection:
        return [await blobs.save_blob(connection, one, source="smtp") for one in made]


async def _execute(store: Store, *statements: str) -> None:
    async with store.begin() as connection:
        for statement in statements:
            await connection.execute(text(statement))


async def _path(store: Store, folder: Path, link: int) -> Path:
    async with store.begin() as connection:
        query = text("SELECT name FROM blob JOIN chain_link ON blob_id = blob.id WHERE sequence = :link")
        name = str((await connection.execute(query, {"link": link})).scalar_one())
    return folder / "blobs" / name[:2] / name[2:4] / name


async def test_links_in_order(fresh: Store, sealed: Archive) -> None:
    await _add(fresh, sealed, 3)
    chainer = Chainer(fresh)
    assert await chainer.chain_batch() == 3
    assert await chainer.chain_batch() == 0
    await _add(fresh, sealed, 2)
    assert await chainer.chain_batch() == 2
    async with fresh.begin() as connection:
        rows = await blobs.list_chain(connection, 0, 100)
    assert [row.sequence for row in rows] == [1, 2, 3, 4, 5]
    assert [row.previous for row in rows] == [b"", *(row.digest for row in rows[:-1])]
    assert (await verify(fresh, sealed)).links == 5


async def test_an_empty_chain_holds(fresh: Store, sealed: Archive) -> None:
    verdict = await verify(fresh, sealed)
    assert (verdict.links, verdict.first_bad) == (0, None)


async def test_more_than_a_batch(fresh: Store, sealed: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain, "_BATCH", 4)
    await _add(fresh, sealed, 12)
    chainer = Chainer(fresh)
    assert [await chainer.chain_batch() for _ in range(4)] == [4, 4, 4, 0]
    assert (await verify(fresh, sealed)).links == 12


async def test_many_chainers_never_fork(fresh: Store, sealed: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain, "_BATCH", 3)
    await _add(fresh, sealed, 40)
    for _ in range(20):
        await asyncio.gather(*(Chainer(fresh).chain_batch() for _ in range(6)), _add(fresh, sealed, 1))
    while await Chainer(fresh).chain_batch():
        pass
    verdict = await verify(fresh, sealed)
    assert (verdict.links, verdict.first_bad) == (60, None)


async def test_a_batch_that_fails_leaves_no_link(
    fresh: Store, sealed: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _add(fresh, sealed, 2)
    real = blobs.append_links

    async def append_then_break(*arguments: object) -> None:
        await real(*arguments)  # type: ignore[arg-type]
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(blobs, "append_links", append_then_break)
        with pytest.raises(RuntimeError):
            await Chainer(fresh).chain_batch()
    assert await Chainer(fresh).chain_batch() == 2
    assert (await verify(fresh, sealed)).links == 2


_SWAP = (
    "ALTER TABLE chain_link DROP CONSTRAINT uq_chain_link_blob_id",
    "UPDATE chain_link a SET blob_id = b.blob_id FROM chain_link b WHERE (a.sequence, b.sequence) IN ((2, 3), (3, 2))",
)

_TAMPERINGS: dict[str, tuple[tuple[str, ...], int]] = {
    "a removed link": (("DELETE FROM chain_link WHERE sequence = 3",), 3),
    "the first link removed": (("DELETE FROM chain_link WHERE sequence = 1",), 1),
    "a removed link, the rest renumbered": (
        (
            "DELETE FROM chain_link WHERE sequence = 3",
            "UPDATE chain_link SET sequence = sequence - 1 WHERE sequence > 3",
        ),
        3,
    ),
    "two blobs swapped": (_SWAP, 2),
    "two links swapped": (
        (
            "UPDATE chain_link SET sequence = 99 WHERE sequence = 2",
            "UPDATE chain_link SET sequence = 2 WHERE sequence = 3",
            "UPDATE chain_link SET sequence = 3 WHERE sequence = 99",
        ),
        2,
    ),
    "one slipped in": (
        (
            "UPDATE chain_link SET sequence = sequence + 100 WHERE sequence > 2",
            "UPDATE chain_link SET sequence = sequence - 99 WHERE sequence > 100",
            "INSERT INTO blob (name, media_type, plain_size, stored_size, salted_digest, master_key, source, chained)"
            " VALUES (repeat('0', 64), 'text/plain', 0, 32, '', 1, 'smtp', true)",
            "INSERT INTO chain_link SELECT 3, blob.id, l.digest, l.digest, now() FROM blob, chain_link l"
            " WHERE blob.name = repeat('0', 64) AND l.sequence = 2",
        ),
        3,
    ),
    "another name": (("UPDATE blob SET name = repeat('0', 64) WHERE id = 2",), 2),
    "another digest": (("UPDATE blob SET salted_digest = 'x' WHERE id = 2",), 2),
    "another source": (("UPDATE blob SET source = 'imap' WHERE id = 2",), 2),
    "another time": (("UPDATE blob SET created_at = created_at + interval '1 microsecond' WHERE id = 2",), 2),
    "another link digest": (("UPDATE chain_link SET digest = 'x' WHERE sequence = 4",), 4),
    "another previous": (("UPDATE chain_link SET previous = 'x' WHERE sequence = 4",), 4),
    "another key": (("UPDATE blob SET wrapped_key = (SELECT wrapped_key FROM blob WHERE id = 3) WHERE id = 2",), 2),
    "a damaged key": (("UPDATE blob SET wrapped_key = 'xxxxxxxxxxxxxxxx' WHERE id = 2",), 2),
    "another media type": (("UPDATE blob SET media_type = 'audio/flac' WHERE id = 2",), 2),
    "another stored size": (("UPDATE blob SET stored_size = stored_size + 1 WHERE id = 2",), 2),
    "another size": (("UPDATE blob SET plain_size = 3 WHERE id = 2",), 2),
}


@pytest.mark.parametrize(("statements", "link"), _TAMPERINGS.values(), ids=_TAMPERINGS.keys())
async def test_tampering_is_found_and_named(
    statements: tuple[str, ...], link: int, fresh: Store, sealed: Archive
) -> None:
    await _add(fresh, sealed, 5)
    await Chainer(fresh).chain_batch()
    assert (await verify(fresh, sealed)).first_bad is None
    await _execute(fresh, *statements)
    verdict = await verify(fresh, sealed)
    assert (verdict.links, verdict.first_bad) == (link - 1, link)
    assert verdict.problem


async def test_files_that_are_gone_or_altered(fresh: Store, sealed: Archive, tmp_path: Path) -> None:
    await _add(fresh, sealed, 4)
    await Chainer(fresh).chain_batch()
    path = await _path(fresh, tmp_path, 3)
    good = path.read_bytes()
    for bad in (b"", good[:-1], good + b"\0", good[:20] + bytes([good[20] ^ 1]) + good[21:]):
        path.write_bytes(bad)
        verdict = await verify(fresh, sealed)
        assert verdict.first_bad == 3
        assert verdict.problem.startswith("its stored bytes were changed")
    assert (await verify(fresh, sealed, contents=False)).first_bad is None
    path.unlink()
    assert (await verify(fresh, sealed)).problem.startswith("it is missing")
    path.write_bytes(good)
    assert (await verify(fresh, sealed)).links == 4


async def test_an_erased_blob_still_verifies(fresh: Store, sealed: Archive, tmp_path: Path) -> None:
    await _add(fresh, sealed, 3)
    await Chainer(fresh).chain_batch()
    await _execute(fresh, "UPDATE blob SET wrapped_key = NULL, erased_at = now() WHERE id = 2")
    verdict = await verify(fresh, sealed)
    assert (verdict.first_bad, verdict.problem) == (2, KEY_GONE)
    act: dict[str, Any] = {"by": "anna", "reason": "demanded", "basis": "a law", "subject": "card 1"}
    async with fresh.begin() as connection:
        row = await erasures.insert_erasure(connection, at=datetime.now(UTC), links=[[2, 2]], blobs=1, **act)
        assert await append_erasure(connection, row) == 4
    verdict = await verify(fresh, sealed)
    assert (verdict.links, verdict.first_bad) == (4, None)
    assert [(one.by, one.reason, one.ranges) for one in verdict.erased] == [("anna", "demanded", ((2, 2),))]
    path = await _path(fresh, tmp_path, 2)
    path.write_bytes(path.read_bytes() + b"\0")
    assert (await verify(fresh, sealed)).first_bad == 2
    path.unlink()
    assert (await verify(fresh, sealed)).holds


async def test_nothing_of_the_chain_can_be_deleted_by_mistake(fresh: Store, sealed: Archive) -> None:
    (only,) = await _add(fresh, sealed, 1)
    await Chainer(fresh).chain_batch()
    async with fresh.begin() as connection:
        await blobs.take_back_blob(connection, only)
    assert (await verify(fresh, sealed)).links == 1
