"""Transcriptions that wait or are in work: how far each is, and what its model has answered so far.

Answers are sealed bytes to this module: they hold what was said before anything is masked in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.store.engine import AnyRow, is_any
from agent.store.schema import answered_window, blob, recording, transcription


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a transcription is: seconds of speech recognised, of all there are on all channels together.

    It is noted every few seconds; ``updated`` long ago means that its worker died and the job waits for another.
    """

    recording_id: int
    model: str
    host: str
    done: float
    seconds: float
    started: datetime
    updated: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """What is still to be transcribed: recordings that wait with their length in seconds, and those in work now."""

    waiting: int
    waiting_seconds: float
    doing: tuple[Progress, ...]


async def list_progress(connection: AsyncConnection, recording_ids: Sequence[int]) -> dict[int, Progress]:
    """Those of the recordings that are in work, by their number."""
    query = select(transcription).where(is_any(transcription.c.recording_id, recording_ids))
    return {row.recording_id: _progress(row) for row in await connection.execute(query)}


_WAITING = text(
    """
    SELECT count(*), coalesce(sum(recording.duration_ms), 0)
    FROM procrastinate_jobs LEFT JOIN recording ON recording.id = (args ->> 'recording_id')::bigint
    WHERE queue_name = 'speech' AND task_name = 'transcribe' AND status = 'todo'
    """
)


async def find_backlog(connection: AsyncConnection) -> Backlog:
    """What waits and what is in work, for `cardline status`."""
    waiting, milliseconds = (await connection.execute(_WAITING)).one()
    doing = await connection.execute(select(transcription).order_by(transcription.c.started_at))
    return Backlog(
        waiting=waiting, waiting_seconds=int(milliseconds) / 1000, doing=tuple(_progress(row) for row in doing)
    )


async def begin(connection: AsyncConnection, recording_id: int, *, model: str, host: str) -> int:
    """Note that this host begins; how often it was tried since it last got any further (`count_try`)."""
    values = {"model": model, "host": host, "speech_ms": 0, "done_ms": 0}
    statement = insert(transcription).values(recording_id=recording_id, **values, tries=0)
    again = {**values, "updated_at": func.now()}
    statement = statement.on_conflict_do_update(index_elements=["recording_id"], set_=again)
    tries: int = (await connection.execute(statement.returning(transcription.c.tries))).scalar_one()
    return tries


async def count_try(connection: AsyncConnection, recording_id: int) -> None:
    """Its sound is going to be worked at: if the process dies now, this call may be why."""
    mine = transcription.c.recording_id == recording_id
    await connection.execute(update(transcription).where(mine).values(tries=transcription.c.tries + 1))


async def excuse(connection: AsyncConnection, recording_id: int) -> None:
    """It ended for a reason that is known, and has killed no worker: this time is not counted."""
    mine = transcription.c.recording_id == recording_id
    await connection.execute(update(transcription).where(mine).values(tries=0))


async def list_answers(connection: AsyncConnection, recording_id: int) -> dict[bytes, bytes]:
    """The sealed answers of a transcription that was cut off, by the digest of their windows."""
    query = select(answered_window.c.window, answered_window.c.answer)
    rows = await connection.execute(query.where(answered_window.c.recording_id == recording_id))
    return {bytes(row.window): bytes(row.answer) for row in rows}


async def note(
    connection: AsyncConnection,
    recording_id: int,
    *,
    done: float,
    seconds: float,
    answers: Mapping[bytes, bytes],
) -> None:
    """Keep new answers and how far it is (seconds of speech). Nothing is kept where the recording was erased meanwhile:
    an erasure waits for this transaction, or this one for it."""
    living = select(blob.c.wrapped_key).join(recording).where(recording.c.id == recording_id)
    if (await connection.execute(living.with_for_update(read=True, of=blob))).scalar_one_or_none() is None:
        return
    values = {"speech_ms": round(seconds * 1000), "done_ms": round(done * 1000), "updated_at": func.now()}
    if answers:
        values["tries"] = 0
    mine = transcription.c.recording_id == recording_id
    await connection.execute(update(transcription).where(mine).values(**values))
    if answers:
        rows = [{"recording_id": recording_id, "window": key, "answer": answer} for key, answer in answers.items()]
        await connection.execute(insert(answered_window).on_conflict_do_nothing(), rows)


async def forget(connection: AsyncConnection, recording_id: int) -> None:
    """It is done, or cannot be: nothing of it is kept here any more."""
    for table in (answered_window, transcription):
        await connection.execute(delete(table).where(table.c.recording_id == recording_id))


def _progress(row: AnyRow) -> Progress:
    return Progress(
        recording_id=row.recording_id,
        model=row.model,
        host=row.host,
        done=row.done_ms / 1000,
        seconds=row.speech_ms / 1000,
        started=row.started_at,
        updated=row.updated_at,
    )
