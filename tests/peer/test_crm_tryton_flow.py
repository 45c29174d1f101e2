"""The whole way to a live Tryton: calls and mails from the door to its parties; the server is killed in the middle."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from agent.archive.erasure import Demand, erase
from agent.cli import app
from agent.intake import Intake
from agent.settings import Settings, WebSettings
from agent.store import cards, connectors, deals, mirror
from agent.store.engine import Store
from linker.crm.connected import Crms
from linker.deliver import Deliverer
from linker.mirror import MirrorReader
from tests.peer.tryton_lab import PASSWORD, TrytonServer
from tests.postgres import PostgresForTests
from tests.unit.evidence_lab import Lab
from tests.web_world import Builder, address, extension, phone, tone_flac

pytestmark = pytest.mark.timeout(600)
_KEY = re.compile(r"^cardline-[0-9a-f]{20}$", re.MULTILINE)
_CALLS = 12


@dataclass(slots=True)
class World:
    """Anna and what Tryton's seed has: Petrova and the works, read into our cards."""

    server: TrytonServer
    store: Store
    lab: Lab
    builder: Builder
    crms: Crms
    deliverer: Deliverer

    async def hurry(self) -> None:
        async with self.store.begin() as connection:
            await connection.execute(text("UPDATE delivery SET due_at = now() WHERE state = 'waiting'"))
            await connection.execute(text("UPDATE connector SET paused_until = NULL, read_at = NULL"))

    async def waiting(self) -> int:
        async with self.store.begin() as connection:
            query = text("SELECT count(*) FROM delivery WHERE state <> 'done'")
            return int((await connection.execute(query)).scalar_one())

    async def keys(self, party: str) -> list[str]:
        """Our keys on a party, in the order of its notes."""
        notes = await self.server.notes(self.server.ids[party])
        return [key for note in notes for key in _KEY.findall(note)]


@pytest.fixture
async def world(postgres: PostgresForTests, tmp_path: Path) -> AsyncIterator[World]:
    server = TrytonServer(tmp_path / "tryton")
    try:
        await server.start()
        store = Store(await postgres.new_database())
        lab = Lab.open(store, tmp_path)
        settings = Settings(
            data_dir=tmp_path / "data",
            web=WebSettings(public_url="https://cardline.example.com"),
            crm=(server.settings(recordings="link"),),
        )
        builder = Builder(store, lab.archive, Intake(store, lab.archive, host="test"), settings)
        await builder.employee("Anna", extension("101"), address("anna@cardline.example.com"))
        async with store.begin() as connection:
            await connectors.switch_on(connection, [("office", "tryton", True)])
        crms = Crms(store, settings, lab.archive.keys)
        await MirrorReader(store, crms).read("office")
        deliverer = Deliverer(store, lab.archive, crms, public_url=settings.web.public_url)
        yield World(server, store, lab, builder, crms, deliverer)
        await crms.close()
        await store.close()
    finally:
        await server.stop()


def _soon(seconds: float = 1) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


async def test_calls_and_mails_stand_on_the_right_party_once_though_the_server_is_killed(world: World) -> None:
    us, them = ("Anna", "anna@cardline.example.com"), ("Works", "office@works.example.com")
    for minute in range(_CALLS):
        at = _soon(60 * minute)
        call = await world.builder.call("84950000001", "101", at)
        await world.builder.recording(call, at, tone_flac(0.3), 0.3, said=[(0, 0.1, f"grey paint {minute}")])
        await world.builder.mail(us, them, at, f"Offer {minute}", "Here it is.")
    telling = asyncio.create_task(world.deliverer.deliver("office"))
    while len(await world.keys("Petrova")) < 3:
        assert not telling.done()
    await world.server.stop()
    await telling
    assert await world.waiting() > 0
    await world.server.start()
    for _ in range(40):
        if not await world.waiting():
            break
        await world.hurry()
        await world.deliverer.deliver("office")
    assert await world.waiting() == 0
    calls, mails = await world.keys("Petrova"), await world.keys("Works")
    assert (len(calls), len(set(calls))) == (_CALLS, _CALLS)
    assert (len(mails), len(set(mails))) == (_CALLS, _CALLS)
    files = await world.server.files(world.server.ids["Petrova"])
    links = [one["link"] for one in files if one["type"] == "link"]
    assert (len(links), len(set(links))) == (_CALLS, _CALLS)
    assert all(one.startswith("https://cardline.example.com/shared/") for one in links)
    words = sorted(one["description"] for one in files if one["type"] == "data")
    assert words == sorted(f"00:00 client: grey paint {minute}" for minute in range(_CALLS))
    notes = await world.server.notes(world.server.ids["Petrova"])
    assert all("Incoming call, talk 0:30, ringing 0:06" in one and "+74950000001 → Anna 101" in one for one in notes)


async def test_what_is_erased_here_is_gone_there(world: World) -> None:
    at = _soon()
    call = await world.builder.call("+74950000001", "101", at)
    await world.builder.recording(call, at, tone_flac(0.3), 0.3, said=[(0, 0.1, "grey paint")])
    await world.deliverer.deliver("office")
    assert len(await world.keys("Petrova")) == 1
    async with world.store.begin() as connection:
        (petrova,) = {one.card_id for one in await cards.find_candidates(connection, [phone("+74950000001")])}
    await erase(world.store, Demand(by="anna", reason="demanded", basis="GDPR Art. 17", card_id=petrova))
    await world.hurry()
    await world.deliverer.deliver("office")
    assert await world.keys("Petrova") == []
    assert await world.server.files(world.server.ids["Petrova"]) == []
    await world.hurry()
    await MirrorReader(world.store, world.crms).read("office")
    async with world.store.begin() as connection:
        assert await cards.find_candidates(connection, [phone("+74950000001")]) == [], "it is not learnt again"


async def test_the_mirror_has_cards_users_and_deals(world: World) -> None:
    async with world.store.begin() as connection:
        (petrova,) = await cards.find_candidates(connection, [phone("+74950000001")])
        (deal,) = await deals.list_deals(connection, petrova.card_id)
        office = await connectors.find_connector(connection, "office")
        assert office is not None
        users = {one.name: one.employee_id for one in await mirror.list_users(connection, office.id)}
        history = await deals.list_stage_history(connection, deal.id)
    assert (petrova.card_name, deal.title, str(deal.amount), deal.currency) == (
        "Petrova",
        "Grey paint",
        "1200.5000",
        "RUB",
    )
    assert [stage for stage, _ in history] == ["lead"]
    assert users["Anna"] is not None


def test_check_as_an_administrator_runs_it(tmp_path: Path) -> None:
    server = TrytonServer(tmp_path / "tryton")

    async def prepare() -> dict[str, Any]:
        await server.start()
        return {"notes": await server.notes(server.ids["Petrova"])}

    config = tmp_path / "cardline.toml"
    with asyncio.Runner() as runner:
        try:
            runner.run(prepare())
            table = f'[[crm]]\nname = "office"\nkind = "tryton"\nurl = "{server.url}"\nuser = "cardline"\n'
            password = PASSWORD.format(login="cardline")
            config.write_text(f'data_dir = "{tmp_path / "data"}"\n{table}password = "{password}"\n')
            good = CliRunner().invoke(app, ["--config", str(config), "crm", "check"])
            config.write_text(f'data_dir = "{tmp_path / "data"}"\n{table}password = "wrong-{password}"\n')
            bad = CliRunner().invoke(app, ["--config", str(config), "crm", "check", "office"])
        finally:
            runner.run(server.stop())
    assert good.exit_code == 0, good.output
    assert "Tryton lets cardline in" in good.output
    assert "find_foreign" in good.output
    assert bad.exit_code == 1
    assert "does not let cardline in" in bad.output
    assert password not in bad.output
