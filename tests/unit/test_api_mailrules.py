"""The API, rules that sort mail: tried, kept, moved, run; and our own domains."""

from __future__ import annotations

from typing import Any

import pytest

from agent.store import audit
from tests.unit.api_lab import Program, programs
from tests.unit.web_pages import server, world
from tests.web_world import IVAN, World

__all__ = ["programs", "server", "world"]

SPAM: dict[str, Any] = {"name": "Заявки", "conditions": {"to": [IVAN]}, "category": "newsletter"}


async def _acts(programs: dict[str, Program], action: str) -> list[dict[str, Any]]:
    return [one["subject"] for one in (await programs["admin"].get("/audit", action=action, limit="200"))["items"]]


async def test_a_rule_is_tried_kept_changed_and_forgotten(programs: dict[str, Program], world: World) -> None:
    admin = programs["admin"]
    tried = await admin.ask("POST", "/mail-rules/try", SPAM)
    assert tried.status == 200
    assert [one["interaction_id"] for one in tried.json["examples"]] == [world.camomiles_mail]
    assert tried.json["moves"] == [{"before": "conversation", "after": "newsletter", "mails": 1}]
    before = [one["id"] for one in (await admin.get("/mail-rules"))["items"]]
    made = await admin.ask("POST", "/mail-rules", SPAM, headers={"Idempotency-Key": "rule"})
    again = await admin.ask("POST", "/mail-rules", SPAM, headers={"Idempotency-Key": "rule"})
    assert (made.status, made.json) == (201, again.json)
    number = made.json["id"]
    assert [one["id"] for one in (await admin.get("/mail-rules"))["items"]] == [number, *before], "before all others"
    path = f"/mail-rules/{number}"
    read = await admin.ask("GET", path)
    changed = {**SPAM, "enabled": False, "conditions": {"to": [IVAN], "direction": ["inbound"]}}
    tag = {"If-Match": read.headers["ETag"]}
    told = await admin.ask("PUT", path, changed, headers=tag)
    assert (told.status, told.json["enabled"], told.json["conditions"]) == (200, False, changed["conditions"])
    assert (await admin.ask("PUT", path, SPAM, headers=tag)).status == 412
    assert (await admin.ask("POST", f"{path}/move", {"way": "down"})).status == 204
    assert [one["id"] for one in (await admin.get("/mail-rules"))["items"]][:2] == [before[0], number]
    assert (await admin.ask("DELETE", f"/mail-rules/{before[0]}")).status == 409, "it comes with the program"
    assert (await admin.ask("DELETE", path)).status == 204
    for method, target, body in (
        ("GET", path, None),
        ("PUT", path, SPAM),
        ("DELETE", path, None),
        ("POST", f"{path}/move", {"way": "up"}),
        ("POST", "/mail-rules/try", {**SPAM, "id": number}),
    ):
        assert (await admin.ask(method, target, body)).status == 404, (method, target)
    assert [one["enabled"] for one in await _acts(programs, audit.MAIL_RULE_SAVED)] == [False, True]
    assert {"rule_id": number} in await _acts(programs, audit.MAIL_RULE_REMOVED)


@pytest.mark.parametrize(
    "wrong",
    [
        {"category": None},
        {"tag": "invoice"},
        {"conditions": {}},
        {"conditions": {"from": []}},
        {"conditions": {"from": [" "]}},
        {"conditions": {"moon": ["full"]}},
        {"conditions": {"direction": ["sideways"]}},
        {"conditions": {"from": ["x" * 201]}},
        {"category": "spam"},
        {"name": ""},
    ],
)
async def test_a_rule_that_says_nothing_is_refused(programs: dict[str, Program], wrong: dict[str, Any]) -> None:
    for path in ("/mail-rules", "/mail-rules/try"):
        assert (await programs["admin"].ask("POST", path, {**SPAM, **wrong}, valid=False)).status == 422


async def test_all_mails_are_sorted_anew(programs: dict[str, Program]) -> None:
    answer = await programs["admin"].ask("POST", "/mail-rules/resort")
    assert answer.status == 202
    assert (await programs["admin"].get("/mail-rules"))["run"]["id"] == answer.json["id"]
    assert {"run_id": answer.json["id"]} in await _acts(programs, audit.MAILS_RESORTED)


async def test_domains_of_ours_come_and_go(programs: dict[str, Program]) -> None:
    admin = programs["admin"]
    made = await admin.ask("POST", "/mail-domains", {"domain": "@Branch.Example.com"})
    assert made.status == 201
    assert (await admin.ask("POST", "/mail-domains", {"domain": "branch.example.com"})).json == made.json
    told = (await admin.get("/mail-domains"))["items"]
    assert told == [{"id": made.json["id"], "domain": "branch.example.com"}]
    for wrong in ("gmail.com", "no domain", "x"):
        assert (await admin.ask("POST", "/mail-domains", {"domain": wrong})).status == 422, wrong
    assert (await admin.ask("DELETE", f"/mail-domains/{made.json['id']}")).status == 204
    assert (await admin.ask("DELETE", f"/mail-domains/{made.json['id']}")).status == 404
