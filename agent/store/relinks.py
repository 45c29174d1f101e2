"""The past decided anew: a run has a number of batches, each a job, and says how far it has come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.store.engine import AnyRow
from agent.store.schema import relink_run


@dataclass(frozen=True, slots=True, kw_only=True)
class RelinkRun:
    """Interactions looked at again because of ``subject``; ``changed`` are those that stand elsewhere now."""

    id: int
    subject: str
    card_id: int | None
    by: str
    started: datetime
    total: int
    done: int
    changed: int
    finished: datetime | None

    @property
    def percent(self) -> int:
        """How far it is."""
        return 100 * self.done // self.total if self.total else 100


def _run(row: AnyRow) -> RelinkRun:
    return RelinkRun(
        id=row.id,
        subject=row.subject,
        card_id=row.client_card_id,
        by=row.by,
        started=row.started_at,
        total=row.total,
        done=row.done,
        changed=row.changed,
        finished=row.finished_at,
    )


async def start_run(
    connection: AsyncConnection, *, subject: str, by: str, card_id: int | None, total: int, batches: int
) -> int:
    """A run of so many batches, numbered from 1; those that ended a month ago go. Returns its id."""
    await connection.execute(_FORGET)
    values = {"subject": subject, "by": by, "client_card_id": card_id, "total": total}
    statement = insert(relink_run).values(**values, open_batches=list(range(1, batches + 1)))
    return int((await connection.execute(statement.returning(relink_run.c.id))).scalar_one())


_FORGET = text(  # whoever else forgets the same ones just now is not waited for
    """
    DELETE FROM relink_run WHERE id IN (
        SELECT id FROM relink_run WHERE finished_at < now() - interval '30 days' FOR UPDATE SKIP LOCKED)
    """
)
_NOTE = text(
    """
    UPDATE relink_run SET done = done + :done, changed = changed + :changed,
        open_batches = array_remove(open_batches, :batch),
        finished_at = CASE WHEN cardinality(array_remove(open_batches, :batch)) = 0 THEN now() END
    WHERE id = :id AND :batch = ANY(open_batches)
    """
)


async def note_batch(connection: AsyncConnection, run_id: int, batch: int, *, done: int, changed: int) -> None:
    """A batch is done; said twice, it counts once."""
    await connection.execute(_NOTE, {"id": run_id, "batch": batch, "done": done, "changed": changed})


async def list_open_runs(connection: AsyncConnection, card_ids: Sequence[int] | None = None) -> list[RelinkRun]:
    """Those going on, oldest first: all, or of these cards."""
    query = select(relink_run).where(relink_run.c.finished_at.is_(None))
    if card_ids is not None:
        query = query.where(relink_run.c.client_card_id.in_(card_ids))
    return [_run(row) for row in await connection.execute(query.order_by(relink_run.c.id).limit(100))]


async def find_run(connection: AsyncConnection, run_id: int) -> RelinkRun | None:
    """One of them."""
    row = (await connection.execute(select(relink_run).where(relink_run.c.id == run_id))).first()
    return _run(row) if row else None
