"""Says that this host lives, and looks after the calls of hosts that do not: every service does both."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import structlog

from agent.errors import Unavailable
from agent.store import hosts
from agent.store.engine import Store

log = structlog.get_logger()

EVERY_S = 30.0  # a host is called silent after `agent.store.hosts.SILENT`, four times as long
ROUNDS = 6  # signs in a row before one judges others: after an outage of the database they too must be heard again


class Presence:
    """The heartbeat of a host that records."""

    def __init__(self, store: Store, host: str) -> None:
        self._store, self._host = store, host

    async def run(self) -> None:
        """Work for ever; a database that is away is waited for."""
        rounds = 0
        while True:
            try:
                await self.give_sign()
                rounds += 1
                if rounds > ROUNDS:
                    await self.judge()
            except Unavailable as error:
                rounds = 0
                log.warning("presence_not_told", reason=str(error))
            except Exception:  # a bug here must not end the recording of everybody
                log.exception("presence_failed")
            await asyncio.sleep(EVERY_S)

    async def give_sign(self) -> None:
        """Say that this host lives, and have pages show who has just fallen silent."""
        async with self._store.begin() as connection:
            await hosts.beat(connection, self._host)
            await hosts.tell_silent(connection, timedelta(seconds=EVERY_S))

    async def judge(self) -> None:
        """End the calls of hosts that were given up."""
        async with self._store.begin() as connection:
            ended = await hosts.give_up(connection)
        if ended:
            log.warning(
                "calls_of_a_silent_host_ended",
                interactions=ended,
                remedy="Start the service on that host again, and its calls become recordings.",
            )
