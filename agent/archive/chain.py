"""The chain: what each blob is, hashed together with the link before, so that nothing can be changed, removed or
slipped in without every later link changing too. `agent.archive.statements` says what is hashed.

One process at a time chains what was committed, every few seconds; doing it inside the intake's transactions would
make every call and every mail wait for each other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.archive.blobs import Archive
from agent.archive.chainfile import BlobKey, Record
from agent.archive.contents import ContentCheck
from agent.archive.sealbook import SealBook
from agent.archive.sealkeys import SealKey
from agent.archive.seals import Seal, make_seal
from agent.archive.statements import blob_statement, erasure_statement, link_digest, statement_hash
from agent.archive.verify import Proof, Verdict
from agent.errors import Unavailable
from agent.store import blobs, seals
from agent.store.engine import AnyRow, Store

log = structlog.get_logger()

_BATCH = 1000
_PAUSE_SECONDS = 3.0


class Chainer:
    """Appends to the chain for as long as the service runs."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def run(self) -> None:
        """Chain every few seconds; a database that is away is waited for."""
        while True:
            try:
                while await self.chain_batch() == _BATCH:
                    pass
            except Unavailable as error:
                log.warning("chain_waits", reason=str(error))
            await asyncio.sleep(_PAUSE_SECONDS)

    async def chain_batch(self) -> int:
        """Append up to a batch of links in one transaction; returns how many."""
        async with self._store.begin() as connection:
            if not await blobs.lock_chain(connection):
                return 0
            return await _append_batch(connection)


async def chain_all(connection: AsyncConnection) -> None:
    """Chain everything that is committed, and let nobody else append until the caller's transaction ends."""
    await blobs.wait_for_chain(connection)
    while await _append_batch(connection) == _BATCH:
        pass


async def append_erasure(connection: AsyncConnection, act: AnyRow) -> int:
    """A link for an act of erasure (its row); the caller has called `chain_all`. Returns its position."""
    sequence, previous = await blobs.find_last_link(connection)
    digest = link_digest(previous, statement_hash(_act_statement(act, sequence + 1)))
    now = datetime.now(UTC)
    link = {"sequence": sequence + 1, "erasure_id": act.id, "previous": previous, "digest": digest, "chained_at": now}
    await blobs.append_links(connection, [link])
    return sequence + 1


async def _append_batch(connection: AsyncConnection) -> int:
    rows = await blobs.list_unchained(connection, _BATCH)
    sequence, previous = await blobs.find_last_link(connection)
    if rows:
        await blobs.append_links(connection, list(_links(rows, sequence, previous)))
    return len(rows)


def _links(rows: Iterable[AnyRow], sequence: int, previous: bytes) -> Iterator[dict[str, Any]]:
    now = datetime.now(UTC)
    for number, row in enumerate(rows, sequence + 1):
        digest = link_digest(previous, statement_hash(_blob_statement(row, number)))
        yield {"sequence": number, "blob_id": row.id, "previous": previous, "digest": digest, "chained_at": now}
        previous = digest


def _blob_statement(row: AnyRow, sequence: int) -> bytes:
    return blob_statement(
        sequence=sequence,
        name=row.name,
        salted=row.salted_digest,
        media_type=row.media_type,
        plain_size=row.plain_size,
        stored_size=row.stored_size,
        source=row.source,
        created=row.created_at,
    )


def _act_statement(row: AnyRow, sequence: int) -> bytes:
    return erasure_statement(
        sequence=sequence,
        links=row.links,
        at=row.at,
        by=row.by,
        reason=row.reason,
        basis=row.basis,
        subject=row.subject,
    )


def record_of(row: AnyRow) -> Record:
    """A row of `blobs.list_chain` as it stands now; whether it is what was chained is what a proof finds out."""
    if row.erasure_id is not None:
        return Record(row.previous, row.digest, _act_statement(row, row.sequence))
    key = BlobKey(row.master_key, row.wrapped_key)
    return Record(row.previous, row.digest, _blob_statement(row, row.sequence), key)


async def load_seals(store: Store) -> list[Seal]:
    """The seals of the archive."""
    async with store.begin() as connection:
        stored = await seals.list_seals(connection)
    return [make_seal(one.statement, one.signature, one.tokens) for one in stored]


async def verify(
    store: Store,
    archive: Archive,
    *,
    contents: bool = True,
    book: SealBook | None = None,
    on_progress: Callable[[int, float], None] = lambda links, part: None,
) -> Verdict:
    """Walk the whole chain of an installation; with ``contents`` also read every stored byte.

    Seals are believed by this machine's own keys unless a ``book`` with others, such as were kept elsewhere, is given.
    """
    if book is None:
        book = SealBook(SealKey.publics(archive.keys.folder))
        book.add(await load_seals(store), outside=False)
    async with store.begin() as connection:
        length = max(1, (await blobs.find_last_link(connection))[0])
    check = ContentCheck(archive.open_stored) if contents else None
    proof = Proof(book, contents=check, unwrap=archive.keys.unwrap)
    try:
        async for rows in batches(store):
            if not await asyncio.to_thread(proof.feed, [record_of(row) for row in rows]):
                break
            on_progress(proof.links, proof.links / length)
        return await asyncio.to_thread(proof.finish)
    finally:
        if check is not None:
            await asyncio.to_thread(check.close)


async def batches(store: Store, after: int = 0) -> Any:
    """The rows of the chain, a batch a transaction."""
    while True:
        async with store.begin() as connection:
            rows: Sequence[AnyRow] = await blobs.list_chain(connection, after, _BATCH)
        if rows:
            yield rows
            after = rows[-1].sequence
        if len(rows) < _BATCH:
            return
