"""Settings and logins in a real Chromium: nothing against the policy, nothing wider than a telephone, by keyboard too.

With ``CARDLINE_PICTURES=<folder>`` it leaves screenshots there.
"""

from __future__ import annotations

import base64
import os
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.async_api import Browser as Chromium

from agent.archive.blobs import Archive
from agent.intake import Intake
from agent.model import UserRole
from agent.store import accounts, employees, hosts, retention, teams, tokens
from agent.store.engine import Store
from agent.web import totp
from agent.web.app import WebServer
from tests.peer.test_web_browser import Visit, chromium, visiting
from tests.unit.web_pages import ATTACHMENT, RAW_MAIL, cut_out
from tests.web_world import PASSWORD, Builder, World, build, serve, settings_for

__all__ = ["chromium"]

PLACES = ("settings", "accounts", "teams", "tokens", "audit", "keys", "retention", "me", "sources")


@pytest.fixture(scope="module")
async def world(store: Store, archive: Archive, intake: Intake, tmp_path_factory: pytest.TempPathFactory) -> World:
    builder = Builder(store, archive, intake, settings_for(tmp_path_factory.getbasetemp()))
    world = await build(builder, ATTACHMENT, RAW_MAIL)
    async with store.begin() as connection:
        people = await employees.list_employees(connection)
        for name, number in (("Продажи", 0), ("Опт и сети", 1)):
            team_id = await teams.find_or_insert_team(connection, name)
            await teams.add_member(connection, team_id, people[number].id)
            lead = await accounts.insert_account(
                connection, f"lead-{number}", f"Руководитель {number}", PASSWORD, UserRole.SUPERVISOR, all_teams=False
            )
            await teams.set_supervised(connection, lead, [team_id])
        await teams.add_member(connection, team_id, people[0].id, datetime.now(UTC) - timedelta(days=40))
        await accounts.insert_account(connection, "strict", "Вера Строгая", PASSWORD, UserRole.MANAGER)
        await tokens.insert_token(connection, "Bitrix24", ["read", "calls:pause"])
        await tokens.insert_token(connection, "Касса", ["calls:pause"])
        await tokens.revoke_token(connection, "Касса")
        await hosts.beat(connection, "office-1")
        await retention.hold_card(connection, world.maria, reason="спор о поставке", by="admin")
    return world


@pytest.fixture(scope="module")
async def server(
    store: Store, archive: Archive, world: World, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[WebServer]:
    settings = settings_for(tmp_path_factory.getbasetemp(), require_totp_for=("manager",))
    server = await serve(store, archive, settings, cut_out)
    yield server
    await server.stop()


async def _picture(visit: Visit, name: str) -> None:
    if folder := os.environ.get("CARDLINE_PICTURES"):
        await visit.page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


@pytest.mark.parametrize(
    ("name", "width", "scheme", "locale"),
    [("desk", 1280, "light", "ru-RU"), ("phone", 390, "dark", "ru-RU"), ("desk-en", 1280, "dark", "en-GB")],
)
async def test_every_page_of_settings_fits_and_obeys_the_policy(
    chromium: Chromium, server: WebServer, world: World, name: str, width: int, scheme: str, locale: str
) -> None:
    viewport = {"width": width, "height": 800}
    async with visiting(chromium, server, viewport=viewport, color_scheme=scheme, locale=locale) as visit:
        await visit.log_in("admin")
        (first,) = [one.id for one in await _accounts(server) if one.login == "lead-0"]
        for place in (*PLACES, f"accounts/{first}", "retention?calls=24&mails=36"):
            await visit.go(f"/{place}")
            over = await visit.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
            assert over <= 0, f"{place} is {over} px wider than the screen"
            plain = "".join(one if one.isalnum() else "-" for one in place)
            await _picture(visit, f"settings-{plain}-{name}")
        assert visit.complaints == []


async def _accounts(server: WebServer) -> list[accounts.Account]:
    from agent.web.services import SERVICES

    store = server._runner.app[SERVICES].store
    async with store.begin() as connection:
        return await accounts.list_accounts(connection)


async def test_a_second_factor_is_set_up_at_the_login(chromium: Chromium, server: WebServer) -> None:
    async with visiting(chromium, server, viewport={"width": 390, "height": 800}) as visit:
        await visit.go("/login")
        await visit.page.fill("input[name=login]", "strict")
        await visit.page.fill("input[name=password]", PASSWORD)
        await visit.page.keyboard.press("Enter")
        await visit.page.wait_for_url("**/login/second-factor*")
        await _picture(visit, "login-enrolment-phone")
        written = await visit.page.inner_text("code.secret")
        secret = base64.b32decode(written.replace(" ", ""))
        await visit.page.fill("input[name=code]", totp.code_at(secret, int(time.time()) // totp.STEP_SECONDS))
        await visit.page.keyboard.press("Enter")
        await visit.page.wait_for_selector(".codes")
        await _picture(visit, "login-recovery-phone")
        codes = await visit.page.locator(".codes code").all_inner_texts()
        await visit.page.click("main a.button")
        await visit.page.wait_for_url("**/cards")
    async with visiting(chromium, server, viewport={"width": 1280, "height": 800}) as visit:
        await visit.go("/login")
        await visit.page.fill("input[name=login]", "strict")
        await visit.page.fill("input[name=password]", PASSWORD)
        await visit.page.keyboard.press("Enter")
        await visit.page.wait_for_url("**/login/code*")
        await _picture(visit, "login-code-desk")
        assert await visit.page.evaluate("document.activeElement.name") == "code"
        await visit.page.keyboard.type(codes[0])
        await visit.page.keyboard.press("Enter")
        await visit.page.wait_for_url("**/cards")
        assert visit.complaints == []
