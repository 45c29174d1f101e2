"""Who is who in a real Chromium: an administrator answers with one click, on a telephone too."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from playwright.async_api import Browser as Chromium

from agent.archive.blobs import Archive
from agent.intake import Intake
from agent.model import Disposition, Identity, IdentityKind
from agent.store import employees, proposals
from agent.store.engine import Store
from agent.web.app import WebServer
from tests.peer.test_web_browser import SIZES, chromium, picture, server, visiting, world
from tests.unit.calls_told import told
from tests.web_world import NOW, Builder, World, settings_for

__all__ = ["chromium", "server", "world"]


@pytest.fixture(scope="module")
async def waiting(store: Store, archive: Archive, intake: Intake, world: World) -> int:
    """Proposals, calls of an extension that is nobody's, and a call that two sources told; the id of that."""
    builder = Builder(store, archive, intake, settings_for("."))
    builder._number = 5000
    offered = [("103", "Зоя Новикова"), ("104", "Иван Сидоров"), ("109", "Факс")]
    async with store.begin() as connection:
        await proposals.offer(connection, "asterisk:office", offered)
        fax = Identity(kind=IdentityKind.EXTENSION, value="120")
        await builder.linker.add_employee_identity(connection, None, fax, label="Приёмная")
    for hours in (1, 5, 30):
        await builder.call("+74950000011", "117", NOW - timedelta(hours=hours))
    line = "{} +74950000011 > 120 @{} ^5"
    more: dict[str, Any] = {"ended": NOW, "disposition": Disposition.ANSWERED}
    for one in (line.format("asterisk:office", 0), line.format("provider:uis", 1)):
        number = await intake.open_call(replace(told(one), **more))
    await intake.open_call(replace(told(line.format("siprec", 9)), **more))
    await builder.linker.link([number])
    return number


@pytest.mark.parametrize("size", SIZES)
async def test_the_pages_fit_the_screen(
    chromium: Chromium, server: WebServer, world: World, waiting: int, size: str
) -> None:
    async with visiting(chromium, server, viewport=SIZES[size], is_mobile=size != "desktop") as visit:
        await visit.log_in("admin")
        for name, path in {
            "proposals": "/employees",
            "nobodys": "/unsorted",
            "told": f"/interactions/{waiting}",
        }.items():
            await visit.go(path)
            for summary in await visit.page.query_selector_all("details:not([open]) > summary"):
                await summary.click()
            width = await visit.page.evaluate("document.documentElement.scrollWidth")
            await picture(visit.page, f"{name}-{size}")
            assert width <= SIZES[size]["width"], f"{name} is {width} wide"


async def test_one_click_says_whose_it_is(chromium: Chromium, server: WebServer, store: Store, waiting: int) -> None:
    async with visiting(chromium, server) as visit:
        await visit.log_in("admin")
        await visit.go("/employees")
        await visit.page.click("#proposal-103 button[value=new]")
        await visit.page.wait_for_selector("h2:has-text('Зоя Новикова')")
        await visit.page.click("#proposal-104 button[value=employee]")
        await visit.page.wait_for_selector("#proposal-104", state="detached")
        await visit.page.click("#proposal-109 button[value=nobody]")
        await visit.page.wait_for_selector("#shared:has-text('109')")
        await visit.go("/unsorted")
        await visit.page.click("#extension-117 button[value=nobody]")
        await visit.page.wait_for_selector("[role=status]")
        await visit.page.wait_for_selector("#extension-117", state="detached")
    async with store.begin() as connection:
        held = await employees.find_holders(
            connection, [Identity(kind=IdentityKind.EXTENSION, value=one) for one in ("103", "104", "109", "117")]
        )
    assert {one.identity.value: one.name for one in held} == {
        "103": "Зоя Новикова",
        "104": "Иван Сидоров",
        "109": "",
        "117": "",
    }


async def test_a_call_is_parted_and_united_by_a_click(
    chromium: Chromium, server: WebServer, store: Store, waiting: int
) -> None:
    async with visiting(chromium, server) as visit:
        await visit.log_in("boss")
        await visit.go(f"/interactions/{waiting}")
        await visit.page.click("form[action$='/separate'] button >> nth=1")
        await visit.page.wait_for_selector("form[action$='/separate']", state="detached")
        unite = f"form[action$='/unite']:has(input[value='{waiting}']) button"
        await visit.page.click(unite)
        await visit.page.wait_for_selector("form[action$='/separate'] button >> nth=1")
        assert visit.page.url.endswith(f"/interactions/{waiting}")
