"""Figures of the talk in a recording, as `agent.transcribe.talk` has measured them: one row a recording."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import MarkKind
from agent.store import notices
from agent.store.engine import is_any
from agent.store.schema import blob, call, recording, recording_mark, talk

_AWAY = (MarkKind.HOLD, MarkKind.PAUSE)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTalk:
    """Milliseconds; tuples have a place a channel. Not ``separated``: one channel with all parties on it. ``speech``
    is where each channel speaks, in pairs."""

    recording_id: int
    answered_ms: int = 0
    length_ms: int
    silence_ms: int
    longest_silence_ms: int
    together_ms: int
    talk_ms: tuple[int, ...]
    monologue_ms: tuple[int, ...]
    interruptions: tuple[int, ...]
    first_ms: tuple[int | None, ...]
    patience_ms: tuple[int | None, ...]
    separated: bool
    speech: tuple[tuple[tuple[int, int], ...], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What of a recording is talk, in seconds from its start: from ``begin`` (the answer) on, without ``away``.
    ``answered`` is by the facts of the call, ``begin`` by the recording too."""

    answered: float
    begin: float
    away: tuple[tuple[float, float], ...]


async def find_frame(connection: AsyncConnection, recording_id: int) -> Frame:
    """When the call of a recording was answered, and when somebody was on hold or the recording paused."""
    query = (
        select(recording.c.started_at, call.c.answered_at)
        .join(call, call.c.interaction_id == recording.c.interaction_id)
        .where(recording.c.id == recording_id)
    )
    row = (await connection.execute(query)).first()
    marks = select(recording_mark.c.kind, recording_mark.c.start_ms, recording_mark.c.end_ms).where(
        recording_mark.c.recording_id == recording_id
    )
    found = (await connection.execute(marks)).all()
    early = max((one.end_ms for one in found if one.kind == MarkKind.EARLY_MEDIA), default=0) / 1000
    answered = _answered(row.started_at, row.answered_at) if row else 0.0
    return Frame(
        answered=answered,
        begin=max(early, answered),
        away=tuple((one.start_ms / 1000, one.end_ms / 1000) for one in found if one.kind in _AWAY),
    )


def _answered(started: datetime, answered: datetime | None) -> float:
    return max(0.0, (answered - started).total_seconds()) if answered is not None else 0.0


async def save_talk(connection: AsyncConnection, made: StoredTalk) -> None:
    """Keep the figures, in place of older ones; nothing is kept of a recording that was erased meanwhile."""
    living = (
        select(recording.c.interaction_id)
        .join(blob)
        .where(recording.c.id == made.recording_id, blob.c.wrapped_key.is_not(None))
        .with_for_update(read=True, of=blob)
    )
    interaction_id = (await connection.execute(living)).scalar_one_or_none()
    if interaction_id is None:
        return
    values = {
        "answered_ms": made.answered_ms,
        "length_ms": made.length_ms,
        "silence_ms": made.silence_ms,
        "longest_silence_ms": made.longest_silence_ms,
        "together_ms": made.together_ms,
        "talk_ms": list(made.talk_ms),
        "monologue_ms": list(made.monologue_ms),
        "interruptions": list(made.interruptions),
        "first_ms": list(made.first_ms),
        "patience_ms": list(made.patience_ms),
        "separated": made.separated,
        "speech": [[list(span) for span in channel] for channel in made.speech],
    }
    statement = insert(talk).values(recording_id=made.recording_id, **values)
    await connection.execute(statement.on_conflict_do_update(index_elements=[talk.c.recording_id], set_=values))
    await notices.notify(connection, notices.INTERACTIONS, interaction_id)


_BEHIND = text(
    """
    SELECT procrastinate_defer_jobs_v1(ARRAY[ROW(
        'link', 'measure', -5, NULL, NULL, jsonb_build_object('recording_id', talk.recording_id), NULL
    )::procrastinate_job_to_defer_v1])
    FROM talk JOIN recording ON recording.id = talk.recording_id JOIN call USING (interaction_id)
    WHERE recording.interaction_id = :id AND abs(talk.answered_ms - greatest(
        0, coalesce(extract(epoch FROM call.answered_at - recording.started_at) * 1000, 0))) > 1
    """
)
"""The job `agent.jobs.MEASURE`, which stands above, for each recording whose figures begin elsewhere."""


async def answer_changed(connection: AsyncConnection, interaction_id: int) -> None:
    """Something was told of a call that is over: where it was answered at another time than was known, its figures are
    made anew."""
    await connection.execute(_BEHIND, {"id": interaction_id})


async def list_talks(
    connection: AsyncConnection, recording_ids: Sequence[int], *, speech: bool = False
) -> dict[int, StoredTalk]:
    """The figures of these recordings; where who speaks only where asked for."""
    columns = [one for one in talk.c if speech or one.name not in ("speech", "made_at")]
    query = select(*columns).where(is_any(talk.c.recording_id, recording_ids))
    return {
        row.recording_id: StoredTalk(
            recording_id=row.recording_id,
            answered_ms=row.answered_ms,
            length_ms=row.length_ms,
            silence_ms=row.silence_ms,
            longest_silence_ms=row.longest_silence_ms,
            together_ms=row.together_ms,
            talk_ms=tuple(row.talk_ms),
            monologue_ms=tuple(row.monologue_ms),
            interruptions=tuple(row.interruptions),
            first_ms=tuple(row.first_ms),
            patience_ms=tuple(row.patience_ms),
            separated=row.separated,
            speech=tuple(tuple((a, b) for a, b in channel) for channel in row.speech) if speech else (),
        )
        for row in await connection.execute(query)
    }
