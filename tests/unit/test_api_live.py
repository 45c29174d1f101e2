"""The API, live: calls in progress, the stream of events and what is told after a break."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

from aiohttp import ClientResponse
from sqlalchemy import func, select

from agent.store import audit
from agent.store.engine import Store
from agent.store.schema import audit_entry
from tests.unit.api_lab import Program, programs
from tests.unit.web_live import Calls, builder, calls, captures, recorder, server, world
from tests.unit.web_pages import HOSTILE
from tests.web_world import CAMOMILE, MARIA, World

__all__ = ["builder", "calls", "captures", "programs", "recorder", "server", "world"]


async def _next_event(answer: ClientResponse) -> dict[str, str]:
    """The next event with a name; fields of the last line win."""
    while True:
        fields: dict[str, str] = {}
        while line := (await answer.content.readline()).decode().rstrip("\n"):
            name, _, value = line.partition(": ")
            fields[name] = value
        if fields.get("event"):
            return fields


async def _wait_for(answer: ClientResponse, number: int) -> dict[str, str]:
    async with asyncio.timeout(20):
        while True:
            event = await _next_event(answer)
            told: Any = json.loads(event["data"])
            if told.get("id") == number:
                return event


async def test_calls_in_progress_are_told_to_whom_they_concern(
    programs: dict[str, Program], calls: Calls, world: World
) -> None:
    number, _ = await calls.begin(MARIA, "101", name=HOSTILE)
    for name in ("boss", "anna", "crm"):
        (call,) = [one for one in (await programs[name].get("/calls"))["items"] if one["id"] == number]
        assert (call["paused"], call["may_be_handled"], call["hosts"]) == (False, True, "here")
        assert call["call"]["disposition"] == "in_progress"
        assert call["links"][0]["card"]["id"] == world.maria
    for name in ("ivan", "nobody"):
        assert number not in [one["id"] for one in (await programs[name].get("/calls"))["items"]]
    foreign, _ = await calls.begin(CAMOMILE, "101")
    (call,) = [one for one in (await programs["ivan"].get("/calls"))["items"] if one["id"] == foreign]
    assert not call["may_be_handled"], "with his client, and not his own"


async def test_a_program_pauses_and_resumes(programs: dict[str, Program], calls: Calls) -> None:
    number, _ = await calls.begin(MARIA, "101")
    answer = await programs["anna"].ask("POST", f"/calls/{number}/pause")
    assert (answer.status, answer.json["calls"]) == (200, [{"id": number, "state": "paused"}])
    (call,) = [one for one in (await programs["anna"].get("/calls"))["items"] if one["id"] == number]
    assert call["paused"]
    answer = await programs["anna"].ask("POST", f"/calls/{number}/resume")
    assert answer.json["calls"] == [{"id": number, "state": "recording"}]
    assert (await programs["ivan"].ask("POST", f"/calls/{number}/pause")).status == 404


async def test_a_program_listens_in_and_it_is_noted(programs: dict[str, Program], calls: Calls, store: Store) -> None:
    number, capture_id = await calls.begin(MARIA, "101")
    answer = await programs["crm"].ask("GET", f"/calls/{number}/listen")
    assert (answer.status, answer.body) == (200, b"RIFF" + capture_id.encode())
    async with store.begin() as connection:
        query = select(func.count()).where(
            audit_entry.c.action == audit.CALL_LISTENED_IN,
            audit_entry.c.subject["interaction_id"].as_integer() == number,
        )
        assert (await connection.execute(query)).scalar_one() == 1
    far, _ = await calls.begin(MARIA, "101", host="recorder-two")
    elsewhere = await programs["crm"].ask("GET", f"/calls/{far}/listen")
    assert elsewhere.status == 409
    assert "recorder-two" in elsewhere.json["detail"]


async def test_events_tell_each_what_is_his(programs: dict[str, Program], calls: Calls, world: World) -> None:
    async with (
        programs["anna"].http.get("/api/v1/events") as anna,
        programs["ivan"].http.get("/api/v1/events") as ivan,
    ):
        assert anna.content_type == "text/event-stream"
        number, _ = await calls.begin(MARIA, "101")
        foreign, _ = await calls.begin(CAMOMILE, "102")
        event = await _wait_for(anna, number)
        assert abs(int(event["id"]) - time.time() * 1000) < 60_000
        assert (await _wait_for(ivan, foreign))["event"] == "interaction"


async def test_after_a_break_what_was_missed_comes_first(programs: dict[str, Program], calls: Calls) -> None:
    before = str(int(time.time() * 1000))
    number, _ = await calls.begin(MARIA, "101")
    async with programs["anna"].http.get("/api/v1/events", headers={"Last-Event-ID": before}) as stream:
        assert (await _wait_for(stream, number))["event"] == "interaction"
    async with (
        programs["nobody"].http.get("/api/v1/events", headers={"Last-Event-ID": before}) as stream,
    ):
        try:
            async with asyncio.timeout(0.6):
                event = await _next_event(stream)
        except TimeoutError:
            event = {}
        assert event == {}


async def test_who_was_away_too_long_or_says_nonsense_looks_at_everything(programs: dict[str, Program]) -> None:
    for last in ("1000", "x" * 50, "99999999999999999999", "-5"):
        async with programs["boss"].http.get("/api/v1/events", headers={"Last-Event-ID": last}) as stream:
            async with asyncio.timeout(10):
                assert (await _next_event(stream))["event"] == "reload"


async def test_a_stream_ends_when_its_token_is_revoked(
    programs: dict[str, Program], calls: Calls, store: Store, monkeypatch: Any
) -> None:
    from agent.store import tokens
    from tests.unit.api_lab import make_token

    monkeypatch.setattr("agent.web.api.live.HEARTBEAT_SECONDS", 0.1)
    one = Program(programs["boss"].base, await make_token(store, "soon gone"))
    async with one.http.get("/api/v1/events") as stream:
        assert stream.status == 200
        async with store.begin() as connection:
            assert await tokens.revoke_token(connection, "soon gone")
        async with asyncio.timeout(20):
            await stream.read()
    await one.http.close()
