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
from agent.store import connectors, deliveries
from agent.store.connectors import Connector
from agent.store.engine import Store
from linker.outbox import SETTLE_SECONDS

log = structlog.get_logger()

_LOOK_SECONDS = 1.0


def deliver_job(crm: str) -> jobs.Job:
    """Whatever is due is told to this CRM. Without a lock of the queue, which the job of a worker that was killed would
    hold until its heartbeat has run out; of several the first has the turn (`agent.store.turns`)."""
    return jobs.Job(task=jobs.DELIVER, queue=jobs.crm_queue(crm), args={"crm": crm})


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
        """Ask for what is due, but not of a CRM that is to be left alone."""
        async with self._store.begin() as connection:
            due = set(await deliveries.list_due(connection, settle=SETTLE_SECONDS))
            known = {one.name: one for one in await connectors.list_connectors(connection)}
            for one in self._settings.crm:
                if one.deliver and one.name in due:
                    await jobs.defer_unless_waiting(connection, deliver_job(one.name))
                if one.read and _is_late(known.get(one.name), one.read_minutes):
                    queue = jobs.crm_queue(one.name)
                    job = jobs.Job(task=jobs.READ_CRM, queue=queue, args={"crm": one.name}, lock=f"read:{one.name}")
                    await jobs.defer_unless_waiting(connection, job)


def _is_late(connector: Connector | None, minutes: float) -> bool:
    """Whether it is to be read again."""
    if connector is None or connector.is_paused:
        return False
    return connector.read is None or connector.read < datetime.now(UTC) - timedelta(minutes=minutes)
