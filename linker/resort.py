"""The job that sorts all mails anew after rules were changed, a batch a job, so that it may be killed anywhere."""

from __future__ import annotations

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from agent import jobs
from agent.store.engine import Store
from agent.store.runs import MAILS, Run
from linker.link import Linker

log = structlog.get_logger()

_BATCH = 200


async def start(connection: AsyncConnection, by: str) -> Run:
    """Begin a run in the caller's transaction, which changes the rules."""
    run = await MAILS.start(connection, by)
    if run.finished is None:
        await _go_on(connection, run.id)
    return run


async def _go_on(connection: AsyncConnection, run_id: int) -> None:
    work = jobs.Job(task=jobs.RESORT, args={"run_id": run_id}, priority=-5)
    await jobs.defer(connection, [work])


class Resorter:
    """Decides about mails again, oldest first, and notes how far it has come."""

    def __init__(self, store: Store, linker: Linker) -> None:
        self._store = store
        self._linker = linker

    async def resort(self, run_id: int) -> None:
        """One batch of a run. Done twice, it changes nothing and counts once."""
        async with self._store.begin() as connection:
            run = await MAILS.find(connection, run_id)
            if run is None or run.finished is not None:
                return
            ids = await MAILS.list_next(connection, run, _BATCH)
        changed = await self._linker.decide(ids) if ids else set()
        async with self._store.begin() as connection:
            if await MAILS.note_progress(connection, run, ids, len(changed)):
                await _go_on(connection, run_id)
        log.info("mails_sorted_anew", run_id=run_id, mails=len(ids), changed=len(changed))
