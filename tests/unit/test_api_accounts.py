"""The API, administering: accounts, tokens that grow no wider, how long things are kept."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from agent.store import accounts, audit
from agent.store.engine import Store
from agent.store.schema import api_reply
from agent.web.app import WebServer
from tests.unit.api_lab import Program, make_token, programs
from tests.unit.web_pages import people, server, world
from tests.web_world import Browser, World

__all__ = ["people", "programs", "server", "world"]


async def _acts(programs: dict[str, Program], action: str) -> list[dict[str, Any]]:
    return [one["subject"] for one in (await programs["admin"].get("/audit", action=action, limit="200"))["items"]]


async def test_somebody_is_made_invited_changed_and_shut_out(programs: dict[str, Program], world: World) -> None:
    admin = programs["admin"]
    body = {"login": " Vera ", "name": "Вера Орлова", "role": "manager", "employee_id": world.ivan}
    made = await admin.ask("POST", "/accounts", body, headers={"Idempotency-Key": "vera"})
    again = await admin.ask("POST", "/accounts", body, headers={"Idempotency-Key": "vera"})
    assert (made.status, made.json) == (201, again.json)
    assert (await admin.ask("POST", "/accounts", body)).status == 409, "the login is taken"
    path = f"/accounts/{made.json['id']}"
    read = await admin.ask("GET", path)
    assert (read.json["login"], read.json["has_password"], read.json["team_ids"]) == ("vera", False, None)
    invited = await admin.ask("POST", f"{path}/invitation")
    assert (invited.status, invited.headers["Cache-Control"]) == (201, "no-store")
    async with admin.http.get(invited.json["link"]) as page:
        assert page.status == 200
    second = await admin.ask("POST", f"{path}/invitation")
    async with admin.http.get(invited.json["link"]) as page:
        assert page.status == 404, "the earlier link opens nothing"
    assert second.json["link"] != invited.json["link"]
    tag = {"If-Match": read.headers["ETag"]}
    changed = await admin.ask("PATCH", path, {"role": "supervisor", "team_ids": []}, headers=tag)
    assert (changed.status, changed.json["role"], changed.json["team_ids"]) == (200, "supervisor", [])
    assert (await admin.ask("PATCH", path, {"name": "X"}, headers=tag)).status == 412
    renamed = await admin.ask("PATCH", path, {"name": "Вера Иванова"})
    assert (renamed.json["role"], renamed.json["team_ids"], renamed.json["employee_id"]) == (
        "supervisor",
        [],
        world.ivan,
    ), "what is not named stays"
    assert (await admin.ask("PATCH", path, {"employee_id": None, "role": "manager"})).json["employee_id"] is None
    assert (await admin.ask("PUT", f"{path}/disabled", {"disabled": True})).status == 204
    assert (await admin.get(path))["disabled"] is True
    assert (await admin.ask("DELETE", f"{path}/second-factor")).status == 204
    assert (await admin.ask("DELETE", f"{path}/logins")).status == 204
    for action in (audit.ACCOUNT_ADDED, audit.ACCOUNT_INVITED, audit.ACCOUNT_CHANGED, audit.ACCOUNT_DISABLED):
        assert "vera" in [one["account"] for one in await _acts(programs, action)], action
    rows = {one["login"]: one for one in (await admin.get("/accounts"))["items"]}
    assert rows["vera"]["disabled"] and "last_login" in rows["admin"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ({"name": None}, 422),
        ({"role": "owner"}, 422),
        ({"employee_id": 999999}, 422),
        ({"role": "supervisor", "team_ids": [999999]}, 422),
        ({"role": "manager", "team_ids": []}, 422),
        ({"password": "x"}, 422),
    ],
)
async def test_a_wrong_change_changes_nothing(
    programs: dict[str, Program], store: Store, body: dict[str, Any], status: int
) -> None:
    async with store.begin() as connection:
        boss = await accounts.find_account(connection, "boss")
        assert boss is not None
    path = f"/accounts/{boss.id}"
    before = await programs["admin"].get(path)
    assert (await programs["admin"].ask("PATCH", path, body, valid=False)).status == status
    assert await programs["admin"].get(path) == before


async def test_the_last_administrator_stays(programs: dict[str, Program]) -> None:
    number = (await programs["admin"].get("/me"))["account_id"]
    assert (await programs["admin"].ask("PATCH", f"/accounts/{number}", {"role": "manager"})).status == 409
    assert (await programs["admin"].ask("PUT", f"/accounts/{number}/disabled", {"disabled": True})).status == 409
    for method, tail, body in (
        ("GET", "", None),
        ("PATCH", "", {"name": "X"}),
        ("PUT", "/disabled", {"disabled": True}),
        ("POST", "/invitation", None),
        ("DELETE", "/second-factor", None),
        ("DELETE", "/logins", None),
    ):
        assert (await programs["admin"].ask(method, f"/accounts/999999{tail}", body)).status == 404, (method, tail)


# --- Tokens -----------------------------------------------------------------------------------------------------------


async def test_a_token_makes_no_wider_one_and_nobody_elses(programs: dict[str, Program], store: Store) -> None:
    narrow = Program(programs["admin"].base, await make_token(store, "narrow", "admin", ("read", "admin")))
    mine = (await programs["admin"].get("/me"))["account_id"]
    async with store.begin() as connection:
        boss = await accounts.find_account(connection, "boss")
        assert boss is not None
    try:
        for body, status in (
            ({"name": "a", "scopes": ["read", "listen"], "account_id": mine}, 403),
            ({"name": "a", "scopes": ["write"], "account_id": mine}, 403),
            ({"name": "a", "scopes": ["read"], "account_id": boss.id}, 403),
            ({"name": "a", "scopes": ["read"]}, 403),
            ({"name": "a", "scopes": ["read", "admin"], "account_id": mine}, 201),
            ({"name": "a", "scopes": ["read"], "account_id": mine}, 409),
        ):
            answer = await narrow.ask("POST", "/tokens", body)
            assert answer.status == status, body
            if status == 201:
                made = answer.json
    finally:
        await narrow.http.close()
    wrongs: list[dict[str, Any]] = [{"scopes": []}, {"scopes": ["root"]}, {"name": " "}, {"scopes": ["read"] * 6}]
    for wrong in wrongs:
        body = {"name": "b", "scopes": ["read"], "account_id": mine, **wrong}
        assert (await programs["admin"].ask("POST", "/tokens", body, valid=False)).status == 422, wrong
    child = Program(programs["admin"].base, made["token"])
    try:
        assert (await child.get("/me"))["token"] == {"name": "a", "scopes": ["admin", "read"]}
        (told,) = [one for one in (await child.get("/tokens"))["items"] if one["id"] == made["id"]]
        assert (told["login"], told["revoked"]) == ("admin", None)
        assert made["token"] not in str(await child.get("/tokens"))
        assert (await programs["admin"].ask("DELETE", f"/tokens/{made['id']}")).status == 204
        assert (await child.ask("GET", "/me")).status == 401
    finally:
        await child.http.close()
    assert (await programs["admin"].ask("DELETE", f"/tokens/{made['id']}")).status == 204, "it is so already"
    assert (await programs["admin"].ask("DELETE", "/tokens/999999")).status == 404
    assert "a" in [one["token"] for one in await _acts(programs, audit.TOKEN_REVOKED)]


async def test_a_login_makes_a_token_of_anybody_and_it_is_kept_nowhere(
    people: dict[str, Browser], store: Store
) -> None:
    headers = {"X-CSRF-Token": await people["admin"].token(), "Idempotency-Key": "secret"}
    body = {"name": "of the page", "scopes": ["read"]}
    async with people["admin"].http.post("/api/v1/tokens", json=body, headers=headers) as answer:
        assert (answer.status, answer.headers["Cache-Control"]) == (201, "no-store")
        made = (await answer.json())["token"]
    async with store.begin() as connection:
        kept = [row.content for row in await connection.execute(select(api_reply.c.content))]
    assert made not in str(kept)


# --- How long things are kept -----------------------------------------------------------------------------------------


async def test_how_long_things_are_kept(programs: dict[str, Program]) -> None:
    admin = programs["admin"]
    read = await admin.ask("GET", "/retention")
    assert read.json == {"calls": None, "mails": None}
    tag = {"If-Match": read.headers["ETag"]}
    told = await admin.ask("PUT", "/retention", {"calls": 36, "mails": None}, headers=tag)
    assert (told.status, told.json) == (200, {"calls": 36, "mails": None})
    assert (await admin.ask("PUT", "/retention", {"calls": 1, "mails": None}, headers=tag)).status == 412
    for wrong in ({"calls": 0, "mails": None}, {"calls": 1201, "mails": None}, {"calls": 3}, {}):
        assert (await admin.ask("PUT", "/retention", wrong, valid=False)).status == 422, wrong
    assert await admin.get("/retention") == told.json
    foreseen = await admin.get("/retention/foreseen", calls="36")
    assert (foreseen["calls"], foreseen["mails"]) == (0, 0)
    assert (await admin.ask("GET", "/retention/foreseen", query={"calls": "0"}, valid=False)).status == 400
    assert (await admin.ask("PUT", "/retention", {"calls": None, "mails": None})).status == 200
    assert {"before": {}, "after": {"calls": 36}} in await _acts(programs, audit.RETENTION_CHANGED)


async def test_a_card_is_exempt(programs: dict[str, Program], world: World, server: WebServer) -> None:
    admin, path = programs["admin"], f"/holds/{world.maria}"
    assert (await admin.ask("PUT", path, {"reason": "спор"})).status == 204
    assert (await admin.ask("PUT", path, {"reason": "другое"})).status == 204
    (told,) = (await admin.get("/holds"))["items"]
    assert (told["card"]["id"], told["reason"]) == (world.maria, "спор"), "the first reason stays"
    assert (await admin.ask("PUT", "/holds/999999", {"reason": "спор"})).status == 404
    assert (await admin.ask("DELETE", path)).status == 204
    assert (await admin.ask("DELETE", path)).status == 404
    assert [one["card_id"] for one in await _acts(programs, audit.CARD_RELEASED)] == [world.maria]


# --- Teams ------------------------------------------------------------------------------------------------------------


async def test_a_team_and_its_members(programs: dict[str, Program], world: World) -> None:
    admin = programs["admin"]
    made = await admin.ask("POST", "/teams", {"name": "Продажи"})
    assert made.status == 201
    assert (await admin.ask("POST", "/teams", {"name": "Продажи"})).status == 409
    path = f"/teams/{made.json['id']}"
    member = {"employee_id": world.ivan, "valid_from": "2026-11-01T00:00:00+03:00"}
    joined = await admin.ask("POST", f"{path}/members", member)
    assert joined.status == 201
    assert (await admin.ask("POST", f"{path}/members", member)).status == 409
    assert (await admin.ask("POST", f"{path}/members", {"employee_id": 999999})).status == 422
    assert (await admin.ask("PATCH", path, {"name": "Сбыт"})).status == 204
    (team,) = (await admin.get("/teams"))["items"]
    assert (team["name"], [one["id"] for one in team["members"]]) == ("Сбыт", [joined.json["id"]])
    mine = f"/team-members/{joined.json['id']}"
    assert (await admin.ask("PATCH", mine, {"valid_to": "2026-10-01T00:00:00Z"})).status == 422
    assert (await admin.ask("PATCH", mine, {"valid_to": "2026-11-20T00:00:00Z"})).status == 204
    assert (await admin.ask("DELETE", mine)).status == 204
    assert (await admin.ask("DELETE", mine)).status == 404
    assert (await admin.ask("DELETE", path)).status == 204
    for method, target, body in (
        ("PATCH", path, {"name": "X"}),
        ("DELETE", path, None),
        ("POST", f"{path}/members", member),
        ("PATCH", mine, {"valid_to": "2026-11-20T00:00:00Z"}),
    ):
        assert (await admin.ask(method, target, body)).status == 404, (method, target)
    assert await _acts(programs, audit.TEAM_MEMBER_ADDED)
