"""The door to the index of words: whoever writes words that people look for says here what has changed.

The index is brought up to date by a job right behind (`agent.store.searchindex`): making word forms of a mail costs
more than storing it, and nobody who stores one has to wait for that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import BigInteger, bindparam, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.store.asking import Query, ask
from agent.store.schema import interaction

TASK = "index"  # as in `agent.jobs`, which stands above
QUEUE = "index"
PRIORITY = 1  # `agent.jobs.FINISHING`

BEHIND = f"""
    waiting AS (
        SELECT id FROM procrastinate_jobs
        WHERE task_name = '{TASK}' AND queue_name = '{QUEUE}' AND status = 'todo'
              AND (scheduled_at IS NULL OR scheduled_at <= now())
        LIMIT 1 FOR SHARE SKIP LOCKED
    ), deferred AS (
        SELECT procrastinate_defer_jobs_v1(ARRAY[
            ROW('{QUEUE}', '{TASK}', {PRIORITY}, '{TASK}', NULL, '{{}}'::jsonb, NULL)::procrastinate_job_to_defer_v1])
        WHERE NOT EXISTS (SELECT FROM waiting) AND EXISTS (SELECT FROM due)
    )"""  # noqa: S608 - our own constants
"""Goes on with a statement that has put ``due`` rows into search_due: a job behind them, unless one waits already,
which is held until the commit, as `agent.jobs` does it. Has to be asked for: ``SELECT count(*) FROM deferred``."""

# Rows are only added, so nobody waits for anybody.
_CHANGED = text(
    f"""
    WITH due AS (INSERT INTO search_due (interaction_id) SELECT unnest(:ids) RETURNING id), {BEHIND}
    SELECT count(*) FROM deferred
    """  # noqa: S608 - our own constants
).bindparams(bindparam("ids", type_=ARRAY(BigInteger)))
_ALL = text("INSERT INTO search_due (interaction_id) SELECT id FROM interaction ORDER BY started_at, id")
_GONE = text("DELETE FROM search_entry WHERE interaction_id = ANY(:ids)").bindparams(
    bindparam("ids", type_=ARRAY(BigInteger))
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """How many interactions wait for the index."""

    waiting: int


async def changed(connection: AsyncConnection, interaction_ids: Sequence[int]) -> None:
    """The words of these interactions, or who took part, may be others now."""
    if interaction_ids:
        await connection.execute(_CHANGED, {"ids": list(interaction_ids)})


async def forget(connection: AsyncConnection, interaction_ids: Sequence[int]) -> None:
    """Nothing of these is found any more from this transaction on."""
    await connection.execute(_GONE, {"ids": list(interaction_ids)})


async def refill(connection: AsyncConnection) -> None:
    """Have everything indexed anew, the newest first; what is found meanwhile is as it was."""
    await connection.execute(_ALL)
    newest = select(interaction.c.id).order_by(interaction.c.started_at.desc(), interaction.c.id.desc()).limit(1)
    await changed(connection, list((await connection.execute(newest)).scalars()))  # and with it the job


_WAITING = text("SELECT count(*) AS waiting FROM (SELECT FROM search_due LIMIT :most) AS due").bindparams(
    bindparam("most", type_=BigInteger)
)


def backlog_of(most: int) -> Query[Backlog]:
    """For whoever wonders why something is not found yet; counted up to ``most``."""
    return Query(statement=_WAITING, values={"most": most}, read=lambda rows: Backlog(waiting=rows[0].waiting))


async def backlog(connection: AsyncConnection, *, most: int = 1_000_000) -> Backlog:
    """The same by itself."""
    (found,) = await ask(connection, backlog_of(most))
    return found
