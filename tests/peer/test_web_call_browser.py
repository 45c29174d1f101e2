"""The page of a call in a real Chromium: seeking by words, waves and keys, speed, muting, silences, comments,
corrections, links to a moment; both languages, a phone, without script; axe finds no serious fault.

With ``CARDLINE_PICTURES=<folder>`` it leaves screenshots there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser as Chromium
from playwright.async_api import Page

from agent.archive.blobs import Archive
from agent.intake import Intake
from agent.store.engine import Store
from agent.web.app import WebServer
from tests.peer.test_web_browser import SIZES, chromium, document, picture, visiting
from tests.unit.call_world import LEFT, LINES, RATE, RIGHT, Heard, a_call_worth_hearing
from tests.unit.web_pages import ATTACHMENT, RAW_MAIL, cut_out
from tests.web_world import Builder, World, build, serve, settings_for

__all__ = ["chromium"]
AXE = Path(__file__).parents[2] / "node_modules" / "axe-core" / "axe.min.js"


@pytest.fixture(scope="module")
def builder(store: Store, archive: Archive, intake: Intake, tmp_path_factory: pytest.TempPathFactory) -> Builder:
    return Builder(store, archive, intake, settings_for(tmp_path_factory.getbasetemp()))


@pytest.fixture(scope="module")
async def world(builder: Builder) -> World:
    return await build(builder, ATTACHMENT, RAW_MAIL)


@pytest.fixture(scope="module")
async def heard(builder: Builder, world: World) -> Heard:
    return await a_call_worth_hearing(builder)


@pytest.fixture(scope="module")
async def server(
    store: Store, archive: Archive, heard: Heard, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[WebServer]:
    server = await serve(store, archive, settings_for(tmp_path_factory.getbasetemp()), cut_out)
    yield server
    await server.stop()


async def now(page: Page) -> float:
    return float(await page.evaluate("document.querySelector('audio').currentTime"))


async def stands_at(page: Page, second: float) -> None:
    """A paused player is there."""
    await page.wait_for_function(
        "at => Math.abs(document.querySelector('audio').currentTime - at) < 0.06", arg=second, timeout=10_000
    )


async def test_the_place_follows_words_waves_and_keys(chromium: Chromium, server: WebServer, heard: Heard) -> None:
    async with visiting(chromium, server) as visit:
        page = visit.page
        await visit.log_in("anna")
        await visit.go(f"/interactions/{heard.call}")
        await page.wait_for_selector("[data-player][data-drawn]")
        assert not [url for url, _, _ in visit.requests if url.endswith(f"/recordings/{heard.recording}")], "not yet"
        line = page.locator("[data-line]").nth(1)
        await line.hover()
        word = line.locator("[data-word]").nth(9)
        start = float(await word.get_attribute("data-word") or 0)
        assert await word.text_content() == "предложении"
        assert start == pytest.approx(4.5 + 6.5 * 9 / 11, abs=0.01)
        await word.click()
        await page.wait_for_function("at => document.querySelector('audio').currentTime > at + 0.2", arg=start)
        assert await now(page) < start + 5
        await page.wait_for_selector("[data-line][aria-current] .word.is-now")
        await page.keyboard.press(" ")
        await page.wait_for_function("() => document.querySelector('audio').paused")
        box = await page.locator("[data-waves]").first.bounding_box()
        assert box is not None
        await page.mouse.click(box["x"] + box["width"] * 0.375, box["y"] + box["height"] * 0.3)
        await stands_at(page, 22.5)
        assert await page.locator("[data-line][aria-current] .said").text_content() == LINES[4][3]
        for key, second in (("ArrowLeft", 17.5), ("ArrowRight", 22.5), (",", 21.5), (".", 22.5), ("ArrowUp", 14.0)):
            await page.keyboard.press(key)
            await stands_at(page, second)
        await page.keyboard.press("ArrowDown")
        await stands_at(page, 21.0)
        assert await page.get_attribute("[data-waves]", "aria-valuetext") == "0:21"


async def test_the_box_for_another_card_offers_those_that_fit(
    chromium: Chromium, server: WebServer, heard: Heard
) -> None:
    async with visiting(chromium, server) as visit:
        await visit.log_in("boss")
        await visit.go(f"/interactions/{heard.call}")
        box = visit.page.locator("#correct-link input[name=card]")
        await box.press_sequentially("Смирн")
        await visit.page.wait_for_selector("#card-choices option", state="attached")
        offered = await visit.page.eval_on_selector_all("#card-choices option", "all => all.map(one => one.value)")
        assert len(offered) == 1 and offered[0].startswith("Мария Смирнова №")


async def test_picture_for_the_documentation(chromium: Chromium, server: WebServer, heard: Heard) -> None:
    async with visiting(chromium, server, viewport=SIZES["desktop"], locale="en-US") as visit:
        await visit.log_in("boss")
        await visit.go(f"/interactions/{heard.call}")
        await visit.page.wait_for_selector("[data-player][data-drawn]")
        await document(visit.page, "call")


async def test_speed_keeps_the_pitch_and_has_its_steps(chromium: Chromium, server: WebServer, heard: Heard) -> None:
    async with visiting(chromium, server) as visit:
        page = visit.page
        await visit.log_in("anna")
        await visit.go(f"/interactions/{heard.call}")
        await page.select_option("[data-speed]", "2.5")
        rates = "(() => { const a = document.querySelector('audio'); return [a.playbackRate, a.preservesPitch]; })()"
        assert await page.evaluate(rates) == [2.5, True]
        await page.locator("h1").click()
        await page.keyboard.press("]")
        assert await page.evaluate(rates) == [2.5, True]
        for _ in range(9):
            await page.keyboard.press("[")
        assert await page.evaluate(rates) == [0.5, True]
        assert await page.input_value("[data-speed]") == "0.5"


# What is heard at a second: the strength of both voices on each ear.
LISTEN = """async ([at, left, right, rate]) => {
    const audio = document.querySelector("audio");
    if (!window.tap) {
        const real = AudioNode.prototype.connect;
        window.taps = [];
        AudioNode.prototype.connect = function (target, ...rest) {
            if (target instanceof AudioDestinationNode) {
                const split = this.context.createChannelSplitter(2);
                window.taps = [0, 1].map((ear) => {
                    const tap = this.context.createAnalyser();
                    tap.fftSize = 4096;
                    real.call(split, tap, ear);
                    return tap;
                });
                real.call(this, split);
            }
            return real.call(this, target, ...rest);
        };
        window.tap = true;
        return null;
    }
    audio.currentTime = at;
    await audio.play();
    while (audio.currentTime < at + 0.8) await new Promise((done) => setTimeout(done, 20));
    const heard = window.taps.map((tap) => {
        const samples = new Float32Array(4096);
        tap.getFloatTimeDomainData(samples);
        return [left, right].map((pitch) => {
            let re = 0, im = 0;
            for (let i = 0; i < samples.length; i++) {
                const turn = (2 * Math.PI * pitch * i) / tap.context.sampleRate;
                re += samples[i] * Math.cos(turn);
                im += samples[i] * Math.sin(turn);
            }
            return Math.round((20 * Math.hypot(re, im)) / samples.length) / 10 > 0.1;
        });
    });
    audio.pause();
    return heard;
}"""


async def test_a_muted_voice_is_not_heard_and_the_other_is_on_both_ears(
    chromium: Chromium, server: WebServer, heard: Heard
) -> None:
    async with visiting(chromium, server) as visit:
        page = visit.page
        await visit.log_in("anna")
        await visit.go(f"/interactions/{heard.call}")
        both = 9.5  # both speak until 11
        await page.evaluate(LISTEN, [both, LEFT, RIGHT, RATE])
        await page.keyboard.press("1")
        await page.keyboard.press("1")
        ask = [both, LEFT, RIGHT, RATE]
        assert await page.evaluate(LISTEN, ask) == [[True, False], [False, True]], "a voice an ear, as recorded"
        await page.keyboard.press("1")
        assert await page.get_attribute("[data-mute='0']", "aria-pressed") == "true"
        assert await page.evaluate(LISTEN, ask) == [[False, True], [False, True]]
        await page.click("[data-mute='0']")
        await page.click("[data-mute='1']")
        assert await page.evaluate(LISTEN, ask) == [[True, False], [True, False]]
        await page.keyboard.press("m")
        assert await page.evaluate("document.querySelector('audio').muted")


async def test_silence_is_skipped_when_asked_for(chromium: Chromium, server: WebServer, heard: Heard) -> None:
    async with visiting(chromium, server) as visit:
        page = visit.page
        await visit.log_in("anna")
        await visit.go(f"/interactions/{heard.call}?at=29.0")
        await page.wait_for_selector("[data-player][data-drawn]")
        await page.evaluate(
            """() => {
                window.seen = [];
                document.querySelector("audio").addEventListener("timeupdate", (event) => {
                    window.seen.push(event.target.currentTime);
                });
            }"""
        )
        await page.locator("h1").click()
        await page.keyboard.press("s")
        assert await page.get_attribute("[data-skip]", "aria-pressed") == "true"
        await page.keyboard.press(" ")
        await page.wait_for_function("() => document.querySelector('audio').currentTime > 40.9")
        seen = await page.evaluate("window.seen")
        assert not [one for one in seen if 30.5 < one < 40.5], seen


async def test_comments_and_corrections_do_not_stop_the_sound(
    chromium: Chromium, server: WebServer, heard: Heard
) -> None:
    async with visiting(chromium, server) as visit:
        page = visit.page
        await visit.log_in("anna")
        await visit.go(f"/interactions/{heard.call}?at=14")
        await page.evaluate("window.stays = true")
        await page.click("[data-play]")
        await page.wait_for_function("() => document.querySelector('audio').currentTime > 15")
        await page.keyboard.press("c")
        assert await page.input_value("[data-current-second]") in ("0:15", "0:16", "0:17")
        await page.keyboard.type("Цена названа")
        await page.click("[data-commenting] button")
        await page.wait_for_selector("[data-comment]:has-text('Цена названа')")
        await page.wait_for_selector(".pin-comment", state="attached")
        line = page.locator("[data-line]").nth(3)
        await line.hover()
        await line.locator(".mend").click()
        await page.fill(".mending textarea", "Сто двадцать тысяч без доставки.")
        await page.click(".mending button.primary")
        await page.wait_for_selector("[data-line]:has-text('без доставки') .machine")
        assert await page.evaluate("window.stays && !document.querySelector('audio').paused"), (
            "the page was loaded anew"
        )
        await page.click("[data-line] .machine summary")
        assert await page.locator(".machine p").text_content() == LINES[3][3]
        line = page.locator("[data-line]:has-text('без доставки')")
        await line.hover()
        await line.locator(".mend").click()
        await page.click("button[name=undo]")
        await page.wait_for_selector(f"[data-line]:has-text('{LINES[3][3]}')")
        assert await page.locator(".machine").count() == 0
        await page.evaluate("document.querySelector('audio').pause()")
        await page.click("[data-comment] .at-link")
        await page.wait_for_function("() => !document.querySelector('audio').paused")
        await page.click("[data-comment] form button")
        await page.wait_for_selector("[data-comment]", state="detached")


async def test_what_cannot_be_saved_is_said_and_the_words_stay(
    chromium: Chromium, server: WebServer, heard: Heard
) -> None:
    async with visiting(chromium, server) as visit:
        page = visit.page
        await visit.log_in("anna")
        await visit.go(f"/interactions/{heard.call}")
        await page.route("**/comments", lambda route: route.fulfill(status=503, body="away"))
        await page.fill("[data-commenting] textarea", "Важно")
        await page.click("[data-commenting] button")
        await page.wait_for_selector("[data-commenting] [role=alert]:has-text('Не сохранилось')")
        assert await page.input_value("[data-commenting] textarea") == "Важно"
        visit.complaints.clear()  # the browser's own line about 503


async def test_a_link_to_a_moment_leads_there_and_obeys_rights(
    chromium: Chromium, server: WebServer, heard: Heard
) -> None:
    async with visiting(chromium, server, permissions=["clipboard-read", "clipboard-write"]) as visit:
        page = visit.page
        await visit.log_in("anna")
        await visit.go(f"/interactions/{heard.call}?at=41.5")
        await stands_at(page, 41.5)
        assert await page.locator("[data-line][aria-current] .said").text_content() == LINES[5][3]
        await page.locator("h1").click()
        await page.keyboard.press("ArrowLeft")
        await page.click("[data-share]")
        await page.wait_for_selector("[data-share]:has-text('Скопировано')")
        link = await page.evaluate("navigator.clipboard.readText()")
        assert link == f"{visit.base}/interactions/{heard.call}?at=36.5"
    async with visiting(chromium, server) as visit:
        await visit.log_in("ivan")
        answer = await visit.page.goto(link)
        assert answer is not None
        assert answer.status == 404
        visit.complaints.clear()  # the browser's own line about 404


async def test_without_script_there_is_a_player_text_and_forms(
    chromium: Chromium, server: WebServer, heard: Heard
) -> None:
    async with visiting(chromium, server, java_script_enabled=False) as visit:
        page = visit.page
        await visit.log_in("anna")
        await visit.go(f"/interactions/{heard.call}?at=21")
        assert await page.locator("audio[controls]").first.is_visible()
        assert not await page.locator(".deck").first.is_visible()
        await page.fill("[data-commenting] textarea", "Без скрипта")
        await page.fill("[name=at]", "1:00")
        await page.click("[data-commenting] button")
        await page.wait_for_selector("[data-comment]:has-text('Без скрипта')")
        await page.click("[data-comment] form button")
        assert await page.locator("[data-comment]").count() == 0
        await page.locator("[data-line]").nth(5).locator(".mend").click(force=True)
        await page.fill(".mending textarea", "Тогда до субботы.")
        await page.click(".mending button.primary")
        await page.wait_for_selector("[data-line]:has-text('до субботы')")
        await page.locator("[data-line]").nth(5).locator(".mend").click(force=True)
        await page.click("button[name=undo]")
        await page.wait_for_selector(f"[data-line]:has-text('{LINES[5][3]}')")


async def faults(page: Page) -> list[Any]:
    """What axe calls serious or worse."""
    await page.evaluate(AXE.read_text())
    found = await page.evaluate("async () => (await axe.run(document, {resultTypes: ['violations']})).violations")
    bad = [one for one in found if one["impact"] in ("serious", "critical")]
    return [(one["id"], [node["html"][:120] for node in one["nodes"][:3]]) for one in bad]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("scheme", "language"), [("light", "ru-RU"), ("dark", "en-US")])
async def test_it_fits_the_screen_and_axe_finds_nothing_serious(
    chromium: Chromium, server: WebServer, heard: Heard, size: str, scheme: Any, language: str
) -> None:
    touch = size != "desktop"
    async with visiting(
        chromium, server, viewport=SIZES[size], color_scheme=scheme, locale=language, is_mobile=touch, has_touch=touch
    ) as visit:
        page = visit.page
        await visit.log_in("admin")
        await visit.go(f"/interactions/{heard.call}?at=9.5")
        await page.wait_for_selector("[data-player][data-drawn]")
        width = await page.evaluate("document.documentElement.scrollWidth")
        assert width <= SIZES[size]["width"]
        words = "Без пауз" if language == "ru-RU" else "Skip silence"
        assert words in (await page.text_content("[data-skip]") or "")
        await picture(page, f"call-{size}-{scheme}")
        if touch:
            place = await page.locator(".controls").first.bounding_box()
            sections = await page.locator(".sections").bounding_box()
            assert place is not None
            assert sections is not None
            assert place["y"] + place["height"] == pytest.approx(sections["y"], abs=2), "at the thumb"
            assert sections["y"] + sections["height"] == pytest.approx(SIZES[size]["height"], abs=2)
        assert await faults(page) == []
        await page.click("[data-keys]" if not touch else "h1")
        if not touch:
            await page.wait_for_selector("dialog[open]")
            assert await faults(page) == []
