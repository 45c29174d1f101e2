"""What the tests of the API share: a company served, and programs with tokens whose every request and answer is held
against the specification."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from aiohttp import ClientSession
from openapi_core import Config, OpenAPI
from openapi_core.testing import MockRequest, MockResponse

from agent.store import accounts, tokens
from agent.store.engine import Store
from agent.web.api import spec
from agent.web.app import WebServer
from tests.web_world import Browser

EVERYTHING = ("read", "write", "listen", "calls:pause", "admin")


@cache
def contract() -> OpenAPI:
    """The specification, as openapi-core holds requests and answers against it."""
    json_types = ("application/problem+json", "application/merge-patch+json")
    config = Config(extra_media_type_deserializers=dict.fromkeys(json_types, json.loads))
    return OpenAPI.from_dict(dict(spec.load()), config=config)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class Program:
    """A program with a token (or without one). Whatever it sends and gets must be as the specification says."""

    def __init__(self, base: str, token: str = "") -> None:
        self.base = base
        self.token = token
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.http = ClientSession(base_url=base, headers=headers, auto_decompress=True)

    async def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        raw: bytes | None = None,
        valid: bool = True,
    ) -> Answer:
        """``valid`` False: the request itself breaks the contract, on purpose."""
        more = dict(headers or {})
        data = raw
        if body is not None:
            data = json.dumps(body).encode()
            more.setdefault("Content-Type", "application/json")
        address = f"/api/v1{path}" + (f"?{urlencode(query)}" if query else "")
        async with self.http.request(method, address, data=data, headers=more, allow_redirects=False) as got:
            answer = Answer(status=got.status, headers=got.headers, body=await got.read())
        asked, _, given = address.partition("?")
        request = MockRequest(
            self.base,
            method.lower(),
            asked,
            args=dict(query or parse_qsl(given)),
            headers={"Authorization": f"Bearer {self.token or 'none'}", **more},
            data=data,
            content_type=more.get("Content-Type", "application/json"),
        )
        if valid and answer.status < 400:
            contract().validate_request(request)
        if answer.status != 405 and not (answer.status == 404 and answer.json["detail"].startswith("Nothing matches")):
            self._check(request, answer, method)
        return answer

    @staticmethod
    def _check(request: MockRequest, answer: Answer, method: str) -> None:
        kind = answer.headers.get("Content-Type", "").partition(";")[0]
        if answer.status >= 400 and method != "HEAD":
            assert kind == "application/problem+json", (answer.status, answer.body[:200])
            told = answer.json
            assert told["status"] == answer.status
            assert told["instance"] == request.path
        if answer.body and "json" in kind:
            response = MockResponse(
                answer.body, status_code=answer.status, headers=dict(answer.headers), content_type=kind
            )
            contract().validate_response(request, response)

    async def get(self, path: str, **query: str) -> Any:
        """The JSON of an answer that must be 200."""
        answer = await self.ask("GET", path, query=query)
        assert answer.status == 200, (path, answer.status, answer.body[:300])
        return answer.json


async def make_token(store: Store, name: str, login: str = "", scopes: tuple[str, ...] = EVERYTHING) -> str:
    """A token of somebody's, or of nobody's."""
    async with store.begin() as connection:
        found = await accounts.find_account(connection, login) if login else None
        assert found is not None or not login
        return await tokens.insert_token(connection, name, scopes, account_id=found.id if found else None)


@pytest.fixture(scope="module")
async def programs(server: WebServer, store: Store) -> AsyncIterator[dict[str, Program]]:
    """A program for everybody, one with nobody's token, and one without any."""
    base = f"http://{server.address[0]}:{server.address[1]}"
    found = {}
    for login in ("admin", "boss", "anna", "ivan", "nobody"):
        found[login] = Program(base, await make_token(store, f"of {login}", login))
    found["crm"] = Program(base, await make_token(store, "of the CRM"))
    found["stranger"] = Program(base)
    yield found
    for one in found.values():
        await one.http.close()


@pytest.fixture(scope="module")
async def page_of_boss(server: WebServer) -> AsyncIterator[Browser]:
    """A browser in which a supervisor has logged in."""
    browser = Browser(server)
    assert await browser.log_in("boss") == 303
    yield browser
    await browser.close()
