"""The pages in a real Chromium: log in, read, listen, seek; no console error, nothing against the policy, phones too.

With ``CARDLINE_PICTURES=<folder>`` it leaves screenshots there.
"""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser as Chromium
from playwright.async_api import Page, async_playwright

from agent.archive.blobs import Archive
from agent.intake import Intake
from agent.model import Disposition, Gap
from agent.store.engine import Store
from agent.web.app import WebServer
from tests.peers import require
from tests.unit.web_pages import ATTACHMENT, RAW_MAIL, cut_out
from tests.web_world import (
    MARIA,
    MARIA_MAIL,
    NOW,
    PASSWORD,
    SAID,
    Builder,
    World,
    build,
    serve,
    settings_for,
    tone_flac,
)

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
]
LONG_SECONDS = 240
QUOTED = "\n\nOn Mon, Anna <anna@example.com> wrote:\n> Мария, посылаю предложение.\n> С уважением, Анна"


@pytest.fixture(scope="module")
async def world(store: Store, archive: Archive, intake: Intake, tmp_path_factory: pytest.TempPathFactory) -> World:
    builder = Builder(store, archive, intake, settings_for(tmp_path_factory.getbasetemp()))
    world = await build(builder, ATTACHMENT, RAW_MAIL)
    await _a_long_history(builder)
    return world


async def _a_long_history(builder: Builder) -> None:
    """What a card looks like after a week: a long call, a thread, a missed call, one that goes on."""
    start = NOW - timedelta(days=1, hours=3)
    long_call = await builder.call("101", MARIA, start, talk=LONG_SECONDS)
    said = [(number % 2, number * 8.0, SAID[number % len(SAID)][2]) for number in range(LONG_SECONDS // 8)]
    flac = await asyncio.to_thread(tone_flac, LONG_SECONDS)
    gap = Gap(channel=0, start_ms=61_000, end_ms=64_000, reason="no packets came")
    await builder.recording(long_call, start, flac, LONG_SECONDS, said=said, gaps=(gap,))
    await builder.call(MARIA, "101", start - timedelta(minutes=40), talk=None, disposition=Disposition.NO_ANSWER)
    waiting = await builder.call(MARIA, "101", start - timedelta(hours=1), talk=12)
    await builder.recording(waiting, start - timedelta(hours=1), tone_flac(12), 12)
    await builder.call(
        MARIA, "101", NOW - timedelta(minutes=2), talk=None, ended=False, disposition=Disposition.IN_PROGRESS,
        capture_id="going-on",
    )  # fmt: skip
    anna, maria = ("Анна Петрова", "anna@example.com"), ("Мария Смирнова", MARIA_MAIL)
    first = start + timedelta(hours=1)
    text = "Мария, посылаю предложение, о котором говорили: столы, доставка и сборка.\n\nС уважением,\nАнна"
    await builder.mail(anna, maria, first, "Предложение по столам", text, message_id="a@x", attachments=(ATTACHMENT,))
    text = f"Анна, спасибо! Посмотрю до вечера и позвоню.{QUOTED}"
    await builder.mail(
        maria, anna, first + timedelta(minutes=25), "Re: Предложение по столам", text, message_id="b@x",
        reply_to="a@x", html='<p style="color:#063">Анна, <b>спасибо</b>!</p><img src="http://tracker.example/x.png">',
    )  # fmt: skip


@pytest.fixture(scope="module")
async def server(
    store: Store, archive: Archive, world: World, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[WebServer]:
    server = await serve(store, archive, settings_for(tmp_path_factory.getbasetemp()), cut_out)
    yield server
    await server.stop()


@pytest.fixture(scope="module")
async def chromium() -> AsyncIterator[Chromium]:
    program = require("chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield browser
        await browser.close()


class Visit:
    """A page and everything that it complained about."""

    def __init__(self, page: Page, base: str) -> None:
        self.page, self.base = page, base
        self.complaints: list[str] = []
        self.requests: list[tuple[str, str, int]] = []
        page.on("console", lambda message: self._note(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self._note(f"error: {error}"))
        page.on("requestfailed", lambda request: self._failed(request.url, request.failure or ""))
        page.on("response", lambda answer: self._answered(answer))

    def _note(self, text: str) -> None:
        self.complaints.append(text)

    def _failed(self, url: str, why: str) -> None:
        if "ERR_ABORTED" not in why:  # a browser breaks off what it does not need any more
            self.complaints.append(f"{url} failed: {why}")

    def _answered(self, answer: Any) -> None:
        self.requests.append((answer.url, answer.request.headers.get("range", ""), answer.status))

    async def go(self, path: str) -> None:
        await self.page.goto(self.base + path)

    async def log_in(self, login: str) -> None:
        await self.go("/")
        await self.page.fill("input[name=login]", login)
        await self.page.fill("input[name=password]", PASSWORD)
        await self.page.click("button.primary")
        await self.page.wait_for_url("**/cards")


@asynccontextmanager
async def visiting(chromium: Chromium, server: WebServer, **context: Any) -> AsyncIterator[Visit]:
    context.setdefault("locale", "ru-RU")
    context.setdefault("timezone_id", "Europe/Moscow")
    opened = await chromium.new_context(**context)
    try:
        visit = Visit(await opened.new_page(), f"http://{server.address[0]}:{server.address[1]}")
        await opened.route("http://tracker.example/**", lambda route: visit._note("the tracker was asked"))
        yield visit
        assert visit.complaints == []
    finally:
        await opened.close()


async def test_a_manager_reads_listens_and_seeks(chromium: Chromium, server: WebServer, world: World) -> None:
    async with visiting(chromium, server) as visit:
        page = visit.page
        await visit.log_in("anna")
        await page.click("text=Мария Смирнова")
        await page.wait_for_selector("h1:has-text('Мария Смирнова')")
        assert not [url for url, _, _ in visit.requests if "/recordings/" in url], "loaded before it is played"
        sound = page.locator("[data-sound]:has(.said-all)").filter(has_text="4:00").first
        audio = await sound.locator("audio").element_handle()
        assert audio is not None
        await sound.locator(".said-all > summary").click()
        await sound.locator(".transcript").wait_for()  # of a long talk a card has the beginning
        lines = sound.locator("[data-start]")
        last = lines.nth(await lines.count() - 2)
        start = float(await last.get_attribute("data-start") or 0)
        assert start > 200
        await last.click()
        await page.wait_for_function("([a, s]) => !a.paused && a.currentTime > s + 0.3", arg=[audio, start])
        place = await page.evaluate("a => [a.currentTime, a.duration]", audio)
        assert start <= place[0] < start + 8
        assert abs(place[1] - LONG_SECONDS) < 0.2
        ranges = [asked for url, asked, status in visit.requests if "/recordings/" in url and status == 206]
        assert any(asked != "bytes=0-" for asked in ranges), f"sought without ranges: {ranges}"
        assert await last.get_attribute("aria-current") == "true"
        third = lines.nth(3)
        await third.focus()
        await page.keyboard.press("ArrowUp")
        await page.keyboard.press("Enter")
        await page.wait_for_function("a => a.currentTime > 16 && a.currentTime < 23", arg=audio)
        assert await lines.nth(2).get_attribute("aria-current") == "true"
        assert await last.get_attribute("aria-current") is None


async def test_what_is_heard_after_seeking_is_that_place(chromium: Chromium, server: WebServer, world: World) -> None:
    """The same second of sound, decoded whole and played after a seek, must have the same pitch."""
    async with visiting(chromium, server) as visit:
        await visit.log_in("anna")
        await visit.go(f"/cards/{world.maria}")
        heard = await visit.page.evaluate(
            """async () => {
                const isLong = (audio) => audio.closest(".sound").textContent.includes("4:00");
                const audio = [...document.querySelectorAll("audio")].find(isLong);
                const data = await (await fetch(audio.src)).arrayBuffer();
                const context = new AudioContext({sampleRate: 8000});
                const whole = await context.decodeAudioData(data);
                const pitch = (samples) => {
                    let best = 0, lag = 0;
                    for (let l = 15; l < 40; l++) {
                        let sum = 0;
                        for (let i = 0; i + l < samples.length; i++) sum += samples[i] * samples[i + l];
                        if (sum > best) { best = sum; lag = l; }
                    }
                    return lag;
                };
                const at = (second) => pitch(whole.getChannelData(0).subarray(second * 8000, second * 8000 + 2048));
                const tap = context.createAnalyser(), split = context.createChannelSplitter(2);
                tap.fftSize = 2048;
                context.createMediaElementSource(audio).connect(split);
                split.connect(tap, 0);
                tap.connect(context.destination);
                await context.resume();
                audio.currentTime = 200;
                await audio.play();
                while (audio.currentTime < 202) await new Promise((done) => setTimeout(done, 20));
                const samples = new Float32Array(2048);
                tap.getFloatTimeDomainData(samples);
                const now = audio.currentTime;
                return [now, pitch(samples), at(now - 0.3), at(now - 10.3)];
            }"""
        )
        assert heard[0] > 200
        assert abs(heard[1] - heard[2]) <= 1, heard
        assert abs(heard[1] - heard[3]) > 1, f"any place would have sounded like this: {heard}"


async def test_formatted_mail_shows_and_loads_nothing_from_elsewhere(
    chromium: Chromium, server: WebServer, world: World
) -> None:
    async with visiting(chromium, server) as visit:
        await visit.log_in("anna")
        await visit.go(f"/cards/{world.maria}")
        await visit.page.click("details.formatted summary")
        await visit.page.frame_locator("iframe").locator("b:has-text('спасибо')").wait_for()
        assert any(url.endswith("/html") and status == 200 for url, _, status in visit.requests)
        # The mail of this test was not cleaned: the policy of its document alone must keep the picture out.
        refused = [one for one in visit.complaints if "tracker.example" in one]
        assert refused
        assert all("Content Security Policy" in one or one.endswith("failed: csp") for one in refused), refused
        assert "the tracker was asked" not in visit.complaints
        visit.complaints.clear()


LARGEST_PICTURE = 60 * 1024  # bytes
SIZES = {
    "desktop": {"width": 1280, "height": 900},
    "phone": {"width": 390, "height": 844},
    "narrow": {"width": 360, "height": 640},
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_every_page_fits_its_screen(
    chromium: Chromium, server: WebServer, world: World, size: str, scheme: Any
) -> None:
    pages = {
        "cards": "/cards",
        "card": f"/cards/{world.maria}",
        "card-camomile": f"/cards/{world.camomile}",
        "interaction": f"/interactions/{world.camomiles_mail}",
        "unsorted": "/unsorted",
        "employees": "/employees",
        "sources": "/sources",
    }
    touch = size != "desktop"
    async with visiting(
        chromium, server, viewport=SIZES[size], color_scheme=scheme, is_mobile=touch, has_touch=touch
    ) as visit:
        await visit.go("/login")
        await picture(visit.page, f"login-{size}-{scheme}")
        await visit.log_in("admin")
        for name, path in pages.items():
            await visit.go(path)
            width = await visit.page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
            assert width[0] <= SIZES[size]["width"], f"{name} is {width[0]} wide"
            await picture(visit.page, f"{name}-{size}-{scheme}")


async def test_the_language_changes_by_its_link_and_stays(chromium: Chromium, server: WebServer, world: World) -> None:
    async with visiting(chromium, server, locale="en-US") as visit:
        await visit.log_in("anna")
        await visit.page.wait_for_selector("h1:has-text('Clients')")
        await visit.page.click("[data-menu] > summary")
        await visit.page.click("text=Русский")
        await visit.page.wait_for_selector("h1:has-text('Клиенты')")
        await visit.go("/unsorted")
        await visit.page.wait_for_selector("h1:has-text('Разобрать')")


async def picture(page: Page, name: str) -> None:
    """A screenshot of the whole page where somebody wants to look at it."""
    folder = os.environ.get("CARDLINE_PICTURES")
    if folder:
        await page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


async def document(page: Page, name: str) -> None:
    """A small picture for docs/pages.md, where somebody makes them anew: ``CARDLINE_DOCS=docs/pictures``."""
    made = await webp(page)
    assert len(made) <= LARGEST_PICTURE, f"{name} has {len(made)} bytes"
    folder = os.environ.get("CARDLINE_DOCS")
    if folder:
        (Path(folder) / f"{name}.webp").write_bytes(made)


async def webp(page: Page) -> bytes:
    """What is on the screen, made small by the browser itself."""
    shot = base64.b64encode(await page.screenshot()).decode()
    made: str = await page.evaluate(
        """async (shot) => {
            const bytes = Uint8Array.from(atob(shot), (one) => one.charCodeAt(0));
            const picture = await createImageBitmap(new Blob([bytes], {type: "image/png"}));
            const canvas = new OffscreenCanvas(picture.width, picture.height);
            canvas.getContext("2d").drawImage(picture, 0, 0);
            const blob = await canvas.convertToBlob({type: "image/webp", quality: 0.8});
            let text = "";
            for (const one of new Uint8Array(await blob.arrayBuffer())) text += String.fromCharCode(one);
            return btoa(text);
        }""",
        shot,
    )
    return base64.b64decode(made)
