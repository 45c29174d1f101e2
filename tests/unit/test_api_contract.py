"""The API's contract: the table of routes, the specification and the table written by hand are one; who is not in it
is refused on every call, with every sort of token, and nobody reaches what is somebody else's."""

from __future__ import annotations

import json
import re

import pytest
from openapi_spec_validator import validate

from agent.store.engine import Store
from agent.web.api import docs, spec
from agent.web.app import WebServer
from agent.web.problems import kind_of
from agent.web.routes import TABLE
from tests.unit.api_lab import Program, make_token, programs
from tests.unit.api_roles import API, WHOLE, A, M, S
from tests.unit.test_web_access import plain
from tests.unit.web_pages import people, server, world
from tests.web_world import Browser, World

__all__ = ["people", "programs", "server", "world"]


def test_the_specification_is_one() -> None:
    validate(spec.load())
    ids = [one.id for one in spec.operations()]
    assert len(set(ids)) == len(ids)


def test_routes_specification_and_the_table_written_here_agree() -> None:
    routes = {
        (one.method, plain(one.path)): (set(one.roles or ()), one.scope)
        for one in TABLE
        if one.path.startswith("/api/v1/")
    }
    assert routes == API
    told = {(one.method, one.path): ({str(role) for role in one.roles}, one.scope) for one in spec.operations()}
    assert told == {key: ({role.value for role in roles}, scope) for key, (roles, scope) in API.items()}
    assert {plain(one.path) for one in TABLE if one.path.startswith("/api/v1/") and one.whole} == WHOLE
    assert {one.path for one in spec.operations() if one.whole} == WHOLE


def test_every_operation_says_what_can_go_wrong() -> None:
    for path, item in spec.load()["paths"].items():
        for method in spec.METHODS:
            if method in item:
                assert item[method]["responses"]["default"] == {"$ref": "#/components/responses/Problem"}, path
                assert {"token", "session"} == {name for one in item[method]["security"] for name in one}, path


def test_examples_use_reserved_numbers_and_names() -> None:
    text = spec.raw().decode()
    assert set(re.findall(r"\+7[ 0-9-]{10,}", text)) <= {
        number for number in re.findall(r"\+7[ 0-9-]{10,}", text) if number.replace(" ", "").startswith("+7495000")
    }
    assert re.findall(r"@[a-z.-]+", text) != []
    assert all(one.endswith("example.com") for one in re.findall(r"@([a-z.-]+\.[a-z]+)", text))


def _target(path: str) -> str:
    return re.sub(r"\{[a-z]+\}", "999999", path).replace("/extensions/999999", "/extensions/999")


async def test_every_call_refuses_whoever_is_not_in_its_roles(
    programs: dict[str, Program], people: dict[str, Browser]
) -> None:
    for (method, path), (roles, _) in API.items():
        if path.endswith("/events"):
            continue
        for name, role in (("admin", A), ("boss", S), ("anna", M), ("stranger", None)):
            headers = {"X-CSRF-Token": await people[name].token(), "Content-Type": "application/json"} if role else {}
            for http in (programs[name].http, people[name].http):
                async with http.request(method, _target(path), data=b"[]", headers=headers) as answer:
                    what = f"{method} {path} as {name}: {answer.status}"
                    if role is None:
                        assert answer.status == 401, what
                    elif role in roles:
                        assert answer.status in (200, 201, 202, 400, 404, 422), what
                    else:
                        assert answer.status == 403, what


async def test_every_call_wants_its_scope(server: WebServer, store: Store) -> None:
    base = f"http://{server.address[0]}:{server.address[1]}"
    scopes = ("read", "write", "listen", "calls:pause", "admin")
    for scope in scopes:
        others = tuple(one for one in scopes if one != scope)
        lacking = Program(base, await make_token(store, f"all but {scope}", "admin", others))
        try:
            for (method, path), (_, wanted) in API.items():
                if wanted == scope:
                    async with lacking.http.request(method, _target(path), json={}) as answer:
                        assert answer.status == 403, f"{method} {path} without {scope}"
        finally:
            await lacking.http.close()


async def test_a_form_of_another_site_changes_nothing(people: dict[str, Browser]) -> None:
    for (method, path), _ in API.items():
        if method not in ("GET", "HEAD"):
            for headers in ({}, {"X-CSRF-Token": "wrong"}):
                async with people["admin"].http.request(method, _target(path), json={}, headers=headers) as answer:
                    assert answer.status == 403, f"{method} {path}"


async def test_foreign_ids_do_not_exist(programs: dict[str, Program], world: World) -> None:
    """Whatever is Ivan's, asked for by Anna, call by call; and the other way round."""
    ivans = {
        "cards": world.camomile,
        "interactions": world.camomiles_mail,
        "recordings": world.camomiles_recording,
        "attachments": world.camomiles_attachment,
        "evidence": world.camomiles_evidence,
        "calls": world.camomiles_call,
    }
    bodies: dict[str, object] = {
        "card": {"decision": "ignore"},
        "meeting": {"said": "held"},
        "contact-points": {"value": "+7 495 000-00-44"},
        "notes": {"text": "x"},
        "tasks": {"text": "x"},
        "comments": {"text": "x"},
        "not-client": {"card_id": world.camomile},
        "{proposal}": {"answer": "take"},
        "{id}": {"name": "X"},
    }
    tried = 0
    for (method, path), (roles, _) in API.items():
        noun = path.split("/")[3]
        if "{id}" not in path or noun not in ivans or M not in roles:
            continue
        target = path.replace("{id}", str(ivans[noun])).replace("{point}", "1").replace("{note}", "1")
        target = target.replace("{proposal}", "1")
        body = bodies.get(path.rpartition("/")[2])
        async with programs["anna"].http.request(method, target, json=body) as answer:
            assert answer.status == 404, f"{method} {target}: {answer.status}"
            assert (await answer.read() == b"") is (method == "HEAD")
        tried += 1
    assert tried > 15


@pytest.mark.parametrize("header", ["Basic YWRtaW46eA==", "Bearer", "Bearer ", "Bearer x", "Bearer " + "x" * 5000])
async def test_wrong_tokens_are_told_alike(programs: dict[str, Program], header: str) -> None:
    async with programs["stranger"].http.get("/api/v1/me", headers={"Authorization": header}) as answer:
        assert answer.status == 401
        assert (await answer.json(content_type=None))["type"] == "/api#unauthorized"


# --- The page that is built from it -----------------------------------------------------------------------------------


async def test_the_page_shows_every_call_in_both_languages(people: dict[str, Browser]) -> None:
    for language in ("ru", "en"):
        headers = {"Cookie": f"cardline_language={language}"}
        cookies = "; ".join(f"{one.key}={one.value}" for one in people["anna"].http.cookie_jar)
        headers["Cookie"] += f"; {cookies}"
        async with people["anna"].http.get("/api", headers=headers) as answer:
            assert answer.status == 200
            text = await answer.text()
        for one in spec.operations():
            assert f'id="{one.id}"' in text
            assert one.path in text
        for kind in (*docs.KINDS, kind_of(429), kind_of(404)):
            assert f'id="{kind}"' in text, "the type of every problem leads here"
        assert "$ref" not in text


async def test_the_page_is_for_whoever_is_logged_in(people: dict[str, Browser]) -> None:
    status, _ = await people["stranger"].get("/api")
    assert status == 303


def test_the_json_is_the_yaml() -> None:
    assert json.loads(spec.as_json())["paths"].keys() == spec.load()["paths"].keys()
