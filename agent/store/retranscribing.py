"""A recording that is transcribed once more: all its transcripts stay, one is shown, corrections come along.

Shown is the newest, or the one a person has chosen since; pages, search, CRMs and exports go by that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.store import carrying, notices, outbox, search
from agent.store.carrying import Corrected, Target
from agent.store.engine import is_any
from agent.store.schema import blob, carried_correction, recording, transcript, utterance, utterance_correction

LATEST_SHOWN = (transcript.c.recording_id, transcript.c.shown_at.desc(), transcript.c.id.desc())
"""The order in which the first transcript of each recording is the one that is shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One of a recording's transcripts; ``round`` counts how often its model was asked again."""

    id: int
    recording_id: int
    model: str
    round: int
    language: str
    created: datetime
    dropped: tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenCorrection:
    """A correction of an earlier transcript that a person is to look at; seconds are those of what it corrected.
    ``utterance_id`` is of the new transcript; None: nothing was understood there."""

    id: int
    transcript_id: int
    utterance_id: int | None
    start: float
    text: str
    machine: str
    by: str
    at: datetime


async def list_versions(connection: AsyncConnection, recording_ids: Sequence[int]) -> dict[int, list[Version]]:
    """All transcripts of these recordings, the one that is shown first."""
    query = select(transcript).where(is_any(transcript.c.recording_id, recording_ids)).order_by(*LATEST_SHOWN)
    found: dict[int, list[Version]] = {}
    for row in await connection.execute(query):
        found.setdefault(row.recording_id, []).append(
            Version(
                id=row.id,
                recording_id=row.recording_id,
                model=row.model,
                round=row.round,
                language=row.language,
                created=row.created_at,
                dropped=tuple(row.dropped),
            )
        )
    return found


async def next_round(connection: AsyncConnection, recording_id: int) -> int:
    """The number under which models may be asked once more; 0: none ever was."""
    query = select(func.max(transcript.c.round)).where(transcript.c.recording_id == recording_id)
    last = (await connection.execute(query)).scalar_one_or_none()
    return 0 if last is None else int(last) + 1


async def find_transcript(connection: AsyncConnection, transcript_id: int) -> tuple[int, int] | None:
    """Interaction and recording of a transcript."""
    query = select(transcript.c.interaction_id, transcript.c.recording_id).where(transcript.c.id == transcript_id)
    row = (await connection.execute(query)).first()
    return (row.interaction_id, row.recording_id) if row else None


async def show(connection: AsyncConnection, transcript_id: int) -> bool:
    """From now on this one is shown; False where there is none."""
    statement = update(transcript).where(transcript.c.id == transcript_id).values(shown_at=func.now())
    interaction_id = (await connection.execute(statement.returning(transcript.c.interaction_id))).scalar_one_or_none()
    if interaction_id is None:
        return False
    await notices.notify(connection, notices.INTERACTIONS, interaction_id)
    await outbox.stir(connection, [interaction_id])
    await search.changed(connection, [interaction_id])
    return True


async def carry_corrections(connection: AsyncConnection, recording_id: int, transcript_id: int) -> None:
    """What people have corrected in the transcript shown before holds for this new one too, or is shown beside it."""
    query = (
        select(transcript.c.id)
        .where(transcript.c.recording_id == recording_id, transcript.c.id != transcript_id)
        .order_by(*LATEST_SHOWN[1:])
        .limit(1)
    )
    before = (await connection.execute(query)).scalar_one_or_none()
    if before is None:
        return
    corrections = {row.id: row for row in await connection.execute(_corrections(before).with_for_update(of=utterance))}
    if not corrections:
        return
    said = select(utterance).where(utterance.c.transcript_id == transcript_id).order_by(utterance.c.start_ms)
    targets = [
        Target(id=row.id, channel=row.channel, start=row.start_ms / 1000, end=row.end_ms / 1000, text=row.text)
        for row in await connection.execute(said)
    ]
    carried = carrying.carry([_corrected(row) for row in corrections.values()], targets)
    rows = [
        {"utterance_id": number, "text": text, "by": corrections[origin].by, "at": corrections[origin].at}
        for number, (text, origin) in carried.taken.items()
    ]
    if rows:
        await connection.execute(insert(utterance_correction), rows)
    waiting = [
        {"transcript_id": transcript_id, "utterance_id": beside, "correction_id": one} for one, beside in carried.open
    ]
    if waiting:
        await connection.execute(insert(carried_correction), waiting)


def _corrections(transcript_id: int) -> Select[Any]:
    """What was corrected in a transcript, and what waited beside it from one before."""
    open_here = select(carried_correction.c.correction_id).where(
        carried_correction.c.transcript_id == transcript_id, carried_correction.c.settled_at.is_(None)
    )
    made, said = utterance_correction.c, utterance.c
    return (
        select(made.id, made.text, made.by, made.at, said.channel, said.start_ms, said.end_ms, said.text.label("heard"))
        .join_from(utterance_correction, utterance)
        .where(((said.transcript_id == transcript_id) & made.ended_at.is_(None)) | made.id.in_(open_here))
        .order_by(made.id)
    )


def _corrected(row: Any) -> Corrected:
    return Corrected(
        id=row.id,
        channel=row.channel,
        start=row.start_ms / 1000,
        end=row.end_ms / 1000,
        machine=row.heard,
        text=row.text,
    )


async def list_open(connection: AsyncConnection, transcript_ids: Sequence[int]) -> list[OpenCorrection]:
    """What a person is to look at in these transcripts, in order of time."""
    made, said, waits = utterance_correction.c, utterance.c, carried_correction.c
    query = (
        select(
            waits.id,
            waits.transcript_id,
            waits.utterance_id,
            said.start_ms,
            made.text,
            said.text.label("heard"),
            made.by,
            made.at,
        )
        .join_from(carried_correction, utterance_correction, waits.correction_id == made.id)
        .join(utterance, made.utterance_id == said.id)
        .where(is_any(waits.transcript_id, transcript_ids), waits.settled_at.is_(None))
        .order_by(said.start_ms, waits.id)
    )
    return [
        OpenCorrection(
            id=row.id,
            transcript_id=row.transcript_id,
            utterance_id=row.utterance_id,
            start=row.start_ms / 1000,
            text=row.text,
            machine=row.heard,
            by=row.by,
            at=row.at,
        )
        for row in await connection.execute(query)
    ]


async def find_open(connection: AsyncConnection, carried_id: int) -> tuple[int, OpenCorrection] | None:
    """The interaction it belongs to, and what waits; None once it is settled."""
    query = (
        select(transcript.c.interaction_id, transcript.c.id)
        .join(carried_correction, carried_correction.c.transcript_id == transcript.c.id)
        .where(carried_correction.c.id == carried_id)
    )
    row = (await connection.execute(query)).first()
    if row is None:
        return None
    found = [one for one in await list_open(connection, [row.id]) if one.id == carried_id]
    return (row.interaction_id, found[0]) if found else None


async def settle(connection: AsyncConnection, carried_id: int, *, by: str) -> None:
    """Somebody has looked at it."""
    statement = update(carried_correction).where(
        carried_correction.c.id == carried_id, carried_correction.c.settled_at.is_(None)
    )
    await connection.execute(statement.values(settled_at=func.now(), settled_by=by))


async def settle_beside(connection: AsyncConnection, utterance_id: int, *, by: str) -> None:
    """Whoever corrects an utterance has seen what waited beside it."""
    statement = update(carried_correction).where(
        carried_correction.c.utterance_id == utterance_id, carried_correction.c.settled_at.is_(None)
    )
    await connection.execute(statement.values(settled_at=func.now(), settled_by=by))


async def list_recordings_without(
    connection: AsyncConnection,
    models: Sequence[str],
    *,
    since: datetime,
    until: datetime | None = None,
    limit: int = 1_000_000,
) -> list[tuple[int, int, datetime]]:
    """Id, length in milliseconds and start of recordings that none of these models has transcribed, the newest first.
    Erased ones are none."""
    has = select(transcript.c.id).where(transcript.c.recording_id == recording.c.id, transcript.c.model.in_(models))
    query = (
        select(recording.c.id, recording.c.duration_ms, recording.c.started_at)
        .join(blob)
        .where(recording.c.started_at >= since, blob.c.wrapped_key.is_not(None), ~has.exists())
        .order_by(recording.c.started_at.desc(), recording.c.id.desc())
        .limit(limit)
    )
    if until is not None:
        query = query.where(recording.c.started_at < until)
    return [(row.id, row.duration_ms, row.started_at) for row in await connection.execute(query)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What was transcribed: how many recordings, of how many seconds together."""

    count: int
    seconds: float


async def count_since(connection: AsyncConnection, since: datetime) -> Done:
    """How much was transcribed since."""
    query = (
        select(func.count(), func.coalesce(func.sum(recording.c.duration_ms), 0))
        .select_from(transcript)
        .join(recording, recording.c.id == transcript.c.recording_id)
        .where(transcript.c.created_at >= since)
    )
    count, milliseconds = (await connection.execute(query)).one()
    return Done(count=count, seconds=int(milliseconds) / 1000)
