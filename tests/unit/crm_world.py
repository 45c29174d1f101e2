"""What tests of deliveries share: a CRM in memory with two clients, whom an employee talks to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from agent.intake import Intake
from agent.settings import Settings, WebSettings
from agent.settings_crm import CrmSettings
from agent.store import connectors
from agent.store.engine import Store
from linker.crm.connected import Crms
from linker.crm.facts import CrmCard, ExternalId
from linker.deliver import Deliverer
from linker.mirror import MirrorReader
from tests.crm_memory import MemoryCrm
from tests.postgres import PostgresForTests
from tests.unit.evidence_lab import Lab
from tests.web_world import Builder, address, extension, phone

PETROVA, WORKS = "+74950000001", "+74950000002"


@dataclass(slots=True)
class World:
    """Anna of extension 101, Petrova and the works; a CRM in memory in which both are."""

    store: Store
    lab: Lab
    builder: Builder
    crm: MemoryCrm
    anna: int
    petrova: int
    works: int
    settings: Settings

    def deliverer(self, **crm: Any) -> Deliverer:
        values = {"name": "office", "kind": "tryton", "url": "https://crm.example.com", "language": "en", **crm}
        settings = self.settings.model_copy(update={"crm": (CrmSettings.model_validate(values),)})
        crms = Crms(self.store, settings, self.lab.archive.keys, connect=lambda *_: self.crm)
        return Deliverer(self.store, self.lab.archive, crms, public_url="https://cardline.example.com")

    async def deliver(self, times: int = 1, **crm: Any) -> None:
        """As the pacer does: again and again, pauses left out."""
        deliverer = self.deliverer(**crm)
        for _ in range(times):
            await self.hurry()
            await deliverer.deliver("office")

    async def hurry(self) -> None:
        """What waits for its time waits no more."""
        async with self.store.begin() as connection:
            await connection.execute(text("UPDATE delivery SET due_at = now() WHERE state = 'waiting'"))
            await connection.execute(text("UPDATE connector SET paused_until = NULL"))

    async def rows(self) -> list[Any]:
        async with self.store.begin() as connection:
            return list(await connection.execute(text("SELECT * FROM delivery ORDER BY id")))

    async def switch_on(self, *, delivers: bool = True) -> None:
        async with self.store.begin() as connection:
            await connectors.switch_on(connection, [("office", "tryton", delivers)])

    async def office(self) -> connectors.Connector:
        async with self.store.begin() as connection:
            found = await connectors.find_connector(connection, "office")
        assert found is not None
        return found


def contact(number: str, name: str, *identities: Any) -> CrmCard:
    """A card over there."""
    return CrmCard(id=ExternalId(kind="contact", id=number), name=name, kind="person", identities=identities)


@pytest.fixture
async def world(postgres: PostgresForTests, tmp_path: Path) -> AsyncIterator[World]:
    store = Store(await postgres.new_database())
    lab = Lab.open(store, tmp_path)
    settings = Settings(data_dir=tmp_path / "data", web=WebSettings(public_url="https://cardline.example.com"))
    made = Builder(store, lab.archive, Intake(store, lab.archive, host="test"), settings)
    anna = await made.employee("Anna", extension("101"), address("anna@cardline.example.com"))
    crm = MemoryCrm()
    crm.cards = {"1": contact("1", "Petrova", phone(PETROVA)), "2": contact("2", "Works", phone(WORKS))}
    crm.cards["2"] = contact("2", "Works", phone(WORKS), address("office@works.example.com"))
    petrova = await made.card("Petrova", phone(PETROVA))
    works = await made.card("Works", phone(WORKS), address("office@works.example.com"))
    built = World(store, lab, made, crm, anna, petrova, works, settings)
    await built.switch_on()
    yield built
    await store.close()


def soon(seconds: float = 1) -> datetime:
    """So that a connector that was switched on now tells of it."""
    return datetime.now(UTC) + timedelta(seconds=seconds)


def reader(world: World) -> MirrorReader:
    """Of the same CRM."""
    return MirrorReader(world.store, world.deliverer()._crms)
