"""Runs through everything there is, by rules that were changed: how far each has come. A batch a job, killed anywhere.

Mails are sorted anew that way, and transcripts masked anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Column, Table, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.store.engine import AnyRow
from agent.store.schema import mask_run, message, rule_run, transcript


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run through all there were when it began, in the order of their ids; ``changed`` counts those that became
    something else."""

    id: int
    by: str
    started: datetime
    total: int
    done: int
    changed: int
    next_id: int
    last_id: int
    finished: datetime | None


@dataclass(frozen=True, slots=True)
class Runs:
    """The runs of ``table`` through the ids of ``column``."""

    table: Table
    column: Column[Any]

    async def start(self, connection: AsyncConnection, by: str) -> Run:
        """A new run; one that goes on ends where it is, since it goes by rules that were changed again."""
        runs = self.table
        await connection.execute(text(f"LOCK TABLE {runs.name} IN SHARE ROW EXCLUSIVE MODE"))
        await connection.execute(update(runs).where(runs.c.finished_at.is_(None)).values(finished_at=func.now()))
        counted = select(func.count(), func.coalesce(func.max(self.column), 0)).select_from(self.column.table)
        total, last = (await connection.execute(counted)).one()
        values = {"by": by, "total": total, "last_id": last, "finished_at": None if total else func.now()}
        return _run((await connection.execute(insert(runs).values(**values).returning(runs))).one())

    async def find(self, connection: AsyncConnection, run_id: int | None = None) -> Run | None:
        """A run, or the newest one."""
        query = select(self.table).order_by(self.table.c.id.desc()).limit(1)
        if run_id is not None:
            query = query.where(self.table.c.id == run_id)
        row = (await connection.execute(query)).first()
        return _run(row) if row else None

    async def list_next(self, connection: AsyncConnection, run: Run, limit: int) -> list[int]:
        """The next ids of a run."""
        query = select(self.column).where(self.column >= run.next_id, self.column <= run.last_id)
        return list((await connection.execute(query.order_by(self.column).limit(limit))).scalars())

    async def note_progress(self, connection: AsyncConnection, run: Run, ids: Sequence[int], changed: int) -> bool:
        """These of the run are done. False where somebody else noted that already, or nothing is left to do."""
        columns = self.table.c
        mine = update(self.table).where(
            columns.id == run.id, columns.next_id == run.next_id, columns.finished_at.is_(None)
        )
        if not ids:
            await connection.execute(mine.values(finished_at=func.now()))
            return False
        values = {"next_id": ids[-1] + 1, "done": columns.done + len(ids), "changed": columns.changed + changed}
        return (await connection.execute(mine.values(**values).returning(columns.id))).first() is not None


def _run(row: AnyRow) -> Run:
    return Run(
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


MAILS = Runs(rule_run, message.c.interaction_id)
TRANSCRIPTS = Runs(mask_run, transcript.c.id)
