"""All mails sorted anew by rules that were changed: how far that has come."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.store.engine import AnyRow
from agent.store.schema import message, rule_run


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleRun:
    """One run through all mails there were when it began; ``changed`` counts those that became something else."""

    id: int
    by: str
    started: datetime
    total: int
    done: int
    changed: int
    next_id: int
    last_id: int
    finished: datetime | None


def _run(row: AnyRow) -> RuleRun:
    return RuleRun(
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


async def start_run(connection: AsyncConnection, by: str) -> RuleRun:
    """A new run; one that goes on ends where it is, since it sorts by rules that were changed again."""
    await connection.execute(text("LOCK TABLE rule_run IN SHARE ROW EXCLUSIVE MODE"))
    await connection.execute(update(rule_run).where(rule_run.c.finished_at.is_(None)).values(finished_at=func.now()))
    counted = select(func.count(), func.coalesce(func.max(message.c.interaction_id), 0)).select_from(message)
    total, last = (await connection.execute(counted)).one()
    values = {"by": by, "total": total, "last_id": last, "finished_at": None if total else func.now()}
    return _run((await connection.execute(insert(rule_run).values(**values).returning(rule_run))).one())


async def find_run(connection: AsyncConnection, run_id: int | None = None) -> RuleRun | None:
    """A run, or the newest one."""
    query = select(rule_run).order_by(rule_run.c.id.desc()).limit(1)
    if run_id is not None:
        query = query.where(rule_run.c.id == run_id)
    row = (await connection.execute(query)).first()
    return _run(row) if row else None


async def list_next(connection: AsyncConnection, run: RuleRun, limit: int) -> list[int]:
    """The next mails of a run."""
    query = select(message.c.interaction_id).where(
        message.c.interaction_id >= run.next_id, message.c.interaction_id <= run.last_id
    )
    return list((await connection.execute(query.order_by(message.c.interaction_id).limit(limit))).scalars())


async def note_progress(connection: AsyncConnection, run: RuleRun, ids: list[int], changed: int) -> bool:
    """These mails of the run are done. False where somebody else noted that already, or nothing is left to do."""
    mine = update(rule_run).where(
        rule_run.c.id == run.id, rule_run.c.next_id == run.next_id, rule_run.c.finished_at.is_(None)
    )
    if not ids:
        await connection.execute(mine.values(finished_at=func.now()))
        return False
    values = {"next_id": ids[-1] + 1, "done": rule_run.c.done + len(ids), "changed": rule_run.c.changed + changed}
    return (await connection.execute(mine.values(**values).returning(rule_run.c.id))).first() is not None
