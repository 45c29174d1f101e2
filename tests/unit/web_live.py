"""What the tests of calls in progress share: calls that go on, pages with notices, and the desk of a recorder."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientResponse

from agent.archive.blobs import Archive
from agent.intake import Intake
from agent.model import Disposition
from agent.sip.commands import CommandDesk
from agent.sip.journal import OPENED, Journal
from agent.store.engine import Store
from agent.store.notices import COMMANDS, Notices
from agent.web.app import WebServer
from agent.web.services import Services
from linker.link import Linker
from tests.unit.web_pages import ATTACHMENT, HOSTILE, RAW_MAIL, cut_out
from tests.web_world import NOW, Browser, Builder, World, build, settings_for

HOST = "here"


class FakeRecorder:
    """Stands in for the capture process: remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def pause(self, capture_id: str, at: datetime | None = None) -> datetime:
        self.told.append(("pause", capture_id))
        return datetime.now(UTC)

    def resume(self, capture_id: str) -> datetime:
        self.told.append(("resume", capture_id))
        return datetime.now(UTC)


class Calls:
    """Makes calls that go on: in the database as the intake does, with a journal as the SIP side has it."""

    def __init__(self, builder: Builder, captures: Path) -> None:
        self.builder, self.captures = builder, captures

    async def begin(self, caller: str, callee: str, *, host: str = HOST, name: str = "") -> tuple[int, str]:
        journal = Journal.create(self.captures)
        journal.write(OPENED, source="siprec")
        builder = Builder(
            self.builder.store,
            self.builder.archive,
            Intake(self.builder.store, self.builder.archive, host=host),
            settings_for(self.captures),
        )
        builder._number = id(journal)
        number = await builder.call(
            caller,
            callee,
            NOW,
            talk=None,
            ended=False,
            disposition=Disposition.IN_PROGRESS,
            caller_name=name,
            capture_id=journal.capture_id,
        )
        return number, journal.capture_id


@pytest.fixture(scope="module")
def captures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("captures")


@pytest.fixture(scope="module")
async def builder(store: Store, archive: Archive, intake: Intake, captures: Path) -> Builder:
    return Builder(store, archive, intake, settings_for(captures))


@pytest.fixture(scope="module")
async def world(builder: Builder) -> World:
    return await build(builder, ATTACHMENT, RAW_MAIL, hostile=HOSTILE)


@pytest.fixture(scope="module")
def calls(builder: Builder, captures: Path) -> Calls:
    return Calls(builder, captures)


@pytest.fixture(scope="module")
def recorder() -> FakeRecorder:
    return FakeRecorder()


@asynccontextmanager
async def _listen(capture_id: str) -> AsyncIterator[AsyncIterator[bytes]]:
    """Stands in for the child that decodes."""

    async def pieces() -> AsyncIterator[bytes]:
        yield b"RIFF"
        yield capture_id.encode()

    yield pieces()


@pytest.fixture(scope="module")
async def server(
    store: Store, archive: Archive, world: World, captures: Path, recorder: FakeRecorder
) -> AsyncIterator[WebServer]:
    """The pages, the notices and the recorder's desk, put together as the service does."""
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
            listen=_listen,
        )
    )
    await server.start()
    tasks = [asyncio.create_task(notices.run()), asyncio.create_task(desk.run())]
    yield server
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await server.stop()


@pytest.fixture(scope="module")
async def people(server: WebServer) -> AsyncIterator[dict[str, Browser]]:
    found = {name: Browser(server) for name in ("admin", "boss", "anna", "ivan", "nobody")}
    for name, browser in found.items():
        assert await browser.log_in(name) == 303
        browser.http.headers["X-CSRF-Token"] = await browser.token()
    yield found
    for browser in found.values():
        await browser.close()


async def json_of(answer: ClientResponse) -> Any:
    assert answer.content_type in ("application/json", "application/problem+json")
    return json.loads(await answer.text())
