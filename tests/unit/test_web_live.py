"""Calls in progress over HTTP: who sees and hears what, and the stream of events."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import ClientResponse
from sqlalchemy import func, select, update

from agent.store import audit, hosts, recordings
from agent.store.engine import Store
from agent.store.rights import Viewer
from agent.store.schema import audit_entry, capture, host
from agent.web.app import WebServer
from agent.web.events import MOST_OF_ONE, Reader
from tests.unit.web_live import (
    Calls,
    builder,
    calls,
    captures,
    people,
    recorder,
    server,
    world,
)
from tests.unit.web_pages import HOSTILE, M, Tags
from tests.web_world import MARIA, Browser, World

__all__ = ["builder", "calls", "captures", "people", "recorder", "server", "world"]

# --- What is going on -------------------------------------------------------------------------------------------------


async def test_calls_now_shows_each_his_own_and_escapes(people: dict[str, Browser], calls: Calls) -> None:
    number, _ = await calls.begin("+74950000044", "102", name=HOSTILE)
    for name, sees in (("boss", True), ("admin", True), ("ivan", True), ("anna", False), ("nobody", False)):
        status, text = await people[name].get("/live")
        assert status == 200
        assert (f'id="entry-{number}"' in text) is sees, name
        assert Tags(text).bad == []
    _, text = await people["boss"].get("/live")
    assert "&lt;script&gt;alert(1)" in text
    assert f'href="/calls/{number}/listen"' in text


async def test_a_call_whose_host_is_silent_says_since_when(
    people: dict[str, Browser], calls: Calls, store: Store
) -> None:
    """Nothing can be done with it; where a second recorder has it too, everything can."""
    number, _ = await calls.begin(MARIA, "101", host="dead-box")
    async with store.begin() as connection:
        await hosts.beat(connection, "dead-box")
        silent = update(host).where(host.c.name == "dead-box")
        await connection.execute(silent.values(heard_at=func.now() - timedelta(minutes=7)))
    _, text = await people["boss"].get("/live")
    entry = text.partition(f'id="entry-{number}"')[2].partition("</article>")[0]
    assert "Записывает dead-box; эту машину не слышно с" in entry
    assert f"/calls/{number}/" not in entry
    async with store.begin() as connection:
        await recordings.open_capture(connection, f"second-{number}", number, "here")
    _, text = await people["boss"].get("/live")
    entry = text.partition(f'id="entry-{number}"')[2].partition("</article>")[0]
    assert "не слышно" not in entry
    assert f"/calls/{number}/listen" in entry


async def test_a_live_call_stands_at_the_top_of_its_card(
    people: dict[str, Browser], calls: Calls, world: World
) -> None:
    number, _ = await calls.begin(MARIA, "101")
    _, text = await people["anna"].get(f"/cards/{world.maria}")
    top = text.partition('data-live-part="history"')[0]
    assert text.count(f'id="entry-{number}"') == 1
    assert f'id="entry-{number}"' in top
    assert Tags(text).bad == []


async def _next_event(answer: ClientResponse) -> tuple[str, Any]:
    while True:
        name, data = "", ""
        while line := (await answer.content.readline()).decode().rstrip("\n"):
            key, _, value = line.partition(": ")
            name, data = (value, data) if key == "event" else (name, value) if key == "data" else (name, data)
        if name == "interaction":
            return name, json.loads(data)


async def test_events_tell_everybody_of_what_is_his(people: dict[str, Browser], calls: Calls, world: World) -> None:
    async with (
        people["boss"].http.get("/events") as boss,
        people["anna"].http.get("/events") as anna,
        people["nobody"].http.get("/events") as nobody,
        people["ivan"].http.get("/events") as ivan,
    ):
        assert boss.content_type == "text/event-stream"
        await asyncio.sleep(0.6)  # what earlier tests did is told before
        number, _ = await calls.begin("+74950000055", "101")
        marias, _ = await calls.begin(MARIA, "101")
        async with asyncio.timeout(20):
            for stream in (boss, anna):
                wanted = {number: [], marias: [world.maria]}
                while wanted:
                    _, told = await _next_event(stream)
                    if told["cards"] == wanted.get(told["id"]):
                        del wanted[told["id"]]
        for stream in (nobody, ivan):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.6):
                    while (await _next_event(stream))[1]["id"] != number:
                        pass


async def test_one_person_has_only_so_many_streams(server: WebServer) -> None:
    browser = Browser(server)
    await browser.log_in("admin")
    streams = [await browser.http.get("/events") for _ in range(MOST_OF_ONE)]
    assert {one.status for one in streams} == {200}
    assert (await browser.get("/events"))[0] == 503
    for one in streams:
        one.close()
    await browser.close()


def test_a_slow_reader_hears_the_newest_once() -> None:
    reader = Reader(Viewer(account_id=1, role=M, employee_id=None))
    reader.tell({1: []})
    reader.tell({1: [5], 2: []})
    assert reader.take().count(b"event: interaction") == 2
    assert reader.take() == b""
    reader.tell({3: []})
    reader.tell_missed()
    assert reader.take() == b"event: reload\ndata: {}\n\n"


# --- Listening in -----------------------------------------------------------------------------------------------------


async def test_listening_in_is_noted_and_streams(people: dict[str, Browser], calls: Calls, store: Store) -> None:
    number, capture_id = await calls.begin(MARIA, "101")
    for name in ("boss", "anna"):
        async with people[name].http.get(f"/calls/{number}/listen") as answer:
            assert answer.status == 200
            assert answer.content_type == "audio/wav"
            assert answer.headers["Cache-Control"] == "no-store"
            assert await answer.read() == b"RIFF" + capture_id.encode()
    async with store.begin() as connection:
        query = select(audit_entry.c.subject).where(audit_entry.c.action == audit.CALL_LISTENED_IN)
        heard = [one["interaction_id"] for one in (await connection.execute(query)).scalars()]
    assert heard.count(number) == 2


async def test_a_call_on_another_host_says_where_it_can_be_heard(people: dict[str, Browser], calls: Calls) -> None:
    number, _ = await calls.begin(MARIA, "101", host="recorder-two")
    status, text = await people["boss"].get(f"/calls/{number}/listen")
    assert status == 409
    assert "recorder-two" in text
    _, page = await people["boss"].get("/live")
    assert f'href="/calls/{number}/listen"' not in page
    assert "recorder-two" in page


async def test_what_has_ended_cannot_be_heard(people: dict[str, Browser], calls: Calls, store: Store) -> None:
    number, capture_id = await calls.begin(MARIA, "101")
    async with store.begin() as connection:
        await connection.execute(capture.update().where(capture.c.id == capture_id).values(state="closed"))
    assert (await people["boss"].get(f"/calls/{number}/listen"))[0] == 404


async def test_only_so_many_listen_at_once(
    people: dict[str, Browser], calls: Calls, monkeypatch: pytest.MonkeyPatch, server: WebServer
) -> None:
    number, _ = await calls.begin(MARIA, "101")
    monkeypatch.setattr("agent.web.listening._most", lambda request: 0)
    assert (await people["boss"].get(f"/calls/{number}/listen"))[0] == 503
