"""The door over HTTP, as a provider meets it: believed, stored once, answered as it wants, or told to come again."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from pydantic import SecretStr
from sqlalchemy import text
from yarl import URL

from agent.archive.blobs import Archive
from agent.commandline.provider import examine_providers
from agent.errors import DatabaseUnavailable
from agent.settings import DatabaseSettings, Settings, WebSettings
from agent.settings_providers import ProviderSettings
from agent.sip.providers import door as door_module
from agent.sip.providers.door import HookDoor
from agent.sip.providers.notification import Hook
from agent.sip.providers.preset import Reply
from agent.sip.providers.presets import providers_of
from agent.store import providers
from agent.store.engine import Store
from agent.web import provider_hooks
from agent.web.app import WebServer
from agent.web.services import HookRequest, Services
from linker.link import Linker
from tests.unit.provider_fakes import empty
from tests.unit.provider_stories import EVENTS, KEY, SECRET, STORIES, TOKEN, ZONE, zadarma_hook

AWAY = "postgresql:///cardline?host=/nonexistent&user=cardline"


def one(preset: str, **more: Any) -> ProviderSettings:
    values: dict[str, Any] = {
        "name": preset,
        "preset": preset,
        "timezone": ZONE.key,
        "key": SecretStr(KEY),
        "secret": SecretStr("" if preset == "generic" else SECRET),
        "token": SecretStr(TOKEN),
        "poll_minutes": 0,
    }
    return ProviderSettings(**{**values, **more})


class Door:
    """The pages' server with a door on a store, and a client."""

    def __init__(self, settings: Settings, store: Store, archive: Archive) -> None:
        self.store, self.door = store, HookDoor(store, providers_of(settings))
        self.server = WebServer(
            Services(
                settings=settings,
                store=store,
                archive=archive,
                linker=Linker(store, settings),
                extract_part=None,  # type: ignore[arg-type]  # no mail here
                take_hook=self._take,
            )
        )
        self.http = ClientSession()
        self._task: asyncio.Task[None] | None = None

    async def _take(self, request: HookRequest) -> Reply:
        hook = Hook(
            tail=request.tail,
            query=request.query,
            content_type=request.content_type,
            body=request.body,
            signature=request.signature,
        )
        return await self.door.take(request.name, hook, address=request.address)

    async def start(self) -> None:
        await self.server.start()
        self._task = asyncio.create_task(self.door.run())

    async def stop(self) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self.http.close()
        await self.server.stop()

    async def send(self, name: str, hook: Hook, **headers: str) -> tuple[int, str]:
        host, port = self.server.address
        tail = f"/{hook.tail}" if hook.tail else ""
        query = f"?{hook.query}" if hook.query else ""
        url = URL(f"http://{host}:{port}/hooks/{name}{tail}{query}", encoded=True)
        given = {"Content-Type": hook.content_type, "Signature": hook.signature, **headers}
        given = {key: value for key, value in given.items() if value}
        method = "POST" if hook.body else "GET"
        async with self.http.request(method, url, data=hook.body or None, headers=given) as answer:
            return answer.status, await answer.text()

    async def rows(self, query: str) -> list[Any]:
        async with self.store.begin() as connection:
            return list((await connection.execute(text(query))).all())


@pytest.fixture
async def door(store: Store, archive: Archive, tmp_path: Path) -> AsyncIterator[Door]:
    presets = ("generic", "mango", "sipuni", "uis", "zadarma")
    known = (*(one(preset) for preset in presets), one("generic", name="near", allow=("198.51.100.0/24",)))
    settings = Settings(data_dir=tmp_path, web=WebSettings(port=0), provider=known)
    await empty(store)
    found = Door(settings, store, archive)
    await found.start()
    yield found
    await found.stop()


@pytest.mark.parametrize("preset", ["generic", "mango", "sipuni", "uis", "zadarma"])
async def test_what_is_signed_is_stored_once_with_its_job(door: Door, preset: str) -> None:
    hooks = EVENTS[preset](STORIES[0])
    for hook in [*hooks, *hooks]:
        status, answer = await door.send(preset, hook)
        assert status == 200
        assert answer == ('{"success": true}' if preset == "sipuni" else "")
    stored = await door.rows("SELECT body, query, tail FROM notification ORDER BY id")
    assert [(bytes(row.body), row.query) for row in stored] == [(hook.body, hook.query) for hook in hooks]
    assert all(TOKEN not in row.tail + row.query for row in stored), "a token is not written down"
    (jobs,) = await door.rows("SELECT count(*) AS n FROM procrastinate_jobs WHERE task_name = 'read_notifications'")
    assert 1 <= jobs.n <= len(hooks)


async def test_what_is_not_believed_is_refused_counted_and_not_stored(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door_module, "_STATUS_SECONDS", 0.05)
    hook = EVENTS["zadarma"](STORIES[0])[0]
    assert (await door.send("zadarma", hook, Signature="wrong"))[0] == 403
    assert (await door.send("generic", Hook(tail="wrong-token-of-twenty-letters", query="event=end&call_id=1")))[
        0
    ] == 403
    assert (await door.send("generic", Hook(query="event=end&call_id=1")))[0] == 403
    assert (await door.send("near", EVENTS["generic"](STORIES[0])[0]))[0] == 403, "from another network"
    assert await door.rows("SELECT 1 FROM notification") == []
    async with asyncio.timeout(30):
        query = "SELECT provider, refused FROM provider_status ORDER BY 1"
        while len(found := await door.rows(query)) < 3:  # noqa: ASYNC110 - the database sets no events
            await asyncio.sleep(0.05)
    assert [(row.provider, row.refused) for row in found] == [("generic", 2), ("near", 1), ("zadarma", 1)]


async def test_nobody_of_that_name(door: Door) -> None:
    assert (await door.send("nobody", Hook(query="a=b")))[0] == 404
    assert (await door.send("Generic", Hook(query="a=b")))[0] == 404


async def test_the_cabinet_tries_the_address(door: Door) -> None:
    assert await door.send("zadarma", Hook(query="zd_echo=4f8a")) == (200, "4f8a")
    assert await door.send("mango", Hook(tail="ping")) == (200, "")
    assert (await door.send("zadarma", zadarma_hook({"event": "SMS", "result": "{}"})))[0] == 200
    assert await door.rows("SELECT 1 FROM notification") == []


async def test_too_large_is_refused(door: Door) -> None:
    assert (await door.send("generic", Hook(tail=TOKEN, body=bytes(70_000))))[0] >= 400
    assert (await door.send("generic", Hook(tail=TOKEN, query="a=" + "x" * 17_000)))[0] >= 400
    assert await door.rows("SELECT 1 FROM notification") == []


async def test_a_body_that_does_not_come(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provider_hooks, "_BODY_SECONDS", 0.2)
    host, port = door.server.address
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(f"POST /hooks/generic/{TOKEN} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc".encode())
    async with asyncio.timeout(30):
        assert b"408" in await reader.readline() or b"400" in await reader.readline()
    writer.close()


async def test_many_at_once_are_few_commits(door: Door) -> None:
    hooks = [
        Hook(tail=TOKEN, query=f"event=end&call_id={number}&outside=%2B74950000011&started=1772442000")
        for number in range(300)
    ]
    answers = await asyncio.gather(*(door.send("generic", hook) for hook in hooks))
    assert {status for status, _ in answers} == {200}
    (found,) = await door.rows("SELECT count(*) AS n FROM notification")
    assert found.n == 300
    jobs = await door.rows("SELECT 1 FROM procrastinate_jobs WHERE task_name = 'read_notifications'")
    assert 1 <= len(jobs) < 100, "they are stored together, and one job reads them"


async def test_hostile_letters_are_stored_or_refused_never_an_error(door: Door) -> None:
    for query in (
        "event=end&call_id=%00",
        "event=%ff%fe&call_id=1",
        "event=end&call_id=\ud83d".encode("utf-8", "replace").decode(),
    ):
        status, _ = await door.send("generic", Hook(tail=TOKEN, query=query))
        assert status in (200, 400)


async def test_the_database_is_away(archive: Archive, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, web=WebSettings(port=0), provider=(one("generic"), one("zadarma")))
    store = Store(AWAY)
    door = Door(settings, store, archive)
    await door.start()
    try:
        began = time.monotonic()
        assert (await door.send("generic", EVENTS["generic"](STORIES[0])[0]))[0] == 503
        assert time.monotonic() - began < 10, "told at once, not after a long wait"
        assert (await door.send("zadarma", Hook(query="zd_echo=1")))[0] == 200
        wrong = EVENTS["zadarma"](STORIES[0])[0]
        assert (await door.send("zadarma", wrong, Signature="x"))[0] == 403
    finally:
        await door.stop()
        await store.close()


async def test_a_database_that_hangs_is_not_waited_for(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    released = asyncio.Event()
    real = door_module.store_told

    async def hang(*arguments: Any) -> int:
        await released.wait()
        return await real(*arguments)

    monkeypatch.setattr(door_module, "store_told", hang)
    monkeypatch.setattr(door_module, "_ANSWER_SECONDS", 0.1)
    hook = EVENTS["generic"](STORIES[0])[0]
    assert (await door.send("generic", hook))[0] == 503
    released.set()
    monkeypatch.setattr(door_module, "_ANSWER_SECONDS", 10)
    assert (await door.send("generic", hook))[0] == 200, "the provider comes again"
    (found,) = await door.rows("SELECT count(*) AS n FROM notification")
    assert found.n == 1, "and it is one all the same"


async def test_more_than_can_wait(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: Any) -> int:
        raise DatabaseUnavailable("away")

    monkeypatch.setattr(door_module, "store_told", refuse)
    door.door._waiting = asyncio.Queue(1)
    door.door._waiting.put_nowait((None, None))  # type: ignore[arg-type]
    monkeypatch.setattr(door.door, "_next_batch", list)
    assert (await door.send("generic", EVENTS["generic"](STORIES[0])[0]))[0] == 503


async def test_an_answer_of_503_says_when(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: Any) -> int:
        raise DatabaseUnavailable("away")

    monkeypatch.setattr(door_module, "store_told", refuse)
    host, port = door.server.address
    async with door.http.get(f"http://{host}:{port}/hooks/generic/{TOKEN}?event=end&call_id=1") as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (503, "10")


# --- cardline doctor provider -----------------------------------------------------------------------------------------


async def test_the_doctor_says_what_to_paste_and_what_is_wrong(store: Store, tmp_path: Path) -> None:
    await empty(store)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{taken.getsockname()[1]}"
        known = (
            one("mango", poll_minutes=5, api_url=nobody, allow_private_hosts=True),
            one("sipuni"),
            one("uis", token=SecretStr("")),
        )
        settings = Settings(
            data_dir=tmp_path,
            database=DatabaseSettings(url=SecretStr(store.url)),
            web=WebSettings(port=0, public_url="https://cardline.example.com"),
            provider=known,
        )
        async with store.begin() as connection:
            await providers.note_refused(connection, "mango", 3)
            await providers.note_told(connection, ["sipuni"])
        found = {finding.subject: finding for finding in await examine_providers(settings)}
    assert "https://cardline.example.com/hooks/mango belongs into" in found["mango address"].text
    assert f"https://cardline.example.com/hooks/sipuni/{TOKEN} belongs into" in found["sipuni address"].text
    assert (found["uis address"].level, "token is empty" in found["uis address"].text) == ("fault", True)
    assert (found["mango statistics"].level, "does not answer" in found["mango statistics"].text) == ("warning", True)
    assert "3 requests had a wrong signature" in found["mango signatures"].text
    assert "The last one came" in found["sipuni notifications"].text
    assert "None yet" in found["sipuni recordings"].text
    assert "Asia/Yekaterinburg" in found["mango"].text


async def test_the_doctor_without_any() -> None:
    (finding,) = await examine_providers(Settings())
    assert finding.level == "warning"
    assert "docs/providers" in finding.text
