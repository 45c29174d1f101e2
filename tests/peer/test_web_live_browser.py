"""Calls in progress in a real Chromium: the page keeps itself up to date, pauses, and lets one hear.

With ``CARDLINE_PICTURES=<folder>`` it leaves screenshots there.
"""

from __future__ import annotations

import asyncio
import json
import struct
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.async_api import Browser as Chromium

from agent.archive.blobs import Archive
from agent.sip.commands import CommandDesk
from agent.sip.journal import STREAM, Journal
from agent.sip.listening import ListeningPost
from agent.sound.packetlog import PacketLogWriter, encode_record
from agent.store.engine import Store
from agent.store.notices import COMMANDS, Notices
from agent.web.app import WebServer
from agent.web.services import Services
from linker.link import Linker
from tests.peer.test_web_browser import SIZES, chromium, picture, visiting
from tests.unit.web_live import HOST, Calls, FakeRecorder, builder, calls, captures, recorder
from tests.unit.web_pages import ATTACHMENT, RAW_MAIL, cut_out
from tests.web_world import MARIA, Builder, World, build, settings_for

__all__ = ["builder", "calls", "captures", "chromium", "recorder"]


@pytest.fixture(scope="module")
async def world(builder: Builder) -> World:
    return await build(builder, ATTACHMENT, RAW_MAIL)


@pytest.fixture(scope="module")
async def server(
    store: Store, archive: Archive, world: World, captures: Path, recorder: FakeRecorder
) -> AsyncIterator[WebServer]:
    settings = settings_for(captures).model_copy(update={"host": HOST})
    notices = Notices(store.url)
    desk = CommandDesk(store, recorder, captures, host=HOST)
    notices.listen(COMMANDS, desk.hear)
    server = WebServer(
        Services(
            settings=settings,
            store=store,
            archive=archive,
            linker=Linker(store, settings),
            extract_part=cut_out,
            notices=notices,
            listen=ListeningPost(captures).open,
        )
    )
    await server.start()
    tasks = [asyncio.create_task(notices.run()), asyncio.create_task(desk.run())]
    yield server
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await server.stop()


class Sender:
    """Writes the packet logs of a call as the capture process does: 16-bit sound, four times a second.

    The tone sounds in every second second of the wall clock, so that a listener can tell how far behind he is.
    """

    def __init__(self, folder: Path) -> None:
        journal = Journal(folder)
        for index in range(2):
            codecs = {"96": "L16/8000"}
            journal.write(STREAM, index=index, port=1, label=str(index + 1), active=True, codecs=codecs, parameters={})
        self._folder = folder
        self._task = asyncio.create_task(self._send())

    async def _send(self) -> None:
        began = time.time()
        files = [
            PacketLogWriter(self._folder / f"{index}.rtpdump", address="127.0.0.1", port=1, started=began)
            for index in range(2)
        ]
        frame = 0
        while True:
            await asyncio.sleep(max(0.0, began + frame * 0.02 + 0.25 - time.time()))
            for index, file in enumerate(files):
                file.append(b"".join(self._record(began, number, index) for number in range(frame, frame + 12)))
            frame += 12

    @staticmethod
    def _record(began: float, number: int, index: int) -> bytes:
        times = began + number * 0.02 + np.arange(160) / 8000
        sound = np.sin(2 * np.pi * (440, 1000)[index] * times) * 12000 * (np.floor(times) % 2 == 0)
        head = struct.pack("!BBHII", 0x80, 96, number & 0xFFFF, number * 160 & 0xFFFFFFFF, 7 + index)
        return b"".join(encode_record(head + sound.astype(">i2").tobytes(), number * 20))

    async def stop(self) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task


async def test_a_new_call_appears_is_paused_and_goes_by_itself(
    chromium: Chromium, server: WebServer, calls: Calls, captures: Path, world: World
) -> None:
    async with visiting(chromium, server) as visit:
        page = visit.page
        await visit.log_in("anna")
        await page.click("nav >> text=Сейчас")
        await page.wait_for_selector("text=Сейчас никто не говорит")
        number, capture_id = await calls.begin(MARIA, "101", name="Мария")
        entry = page.locator(f"#entry-{number}")
        await entry.wait_for()
        counter = entry.locator("[data-seconds]")
        before = await counter.text_content()
        await page.wait_for_function("([e, t]) => e.textContent !== t", arg=[await counter.element_handle(), before])
        await entry.locator("button:has-text('Пауза записи')").click()
        await entry.locator("text=Запись на паузе").wait_for()
        await picture(page, "live-paused")
        await entry.locator("button:has-text('Возобновить запись')").click()
        await entry.locator("button:has-text('Пауза записи')").wait_for()
        # The client's card shows it at its top, and there too it comes and goes by itself.
        await visit.go(f"/cards/{world.maria}")
        await page.locator(f".going-on #entry-{number}").wait_for()
        await _end(calls, number, capture_id)
        await page.locator(f".history #entry-{number}").wait_for()
        assert await page.locator(".going-on .entry").count() == 0
        await visit.go("/live")
        await page.wait_for_selector("text=Сейчас никто не говорит")


async def _end(calls: Calls, number: int, capture_id: str) -> None:
    """The call ends, as the intake says it."""
    from datetime import UTC, datetime

    from agent.model import CapturedCall, Disposition
    from agent.store.schema import evidence

    async with calls.builder.store.begin() as connection:
        key = (
            await connection.execute(evidence.select().where(evidence.c.interaction_id == number))
        ).one().key  # fmt: skip
    now = datetime.now(UTC)
    await calls.builder.intake.close_call(
        CapturedCall(
            source="siprec",
            key=key,
            started=now,
            answered=None,
            ended=now,
            disposition=Disposition.NO_ANSWER,
            parties=(),
            capture_id=capture_id,
        )
    )


async def test_a_supervisor_hears_a_call_a_little_behind(
    chromium: Chromium, server: WebServer, calls: Calls, captures: Path
) -> None:
    number, capture_id = await calls.begin(MARIA, "101")
    sender = Sender(captures / capture_id)
    try:
        async with visiting(chromium, server) as visit:
            page = visit.page
            await visit.log_in("boss")
            await visit.go("/live")
            # Tap what the page plays: when, by the wall clock, the tone of the left ear begins.
            await page.evaluate(
                """() => {
                    window.begins = [];
                    const Plain = window.Audio;
                    window.Audio = function (url) {
                        const audio = new Plain(url);
                        const context = new AudioContext(), split = context.createChannelSplitter(2);
                        const tap = context.createAnalyser();
                        tap.fftSize = 512;
                        context.createMediaElementSource(audio).connect(split);
                        split.connect(tap, 0);
                        tap.connect(context.destination);
                        const samples = new Float32Array(512);
                        let loud = true;
                        window.asked = Date.now() / 1000;
                        setInterval(() => {
                            tap.getFloatTimeDomainData(samples);
                            const now = samples.some((one) => Math.abs(one) > 0.1);
                            if (now && !loud) window.begins.push(Date.now() / 1000);
                            loud = now;
                        }, 10);
                        return audio;
                    };
                }"""
            )
            entry = page.locator(f"#entry-{number}")
            link = entry.locator("[data-listen]")
            await link.click()
            await page.wait_for_function("() => window.begins.length >= 3", timeout=30000)
            assert await link.get_attribute("aria-pressed") == "true"
            begins = json.loads(await page.evaluate("JSON.stringify([window.asked, ...window.begins])"))
            # The tone begins with each even second: modulo 2 s the moment it is heard says how late it is.
            print(f"\nheard {[round(one % 2, 2) for one in begins[1:]]} s (modulo 2 s) after it was said,")
            print(f"first {begins[1] - begins[0]:.1f} s after the click")
            await page.wait_for_timeout(500)
            await picture(page, "live-listening")
            await link.click()
            await page.wait_for_function(
                "e => e.getAttribute('aria-pressed') === 'false'", arg=await link.element_handle()
            )
    finally:
        await sender.stop()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_calls_now_fits_its_screen(
    chromium: Chromium, server: WebServer, calls: Calls, world: World, size: str, scheme: Any
) -> None:
    await calls.begin(MARIA, "101")
    await calls.begin("102", "+74950000099", host="recorder-two.example.com")
    touch = size != "desktop"
    async with visiting(
        chromium, server, viewport=SIZES[size], color_scheme=scheme, is_mobile=touch, has_touch=touch
    ) as visit:
        await visit.log_in("boss")
        for name, path in {"live": "/live", "card-live": f"/cards/{world.maria}"}.items():
            await visit.go(path)
            await visit.page.locator(".live-bar").first.wait_for()
            width = await visit.page.evaluate("document.documentElement.scrollWidth")
            assert width <= SIZES[size]["width"], f"{name} is {width} wide"
            await picture(visit.page, f"{name}-{size}-{scheme}")
