"""The beginning of what was said in calls, for histories: as much is read as is shown, however long a call was."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select, true
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.store.engine import AnyRow, is_any
from agent.store.retranscribing import LATEST_SHOWN
from agent.store.schema import transcript, utterance, utterance_correction
from agent.store.transcripts import Spoken, Transcript

LINES = 4


async def list_excerpts(connection: AsyncConnection, interaction_ids: Sequence[int]) -> list[Transcript]:
    """The transcript of each recording of these interactions that is shown, with its first `LINES` utterances."""
    heads = (
        select(transcript)
        .where(is_any(transcript.c.interaction_id, interaction_ids))
        .ext(distinct_on(transcript.c.recording_id))
        .order_by(*LATEST_SHOWN)
        .subquery("heads")
    )
    said = utterance.c
    first = (
        select(said.id, said.channel, said.start_ms, said.end_ms, said.text)
        .where(said.transcript_id == heads.c.id)
        .order_by(said.start_ms, said.id)
        .limit(LINES)
        .lateral("first")
    )
    put_right = utterance_correction.c
    is_current = (put_right.utterance_id == first.c.id) & put_right.ended_at.is_(None)
    columns = heads.c
    query = (
        select(
            columns.id,
            columns.recording_id,
            columns.interaction_id,
            columns.model,
            columns.language,
            columns.separated,
            first.c.id.label("line"),
            first.c.channel,
            first.c.start_ms,
            first.c.end_ms,
            first.c.text,
            put_right.text.label("corrected"),
        )
        .select_from(heads.outerjoin(first, true()).outerjoin(utterance_correction, is_current))
        .order_by(columns.recording_id, first.c.start_ms, first.c.id)
    )
    found: dict[int, list[AnyRow]] = {}
    for row in await connection.execute(query):
        found.setdefault(row.id, []).append(row)
    return [_excerpt(rows) for rows in found.values()]


def _excerpt(rows: Sequence[AnyRow]) -> Transcript:
    head = rows[0]
    return Transcript(
        id=head.id,
        recording_id=head.recording_id,
        interaction_id=head.interaction_id,
        model=head.model,
        language=head.language,
        separated=head.separated,
        utterances=tuple(
            Spoken(
                id=row.line,
                channel=row.channel,
                start=row.start_ms / 1000,
                end=row.end_ms / 1000,
                text=row.text if row.corrected is None else row.corrected,
                confidence=1.0,
                words=(),
            )
            for row in rows
            if row.line is not None
        ),
    )
