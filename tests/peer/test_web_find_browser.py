"""Finding in a real Chromium: typed after a slash, opened at its second, kept under a name; phones, both languages.

With ``CARDLINE_PICTURES=<folder>`` it leaves screenshots there.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from playwright.async_api import Browser as Chromium
from playwright.async_api import Page

from agent.store import search
from agent.store.engine import Store
from agent.store.searchindex import Indexer
from agent.web.app import WebServer
from tests.peer.test_web_browser import chromium, server, visiting, world
from tests.web_world import World

__all__ = ["chromium", "server", "world"]


@pytest.fixture(scope="module", autouse=True)
async def indexed(store: Store, world: World) -> None:
    async with store.begin() as connection:
        await search.refill(connection)
    await Indexer(store).index()


async def _picture(page: Page, name: str) -> None:
    if folder := os.environ.get("CARDLINE_PICTURES"):
        await page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


async def _fits(page: Page) -> bool:
    """Nothing is wider than the screen."""
    wide: int = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return wide <= 0


async def test_typed_found_opened_at_its_second_and_kept(chromium: Chromium, server: WebServer) -> None:
    async with visiting(chromium, server, viewport={"width": 1280, "height": 900}) as visit:
        await visit.log_in("boss")
        page = visit.page
        await page.keyboard.press("/")
        await page.keyboard.type("предложением")
        await page.keyboard.press("Enter")
        await page.wait_for_url("**/find?q=*")
        await page.locator("mark", has_text="предложение").first.wait_for()
        await _picture(page, "find")
        await page.locator(".saving summary").click()
        await page.fill(".saving input[name=name]", "Предложения")
        await page.click(".saving button")
        await page.locator(".saved a", has_text="Предложения").wait_for()
        assert await page.locator(".saving").count() == 0
        place = page.locator(".places a[href*='?at=']").first
        address = await place.get_attribute("href")
        await place.click()
        await page.wait_for_url(f"**{address}")
        await visit.go("/find")
        await _picture(page, "find-start")
        await page.locator(".saved a", has_text="Предложения").click()
        await page.locator("mark").first.wait_for()
        await page.locator(".saved button").click()
        await page.wait_for_url("**/find")
        assert await page.locator(".saved").count() == 0


async def test_conditions_are_chips_that_go_one_by_one(chromium: Chromium, server: WebServer) -> None:
    async with visiting(chromium, server, viewport={"width": 1280, "height": 900}) as visit:
        await visit.log_in("boss")
        page = visit.page
        await visit.go("/find?q=предложение&kind=call&min=0")
        assert await page.locator(".find-chips a:not(.plain)").count() == 2
        await page.locator(".find-narrow summary").click()
        await _picture(page, "find-conditions")
        await page.locator(".find-chips a").first.click()
        await page.wait_for_url(lambda url: "kind" not in url)
        assert await page.locator(".find-chips a:not(.plain)").count() == 1
        await visit.go("/cards?by=responsible")
        await _picture(page, "cards")
        await visit.go("/find?q=самолёт&kind=mail")
        await page.locator(".empty h2").wait_for()
        await _picture(page, "find-nothing")


@pytest.mark.parametrize("language", ["ru", "en"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_on_a_phone_in_both_languages(chromium: Chromium, server: WebServer, language: str, scheme: str) -> None:
    options = {"viewport": {"width": 390, "height": 844}, "color_scheme": scheme}
    async with visiting(chromium, server, **options) as visit:
        await visit.log_in("anna")
        await visit.go(f"/language/{language}?next=/find")
        page = visit.page
        assert await _fits(page)
        await page.fill(".finder input[type=search]", "Мария")
        await page.keyboard.press("Enter")
        await page.locator(".fitting li").first.wait_for()
        assert await _fits(page)
        await _picture(page, f"find-phone-{language}-{scheme}")
        await page.locator(".find-narrow summary").click()
        await page.locator("select[name=kind]").select_option("call")
        assert await _fits(page)
        await page.locator(".find-narrow button").click()
        await page.locator(".found li").first.wait_for()
        assert await page.get_attribute("html", "lang") == language
        await visit.go("/cards?by=name")
        assert await _fits(page)
        await _picture(page, f"cards-phone-{language}-{scheme}")
