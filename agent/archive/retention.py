"""Erasure by age: once a day, what is older than the administrator's policy goes as every erasure does, by recorded
acts that leave tombstones (`agent.archive.erasure`)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.archive.erasure import Demand, NothingToErase, erase
from agent.errors import Unavailable
from agent.store import retention
from agent.store.engine import Store

log = structlog.get_logger()

BY = "retention"
BASIS = "retention policy"
_BATCH = 500
_LOOK_SECONDS = 600.0

Ask = Callable[[AsyncConnection], Awaitable[None]]


class Retention:
    """Asks for the daily job, and does it."""

    def __init__(self, store: Store, ask: Ask) -> None:
        """``ask`` defers the job, in the transaction it is given."""
        self._store = store
        self._ask = ask

    async def run(self) -> None:
        """In the main process, for ever: ask for the job when a day has passed."""
        while True:
            try:
                await self.look()
            except Unavailable as error:
                log.warning("retention_waits", reason=str(error))
            await asyncio.sleep(_LOOK_SECONDS)

    async def look(self) -> None:
        """Ask for what is due now; several processes ask once."""
        async with self._store.begin() as connection:
            if await retention.take_turn(connection, datetime.now(UTC)):
                await self._ask(connection)

    async def retain(self) -> None:
        """The job: one batch of each kind, and another job where there may be more. A policy that was taken back
        meanwhile erases nothing more."""
        async with self._store.begin() as connection:
            policy = await retention.find_policy(connection)
        more = False
        for kind, months in policy.items():
            before = retention.months_before(datetime.now(UTC), months)
            async with self._store.begin() as connection:
                ids = await retention.list_due(connection, kind, before, limit=_BATCH)
            if ids:
                demand = Demand(by=BY, reason=f"older than {months} months", basis=BASIS, interaction_ids=ids)
                try:
                    done = await erase(self._store, demand)
                except NothingToErase:
                    continue
                log.info("erased_by_age", kind=kind.value, count=len(done.interactions))
                more = more or len(ids) == _BATCH
        if more:
            async with self._store.begin() as connection:
                await self._ask(connection)
