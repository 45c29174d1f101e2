"""What the tests of the pages share: the invented world served, a browser for everybody, and hostile words."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from html.parser import HTMLParser

import pytest

from agent.archive.blobs import Archive
from agent.intake import Intake
from agent.model import UserRole
from agent.model_mail import ParsedAttachment
from agent.store.engine import Store
from agent.web.app import WebServer
from tests.web_world import Browser, Builder, World, build, serve, settings_for

HOSTILE = """<script>alert(1)</script><img src=x onerror="alert(2)">'"{{7*7}}"""
PRICE_LIST = b"price list " * 1000
RAW_MAIL = b"Subject: test\r\n\r\n" + PRICE_LIST
ATTACHMENT = ParsedAttachment(
    part=2,
    name=f'../прайс {HOSTILE}\r\nX-Evil: 1".pdf',
    media_type="text/html; charset=evil",
    size=len(PRICE_LIST),
    sha256=hashlib.sha256(PRICE_LIST).hexdigest(),
)


async def cut_out(plain: bytes, part: int) -> tuple[bytes, str, str]:
    """Stands in for the mail side: the part is what follows the header."""
    assert part == ATTACHMENT.part
    return plain.partition(b"\r\n\r\n")[2], "anything", "text/html"


@pytest.fixture(scope="module")
async def world(store: Store, archive: Archive, intake: Intake, tmp_path_factory: pytest.TempPathFactory) -> World:
    builder = Builder(store, archive, intake, settings_for(tmp_path_factory.getbasetemp()))
    return await build(builder, ATTACHMENT, RAW_MAIL, hostile=HOSTILE)


@pytest.fixture(scope="module")
async def server(
    store: Store, archive: Archive, world: World, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[WebServer]:
    server = await serve(store, archive, settings_for(tmp_path_factory.getbasetemp()), cut_out)
    yield server
    await server.stop()


@pytest.fixture(scope="module")
async def people(server: WebServer) -> AsyncIterator[dict[str, Browser]]:
    """A logged-in browser for everybody, and one that is not."""
    found = {name: Browser(server) for name in ("admin", "boss", "anna", "ivan", "nobody", "stranger")}
    for name, browser in found.items():
        if name != "stranger":
            assert await browser.log_in(name) == 303
    yield found
    for browser in found.values():
        await browser.close()


@pytest.fixture
async def guest(server: WebServer) -> AsyncIterator[Browser]:
    browser = Browser(server)
    yield browser
    await browser.close()


A, S, M = UserRole.ADMINISTRATOR, UserRole.SUPERVISOR, UserRole.MANAGER


class Tags(HTMLParser):
    """Collects what a browser would run or load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.bad: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name.startswith("on") or name == "style" or (value or "").lower().startswith("javascript:"):
                self.bad.append(f"{tag} {name}={value}")
        source = dict(attrs).get("src") or ""
        if (tag == "script" and not source.startswith("/static/")) or (tag == "img" and source == "x"):
            self.bad.append(tag)
