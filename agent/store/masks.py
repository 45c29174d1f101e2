"""What is masked in the text of calls: the rules, what was masked, and runs over transcripts of before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import delete, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.store.engine import AnyRow, is_any
from agent.store.schema import mask_rule, mask_run, transcript, transcript_mask


class MaskKind(StrEnum):
    """What a rule looks for."""

    CARDS = "cards"  # numbers of bank cards
    PATTERN = "pattern"  # a regular expression
    WORDS = "words"  # a word or phrase a line


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskRule:
    """One rule; ``text`` is its expression or its lines. ``preset`` names one that comes with the program."""

    id: int
    name: str
    kind: MaskKind
    text: str = ""
    enabled: bool = True
    preset: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Masked:
    """A stretch of a transcript that was masked, in milliseconds of the recording: why, never what."""

    transcript_id: int
    why: str
    rule: str
    channel: int
    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskRun:
    """One run through all transcripts there were when it began; ``changed`` counts those in which it found some."""

    id: int
    by: str
    started: datetime
    total: int
    done: int
    changed: int
    next_id: int
    last_id: int
    finished: datetime | None


_LOCK = text("LOCK TABLE mask_rule IN SHARE ROW EXCLUSIVE MODE")


async def list_rules(connection: AsyncConnection) -> list[MaskRule]:
    """All rules, the oldest first."""
    return [_rule(row) for row in await connection.execute(select(mask_rule).order_by(mask_rule.c.id))]


async def hold_rules(connection: AsyncConnection) -> list[MaskRule]:
    """The same for whoever stores a transcript: no rule changes before it is there, so that a run over the older ones,
    which begins with the change, misses none."""
    await connection.execute(text("LOCK TABLE mask_rule IN SHARE MODE"))
    return await list_rules(connection)


async def save_rule(connection: AsyncConnection, rule: MaskRule) -> int:
    """Change a rule, or add one (its id is 0), once nobody stores a transcript by the old ones. Returns its id."""
    await connection.execute(_LOCK)
    values = {"name": rule.name, "kind": rule.kind.value, "text": rule.text, "enabled": rule.enabled}
    if rule.id:
        await connection.execute(update(mask_rule).where(mask_rule.c.id == rule.id).values(**values))
        return rule.id
    return int((await connection.execute(insert(mask_rule).values(**values).returning(mask_rule.c.id))).scalar_one())


async def remove_rule(connection: AsyncConnection, rule_id: int) -> bool:
    """Forget a rule that was made here; what it has masked stays masked."""
    statement = delete(mask_rule).where(mask_rule.c.id == rule_id, mask_rule.c.preset == "")
    return (await connection.execute(statement.returning(mask_rule.c.id))).first() is not None


async def add_masks(connection: AsyncConnection, masks: Sequence[Masked]) -> None:
    """Note what was masked."""
    rows = [
        {
            "transcript_id": one.transcript_id,
            "why": one.why,
            "rule": one.rule,
            "channel": one.channel,
            "start_ms": one.start_ms,
            "end_ms": one.end_ms,
        }
        for one in masks
    ]
    if rows:
        await connection.execute(insert(transcript_mask), rows)


async def list_masks(connection: AsyncConnection, transcript_ids: Sequence[int]) -> dict[int, list[Masked]]:
    """What was masked in these, in order of time."""
    query = select(transcript_mask).where(is_any(transcript_mask.c.transcript_id, transcript_ids))
    found: dict[int, list[Masked]] = {}
    for row in await connection.execute(query.order_by(transcript_mask.c.start_ms, transcript_mask.c.id)):
        found.setdefault(row.transcript_id, []).append(
            Masked(
                transcript_id=row.transcript_id,
                why=row.why,
                rule=row.rule,
                channel=row.channel,
                start_ms=row.start_ms,
                end_ms=row.end_ms,
            )
        )
    return found


async def start_run(connection: AsyncConnection, by: str) -> MaskRun:
    """A new run, in the transaction that changes the rules; one that goes on ends where it is."""
    await connection.execute(_LOCK)
    await connection.execute(text("LOCK TABLE mask_run IN SHARE ROW EXCLUSIVE MODE"))
    await connection.execute(update(mask_run).where(mask_run.c.finished_at.is_(None)).values(finished_at=func.now()))
    counted = select(func.count(), func.coalesce(func.max(transcript.c.id), 0)).select_from(transcript)
    total, last = (await connection.execute(counted)).one()
    values = {"by": by, "total": total, "last_id": last, "finished_at": None if total else func.now()}
    return _run((await connection.execute(insert(mask_run).values(**values).returning(mask_run))).one())


async def find_run(connection: AsyncConnection, run_id: int | None = None) -> MaskRun | None:
    """A run, or the newest one."""
    query = select(mask_run).order_by(mask_run.c.id.desc()).limit(1)
    if run_id is not None:
        query = query.where(mask_run.c.id == run_id)
    row = (await connection.execute(query)).first()
    return _run(row) if row else None


async def list_next(connection: AsyncConnection, run: MaskRun, limit: int) -> list[int]:
    """The next transcripts of a run."""
    mine = (transcript.c.id >= run.next_id, transcript.c.id <= run.last_id)
    query = select(transcript.c.id).where(*mine).order_by(transcript.c.id).limit(limit)
    return list((await connection.execute(query)).scalars())


async def note_progress(connection: AsyncConnection, run: MaskRun, ids: Sequence[int], changed: int) -> bool:
    """These transcripts of the run are done. False where somebody else noted that already, or nothing is left to do."""
    mine = update(mask_run).where(
        mask_run.c.id == run.id, mask_run.c.next_id == run.next_id, mask_run.c.finished_at.is_(None)
    )
    if not ids:
        await connection.execute(mine.values(finished_at=func.now()))
        return False
    values = {"next_id": ids[-1] + 1, "done": mask_run.c.done + len(ids), "changed": mask_run.c.changed + changed}
    return (await connection.execute(mine.values(**values).returning(mask_run.c.id))).first() is not None


def _rule(row: AnyRow) -> MaskRule:
    return MaskRule(
        id=row.id, name=row.name, kind=MaskKind(row.kind), text=row.text, enabled=row.enabled, preset=row.preset
    )


def _run(row: AnyRow) -> MaskRun:
    return MaskRun(
        id=row.id,
        by=row.by,
        started=row.started_at,
        total=row.total,
        done=row.done,
        changed=row.changed,
        next_id=row.next_id,
        last_id=row.last_id,
        finished=row.finished_at,
    )
