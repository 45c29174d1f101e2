"""The reference of the API in a real Chromium: both languages, a phone and a desk, light and dark; axe finds no serious
fault, and the type of a problem leads to its explanation."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import Browser as Chromium

from agent.web.app import WebServer
from tests.peer.test_web_browser import SIZES, chromium, picture, server, visiting, world
from tests.peer.test_web_call_browser import AXE, faults

__all__ = ["chromium", "server", "world"]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("scheme", "language"), [("light", "ru-RU"), ("dark", "en-US")])
async def test_it_fits_the_screen_and_axe_finds_nothing_serious(
    chromium: Chromium, server: WebServer, size: str, scheme: Any, language: str
) -> None:
    async with visiting(
        chromium, server, viewport=SIZES[size], color_scheme=scheme, locale=language, is_mobile=size != "desktop"
    ) as visit:
        page = visit.page
        await visit.log_in("anna")
        await visit.go("/api")
        assert await page.evaluate("document.documentElement.scrollWidth") <= SIZES[size]["width"]
        await picture(page, f"api-{size}-{scheme}")
        if AXE.is_file():
            assert await faults(page) == []


async def test_a_type_of_a_problem_leads_to_its_words(chromium: Chromium, server: WebServer) -> None:
    async with visiting(chromium, server) as visit:
        page = visit.page
        await visit.log_in("anna")
        await visit.go("/api")
        await visit.go("/api#cursor")
        place = await page.locator(":target").bounding_box()
        assert place is not None
        assert 0 <= place["y"] < 900
        assert "курсор" in (await page.text_content(":target") or "").lower()
