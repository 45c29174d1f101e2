"""What was heard of calls while they went on: answers that the finished recording's transcription may take.

They are sealed bytes to this module, under keys that only the same samples give. So an answer is either right or never
asked for, and losing any of them costs time only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import delete, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.store.schema import blob, capture, interaction, live_answer, recording

_TOO_OLD = text("interval '1 day'")


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveAnswer:
    """What was answered to sound from ``begins`` to ``ends``, seconds since the epoch."""

    key: bytes
    answer: bytes
    begins: float
    ends: float


async def keep(connection: AsyncConnection, capture_id: str, answers: Sequence[LiveAnswer]) -> bool:
    """Keep answers; False where the call is unknown (yet), a recording already or erased: nothing was kept."""
    living = (
        select(capture.c.id)
        .join(interaction, interaction.c.id == capture.c.interaction_id)
        .where(capture.c.id == capture_id, capture.c.state != "assembled", interaction.c.erasure_id.is_(None))
    )
    living = living.with_for_update(read=True, key_share=True, of=capture)
    if (await connection.execute(living)).scalar_one_or_none() is None:
        return False
    if answers:
        rows = [
            {
                "capture_id": capture_id,
                "key": one.key,
                "answer": one.answer,
                "begins_at": datetime.fromtimestamp(one.begins, UTC),
                "ends_at": datetime.fromtimestamp(one.ends, UTC),
            }
            for one in answers
        ]
        await connection.execute(insert(live_answer).on_conflict_do_nothing(), rows)
    return True


async def list_answers(connection: AsyncConnection, capture_id: str) -> dict[bytes, bytes]:
    """All that is kept of a capture."""
    query = select(live_answer.c.key, live_answer.c.answer).where(live_answer.c.capture_id == capture_id)
    return {bytes(row.key): bytes(row.answer) for row in await connection.execute(query)}


async def list_answers_of(connection: AsyncConnection, recording_id: int) -> dict[bytes, bytes]:
    """All that is kept of a recording's capture, for as long as the recording can be read."""
    query = (
        select(live_answer.c.key, live_answer.c.answer)
        .join(recording, recording.c.capture_id == live_answer.c.capture_id)
        .join(blob, blob.c.id == recording.c.blob_id)
        .where(recording.c.id == recording_id, blob.c.wrapped_key.is_not(None))
    )
    return {bytes(row.key): bytes(row.answer) for row in await connection.execute(query)}


async def forget_between(connection: AsyncConnection, capture_id: str, begins: float, ends: float) -> None:
    """Forget what was heard of sound that touches this time, seconds since the epoch."""
    mine = live_answer.c.capture_id == capture_id
    touches = (live_answer.c.begins_at < datetime.fromtimestamp(ends, UTC)) & (
        live_answer.c.ends_at > datetime.fromtimestamp(begins, UTC)
    )
    await connection.execute(delete(live_answer).where(mine, touches))


async def forget_of(connection: AsyncConnection, recording_id: int) -> None:
    """The recording is transcribed, or cannot be."""
    captures = select(recording.c.capture_id).where(recording.c.id == recording_id)
    await connection.execute(delete(live_answer).where(live_answer.c.capture_id.in_(captures)))


async def forget_old(connection: AsyncConnection) -> None:
    """What nobody asked for in a day."""
    await connection.execute(delete(live_answer).where(live_answer.c.created_at < func.now() - _TOO_OLD))
