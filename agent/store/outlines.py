"""Outlines of recordings: how loud each channel is, bucket by bucket, so that no browser decodes an hour to draw it."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.store.schema import blob, recording, recording_outline


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredOutline:
    """``peaks`` has a byte a bucket (255 is full scale), channel after channel."""

    bucket_ms: int
    peaks: bytes


async def find_outline(connection: AsyncConnection, recording_id: int) -> StoredOutline | None:
    """The outline, if somebody has looked at this recording before."""
    query = select(recording_outline).where(recording_outline.c.recording_id == recording_id)
    row = (await connection.execute(query)).first()
    return StoredOutline(bucket_ms=row.bucket_ms, peaks=bytes(row.peaks)) if row else None


async def save_outline(connection: AsyncConnection, recording_id: int, outline: StoredOutline) -> bool:
    """Keep it; False where the recording was erased meanwhile: an erasure waits for this transaction, or this one for
    it. Whoever saves second saves the same."""
    living = select(blob.c.wrapped_key).join(recording).where(recording.c.id == recording_id)
    if (await connection.execute(living.with_for_update(read=True, of=blob))).scalar_one_or_none() is None:
        return False
    values = {"recording_id": recording_id, "bucket_ms": outline.bucket_ms, "peaks": outline.peaks}
    await connection.execute(insert(recording_outline).values(**values).on_conflict_do_nothing())
    return True
