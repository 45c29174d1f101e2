"""Transcripts and their utterances. Times are milliseconds from the start of the recording."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import distinct_on, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import Utterance, Word
from agent.store import notices, outbox
from agent.store.engine import AnyRow
from agent.store.schema import blob, recording, transcript, utterance


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    """What one model understood of one recording."""

    id: int
    recording_id: int
    interaction_id: int
    model: str
    language: str
    utterances: tuple[Utterance, ...]


async def has_transcript(connection: AsyncConnection, recording_id: int, model: str) -> bool:
    """Whether this model has transcribed this recording."""
    query = select(transcript.c.id).where(transcript.c.recording_id == recording_id, transcript.c.model == model)
    return (await connection.execute(query)).first() is not None


async def save_transcript(
    connection: AsyncConnection,
    *,
    recording_id: int,
    model: str,
    language: str,
    utterances: Sequence[Utterance],
    dropped: Sequence[Mapping[str, Any]] = (),
) -> int | None:
    """Save one transcript a recording and model; None when there is one already (the job ran twice), or when the
    recording was erased meanwhile: an erasure waits for this transaction, or this one for it."""
    living = select(blob.c.wrapped_key).join(recording).where(recording.c.id == recording_id)
    if (await connection.execute(living.with_for_update(read=True, of=blob))).scalar_one_or_none() is None:
        return None
    owner = select(recording.c.interaction_id).where(recording.c.id == recording_id).scalar_subquery()
    statement = (
        insert(transcript)
        .values(
            recording_id=recording_id,
            interaction_id=owner,
            model=model,
            language=language,
            dropped=[dict(one) for one in dropped],
        )
        .on_conflict_do_nothing()
        .returning(transcript.c.id)
    )
    transcript_id: int | None = (await connection.execute(statement)).scalar_one_or_none()
    if transcript_id is not None and utterances:
        await connection.execute(insert(utterance), [_utterance_values(transcript_id, one) for one in utterances])
    if transcript_id is not None:
        interaction_id = (await connection.execute(select(owner))).scalar_one()
        await notices.notify(connection, notices.INTERACTIONS, interaction_id)
        await outbox.stir(connection, [interaction_id])
    return transcript_id


async def list_transcripts(
    connection: AsyncConnection, interaction_ids: Sequence[int], *, words: bool = False
) -> list[Transcript]:
    """The newest transcript of each recording of these interactions; its words one by one only where asked for."""
    newest = (
        select(transcript)
        .where(transcript.c.interaction_id.in_(interaction_ids))
        .ext(distinct_on(transcript.c.recording_id))
        .order_by(transcript.c.recording_id, transcript.c.id.desc())
    )
    heads = (await connection.execute(newest)).all()
    columns = [one for one in utterance.c if words or one is not utterance.c.words]
    lines = select(*columns).where(utterance.c.transcript_id.in_([head.id for head in heads]))
    spoken: dict[int, list[Utterance]] = {head.id: [] for head in heads}
    for row in await connection.execute(lines.order_by(utterance.c.start_ms, utterance.c.id)):
        spoken[row.transcript_id].append(_utterance(row))
    return [
        Transcript(
            id=head.id,
            recording_id=head.recording_id,
            interaction_id=head.interaction_id,
            model=head.model,
            language=head.language,
            utterances=tuple(spoken[head.id]),
        )
        for head in heads
    ]


def _utterance_values(transcript_id: int, one: Utterance) -> dict[str, Any]:
    return {
        "transcript_id": transcript_id,
        "channel": one.channel,
        "start_ms": round(one.start * 1000),
        "end_ms": round(one.end * 1000),
        "text": one.text,
        "confidence": round(one.confidence * 100),
        "words": [asdict(word) for word in one.words],
    }


def _utterance(row: AnyRow) -> Utterance:
    return Utterance(
        channel=row.channel,
        start=row.start_ms / 1000,
        end=row.end_ms / 1000,
        text=row.text,
        confidence=row.confidence / 100,
        words=tuple(Word(**word) for word in getattr(row, "words", ())),
    )
