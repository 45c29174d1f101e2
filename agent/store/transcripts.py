"""Transcripts and their utterances, with what people have corrected. Times are milliseconds from the recording's start.

Whoever asks for an utterance gets the corrected words; the machine's stay beside them (`Spoken.machine`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Select, and_, func, select, update
from sqlalchemy.dialects.postgresql import distinct_on, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import Utterance, Word
from agent.store import masks, notices, outbox, retranscribing, search
from agent.store.engine import is_any
from agent.store.masks import Masked
from agent.store.schema import blob, recording, transcript, utterance, utterance_correction


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken(Utterance):
    """An utterance as it is stored. Where a person has corrected it ``text`` is theirs, ``machine`` what was understood
    before, and ``corrected_by`` a login. ``words`` are always the machine's: they tell when what was said."""

    id: int
    machine: str = ""
    corrected_by: str = ""
    corrected_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    """What one model understood of one recording. Not ``separated``: nobody knows which party said what."""

    id: int
    recording_id: int
    interaction_id: int
    model: str
    language: str
    utterances: tuple[Spoken, ...]
    separated: bool = True
    round: int = 0
    created: datetime | None = None


async def has_transcript(connection: AsyncConnection, recording_id: int, model: str, *, round: int = 0) -> bool:  # noqa: A002
    """Whether this model has transcribed this recording; in a later ``round``: when it was asked once more."""
    query = select(transcript.c.id).where(
        transcript.c.recording_id == recording_id, transcript.c.model == model, transcript.c.round == round
    )
    return (await connection.execute(query)).first() is not None


async def save_transcript(
    connection: AsyncConnection,
    *,
    recording_id: int,
    model: str,
    language: str,
    utterances: Sequence[Utterance],
    dropped: Sequence[Mapping[str, Any]] = (),
    separated: bool = True,
    round: int = 0,  # noqa: A002 - the noun
    masked: Sequence[Masked] = (),
) -> int | None:
    """Save one transcript a recording, model and round; None when there is one already (the job ran twice), or when the
    recording was erased meanwhile: an erasure waits for this transaction, or this one for it.

    The text is masked already, and ``masked`` says where (its ``transcript_id`` is filled in here)."""
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
            round=round,
            language=language,
            dropped=[dict(one) for one in dropped],
            separated=separated,
        )
        .on_conflict_do_nothing()
        .returning(transcript.c.id)
    )
    transcript_id: int | None = (await connection.execute(statement)).scalar_one_or_none()
    if transcript_id is not None and utterances:
        await connection.execute(insert(utterance), [_utterance_values(transcript_id, one) for one in utterances])
    if transcript_id is not None:
        await masks.add_masks(connection, [replace(one, transcript_id=transcript_id) for one in masked])
        await retranscribing.carry_corrections(connection, recording_id, transcript_id)
        interaction_id = (await connection.execute(select(owner))).scalar_one()
        await notices.notify(connection, notices.INTERACTIONS, interaction_id)
        await outbox.stir(connection, [interaction_id])
        await search.changed(connection, [interaction_id])
    return transcript_id


async def list_transcripts(
    connection: AsyncConnection,
    interaction_ids: Sequence[int],
    *,
    words: bool = False,
    chosen: int = 0,
    every: bool = False,
) -> list[Transcript]:
    """The transcript of each recording of these interactions that is shown; its words one by one only where asked for.
    One that is ``chosen`` by its number takes the place of its recording's; with ``every`` the others follow it."""
    shown = select(transcript).where(is_any(transcript.c.interaction_id, interaction_ids))
    if not every:
        shown = shown.ext(distinct_on(transcript.c.recording_id))
    each, *latest = retranscribing.LATEST_SHOWN
    heads = (await connection.execute(shown.order_by(each, (transcript.c.id == chosen).desc(), *latest))).all()
    lines = _lines(words=words).where(is_any(utterance.c.transcript_id, [head.id for head in heads]))
    spoken: dict[int, list[Spoken]] = {head.id: [] for head in heads}
    for row in await connection.execute(lines.order_by(utterance.c.start_ms, utterance.c.id)):
        spoken[row[0]].append(_utterance(row))
    return [
        Transcript(
            id=head.id,
            recording_id=head.recording_id,
            interaction_id=head.interaction_id,
            model=head.model,
            language=head.language,
            utterances=tuple(spoken[head.id]),
            separated=head.separated,
            round=head.round,
            created=head.created_at,
        )
        for head in heads
    ]


_CURRENT = and_(utterance_correction.c.utterance_id == utterance.c.id, utterance_correction.c.ended_at.is_(None))


def _lines(*, words: bool) -> Select[Any]:
    """Columns in the order in which `_utterance` reads them."""
    said, corrected = utterance.c, utterance_correction.c
    return select(
        said.transcript_id,
        said.id,
        said.channel,
        said.start_ms,
        said.end_ms,
        said.text,
        said.confidence,
        said.interrupts,
        corrected.text.label("corrected"),
        corrected.by.label("corrected_by"),
        corrected.at.label("corrected_at"),
        *((said.words,) if words else ()),
    ).outerjoin_from(utterance, utterance_correction, _CURRENT)


async def find_spoken(
    connection: AsyncConnection, utterance_id: int, *, hold: bool = False
) -> tuple[int, int, Spoken] | None:
    """Interaction, recording and utterance; ``hold`` keeps others from correcting it until the transaction ends."""
    where = select(transcript.c.interaction_id, transcript.c.recording_id).join(utterance)
    if hold:
        await connection.execute(select(utterance.c.id).where(utterance.c.id == utterance_id).with_for_update())
    owner = (await connection.execute(where.where(utterance.c.id == utterance_id))).first()
    row = (await connection.execute(_lines(words=False).where(utterance.c.id == utterance_id))).first()
    return (owner.interaction_id, owner.recording_id, _utterance(row)) if owner and row else None


async def correct(connection: AsyncConnection, utterance_id: int, words: str, *, by: str) -> bool:
    """These words were said; the machine's own again take the correction back. False where nothing changes."""
    found = await find_spoken(connection, utterance_id, hold=True)
    if found is None or words == found[2].text:
        return False
    interaction_id, _, spoken = found
    ended = update(utterance_correction).where(
        utterance_correction.c.utterance_id == utterance_id, utterance_correction.c.ended_at.is_(None)
    )
    await connection.execute(ended.values(ended_at=func.now(), ended_by=by))
    if words != (spoken.machine or spoken.text):
        await connection.execute(insert(utterance_correction).values(utterance_id=utterance_id, text=words, by=by))
    await retranscribing.settle_beside(connection, utterance_id, by=by)
    await notices.notify(connection, notices.INTERACTIONS, interaction_id)
    await outbox.stir(connection, [interaction_id])
    await search.changed(connection, [interaction_id])
    return True


async def list_words(connection: AsyncConnection, recording_id: int, *, chosen: int = 0) -> dict[int, list[Any]]:
    """The machine's words of the transcript of a recording that is shown, or of the chosen one, as stored (see `Word`),
    by utterance."""
    newest = (
        select(transcript.c.id)
        .where(transcript.c.recording_id == recording_id)
        .order_by((transcript.c.id == chosen).desc(), *retranscribing.LATEST_SHOWN[1:])
        .limit(1)
        .scalar_subquery()
    )
    query = select(utterance.c.id, utterance.c.words).where(utterance.c.transcript_id == newest)
    return {row.id: row.words for row in await connection.execute(query.order_by(utterance.c.start_ms, utterance.c.id))}


def _utterance_values(transcript_id: int, one: Utterance) -> dict[str, Any]:
    return {
        "transcript_id": transcript_id,
        "channel": one.channel,
        "start_ms": round(one.start * 1000),
        "end_ms": round(one.end * 1000),
        "text": one.text,
        "confidence": round(one.confidence * 100),
        "interrupts": one.interrupts,
        "words": [asdict(word) for word in one.words],
    }


def _utterance(row: Sequence[Any]) -> Spoken:
    _, number, channel, start_ms, end_ms, text, confidence, interrupts, corrected, by, at, *words = row
    return Spoken(
        id=number,
        channel=channel,
        start=start_ms / 1000,
        end=end_ms / 1000,
        text=text if corrected is None else corrected,
        confidence=confidence / 100,
        interrupts=interrupts,
        words=tuple(Word(**word) for word in words[0]) if words else (),
        machine="" if corrected is None else text,
        corrected_by=by or "",
        corrected_at=at,
    )
