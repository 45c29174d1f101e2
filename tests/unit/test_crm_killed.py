"""A process that tells a CRM is killed in the middle, by a signal that nothing can catch: the next one goes on within
seconds, and what was asked last is there once, whether the CRM had done it or not."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from sqlalchemy import text

from agent.archive.blobs import open_archive
from agent.intake import Intake
from agent.settings import Settings
from agent.settings_crm import CrmSettings
from agent.store import connectors, deliveries, mirror, turns
from agent.store.engine import Store
from linker.crm.connected import Crms
from linker.deliver import Deliverer
from tests.peer.crm_amocrm_emulator import AmoCrmEmulator
from tests.postgres import PostgresForTests
from tests.unit.evidence_lab import Lab
from tests.web_world import Builder, extension, phone

_PETROVA = "+74950000001"
_SETTLE = 0.5
_CHILD = """
import asyncio, sys
from tests.unit.test_crm_killed import deliverer
asyncio.run(deliverer(*sys.argv[1:]).deliver("office"))
"""


def deliverer(database: str, url: str, folder: str) -> Deliverer:
    """As a worker has it."""
    table = {"name": "office", "kind": "amocrm", "url": url, "key": "long-lived", "language": "en"}
    options = {"options": {"requests_a_second": "1000"}}
    settings = Settings(data_dir=Path(folder) / "data", crm=(CrmSettings.model_validate({**table, **options}),))
    store, archive = Store(database), open_archive(Path(folder) / "archive", "")
    return Deliverer(store, archive, Crms(store, settings, archive.keys), settle=_SETTLE)


class Holding(AmoCrmEmulator):
    """It holds back an answer for ever, before it does what it was asked or after."""

    def __init__(self) -> None:
        super().__init__()
        self.a_second = 1000
        self.holds = ""
        self.held = asyncio.Event()

    async def _add_notes(self, request: web.Request) -> web.Response:
        if self.holds == "before":
            await self._hold()
        answer = await super()._add_notes(request)
        if self.holds == "after":
            await self._hold()
        return answer

    async def _hold(self) -> None:
        self.holds = ""
        self.held.set()
        await asyncio.Event().wait()


@dataclass(slots=True)
class World:
    """Two calls of one card, the emulator, and whoever tells it."""

    store: Store
    crm: Holding
    database: str
    folder: Path

    async def child(self) -> asyncio.subprocess.Process:
        """A worker of its own."""
        given = (self.database, self.crm.url, str(self.folder))
        return await asyncio.create_subprocess_exec(sys.executable, "-c", _CHILD, *given)

    async def deliver(self) -> None:
        """Another one, here."""
        await deliverer(self.database, self.crm.url, str(self.folder)).deliver("office")

    async def due(self) -> list[str]:
        """What the main process asks a job for."""
        async with self.store.begin() as connection:
            return await deliveries.list_due(connection, settle=_SETTLE)

    async def until(self, holds: Callable[[list[str], set[str]], bool], *, deliver: bool = False) -> None:
        """Ask for what is due as the main process does, until that holds of it and of the states."""
        while not holds(due := await self.due(), {row.state for row in await self.rows()}):
            if due and deliver:
                await self.deliver()
            await asyncio.sleep(0.02)

    async def rows(self) -> list[Any]:
        async with self.store.begin() as connection:
            return list(await connection.execute(text("SELECT * FROM delivery ORDER BY id")))

    def keys(self) -> list[str]:
        return [one["params"]["uniq"] for one in self.crm.notes.values()]


@pytest.fixture
async def world(postgres: PostgresForTests, tmp_path: Path) -> AsyncIterator[World]:
    database = await postgres.new_database()
    store = Store(database)
    lab = Lab.open(store, tmp_path)
    built = Builder(store, lab.archive, Intake(store, lab.archive, host="test"), Settings(data_dir=tmp_path / "data"))
    await built.employee("Anna", extension("101"))
    card = await built.card("Petrova", phone(_PETROVA))
    async with Holding() as crm:
        async with store.begin() as connection:
            await connectors.switch_on(connection, [("office", "amocrm", True)])
            office = await connectors.find_connector(connection, "office")
            assert office is not None
            await mirror.save_card(
                connection,
                office.id,
                kind="contact",
                external_id=str(crm.add_card("contacts", "Petrova")),
                client_card_id=card,
                name="Petrova",
                identities=(),
                responsible="",
            )
        for minute in (0, 5):
            await built.call(_PETROVA, "101", datetime.now(UTC) + timedelta(minutes=minute))
        yield World(store, crm, database, tmp_path)
    await store.close()


@pytest.mark.parametrize("holds", ["before", "after"])
async def test_killed_while_it_waits_for_an_answer(world: World, holds: str) -> None:
    world.crm.holds = holds
    child = await world.child()
    await asyncio.wait_for(world.crm.held.wait(), 60)
    await world.deliver()
    assert len(world.crm.notes) == (holds == "after"), "it lives, so nobody else tells anything"
    assert await world.due() == [], "nor is anybody asked to"
    child.send_signal(signal.SIGKILL)
    await child.wait()
    leased = (await world.rows())[0].leased_until
    async with asyncio.timeout(60):
        await world.until(lambda due, _: due == ["office"])  # as soon as its session is over
        await world.deliver()
        assert (await world.rows())[0].leased_until < leased, "not for minutes any more"
        await world.until(lambda _, states: states == {"done"}, deliver=True)
    assert world.keys() == [row.key for row in await world.rows()], "each once, in order"


async def test_a_turn_is_one_processs_and_ends_with_it(world: World) -> None:
    async with turns.take(world.database, turns.DELIVER, 7) as turn:
        assert turn is not None
        async with turns.take(world.database, turns.DELIVER, 7) as other:
            assert other is None
        async with turns.take(world.database, turns.DELIVER, 8) as other:
            assert other is not None
        async with turns.take(world.database, turns.RENEW, 7) as other:
            assert other is not None
        await turn.ensure()
    async with turns.take(world.database, turns.DELIVER, 7) as turn:
        assert turn is not None
