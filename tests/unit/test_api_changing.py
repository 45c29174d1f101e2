"""The API, changing things: once each, only what was seen, only by whoever may, and noted."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from sqlalchemy import func, select

from agent.store import audit, cards
from agent.store.engine import Store
from agent.store.schema import api_reply, card_note, client_card
from tests.unit.api_lab import Program, programs
from tests.unit.web_pages import server, world
from tests.web_world import CAMOMILE, MARIA, STRANGER, World, phone

__all__ = ["programs", "server", "world"]


async def _acts(programs: dict[str, Program], action: str) -> list[dict[str, Any]]:
    return [one["subject"] for one in (await programs["admin"].get("/audit", action=action, limit="200"))["items"]]


# --- Cards ------------------------------------------------------------------------------------------------------------


async def test_a_card_is_made_read_and_changed(programs: dict[str, Program], world: World) -> None:
    made = await programs["anna"].ask(
        "POST", "/cards", {"name": "  Пётр \u0000 Орлов ", "contact": "8 (495) 000-00-77", "stage": "new"}
    )
    assert made.status == 201
    number = made.json["id"]
    assert made.headers["Location"] == f"/api/v1/cards/{number}"
    card = await programs["anna"].get(f"/cards/{number}")
    assert (card["name"], card["stage"], card["kind"]) == ("Пётр Орлов", "new", "person")
    assert card["responsible"]["name"] == "Анна Петрова", "a manager's own"
    assert [one["value"] for one in card["contact_points"]] == ["+74950000077"]
    changed = await programs["anna"].ask("PATCH", f"/cards/{number}", {"stage": "won"})
    assert (changed.status, changed.json["stage"], changed.json["name"]) == (200, "won", "Пётр Орлов")
    merged = {"Content-Type": "application/merge-patch+json"}
    changed = await programs["anna"].ask("PATCH", f"/cards/{number}", {"responsible_id": world.ivan}, headers=merged)
    assert changed.json["responsible"]["name"] == "Иван Сидоров"
    assert (await programs["anna"].ask("GET", f"/cards/{number}")).status == 404, "it is Ivan's now"
    stages = (await programs["ivan"].get(f"/cards/{number}/stages"))["items"]
    assert [(one["stage"], one["by"]) for one in stages] == [("won", "token of anna"), ("new", "token of anna")]
    assert {"card_id": number} in await _acts(programs, audit.CARD_CREATED)
    assert [one["before"] for one in await _acts(programs, audit.CARD_CHANGED) if one["card_id"] == number]


async def test_only_what_was_seen_is_changed(programs: dict[str, Program], world: World) -> None:
    path = f"/cards/{world.maria}"
    tag = (await programs["anna"].ask("GET", path)).headers["ETag"]
    first = await programs["anna"].ask("PATCH", path, {"stage": "a"}, headers={"If-Match": tag})
    assert first.status == 200
    weak = {"If-Match": f"W/{first.headers['ETag']}"}
    assert (await programs["boss"].ask("PATCH", path, {"stage": "b"}, headers=weak)).status == 412
    late = await programs["boss"].ask("PATCH", path, {"stage": "b"}, headers={"If-Match": tag})
    assert (late.status, late.json["type"]) == (412, "/api#changed")
    again = await programs["boss"].ask("PATCH", path, {"stage": ""}, headers={"If-Match": first.headers["ETag"]})
    assert (again.status, again.json["stage"]) == (200, "")
    assert again.headers["ETag"] == tag, "the same words have the same tag"


@pytest.mark.parametrize(
    ("body", "at"),
    [
        ({}, ""),
        ({"name": None}, ""),
        ({"name": " \u0000 "}, "/name"),
        ({"kind": "robot"}, "/kind"),
        ({"responsible_id": "1"}, "/responsible_id"),
        ({"responsible_id": True}, "/responsible_id"),
        ({"responsible_id": 999999}, "/responsible_id"),
        ({"company_id": 999999}, "/company_id"),
        ({"stage": "x" * 101}, "/stage"),
        ({"nmae": "x"}, "/nmae"),
        ([], ""),
        ("x", ""),
        (None, ""),
    ],
)
async def test_a_wrong_body_says_what_is_wrong(
    programs: dict[str, Program], world: World, body: object, at: str
) -> None:
    raw = json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    answer = await programs["boss"].ask("PATCH", f"/cards/{world.maria}", raw=raw, headers=headers, valid=False)
    assert answer.status == 422
    assert answer.json["errors"][0]["at"] == at


@pytest.mark.parametrize(
    ("raw", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b"", "application/json", 400),
        (b'{"name": NaN}', "application/json", 400),
        (b'{"name": "\xff"}', "application/json", 400),
        (b"[" * 100_000 + b"]" * 100_000, "application/json", 413),
        (b"[" * 30_000 + b"]" * 30_000, "application/json", 400),
        (b'{"responsible_id": ' + b"9" * 5000 + b"}", "application/json", 400),
        (b'{"responsible_id": 1e400}', "application/json", 422),
        (b"name=x", "application/x-www-form-urlencoded", 415),
        (b"{}", "text/plain", 415),
        (b'{"name": "' + b"x" * 70_000 + b'"}', "application/json", 413),
        (b'{"name": "\\ud800"}', "application/json", 422),
    ],
)
async def test_what_is_no_json_is_refused(
    programs: dict[str, Program], world: World, raw: bytes, kind: str, status: int
) -> None:
    answer = await programs["boss"].ask(
        "PATCH", f"/cards/{world.camomile}", raw=raw, headers={"Content-Type": kind}, valid=False
    )
    assert answer.status == status


async def test_contact_points_come_and_go(programs: dict[str, Program], world: World) -> None:
    path = f"/cards/{world.maria}/contact-points"
    made = await programs["anna"].ask("POST", path, {"value": "+7 495 000-00-78", "label": "дом"})
    assert made.status == 201
    again = await programs["anna"].ask("POST", path, {"value": "84950000078"})
    assert (again.status, again.json) == (200, made.json)
    assert (await programs["anna"].ask("POST", path, {"value": "не номер"})).status == 422
    (point,) = [one for one in (await programs["anna"].get(f"/cards/{world.maria}"))["contact_points"] if one["label"]]
    assert (point["id"], point["value"], point["label"]) == (made.json["id"], "+74950000078", "дом")
    foreign = f"/cards/{world.camomile}/contact-points/{point['id']}"
    assert (await programs["boss"].ask("DELETE", foreign)).status == 404, "of another card"
    assert (await programs["anna"].ask("DELETE", f"{path}/{point['id']}")).status == 204
    assert (await programs["anna"].ask("DELETE", f"{path}/{point['id']}")).status == 404


async def test_notes_are_taken_away_by_whoever_wrote_them(programs: dict[str, Program], world: World) -> None:
    path = f"/cards/{world.maria}/notes"
    annas = (await programs["anna"].ask("POST", path, {"text": "Перезвонить"})).json["id"]
    bosses = (await programs["boss"].ask("POST", path, {"text": "Проверить"})).json["id"]
    found = (await programs["anna"].get(path))["items"]
    assert [(one["text"], one["by"]) for one in found[:2]] == [
        ("Проверить", "token of boss"),
        ("Перезвонить", "token of anna"),
    ]
    assert (await programs["anna"].ask("DELETE", f"{path}/{bosses}")).status == 404
    for note in (annas, bosses):
        assert (await programs["boss"].ask("DELETE", f"{path}/{note}")).status == 204


async def test_cards_are_merged_parted_and_split(programs: dict[str, Program], world: World, store: Store) -> None:
    async with store.begin() as connection:
        twin = await cards.insert_card(connection, "Мария С.")
        await cards.insert_contact_point(connection, twin, phone("+74950000079"))
    merged = await programs["boss"].ask("POST", f"/cards/{world.maria}/merge", {"other_id": twin})
    assert merged.status == 201
    gone = await programs["boss"].ask("GET", f"/cards/{twin}")
    assert (gone.status, gone.headers["Location"]) == (410, f"/api/v1/cards/{world.maria}")
    assert gone.json["type"] == "/api#merged"
    again = await programs["boss"].ask("POST", f"/cards/{world.maria}/merge", {"other_id": twin})
    assert again.status in (404, 409)
    back = await programs["boss"].ask("POST", f"/merges/{merged.json['id']}/undo")
    assert (back.status, back.json["id"]) == (200, twin)
    assert (await programs["boss"].ask("POST", f"/merges/{merged.json['id']}/undo")).status == 409
    distinct = await programs["boss"].ask("POST", f"/cards/{world.maria}/distinct", {"other_id": twin})
    assert distinct.status == 204
    (point,) = (await programs["boss"].get(f"/cards/{twin}"))["contact_points"]
    split = await programs["boss"].ask(
        "POST", f"/cards/{twin}/split", {"contact_point_ids": [point["id"]], "name": "Другая Мария"}
    )
    assert split.status == 201
    (moved,) = (await programs["boss"].get(f"/cards/{split.json['id']}"))["contact_points"]
    assert moved["value"] == "+74950000079"
    assert (await programs["anna"].ask("POST", f"/cards/{world.maria}/merge", {"other_id": twin})).status == 403


# --- Once -------------------------------------------------------------------------------------------------------------


async def test_a_repeated_request_makes_nothing_twice(programs: dict[str, Program], store: Store, world: World) -> None:
    headers = {"Idempotency-Key": "note-1"}
    path, body = f"/cards/{world.maria}/notes", {"text": "Однажды"}
    first = await programs["anna"].ask("POST", path, body, headers=headers)
    second = await programs["anna"].ask("POST", path, body, headers=headers)
    assert (first.status, second.status, second.body) == (201, 201, first.body)
    assert "Idempotency-Replayed" not in first.headers
    assert second.headers["Idempotency-Replayed"] == "true"
    assert second.headers["Location"] == first.headers["Location"]
    other = await programs["anna"].ask("POST", path, {"text": "Другое"}, headers=headers)
    assert (other.status, other.json["type"]) == (422, "/api#idempotency-key")
    theirs = await programs["boss"].ask("POST", path, body, headers=headers)
    assert theirs.json["id"] != first.json["id"], "a key belongs to its token"
    async with store.begin() as connection:
        query = select(func.count()).where(card_note.c.client_card_id == world.maria, card_note.c.text == "Однажды")
        assert (await connection.execute(query)).scalar_one() == 2
        kept = (await connection.execute(select(api_reply.c.content, api_reply.c.location))).all()
        assert not any("Однажды" in str(one) for one in kept), "what was written is not kept twice"


async def test_of_many_at_once_one_does_it(programs: dict[str, Program], store: Store) -> None:
    headers = {"Idempotency-Key": "card-1"}
    answers = await asyncio.gather(
        *(programs["boss"].ask("POST", "/cards", {"name": "Один раз"}, headers=headers) for _ in range(8))
    )
    assert {one.status for one in answers} == {201}
    assert len({one.json["id"] for one in answers}) == 1
    async with store.begin() as connection:
        query = select(func.count()).where(client_card.c.name == "Один раз")
        assert (await connection.execute(query)).scalar_one() == 1


async def test_what_failed_may_be_tried_again_under_its_key(programs: dict[str, Program]) -> None:
    headers = {"Idempotency-Key": "card-2"}
    wrong = {"name": "Позже", "responsible_id": 999999}
    assert (await programs["boss"].ask("POST", "/cards", wrong, headers=headers)).status == 422
    assert (await programs["boss"].ask("POST", "/cards", {"name": "Позже"}, headers=headers)).status == 201
    for key in ("x" * 201, "я"):
        async with programs["boss"].http.post(
            "/api/v1/cards", json={"name": "x"}, headers={"Idempotency-Key": key}
        ) as answer:
            assert answer.status == 400


# --- Where things belong ----------------------------------------------------------------------------------------------


async def test_a_person_says_where_an_interaction_belongs(programs: dict[str, Program], world: World) -> None:
    path = f"/interactions/{world.marias_call}/card"
    put = await programs["boss"].ask("PUT", path, {"decision": "card", "card_id": world.camomile})
    (link,) = put.json["links"]
    assert (link["card"]["id"], link["by_person"]) == (world.camomile, True)
    taken = await programs["boss"].ask("PUT", path, {"decision": "ignore"})
    assert taken.json["links"][0]["state"] == "ignored"
    back = await programs["boss"].ask("PUT", path, {"decision": "rules"})
    assert (back.json["links"][0]["card"]["id"], back.json["links"][0]["by_person"]) == (world.maria, False)
    for body, status in (
        ({"decision": "card"}, 422),
        ({"decision": "card", "card_id": 999999}, 422),
        ({"decision": "ignore", "always": CAMOMILE}, 422),
        ({"decision": "rules", "always": MARIA}, 422),
    ):
        assert (await programs["boss"].ask("PUT", path, body, valid=False)).status == status, body
    foreign = await programs["anna"].ask("PUT", path, {"decision": "card", "card_id": world.camomile})
    assert foreign.status == 422, "a card that she does not see is none"


async def test_a_decision_holds_for_the_number_until_it_is_revoked(programs: dict[str, Program], world: World) -> None:
    path = f"/interactions/{world.marias_call}/card"
    body = {"decision": "card", "card_id": world.camomile, "always": MARIA}
    assert (await programs["boss"].ask("PUT", path, body)).json["links"][0]["rule_id"]
    (rule,) = [one for one in (await programs["boss"].get("/decisions"))["items"] if one["identity"]["value"] == MARIA]
    assert (rule["decision"], rule["card"]["id"]) == ("card", world.camomile)
    assert (await programs["boss"].ask("DELETE", f"/decisions/{rule['id']}")).status == 204
    assert (await programs["boss"].ask("DELETE", f"/decisions/{rule['id']}")).status == 404
    back = await programs["boss"].get(f"/interactions/{world.marias_call}")
    assert back["links"][0]["card"]["id"] == world.maria
    revoked = (await programs["boss"].get("/decisions", revoked="true"))["items"]
    assert rule["id"] in [one["id"] for one in revoked]


async def test_what_waits_is_sorted_by_whom_it_waits_for(programs: dict[str, Program], world: World) -> None:
    groups = (await programs["anna"].get("/unsorted"))["items"]
    (group,) = [one for one in groups if one["identity"] == {"kind": "phone", "value": STRANGER}]
    assert group["interaction_ids"] == [world.strangers_call]
    body = {"identity": group["identity"], "name": "Новый клиент"}
    assert (await programs["ivan"].ask("POST", "/unsorted/card", body)).status == 404
    made = await programs["anna"].ask("POST", "/unsorted/card", body)
    assert made.status == 201
    card = await programs["anna"].get(f"/cards/{made.json['id']}")
    assert [one["value"] for one in card["contact_points"]] == [STRANGER]
    point = {"identity": group["identity"], "card_id": world.maria}
    assert (await programs["anna"].ask("POST", "/unsorted/contact-point", point)).status == 204
    assert (await programs["anna"].ask("POST", "/unsorted/contact-point", {**point, "card_id": 999999})).status == 422
    decision = {"identity": group["identity"], "decision": "ignore"}
    assert (await programs["anna"].ask("POST", "/unsorted/decision", decision)).status == 201
    assert (await programs["anna"].ask("POST", "/unsorted/decision", decision)).status == 404, "it waits no more"


async def test_rules_and_policies_by_hand(programs: dict[str, Program], world: World) -> None:
    made = await programs["boss"].ask(
        "POST", "/decisions", {"value": "@supplier.example.com", "decision": "ignore", "note": "поставщик"}
    )
    assert made.status == 201
    found = (await programs["boss"].get("/decisions"))["items"]
    assert {"kind": "domain", "value": "supplier.example.com"} in [one["identity"] for one in found]
    body = {"line": "+7 495 000-00-01", "unknown": "create"}
    assert (await programs["boss"].ask("PUT", "/line-policies", body)).status == 403
    assert (await programs["admin"].ask("PUT", "/line-policies", body)).status == 204
    (policy,) = (await programs["boss"].get("/line-policies"))["items"]
    assert (policy["line"]["value"], policy["unknown"]) == ("+74950000001", "create")
    assert (await programs["admin"].ask("DELETE", f"/line-policies/{policy['id']}")).status == 204


# --- People -----------------------------------------------------------------------------------------------------------


async def test_employees_and_what_is_theirs(programs: dict[str, Program]) -> None:
    admin = programs["admin"]
    made = await admin.ask("POST", "/employees", {"name": "Новый Сотрудник"})
    number = made.json["id"]
    day = "2026-11-01T00:00:00+03:00"
    held = await admin.ask("POST", f"/employees/{number}/identities", {"value": "301", "valid_from": day})
    assert held.status == 201
    assert (await admin.ask("PATCH", f"/employees/{number}", {"name": "Другое Имя"})).status == 204
    (told,) = [one for one in (await admin.get("/employees"))["items"] if one["id"] == number]
    assert told["name"] == "Другое Имя"
    assert told["identities"][0]["identity"] == {"kind": "extension", "value": "301"}
    identity = f"/identities/{held.json['id']}"
    early = await admin.ask("PATCH", identity, {"valid_to": "2026-10-01T00:00:00Z"})
    assert (early.status, early.json["errors"][0]["at"]) == (422, "/valid_to")
    assert (await admin.ask("PATCH", identity, {"valid_to": "2026-11-20T00:00:00Z"})).status == 204
    assert (await admin.ask("PUT", "/extensions/301", {"holder": "new", "name": "Третий"})).status == 204
    taken = await admin.ask("PUT", "/extensions/301", {"holder": "nobody", "name": "факс"})
    assert taken.status == 409
    shared = await admin.ask("PUT", "/extensions/309", {"holder": "nobody", "name": "факс"})
    assert shared.status == 204
    nobodys = (await admin.get("/extensions"))["nobodys"]
    assert [(one["identity"]["value"], one["label"]) for one in nobodys] == [("309", "факс")]
    assert (await admin.ask("DELETE", identity)).status == 204
    assert (await admin.ask("DELETE", identity)).status == 404
    for path, body in (("/employees/999999", {"name": "X"}), ("/identities/999999", {"valid_to": day})):
        assert (await admin.ask("PATCH", path, body)).status == 404


async def test_what_a_crm_was_not_told_is_tried_again(programs: dict[str, Program]) -> None:
    answer = await programs["boss"].ask("POST", "/crms/retry", {"ids": [1, 2]})
    assert (answer.status, answer.json) == (200, {"retried": 0})
    assert (await programs["boss"].ask("POST", "/crms/retry", {})).status == 200


async def test_the_audit_log_is_paged_and_filtered(programs: dict[str, Program]) -> None:
    page = await programs["admin"].get("/audit", limit="2")
    assert len(page["items"]) == 2
    following = await programs["admin"].ask("GET", page["next"].removeprefix("/api/v1"))
    ids = [one["id"] for one in (*page["items"], *following.json["items"])]
    assert ids == sorted(ids, reverse=True)
    assert len(set(ids)) == len(ids)
    later = await programs["admin"].get("/audit", since="2099-01-01T00:00:00Z")
    assert later["items"] == []


# --- Tasks, comments, corrections -------------------------------------------------------------------------------------


async def test_tasks_are_noted_changed_and_done(programs: dict[str, Program], world: World) -> None:
    body = {"text": "Отправить счёт", "due": "2026-12-01", "interaction_id": world.marias_call}
    made = await programs["anna"].ask("POST", f"/cards/{world.maria}/tasks", body)
    assert made.status == 201
    (task,) = [one for one in (await programs["anna"].get("/tasks"))["items"] if one["id"] == made.json["id"]]
    assert (task["text"], task["due"], task["card_name"]) == ("Отправить счёт", "2026-12-01", "Мария Смирнова")
    path = f"/tasks/{task['id']}"
    assert (await programs["ivan"].ask("PATCH", path, {"done": True})).status == 404
    assert (await programs["anna"].ask("PATCH", path, {"due": None, "employee_id": world.ivan})).status == 204
    (told,) = (await programs["ivan"].get("/tasks"))["items"]
    assert (told["due"], told["employee"]["name"], told["card_name"]) == (None, "Иван Сидоров", "")
    assert (await programs["ivan"].ask("PATCH", path, {"done": True})).status == 204
    assert [one["id"] for one in (await programs["anna"].get("/tasks", list="done"))["items"]] == [task["id"]]
    assert (await programs["anna"].ask("PATCH", path, {"done": False})).status == 204
    card = (await programs["anna"].get(f"/cards/{world.maria}/tasks"))["items"]
    assert [one["id"] for one in card] == [task["id"]]
    for wrong in ({"text": "x", "due": "завтра"}, {"text": "x", "interaction_id": world.camomiles_call}, {"text": " "}):
        answer = await programs["anna"].ask("POST", f"/cards/{world.maria}/tasks", wrong, valid=False)
        assert answer.status == 422, wrong


async def test_comments_are_somebodys(programs: dict[str, Program], world: World) -> None:
    path = f"/interactions/{world.marias_call}/comments"
    body = {"text": "Хорошо", "recording_id": world.marias_recording, "second": 12.5}
    made = await programs["boss"].ask("POST", path, body)
    assert made.status == 201
    (told,) = (await programs["anna"].get(path))["items"]
    assert (told["second"], told["by"], told["text"]) == (12.5, "Пётр Босс", "Хорошо")
    assert (await programs["crm"].ask("POST", path, {"text": "x"})).status == 403, "nobody's token"
    half = await programs["boss"].ask("POST", path, {"text": "x", "second": 1}, valid=False)
    assert half.status == 422
    foreign = {**body, "recording_id": world.camomiles_recording}
    assert (await programs["boss"].ask("POST", path, foreign)).status == 422
    comment = f"/comments/{made.json['id']}"
    assert (await programs["anna"].ask("DELETE", comment)).status == 403
    assert (await programs["ivan"].ask("DELETE", comment)).status == 404
    assert (await programs["boss"].ask("DELETE", comment)).status == 204
    assert (await programs["boss"].ask("DELETE", comment)).status == 404


async def test_what_was_understood_is_put_right(programs: dict[str, Program], world: World) -> None:
    path = f"/interactions/{world.marias_call}/transcripts"
    line = (await programs["anna"].get(path))["items"][0]["utterances"][0]
    utterance = f"/utterances/{line['id']}"
    assert (await programs["ivan"].ask("PUT", utterance, {"text": "x"})).status == 404
    assert (await programs["anna"].ask("PUT", utterance, {"text": "Здравствуйте!"})).status == 204
    told = (await programs["anna"].get(path))["items"][0]["utterances"][0]
    assert (told["text"], told["corrected_by"]) == ("Здравствуйте!", "token of anna")
    assert (await programs["anna"].ask("PUT", utterance, {"text": "Да, 4111 1111 1111 1111"})).status == 204
    assert (await programs["anna"].get(path))["items"][0]["utterances"][0]["text"] == "Да, ••••"
    assert (await programs["anna"].ask("DELETE", utterance)).status == 204
    assert (await programs["anna"].get(path))["items"][0]["utterances"][0]["text"] == line["text"]
