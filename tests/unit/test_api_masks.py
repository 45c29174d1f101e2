"""The API, what is masked in the text of calls: rules tried, kept, changed, run; the company's words; the audit log as
a table; deliveries that were given up."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import delete, update

from agent.store import accounts, audit, connectors, glossary, outbox, transcripts
from agent.store.engine import Store
from agent.store.runs import TRANSCRIPTS
from agent.store.schema import company_setting, connector, delivery, link, mask_rule
from agent.transcribe.masks.remasking import Remasker
from tests.unit.api_lab import Program, make_token, programs
from tests.unit.web_pages import HOSTILE, server, world
from tests.web_world import World

__all__ = ["programs", "server", "world"]

RULE: dict[str, Any] = {"name": f"Сроки {HOSTILE}", "kind": "words", "text": "декабр*\nдва стола"}


@pytest.fixture
async def admin(programs: dict[str, Program], store: Store) -> AsyncIterator[Program]:
    """An administrator's program; what a test has made is gone after it."""
    yield programs["admin"]
    async with store.begin() as connection:
        await connection.execute(delete(mask_rule).where(mask_rule.c.preset == ""))
        await connection.execute(update(mask_rule).values(enabled=True))
        await connection.execute(delete(company_setting).where(company_setting.c.name == "glossary"))


async def _acts(admin: Program, action: str) -> list[dict[str, Any]]:
    return [one["subject"] for one in (await admin.get("/audit", action=action, limit="200"))["items"]]


async def test_a_rule_is_tried_kept_changed_and_forgotten(admin: Program, world: World) -> None:
    (preset,) = (await admin.get("/mask-rules"))["items"]
    assert (preset["kind"], preset["preset"], preset["enabled"]) == ("cards", "cards", True)
    tried = await admin.ask("POST", "/mask-rules/try", {**RULE, "enabled": False})
    assert (tried.status, tried.json["places"]) == (200, 3)
    assert {one["interaction_id"] for one in tried.json["examples"]} == {world.marias_call}
    assert "декабря" in [one["found"] for one in tried.json["examples"]]
    assert len((await admin.get("/mask-rules"))["items"]) == 1, "a trial saves nothing"
    made = await admin.ask("POST", "/mask-rules", RULE, headers={"Idempotency-Key": "mask"})
    again = await admin.ask("POST", "/mask-rules", RULE, headers={"Idempotency-Key": "mask"})
    assert (made.status, made.json) == (201, again.json)
    number = made.json["id"]
    path = f"/mask-rules/{number}"
    read = await admin.ask("GET", path)
    assert read.json == {**RULE, "id": number, "preset": "", "enabled": True}
    changed = {"name": "Договор", "kind": "pattern", "text": r"договор \d+", "enabled": False}
    tag = {"If-Match": read.headers["ETag"]}
    told = await admin.ask("PUT", path, changed, headers=tag)
    assert (told.status, told.json) == (200, {**changed, "id": number, "preset": ""})
    assert (await admin.ask("GET", path)).json == told.json
    assert (await admin.ask("PUT", path, RULE, headers=tag)).status == 412
    assert (await admin.ask("PUT", path, {**changed, "kind": "cards", "text": ""})).status == 422
    assert (await admin.ask("DELETE", path)).status == 204
    for method, body in (("GET", None), ("PUT", RULE), ("DELETE", None)):
        assert (await admin.ask(method, path, body)).status == 404, method
    saved = [one for one in await _acts(admin, audit.MASK_RULE_SAVED) if one["rule_id"] == number]
    assert [one["enabled"] for one in saved] == [False, True]
    assert {"rule_id": number} in await _acts(admin, audit.MASK_RULE_REMOVED)


async def test_what_comes_with_the_program_is_only_switched(admin: Program) -> None:
    (preset,) = (await admin.get("/mask-rules"))["items"]
    path = f"/mask-rules/{preset['id']}"
    body = {name: preset[name] for name in ("name", "kind", "text")}
    for change in ({"name": "Other"}, {"text": "x"}, {"kind": "words", "text": "x"}):
        assert (await admin.ask("PUT", path, {**body, **change})).status == 409, change
    told = await admin.ask("PUT", path, {**body, "enabled": False})
    assert (told.status, told.json) == (200, {**preset, "enabled": False})
    assert (await admin.ask("DELETE", path)).status == 409
    assert (await admin.get("/mask-rules"))["items"] == [{**preset, "enabled": False}]


@pytest.mark.parametrize(
    ("wrong", "place"),
    [
        ({"name": " "}, "/name"),
        ({"kind": "moon"}, "/kind"),
        ({"kind": "cards"}, "/kind"),
        ({"text": " - \n"}, "/text"),
        ({"text": ""}, "/text"),
        ({"text": "слово\n" * 501}, "/text"),
        ({"text": "x" * 20_001}, "/text"),
        ({"kind": "pattern", "text": "("}, "/text"),
        ({"kind": "pattern", "text": r"(\d+)+x"}, "/text"),
        ({"kind": "pattern", "text": ".*"}, "/text"),
        ({"enabled": "yes"}, "/enabled"),
    ],
)
async def test_what_can_be_no_rule_is_refused_with_its_place(admin: Program, wrong: dict[str, Any], place: str) -> None:
    for path in ("/mask-rules", "/mask-rules/try"):
        answer = await admin.ask("POST", path, {**RULE, **wrong}, valid=False)
        assert (answer.status, answer.json["errors"][0]["at"]) == (422, place)
    assert len((await admin.get("/mask-rules"))["items"]) == 1


async def test_older_transcripts_are_looked_through_and_told_how_far(
    admin: Program, store: Store, world: World
) -> None:
    assert (await admin.ask("POST", "/mask-rules", RULE)).status == 201
    begun = await admin.ask("POST", "/mask-rules/run", headers={"Idempotency-Key": "run"})
    again = await admin.ask("POST", "/mask-rules/run", headers={"Idempotency-Key": "run"})
    assert (begun.status, again.json) == (202, begun.json)
    run = (await admin.get("/mask-rules"))["run"]
    assert (run["id"], run["done"], run["finished"], run["by"]) == (begun.json["id"], 0, None, "token of admin")
    while run["finished"] is None:
        await Remasker(store).mask_again(run["id"])
        run = (await admin.get("/mask-rules"))["run"]
    assert (run["done"], run["changed"]) == (run["total"], 1)
    async with store.begin() as connection:
        (found,) = await transcripts.list_transcripts(connection, [world.marias_call])
        assert (await TRANSCRIPTS.find(connection)) is not None
    assert "декабря" not in " ".join(one.text for one in found.utterances)
    assert {"run_id": run["id"]} in await _acts(admin, audit.TRANSCRIPTS_MASKED)


async def test_words_of_the_company(admin: Program, store: Store) -> None:
    assert (await admin.get("/glossary")) == {"words": []}
    read = await admin.ask("GET", "/glossary")
    body = {"words": ["Ромашка-М", " ламинат  дуб ", "ЛДСП", "ЛДСП", HOSTILE[:50]]}
    tag = {"If-Match": read.headers["ETag"]}
    told = await admin.ask("PUT", "/glossary", body, headers=tag)
    assert told.status == 200
    assert told.json["words"] == ["Ромашка-М", "ламинат дуб", "ЛДСП", HOSTILE[:50]]
    assert (await admin.ask("PUT", "/glossary", body, headers=tag)).status == 412
    assert (await admin.ask("PUT", "/glossary", body)).json == told.json
    assert await _acts(admin, audit.GLOSSARY_CHANGED) == [{"words": 4}], "the same once more is no act"
    for wrong in ([""], [" "], ["a,b"], ["x" * 61], ["x"] * 201, "x", [1], None):
        answer = await admin.ask("PUT", "/glossary", {"words": wrong}, valid=False)
        assert answer.status == 422, wrong
    async with store.begin() as connection:
        words = await glossary.find_glossary(connection)
        assert list(words) == told.json["words"]
        assert list(words) == glossary.read_glossary("\n".join(words)), "the page reads them alike"


async def test_rules_of_what_is_masked_want_the_scope_of_what_is_gone_for_good(
    programs: dict[str, Program], store: Store
) -> None:
    writer = Program(programs["admin"].base, await make_token(store, "of a writer", "admin", ("read", "write")))
    try:
        assert (await writer.ask("POST", "/mask-rules", RULE)).status == 403
        assert (await writer.ask("POST", "/mask-rules/run")).status == 403
        assert (await writer.ask("POST", "/mask-rules/try", RULE)).status == 200
    finally:
        await writer.http.close()
    for name in ("boss", "anna", "crm"):
        assert (await programs[name].ask("GET", "/mask-rules")).status == 403, name
        assert (await programs[name].ask("GET", "/glossary")).status == 403, name


# --- The audit log as a table -----------------------------------------------------------------------------------------


async def test_the_whole_log_is_handed_out_as_a_table(admin: Program, store: Store) -> None:
    evil = "=cmd|' /C calc'!A0"
    async with store.begin() as connection:
        ivan = await accounts.find_account(connection, "ivan")
        assert ivan is not None
        for number in range(450):
            await audit.add_entry(connection, ivan.id, evil if number == 449 else audit.NOTE_ADDED, {"card_id": number})
    answer = await admin.ask("GET", "/audit.csv", query={"account": str(ivan.id)})
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.headers["Content-Disposition"].startswith("attachment;")
    rows = list(csv.DictReader(io.StringIO(answer.body.decode())))
    assert rows[0]["action"] == f"'{evil}"
    numbers = [json.loads(one["subject"])["card_id"] for one in rows if one["action"] == audit.NOTE_ADDED]
    assert numbers == list(range(448, -1, -1))
    assert {one["login"] for one in rows} == {"ivan"}
    newest = (await admin.get("/audit", limit="1"))["items"][0]
    assert (newest["action"], newest["subject"]) == (audit.AUDIT_EXPORTED, {"account_id": ivan.id})
    none = await admin.ask("GET", "/audit.csv", query={"since": "2099-01-01T00:00:00Z", "account": "0"})
    assert none.body == b"id,at,login,name,action,subject\r\n"
    programs_acts = await admin.get("/audit", account="0")
    assert {one["login"] for one in programs_acts["items"]} <= {""}
    for query in ({"account": "-1"}, {"since": "yesterday"}, {"cursor": "x"}, {"action": "x" * 101}):
        assert (await admin.ask("GET", "/audit.csv", query=query, valid=False)).status == 400, query
    assert (await admin.ask("GET", "/audit.csv", query={"action": "\0nothing"})).status == 200


# --- What a CRM was not told ------------------------------------------------------------------------------------------


@pytest.fixture
async def given_up(store: Store, world: World) -> AsyncIterator[list[int]]:
    """Two deliveries that were given up."""
    async with store.begin() as connection:
        await connectors.switch_on(connection, [("sales", "amocrm", True)])
        await outbox.want(connection, [world.marias_call, world.camomiles_call], whatever_age=True)
        statement = update(delivery).values(state="failed", failure="Refused", problem=HOSTILE, remedy="Look.")
        found = list((await connection.execute(statement.returning(delivery.c.id))).scalars())
    yield sorted(found)
    async with store.begin() as connection:
        await connection.execute(delete(delivery))
        await connection.execute(delete(connector))


async def _states(store: Store) -> dict[int, str]:
    async with store.begin() as connection:
        return {row.id: row.state for row in await connection.execute(delivery.select())}


async def test_a_delivery_given_up_is_tried_again_or_left_untold(
    programs: dict[str, Program], admin: Program, store: Store, world: World, given_up: list[int]
) -> None:
    boss, (first, second) = programs["boss"], given_up
    assert (await boss.get("/crms/failed"))["total"] == 2
    assert (await boss.ask("POST", "/crms/failed/999999", {"answer": "again"})).status == 404
    assert (await boss.ask("POST", f"/crms/failed/{first}", {"answer": "moon"}, valid=False)).status == 422
    assert (await programs["anna"].ask("POST", f"/crms/failed/{first}", {"answer": "again"})).status == 403
    for number, answer in ((first, "again"), (second, "forget")):
        assert (await boss.ask("POST", f"/crms/failed/{number}", {"answer": answer})).status == 204
        assert (await boss.ask("POST", f"/crms/failed/{number}", {"answer": answer})).status == 404
    assert await _states(store) == {first: "waiting", second: "dropped"}
    assert (await boss.get("/crms/failed"))["total"] == 0
    assert (await boss.get("/crms"))["items"][0]["deliveries"]["dropped"] == 1
    assert (await boss.ask("POST", "/crms/retry", {"ids": [second]})).json == {"retried": 0}
    async with store.begin() as connection:
        await outbox.stir(connection, [world.marias_call, world.camomiles_call])
        await outbox.want(connection, [world.marias_call, world.camomiles_call])
    assert await _states(store) == {first: "waiting", second: "dropped"}, "whatever changes of it"
    assert {"delivery_id": second} in await _acts(admin, audit.DELIVERY_DROPPED)


async def test_what_was_left_untold_is_taken_back_all_the_same(
    admin: Program, store: Store, given_up: list[int]
) -> None:
    assert (await admin.ask("POST", f"/crms/failed/{given_up[0]}", {"answer": "forget"})).status == 204
    async with store.begin() as connection:
        query = delivery.select().where(delivery.c.id == given_up[0])
        before = (await connection.execute(query)).one()
        assert before.interaction_id is not None
        own = link.c.interaction_id == before.interaction_id
        await connection.execute(update(link).where(own).values(client_card_id=None, state="unknown"))
        await outbox.want(connection, [before.interaction_id])
        after = (await connection.execute(query)).one()
        assert (after.state, after.withdrawn) == ("waiting", True), "its call stands on no card any more"
        await connection.rollback()
