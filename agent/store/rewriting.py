"""Text of stored transcripts that is masked after the fact: read, and written back where it is still the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import Utterance, Word
from agent.store import masks, notices, outbox, search
from agent.store.engine import is_any
from agent.store.masks import Masked
from agent.store.schema import transcript, utterance, utterance_correction
from agent.store.transcripts import Spoken


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredText:
    """Everything of a transcript that may hold what was said: the machine's utterances with their words, all that
    people have ever written instead (by the correction's number), and what was not believed."""

    transcript_id: int
    interaction_id: int
    utterances: tuple[Spoken, ...]
    corrections: Mapping[int, str]
    dropped: tuple[Utterance, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewritten:
    """What becomes of it: pairs of before and after; ``dropped`` is new text by place."""

    transcript_id: int
    interaction_id: int
    utterances: tuple[tuple[Spoken, Spoken], ...]
    corrections: Mapping[int, tuple[str, str]]
    dropped: Mapping[int, str]
    masks: tuple[Masked, ...]


async def list_newest(connection: AsyncConnection, limit: int) -> list[int]:
    """The newest transcripts."""
    query = select(transcript.c.id).order_by(transcript.c.id.desc()).limit(limit)
    return list((await connection.execute(query)).scalars())


async def list_texts(connection: AsyncConnection, transcript_ids: Sequence[int]) -> list[StoredText]:
    """The texts of these, in the order asked for."""
    heads = {
        row.id: row
        for row in await connection.execute(
            select(transcript.c.id, transcript.c.interaction_id, transcript.c.dropped).where(
                is_any(transcript.c.id, transcript_ids)
            )
        )
    }
    said: dict[int, list[Spoken]] = {one: [] for one in heads}
    lines = select(utterance).where(is_any(utterance.c.transcript_id, list(heads)))
    for row in await connection.execute(lines.order_by(utterance.c.start_ms, utterance.c.id)):
        said[row.transcript_id].append(_spoken(row))
    corrections: dict[int, dict[int, str]] = {one: {} for one in heads}
    query = (
        select(utterance.c.transcript_id, utterance_correction.c.id, utterance_correction.c.text)
        .join_from(utterance_correction, utterance)
        .where(is_any(utterance.c.transcript_id, list(heads)))
    )
    for row in await connection.execute(query):
        corrections[row.transcript_id][row.id] = row.text
    return [
        StoredText(
            transcript_id=one,
            interaction_id=heads[one].interaction_id,
            utterances=tuple(said[one]),
            corrections=corrections[one],
            dropped=tuple(map(_dropped, heads[one].dropped)),
        )
        for one in transcript_ids
        if one in heads
    ]


def _spoken(row: Any) -> Spoken:
    return Spoken(
        id=row.id,
        channel=row.channel,
        start=row.start_ms / 1000,
        end=row.end_ms / 1000,
        text=row.text,
        confidence=row.confidence / 100,
        words=tuple(Word(**word) for word in row.words),
    )


def _dropped(one: Mapping[str, Any]) -> Utterance:
    return Utterance(
        channel=int(one.get("channel", 0)),
        start=float(one.get("start", 0)),
        end=float(one.get("end", 0)),
        text=str(one.get("text", "")),
        confidence=0,
    )


async def save_texts(connection: AsyncConnection, changes: Sequence[Rewritten]) -> int:
    """Write them back; returns how many transcripts are others now. What somebody has changed meanwhile stays his."""
    touched = []
    for one in changes:
        if await _save(connection, one):
            touched.append(one.interaction_id)
    if touched:
        owners = sorted(set(touched))
        for number in owners:
            await notices.notify(connection, notices.INTERACTIONS, number)
        await outbox.stir(connection, owners)
        await search.changed(connection, owners)
    return len(touched)


async def _save(connection: AsyncConnection, one: Rewritten) -> bool:
    is_changed = False
    for before, after in one.utterances:
        row = update(utterance).where(utterance.c.id == before.id, utterance.c.text == before.text)
        values = {"text": after.text, "words": [asdict(word) for word in after.words]}
        is_changed |= bool((await connection.execute(row.values(**values))).rowcount)
    if is_changed:
        await masks.add_masks(connection, one.masks)
    for number, (was, text) in one.corrections.items():
        mended = update(utterance_correction).where(
            utterance_correction.c.id == number, utterance_correction.c.text == was
        )
        is_changed |= bool((await connection.execute(mended.values(text=text))).rowcount)
    if one.dropped:
        query = select(transcript.c.dropped).where(transcript.c.id == one.transcript_id).with_for_update()
        dropped = (await connection.execute(query)).scalar_one_or_none()
        if dropped is not None:
            told = [each | {"text": one.dropped.get(place, each.get("text", ""))} for place, each in enumerate(dropped)]
            mine = update(transcript).where(transcript.c.id == one.transcript_id)
            await connection.execute(mine.values(dropped=told))
            is_changed = True
    return is_changed
