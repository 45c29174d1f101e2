"""Pausing over HTTP, by people and by programs, and the tokens that let programs in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientSession
from sqlalchemy import select

from agent.errors import Misconfigured
from agent.model import Disposition
from agent.sip.journal import OPENED, Journal, read_journal
from agent.store import accounts, audit, commands, live, tokens
from agent.store.engine import Store
from agent.store.rights import Viewer
from agent.store.schema import api_token, audit_entry
from agent.web.app import WebServer
from tests.unit.web_live import (
    HOST,
    Calls,
    FakeRecorder,
    builder,
    calls,
    captures,
    json_of,
    people,
    recorder,
    server,
    world,
)
from tests.unit.web_pages import S
from tests.web_world import CAMOMILE, MARIA, NOW, Browser, Builder

__all__ = ["builder", "calls", "captures", "people", "recorder", "server", "world"]


@pytest.fixture(scope="module")
async def crm(server: WebServer, store: Store) -> AsyncIterator[ClientSession]:
    """A program with a token that may pause."""
    async with store.begin() as connection:
        token = await tokens.insert_token(connection, "crm", ["calls:pause"])
    base = f"http://{server.address[0]}:{server.address[1]}"
    async with ClientSession(base_url=base, headers={"Authorization": f"Bearer {token}"}) as session:
        yield session


def _marks(captures: Path, capture_id: str) -> list[tuple[str, str]]:
    facts = read_journal(captures / capture_id)
    return [(fact.kind, fact.data["by"]) for fact in facts if fact.kind in ("paused", "resumed")]


# --- Pausing ----------------------------------------------------------------------------------------------------------


async def test_a_manager_pauses_and_resumes_his_own_call(
    people: dict[str, Browser], calls: Calls, recorder: FakeRecorder, store: Store
) -> None:
    number, capture_id = await calls.begin(MARIA, "101")
    async with people["anna"].http.post(f"/api/v1/calls/{number}/pause", json={}) as answer:
        assert (answer.status, await json_of(answer)) == (200, {"calls": [{"id": number, "state": "paused"}]})
    assert recorder.told[-1] == ("pause", capture_id)
    async with store.begin() as connection:
        (one,) = await live.find_live(connection, Viewer(account_id=0, role=S, employee_id=None), number)
        assert one.paused is not None
    assert "Возобновить запись" in (await people["anna"].get("/live"))[1]
    async with people["anna"].http.post(f"/api/v1/calls/{number}/resume", json={}) as answer:
        assert (await json_of(answer))["calls"] == [{"id": number, "state": "recording"}]
    assert recorder.told[-1] == ("resume", capture_id)
    assert _marks(calls.captures, capture_id) == [("paused", "anna"), ("resumed", "anna")]
    async with store.begin() as connection:
        (one,) = await live.find_live(connection, Viewer(account_id=0, role=S, employee_id=None), number)
        assert one.paused is None
        query = select(audit_entry.c.action).where(audit_entry.c.subject["interaction_id"].as_integer() == number)
        assert list((await connection.execute(query.order_by(audit_entry.c.id))).scalars()) == [
            audit.CALL_PAUSED,
            audit.CALL_RESUMED,
        ]


async def test_pausing_twice_is_pausing(people: dict[str, Browser], calls: Calls) -> None:
    number, _ = await calls.begin(MARIA, "101")
    for _ in range(2):
        async with people["boss"].http.post(f"/api/v1/calls/{number}/pause", json={}) as answer:
            assert (await json_of(answer))["calls"][0]["state"] == "paused"


async def test_another_managers_call_is_neither_paused_nor_heard(
    people: dict[str, Browser], calls: Calls, recorder: FakeRecorder
) -> None:
    """Ivan may see the call, since it is with his client; it is Anna's all the same."""
    number, _ = await calls.begin(CAMOMILE, "101")
    assert (await people["ivan"].get(f"/interactions/{number}"))[0] == 200
    before = len(recorder.told)
    for name in ("ivan", "nobody"):
        for what in ("pause", "resume"):
            async with people[name].http.post(f"/api/v1/calls/{number}/{what}", json={}) as answer:
                assert answer.status == 404
                assert (await json_of(answer))["status"] == 404
        assert (await people[name].get(f"/calls/{number}/listen"))[0] == 404
        async with people[name].http.post("/api/v1/pause", json={"extension": "101"}) as answer:
            assert answer.status == 404
    assert len(recorder.told) == before
    _, page = await people["ivan"].get("/live")
    assert f'id="entry-{number}"' in page
    assert f"/calls/{number}/" not in page, "no buttons that would not work"


async def test_without_the_pages_token_nothing_is_paused(people: dict[str, Browser], calls: Calls) -> None:
    number, _ = await calls.begin(MARIA, "101")
    for token in ("", "wrong"):
        path = f"/api/v1/calls/{number}/pause"
        async with people["anna"].http.post(path, json={}, headers={"X-CSRF-Token": token}) as answer:
            assert answer.status == 403


async def test_the_button_works_without_scripts(people: dict[str, Browser], calls: Calls, server: WebServer) -> None:
    number, capture_id = await calls.begin(MARIA, "101")
    form = {"csrf": people["anna"].http.headers["X-CSRF-Token"], "next": "/live"}
    cookies = {one.key: one.value for one in people["anna"].http.cookie_jar}
    async with (
        ClientSession(base_url=people["anna"].base, cookies=cookies) as plain,
        plain.post(f"/api/v1/calls/{number}/pause", data=form, allow_redirects=False) as answer,
    ):
        assert answer.status == 303
        assert answer.headers["Location"] == "/live"
    assert _marks(calls.captures, capture_id) == [("paused", "anna")]


@pytest.mark.parametrize(
    "asked", [{"extension": "107"}, {"number": "+7 (495) 000-00-77"}, {"number": "84950000077"}, {"number": "107"}]
)
async def test_a_crm_pauses_by_what_it_knows(
    crm: ClientSession, calls: Calls, builder: Builder, asked: dict[str, str], store: Store
) -> None:
    """Of calls that were linked, and of one that rings so newly that nobody has looked at it."""
    _, capture_id = await calls.begin("107", "+74950000077")
    async with crm.post("/api/v1/pause", json=asked) as answer:
        assert answer.status == 200, await answer.text()
        found = (await json_of(answer))["calls"]
    assert {one["state"] for one in found} == {"paused"}
    assert ("paused", "token crm") in _marks(calls.captures, capture_id)
    async with crm.post("/api/v1/resume", json=asked) as answer:
        assert {one["state"] for one in (await json_of(answer))["calls"]} == {"recording"}
    async with store.begin() as connection:
        rows = await connection.execute(select(audit_entry.c.subject).order_by(audit_entry.c.id.desc()).limit(1))
        assert rows.scalar_one()["token"] == "crm"


async def test_a_call_that_nobody_has_linked_yet_is_found(
    crm: ClientSession, builder: Builder, captures: Path, store: Store
) -> None:
    journal = Journal.create(captures)
    journal.write(OPENED, source="siprec")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builder.linker, "link", lambda ids: asyncio.sleep(0))
        patch.setattr(builder.intake, "_host", HOST)
        await builder.call(
            "84950000088",
            "108",
            NOW,
            talk=None,
            ended=False,
            disposition=Disposition.IN_PROGRESS,
            capture_id=journal.capture_id,
        )
    for asked in ({"number": "+74950000088"}, {"extension": "108"}):
        async with crm.post("/api/v1/pause", json=asked) as answer:
            assert answer.status == 200, asked
    async with crm.post("/api/v1/pause", json={"extension": "8"}) as answer:
        assert answer.status == 404


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"null", b"{", b'{"extension": 101}', b'{"extension": "a b"}', b'{"number": "x"}', b"\xff",
     b'{"number": "\\u0000"}', b"{}", b"[" * 60000, b'{"extension": "' + b"1" * 50 + b'"}'],
)  # fmt: skip
async def test_what_is_no_number_is_told_so(crm: ClientSession, body: bytes) -> None:
    async with crm.post("/api/v1/pause", data=body, headers={"Content-Type": "application/json"}) as answer:
        assert answer.status == 400
        assert answer.content_type == "application/problem+json"
        assert (await json_of(answer))["detail"]


async def test_a_call_that_has_ended_is_no_more(crm: ClientSession, calls: Calls, captures: Path) -> None:
    number, capture_id = await calls.begin("102", MARIA)
    Journal(captures / capture_id).write("closed", by="client")
    async with crm.post(f"/api/v1/calls/{number}/pause", json={}) as answer:
        assert answer.status == 409
        assert "had ended" in (await json_of(answer))["detail"]
    async with crm.post("/api/v1/calls/999999/pause", json={}) as answer:
        assert answer.status == 404


async def test_a_recorder_that_does_not_answer_is_said_to_be_asked(
    crm: ClientSession, calls: Calls, monkeypatch: pytest.MonkeyPatch, store: Store
) -> None:
    """Its host is down: the command waits for it, and the CRM knows that nothing is certain."""
    monkeypatch.setattr("agent.web.pausing.WAIT_SECONDS", 0.2)
    number, capture_id = await calls.begin("102", MARIA, host="elsewhere")
    async with crm.post(f"/api/v1/calls/{number}/pause", json={}) as answer:
        assert (answer.status, (await json_of(answer))["calls"][0]["state"]) == (202, "asked")
    async with store.begin() as connection:
        assert [one.capture_id for one in await commands.list_waiting(connection, "elsewhere")] == [capture_id]


# --- Tokens -----------------------------------------------------------------------------------------------------------


async def test_tokens_open_what_they_are_for_and_nothing_else(
    server: WebServer, store: Store, crm: ClientSession, calls: Calls
) -> None:
    number, _ = await calls.begin(MARIA, "101")
    path = f"/api/v1/calls/{number}/pause"
    async with crm.get("/cards") as answer:
        assert "login" in str(answer.url) or answer.status == 401
    for header in ("Bearer wrong", "Bearer ", "bearer x y", "Bearer " + "x" * 5000):
        async with crm.post(path, json={}, headers={"Authorization": header}) as answer:
            assert answer.status == 401
            assert answer.headers["WWW-Authenticate"] == "Bearer"
            assert (await json_of(answer))["title"] == "Unauthorized"
    async with crm.post(path, json={}, headers={"Authorization": "Basic abc"}) as answer:
        assert answer.status == 401
    async with store.begin() as connection:
        manager = await accounts.find_account(connection, "ivan")
        assert manager is not None
        ivans = await tokens.insert_token(connection, "ivans", ["calls:pause"], account_id=manager.id)
        blind = await tokens.insert_token(connection, "blind", ["calls:pause"])
        rows = await connection.execute(api_token.update().where(api_token.c.name == "blind").values(
            scopes=[]))  # fmt: skip
        assert rows.rowcount == 1
    for token, status in ((ivans, 404), (blind, 403)):
        async with crm.post(path, json={}, headers={"Authorization": f"Bearer {token}"}) as answer:
            assert answer.status == status
    async with store.begin() as connection:
        assert await tokens.revoke_token(connection, "ivans")
        assert not await tokens.revoke_token(connection, "ivans")
    async with crm.post(path, json={}, headers={"Authorization": f"Bearer {ivans}"}) as answer:
        assert answer.status == 401


async def test_only_a_digest_of_a_token_is_kept(store: Store) -> None:
    async with store.begin() as connection:
        token = await tokens.insert_token(connection, " a  name ", ["calls:pause"])
        row = (await connection.execute(select(api_token).where(api_token.c.name == "a name"))).one()
        assert token.startswith(tokens.PREFIX)
        assert token not in str(row)
        found = await tokens.find_token(connection, token)
        assert found is not None
        assert found.viewer.sees_all
        (listed,) = [one for one in await tokens.list_tokens(connection) if one.name == "a name"]
        assert listed.used is not None


@pytest.mark.parametrize(("name", "scopes"), [("", ["calls:pause"]), ("x", []), ("x", ["everything"]), ("crm2", None)])
async def test_a_wrong_token_is_not_made(store: Store, name: str, scopes: list[str] | None) -> None:
    async with store.begin() as connection:
        if scopes is None:
            await tokens.insert_token(connection, name, ["calls:pause"])
        with pytest.raises(Misconfigured):
            await tokens.insert_token(connection, name, scopes if scopes is not None else ["calls:pause"])
