"""The API, saying what a person says by a click: not this client's, private, one call or two, read it again."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text, update

from agent.archive.blobs import Archive
from agent.intake import Intake
from agent.store import audit, connectors, mirror
from agent.store.engine import Store
from agent.store.mirror import UserRow
from agent.store.schema import evidence
from agent.web.app import WebServer
from agent.web.services import SERVICES
from tests.unit.api_lab import Program, make_token, programs
from tests.unit.web_pages import server, world
from tests.web_world import MARIA, NOW, Builder, World, settings_for

__all__ = ["programs", "server", "world"]


async def _acts(programs: dict[str, Program], action: str) -> list[dict[str, Any]]:
    return [one["subject"] for one in (await programs["admin"].get("/audit", action=action, limit="200"))["items"]]


@pytest.fixture
async def builder(store: Store, archive: Archive, intake: Intake, tmp_path_factory: pytest.TempPathFactory) -> Builder:
    return Builder(store, archive, intake, settings_for(tmp_path_factory.getbasetemp()))


# --- Not this client's ------------------------------------------------------------------------------------------------


async def test_a_call_leaves_the_card_and_waits(programs: dict[str, Program], world: World, builder: Builder) -> None:
    number = await builder.call(MARIA, "101", NOW - timedelta(hours=5))
    path = f"/interactions/{number}"
    cards = (await programs["anna"].get(path))["links"]
    assert [one["card"]["id"] for one in cards] == [world.maria]
    wrong = await programs["anna"].ask("POST", f"{path}/not-client", {"card_id": world.camomile})
    assert wrong.status == 404, "a card that is not hers to see"
    assert (await programs["boss"].ask("POST", f"{path}/not-client", {"card_id": world.camomile})).status == 404
    assert (await programs["anna"].ask("POST", f"{path}/not-client", {"card_id": world.maria})).status == 204
    assert [one["card"] for one in (await programs["anna"].get(path))["links"]] == [None]
    assert {"interaction_id": number, "card_id": world.maria} in await _acts(programs, audit.ENTRY_TAKEN_OFF)
    assert (await programs["anna"].ask("POST", f"{path}/not-client", {"card_id": world.maria})).status == 404


# --- Private ----------------------------------------------------------------------------------------------------------


async def test_what_is_private_is_its_owners_to_take_back(
    programs: dict[str, Program], store: Store, builder: Builder, server: WebServer
) -> None:
    number = await builder.call(MARIA, "101", NOW - timedelta(hours=6))
    path = f"/interactions/{number}"
    for other in ("boss", "admin", "ivan"):
        assert (await programs[other].ask("PUT", f"{path}/private")).status == 404, other
    assert (await programs["crm"].ask("PUT", f"{path}/private")).status == 403, "nobody's token"
    assert (await programs["anna"].ask("PUT", f"{path}/private")).status == 204
    for other in ("boss", "admin", "crm", "anna"):
        assert (await programs[other].ask("GET", path)).status == 404, other
    (told,) = [one for one in (await programs["anna"].get("/private"))["items"] if one["id"] == number]
    assert told["kind"] == "call"
    assert (await programs["admin"].get("/private"))["items"] == []
    assert (await programs["admin"].ask("DELETE", f"{path}/private")).status == 404
    second = Program(programs["anna"].base, await make_token(store, "anna's second", "anna"))
    try:
        assert (await second.ask("DELETE", f"{path}/private")).status == 204, "hers, by whichever token"
    finally:
        await second.http.close()
    assert (await programs["boss"].ask("GET", path)).status == 200
    assert {"interaction_id": number} in await _acts(programs, audit.ENTRY_MADE_PRIVATE)
    assert {"interaction_id": number} in await _acts(programs, audit.ENTRY_MADE_PUBLIC)
    assert (await programs["anna"].ask("DELETE", f"{path}/private")).status == 404


# --- What waits -------------------------------------------------------------------------------------------------------


async def test_two_calls_are_kept_apart(programs: dict[str, Program], world: World, builder: Builder) -> None:
    first = await builder.call(MARIA, "101", NOW - timedelta(hours=7))
    flag = f"may be the same call as No. {first} (siprec): the numbers agree, the times do not"
    second = await builder.call(MARIA, "101", NOW - timedelta(hours=7), flags=(flag,))
    pair = {"first_id": first, "second_id": second}
    found = (await programs["boss"].get("/unsorted/near"))["items"]
    assert [{name: one[name] for name in pair} for one in found] == [pair]
    missing = {**pair, "second_id": 999999, "answer": "two"}
    assert (await programs["boss"].ask("POST", "/unsorted/near", missing)).status == 404
    assert (await programs["boss"].ask("POST", "/unsorted/near", {**pair, "answer": "two"})).status == 204
    assert (await programs["boss"].get("/unsorted/near"))["items"] == []
    assert {"interaction_id": first, "other": second} in await _acts(programs, audit.CALLS_KEPT_APART)
    assert (await programs["anna"].ask("GET", "/unsorted/near")).status == 403


async def test_what_could_not_be_read_is_set_aside_or_read_again(
    programs: dict[str, Program], store: Store, world: World
) -> None:
    path = f"/unreadable/{world.unreadable_evidence}"
    assert (await programs["boss"].ask("POST", "/unreadable/999999", {"answer": "aside"})).status == 404
    assert (await programs["boss"].ask("POST", path, {"answer": "aside"})).status == 204
    assert (await programs["boss"].ask("POST", path, {"answer": "again"})).status == 204
    assert (await programs["boss"].ask("POST", path, {"answer": "again"})).status == 404, "it waits no more"
    async with store.begin() as connection:
        statement = update(evidence).where(evidence.c.id == world.unreadable_evidence)
        await connection.execute(statement.values(state="unreadable"))


async def test_work_given_up_is_done_again_or_forgotten(programs: dict[str, Program], store: Store) -> None:
    made = text(
        "INSERT INTO procrastinate_jobs (queue_name, task_name, status, attempts) "
        "VALUES ('link', 'link', 'failed', 8) RETURNING id"
    )
    async with store.begin() as connection:
        ids = [(await connection.execute(made)).scalar_one() for _ in range(2)]
    admin = programs["admin"]
    told = (await admin.get("/jobs/failed"))["items"]
    assert [one["id"] for one in told] == sorted(ids, reverse=True)
    for number, answer in zip(ids, ("again", "forget"), strict=True):
        assert (await admin.ask("POST", f"/jobs/failed/{number}", {"answer": answer})).status == 204
        assert (await admin.ask("POST", f"/jobs/failed/{number}", {"answer": answer})).status == 404
    assert (await admin.get("/jobs/failed"))["items"] == []
    assert {"job_id": ids[1], "answer": "forget"} in await _acts(programs, audit.JOB_RETRIED)


# --- CRM users --------------------------------------------------------------------------------------------------------


async def test_users_of_a_crm_are_given_to_employees(programs: dict[str, Program], store: Store, world: World) -> None:
    async with store.begin() as connection:
        await connectors.switch_on(connection, [("sales", "amocrm", True)])
        (one,) = await connectors.list_connectors(connection)
        user = UserRow(external_id="42", name="Vera", address="vera@example.com", extension="")
        await mirror.save_users(connection, one.id, [user])
    path = f"/crms/{one.id}/users"
    body = {"user": "42", "employee_id": world.ivan}
    assert (await programs["boss"].ask("PUT", path, body)).status == 403
    assert (await programs["admin"].ask("PUT", path, {**body, "user": "43"})).status == 404
    assert (await programs["admin"].ask("PUT", path, {**body, "employee_id": 999999})).status == 404
    assert (await programs["admin"].ask("PUT", path, body)).status == 204
    (told,) = (await programs["boss"].get(path))["items"]
    assert (told["user"], told["employee_id"], told["mapped_by"]) == ("42", world.ivan, "token of admin")
    assert (await programs["boss"].ask("GET", "/crms/999999/users")).status == 404
    assert await _acts(programs, audit.CRM_USER_MAPPED)


# --- Transcripts ------------------------------------------------------------------------------------------------------


async def test_a_recording_is_transcribed_once_more(
    programs: dict[str, Program], store: Store, world: World, server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"/recordings/{world.marias_recording}/transcribe"
    found = server._runner.app[SERVICES]
    for on, status in ((False, 409), (True, 202)):
        changed = found.settings.model_copy(
            update={"transcribe": found.settings.transcribe.model_copy(update={"enabled": on})}
        )
        switched = replace(found, settings=changed)
        monkeypatch.setattr("agent.web.transcripts.services", lambda _, it=switched: it)
        assert (await programs["boss"].ask("POST", path, headers={"Idempotency-Key": f"{on}"})).status == status
    again = await programs["boss"].ask("POST", path, headers={"Idempotency-Key": "True"})
    assert (again.status, again.json) == (202, {"interaction_id": world.marias_call})
    query = text("SELECT args FROM procrastinate_jobs WHERE task_name = 'transcribe' AND args ->> 'round' = '1'")
    async with store.begin() as connection:
        asked = [row.args["recording_id"] for row in await connection.execute(query)]
    assert asked == [world.marias_recording]
    assert (await programs["anna"].ask("POST", path)).status == 403
    assert (await programs["boss"].ask("POST", "/recordings/999999/transcribe")).status == 404


async def test_a_transcript_is_chosen(programs: dict[str, Program], world: World) -> None:
    told = (await programs["boss"].get(f"/interactions/{world.marias_call}/transcripts"))["items"][0]
    assert (await programs["boss"].ask("PUT", f"/transcripts/{told['id']}/shown")).status == 204
    assert (await programs["boss"].ask("PUT", "/transcripts/999999/shown")).status == 404
    assert await _acts(programs, audit.TRANSCRIPT_CHOSEN)
    assert (await programs["anna"].get(f"/interactions/{world.marias_call}/carried-corrections"))["items"] == []
    foreign = await programs["anna"].ask("GET", f"/interactions/{world.camomiles_call}/carried-corrections")
    assert foreign.status == 404
    assert (await programs["anna"].ask("POST", "/carried-corrections/999999", {"take": True})).status == 404
