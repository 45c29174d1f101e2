"""The API, lists of cards handed over, looked at and taken in; all cards handed out; searches that people keep."""

from __future__ import annotations

import csv
import io
from typing import Any

from agent.store import audit
from agent.store.engine import Store
from linker.csvcards import LARGEST
from linker.importing import CardImporter
from tests.unit.api_lab import Program, programs
from tests.unit.web_pages import server, world
from tests.web_world import Builder, World, settings_for

__all__ = ["programs", "server", "world"]

LIST = "Имя;Телефон\nОлег Новый;+7 495 000-00-81\nМария Смирнова;+7 495 000-00-11\n".encode("cp1251")
RAW = {"Content-Type": "application/octet-stream"}


async def _acts(programs: dict[str, Program], action: str) -> list[dict[str, Any]]:
    return [one["subject"] for one in (await programs["admin"].get("/audit", action=action, limit="200"))["items"]]


async def test_a_list_is_looked_at_and_taken_in(
    programs: dict[str, Program], world: World, store: Store, tmp_path: Any
) -> None:
    boss = programs["boss"]
    made = await boss.ask("POST", "/imports", query={"name": "clients.csv"}, raw=LIST, headers=RAW)
    assert made.status == 201
    path = f"/imports/{made.json['id']}"
    told = await boss.get(path)
    assert (told["name"], told["state"], told["plan"]["encoding"]) == ("clients.csv", "waiting", "cp1251")
    assert told["plan"]["columns"] == ["first_name", "phone"]
    assert (told["foreseen"]["rows"], told["foreseen"]["new"]) == (2, 1)
    assert [one["outcome"] for one in told["foreseen"]["first"]] == ["new", "filled"]
    assert (told["foreseen"]["first"][1]["card"] or {})["id"] == world.maria
    plan = {**told["plan"], "columns": ["name", "phone"]}
    assert (await boss.ask("PUT", f"{path}/plan", plan)).status == 204
    for wrong in ({"encoding": "ebcdic"}, {"separator": "x"}, {"columns": ["moon"]}):
        assert (await boss.ask("PUT", f"{path}/plan", {**plan, **wrong}, valid=False)).status == 422, wrong
    assert (await boss.get(path))["plan"]["columns"] == ["name", "phone"]
    key = {"Idempotency-Key": "apply"}
    assert (await boss.ask("POST", f"{path}/apply", headers=key)).status == 202
    assert (await boss.ask("POST", f"{path}/apply", headers=key)).status == 202, "once, however often it is asked"
    assert (await boss.ask("POST", f"{path}/apply")).status == 409
    assert (await boss.ask("PUT", f"{path}/plan", plan)).status == 409
    builder = Builder(store, None, None, settings_for(tmp_path))  # type: ignore[arg-type]
    await CardImporter(store, builder.linker).take_in(made.json["id"])
    done = await boss.get(path)
    assert (done["state"], done["report"]["new"]) == ("done", 1)
    assert [one["name"] for one in (await boss.get("/cards", q="000-00-81"))["items"]] == ["Олег Новый"]
    assert {"import_id": made.json["id"], "name": "clients.csv"} in await _acts(programs, audit.CARDS_IMPORTED)
    for method, tail, body in (("GET", "", None), ("PUT", "/plan", plan), ("POST", "/apply", None)):
        assert (await boss.ask(method, f"/imports/999999{tail}", body)).status == 404, method


async def test_what_is_no_list_is_refused(programs: dict[str, Program]) -> None:
    for raw, status in ((b"", 422), (b"\0\1\2\xff" * 100, 422), (b"x" * (LARGEST + 1), 413)):
        answer = await programs["boss"].ask("POST", "/imports", raw=raw, headers=RAW, valid=False)
        assert answer.status == status
    assert (await programs["boss"].ask("POST", "/imports", raw=b"a;b\n" * 30_000, headers=RAW)).status == 201, "120 kB"


async def test_all_cards_are_handed_out(programs: dict[str, Program], world: World) -> None:
    answer = await programs["boss"].ask("GET", "/cards.csv")
    assert answer.status == 200
    rows = list(csv.reader(io.StringIO(answer.body.decode("utf-8-sig")), delimiter=";"))
    assert str(world.maria) in [row[0] for row in rows]
    assert await _acts(programs, audit.CARDS_EXPORTED)


async def test_searches_are_ones_own(programs: dict[str, Program]) -> None:
    anna = programs["anna"]
    made = await anna.ask("POST", "/searches", {"name": "Счета", "query": "q=счёт&kind=mail&moon=full"})
    assert made.status == 201
    (told,) = (await anna.get("/searches"))["items"]
    assert (told["id"], told["name"], "moon" in told["query"]) == (made.json["id"], "Счета", False)
    again = await anna.ask("POST", "/searches", {"name": "Счета", "query": "q=акт"})
    assert again.json == made.json, "instead of that one"
    assert (await programs["ivan"].get("/searches"))["items"] == []
    path = f"/searches/{made.json['id']}"
    assert (await programs["ivan"].ask("DELETE", path)).status == 404
    assert (await anna.ask("POST", "/searches", {"name": "x", "query": "moon=full"})).status == 422
    assert (await programs["crm"].ask("POST", "/searches", {"name": "x", "query": "q=x"})).status == 403
    assert (await anna.ask("DELETE", path)).status == 204
    assert (await anna.ask("DELETE", path)).status == 404
