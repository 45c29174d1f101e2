"""In the main process: a job is asked for as soon as something is due for a CRM, and every few minutes to read it.

The outbox lies in tables and knows when each row is due, so looking once a second costs one small query and nothing is
ever waited for twice: a notice that got lost, a job that was killed, a pause that has ended are all the same.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import structlog

from agent import jobs
from agent.errors import Unavailable
from agent.settings import Settings
from agent.store import connectors
from agent.store.engine import Store

log = structlog.get_logger()

_LOOK_SECONDS = 1.0


class CrmPacer:
    """Asks for the jobs of all CRMs in the settings."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._settings = settings

    async def run(self) -> None:
        """For ever; a database that is away is waited for."""
        is_on = False
        while True:
            try:
                is_on = is_on or await self.switch_on()
                await self.look()
            except Unavailable as error:
                log.warning("crms_wait_for_database", reason=str(error))
            await asyncio.sleep(_LOOK_SECONDS)

    async def switch_on(self) -> bool:
        """Note which CRMs there are now; what is told begins with the first time. True, for convenience."""
        async with self._store.begin() as connection:
            named = [(one.name, one.kind, one.deliver) for one in self._settings.crm]
            await connectors.switch_on(connection, named)
        return True

    async def look(self) -> None:
        """Ask for what is due."""
        async with self._store.begin() as connection:
            due = set(await connectors.list_due(connection))
            read = {one.name: one.read for one in await connectors.list_connectors(connection)}
            for one in self._settings.crm:
                queue = jobs.crm_queue(one.name)
                if one.deliver and one.name in due:
                    job = jobs.Job(task=jobs.DELIVER, queue=queue, args={"crm": one.name}, lock=f"deliver:{one.name}")
                    await jobs.defer_unless_waiting(connection, job)
                before = read.get(one.name)
                late = before is None or before < datetime.now(UTC) - timedelta(minutes=one.read_minutes)
                if one.read and late:
                    job = jobs.Job(task=jobs.READ_CRM, queue=queue, args={"crm": one.name}, lock=f"read:{one.name}")
                    await jobs.defer_unless_waiting(connection, job)
