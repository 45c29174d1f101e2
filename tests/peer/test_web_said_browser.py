"""What the page of a call says of its texts, in a real Chromium: figures, transcripts beside each other, masked sound;
and the pages on which an administrator says what is masked. axe finds no serious fault, nothing is wider than a phone.

With ``CARDLINE_PICTURES=<folder>`` it leaves screenshots there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from playwright.async_api import Browser as Chromium

from agent.archive.blobs import Archive
from agent.intake import Intake
from agent.model import Utterance
from agent.store import masks, talks, transcripts
from agent.store.engine import Store
from agent.store.masks import MaskKind, MaskRule
from agent.transcribe.afterwards import save_dialogue
from agent.transcribe.dialogue import Dialogue
from agent.transcribe.gate import Dropped
from agent.web.app import WebServer
from tests.peer.test_web_browser import SIZES, chromium, picture, visiting
from tests.peer.test_web_call_browser import faults, now
from tests.unit.call_world import LINES, Heard, a_call_worth_hearing, with_words
from tests.unit.test_web_said import TALK
from tests.unit.web_pages import ATTACHMENT, RAW_MAIL, cut_out
from tests.web_world import Builder, World, build, serve, settings_for

__all__ = ["chromium"]


@pytest.fixture(scope="module")
async def world(
    store: Store, archive: Archive, intake: Intake, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Builder, World]:
    builder = Builder(store, archive, intake, settings_for(tmp_path_factory.getbasetemp()))
    return builder, await build(builder, ATTACHMENT, RAW_MAIL)


@pytest.fixture(scope="module")
async def heard(world: tuple[Builder, World], store: Store) -> Heard:
    """A call that was transcribed twice; its third line is masked, one correction waits."""
    heard = await a_call_worth_hearing(world[0])
    async with store.begin() as connection:
        found = {one.recording_id: one for one in await transcripts.list_transcripts(connection, [heard.call])}
        first = found[heard.recording]
        await transcripts.correct(connection, first.utterances[3].id, "Сто тридцать тысяч с доставкой.", by="anna")
        await transcripts.correct(connection, first.utterances[4].id, "Подумаем до четверга.", by="anna")
        lines = [with_words(*line) for line in LINES]
        lines[2] = Utterance(
            channel=0, start=9, end=13, text="Карта 4111 1111 1111 1111", confidence=0.9, interrupts=True
        )
        lines[4] = with_words(0, 21, 29, "Хорошо, посоветуемся.")
        await save_dialogue(
            connection,
            Dialogue(
                language="ru",
                utterances=tuple(lines),
                dropped=(
                    Dropped(
                        channel=1, start=31, end=35, text="Продолжение следует", reason="no speech: probability 0.97"
                    ),
                ),
            ),
            recording_id=heard.recording,
            model="large-v3",
        )
        await talks.save_talk(connection, replace(TALK, recording_id=heard.recording))
        await masks.save_rule(
            connection, MaskRule(id=0, name="Паспорт", kind=MaskKind.PATTERN, text=r"паспорт\D{0,20}([\d ]{10,12})")
        )
        await masks.save_rule(connection, MaskRule(id=0, name="Проекты", kind=MaskKind.WORDS, text="заря\nдва стола"))
    return heard


@pytest.fixture(scope="module")
async def server(
    store: Store, archive: Archive, heard: Heard, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[WebServer]:
    server = await serve(store, archive, settings_for(tmp_path_factory.getbasetemp()), cut_out)
    yield server
    await server.stop()


async def test_masked_words_are_not_played(chromium: Chromium, server: WebServer, heard: Heard) -> None:
    async with visiting(chromium, server) as visit:
        page = visit.page
        await visit.log_in("anna")
        await visit.go(f"/interactions/{heard.call}?at=8")
        loud = "document.querySelector('audio').volume"
        await page.evaluate(
            """() => {
                window.heard = [];
                const audio = document.querySelector("audio");
                audio.addEventListener("timeupdate", () => window.heard.push([audio.currentTime, audio.volume]));
            }"""
        )
        await page.click("[data-play]")
        await page.wait_for_function("() => document.querySelector('audio').currentTime > 14")
        seen = await page.evaluate("window.heard")
        assert {volume for at, volume in seen if 9.2 < at < 13.0} == {0}
        assert {volume for at, volume in seen if at < 8.8 or at > 13.5} == {1}
        await page.evaluate("document.querySelector('audio').pause()")
        await page.locator("[data-line]").nth(5).locator(".say").click()
        await page.wait_for_function("() => document.querySelector('audio').currentTime > 41")
        assert await page.evaluate(loud) == 1


async def test_an_older_transcript_is_looked_at_word_by_word(
    chromium: Chromium, server: WebServer, heard: Heard
) -> None:
    async with visiting(chromium, server) as visit:
        page = visit.page
        await visit.log_in("boss")
        await visit.go(f"/interactions/{heard.call}")
        await page.locator(".versions summary").first.click()
        await page.locator(".versions a").first.click()
        await page.wait_for_selector(".not-shown")
        line = page.locator("[data-line]").nth(2)
        await line.hover()
        word = line.locator("[data-word]").nth(2)
        assert await word.text_content() == "сколько"
        await word.click()
        await page.wait_for_function("() => document.querySelector('audio').currentTime > 10")
        assert await now(page) < 14


async def test_a_correction_that_waits_is_taken(chromium: Chromium, server: WebServer, heard: Heard) -> None:
    async with visiting(chromium, server, java_script_enabled=False) as visit:
        page = visit.page
        await visit.log_in("anna")
        await visit.go(f"/interactions/{heard.call}")
        assert await page.locator(".carried q").first.text_content() == "Подумаем до четверга."
        await picture(page, "said-carried")


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
        await picture(page, f"said-{size}-{scheme}")
        for one in await page.locator(".listening .reading details summary").all():
            await one.click()
        assert await page.evaluate("document.documentElement.scrollWidth") <= SIZES[size]["width"]
        await page.locator(".reading").first.scroll_into_view_if_needed()
        await picture(page, f"said-open-{size}-{scheme}")
        assert await faults(page) == []
        for path in ("/masks", "/masks/0", "/glossary", "/settings"):
            await visit.go(path)
            assert await page.evaluate("document.documentElement.scrollWidth") <= SIZES[size]["width"], path
            await picture(page, f"said{path.replace('/', '-')}-{size}-{scheme}")
            assert await faults(page) == [], path


async def test_a_rule_is_tried(chromium: Chromium, server: WebServer, heard: Heard) -> None:
    async with visiting(chromium, server) as visit:
        page = visit.page
        await visit.log_in("admin")
        await visit.go("/masks/0")
        await page.fill("[name=name]", "Сроки")
        await page.fill("textarea[name=text]", "декабр*\nпятниц*")
        await page.click("button[formaction]")
        await page.wait_for_selector("section[role=status] mark")
        assert "декабря" in (await page.text_content("section[role=status]") or "")
        await picture(page, "said-trial")
