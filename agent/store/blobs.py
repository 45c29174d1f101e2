"""Rows of sealed blobs, and of the chain that holds them together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, delete, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import SealedBlob
from agent.store.engine import AnyRow, is_any
from agent.store.schema import blob, chain_link, erasure

COLUMNS = (
    blob.c.name,
    blob.c.media_type,
    blob.c.plain_size,
    blob.c.stored_size,
    blob.c.salted_digest,
    blob.c.master_key,
    blob.c.wrapped_key,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DueBlob:
    """A blob whose stored bytes were not looked at for long; ``fault`` is what was wrong then."""

    id: int
    blob: SealedBlob
    is_erased: bool
    fault: str


# What a link states of a blob.
STATED = (
    blob.c.id,
    blob.c.name,
    blob.c.salted_digest,
    blob.c.media_type,
    blob.c.plain_size,
    blob.c.stored_size,
    blob.c.source,
    blob.c.created_at,
)

# Only one process chains at a time; the number is ours alone in this database.
_CHAIN_LOCK = 0x43484E


def sealed(row: Any) -> SealedBlob:
    """The blob of a row that has all of `COLUMNS`, and no others of these names."""
    return SealedBlob(**{name: getattr(row, name) for name in SealedBlob.__slots__})


async def save_blob(connection: AsyncConnection, one: SealedBlob, *, source: str) -> int:
    """Commit to a sealed blob; returns the row's id."""
    values = {column.name: getattr(one, column.name) for column in COLUMNS}
    result = await connection.execute(insert(blob).values(**values, source=source).returning(blob.c.id))
    return int(result.scalar_one())


async def take_back_blob(connection: AsyncConnection, blob_id: int) -> None:
    """Undo `save_blob` inside the same transaction; the sealed file stays, vouched for by nothing."""
    await connection.execute(delete(blob).where(blob.c.id == blob_id, ~blob.c.chained))


async def lock_chain(connection: AsyncConnection) -> bool:
    """Whether this transaction may append to the chain; False while another process does."""
    result = await connection.execute(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": _CHAIN_LOCK})
    return bool(result.scalar_one())


async def wait_for_chain(connection: AsyncConnection) -> None:
    """Wait until nobody else appends, and let nobody until this transaction ends."""
    await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _CHAIN_LOCK})


async def list_unchained(connection: AsyncConnection, limit: int) -> Sequence[AnyRow]:
    """Blobs that are committed but not chained yet, oldest first."""
    query = select(*STATED).where(~blob.c.chained).order_by(blob.c.id).limit(limit)
    return (await connection.execute(query)).all()


async def find_last_link(connection: AsyncConnection) -> tuple[int, bytes]:
    """Sequence number and digest of the newest link; zero and empty before the first."""
    query = select(chain_link.c.sequence, chain_link.c.digest).order_by(chain_link.c.sequence.desc()).limit(1)
    row = (await connection.execute(query)).first()
    return (row.sequence, row.digest) if row else (0, b"")


async def find_digest(connection: AsyncConnection, sequence: int) -> bytes | None:
    """The digest of one link."""
    query = select(chain_link.c.digest).where(chain_link.c.sequence == sequence)
    found: bytes | None = (await connection.execute(query)).scalar_one_or_none()
    return found


async def append_links(connection: AsyncConnection, links: Sequence[dict[str, Any]]) -> None:
    """Add links (sequence, blob_id or erasure_id, previous, digest, chained_at) and mark their blobs as chained."""
    await connection.execute(insert(chain_link), list(links))
    if ids := [link["blob_id"] for link in links if link.get("blob_id") is not None]:
        await connection.execute(update(blob).where(is_any(blob.c.id, ids)).values(chained=True))


async def list_chain(connection: AsyncConnection, after: int, limit: int) -> Sequence[AnyRow]:
    """Links with the blobs or acts they state, in order, from the one after ``after``."""
    query = (
        select(
            chain_link.c.sequence,
            chain_link.c.previous,
            chain_link.c.digest,
            chain_link.c.chained_at,
            chain_link.c.blob_id,
            chain_link.c.erasure_id,
            *(column for column in (*STATED, blob.c.master_key, blob.c.wrapped_key) if column is not blob.c.id),
            erasure.c.at,
            erasure.c.by,
            erasure.c.reason,
            erasure.c.basis,
            erasure.c.subject,
            erasure.c.links,
        )
        .outerjoin_from(chain_link, blob)
        .outerjoin(erasure, erasure.c.id == chain_link.c.erasure_id)
        .where(chain_link.c.sequence > after)
        .order_by(chain_link.c.sequence)
        .limit(limit)
    )
    return (await connection.execute(query)).all()


async def count_unchained(connection: AsyncConnection, since: datetime) -> int:
    """How many blobs were committed before ``since`` and still wait for their link."""
    query = text("SELECT count(*) FROM blob WHERE NOT chained AND created_at < :since")
    return int((await connection.execute(query, {"since": since})).scalar_one())


async def list_due(connection: AsyncConnection, before: datetime, limit: int) -> list[DueBlob]:
    """Blobs that were last looked at before then, oldest first."""
    query = (
        select(blob.c.id, blob.c.erased_at, blob.c.fault, *COLUMNS)
        .where(blob.c.checked_at < before)
        .order_by(blob.c.checked_at)
        .limit(limit)
    )
    return [
        DueBlob(id=row.id, blob=sealed(row), is_erased=row.erased_at is not None, fault=row.fault)
        for row in await connection.execute(query)
    ]


async def save_checks(connection: AsyncConnection, found: Sequence[tuple[int, str]]) -> None:
    """Note what was found at each of these blobs; empty: it is as it should be."""
    statement = (
        update(blob)
        .where(blob.c.id == bindparam("b_id"))
        .values(checked_at=func.clock_timestamp(), fault=bindparam("b_fault"))
    )
    if found:
        await connection.execute(statement, [{"b_id": one, "b_fault": fault} for one, fault in found])


async def list_faulty(connection: AsyncConnection, limit: int = 1000) -> list[tuple[str, str]]:
    """Names and faults of blobs that are not as they were stored."""
    query = select(blob.c.name, blob.c.fault).where(blob.c.fault != "").order_by(blob.c.id).limit(limit)
    return [(row.name, row.fault) for row in await connection.execute(query)]
