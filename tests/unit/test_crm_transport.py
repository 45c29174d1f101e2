"""HTTP towards a CRM against a server that misbehaves: every answer ends in one of the errors of the Protocol."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from linker.crm.protocol import CrmAuthFailed, CrmLimit, CrmRightsMissing, CrmUnreachable
from linker.crm.transport import Pace, Transport, judge_access, retry_after
from tests.certificates import Authority


async def _never(request: web.Request) -> web.Response:
    await asyncio.Event().wait()
    raise AssertionError


async def _cut(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse(headers={"Content-Length": "1000"})
    await answer.prepare(request)
    await answer.write(b"half")
    assert request.transport is not None
    request.transport.abort()
    return answer


async def _endless(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse()
    await answer.prepare(request)
    for _ in range(40):
        await answer.write(bytes(1024 * 1024))
    return answer


@pytest.fixture
async def transport() -> AsyncIterator[Transport]:
    app = web.Application()
    answers: dict[str, Any] = {
        "/crm/html": lambda _: web.Response(text="<h1>It works</h1>"),
        "/crm/busy": lambda _: web.Response(status=429, headers={"Retry-After": "7"}),
        "/crm/broken": lambda _: web.Response(status=502),
        "/crm/moved": lambda _: web.Response(status=302, headers={"Location": "/crm/json"}),
        "/crm/json": lambda _: web.json_response({"a": 1}),
    }

    def wrap(make: Any) -> Any:
        async def handle(request: web.Request) -> web.Response:
            made: web.Response = make(request)
            return made

        return handle

    for path, make in answers.items():
        app.router.add_get(path, wrap(make))
    for path, handler in (("/crm/never", _never), ("/crm/cut", _cut), ("/crm/endless", _endless)):
        app.router.add_get(path, handler)
    server = TestServer(app)
    await server.start_server()
    made = Transport(str(server.make_url("/crm")), within=5)
    yield made
    await made.close()
    await server.close()


async def test_what_is_well_is_given_and_redirects_are_not_followed(transport: Transport) -> None:
    assert (await transport.ask("GET", "json")).json() == {"a": 1}
    assert (await transport.ask("GET", "moved")).status == 302
    with pytest.raises(CrmUnreachable):
        (await transport.ask("GET", "html")).json()


@pytest.mark.parametrize("path", ["broken", "cut", "endless"])
async def test_what_is_broken_is_tried_again_later(transport: Transport, path: str) -> None:
    with pytest.raises(CrmUnreachable):
        await transport.ask("GET", path)


async def test_an_answer_that_never_comes(transport: Transport) -> None:
    with pytest.raises(CrmUnreachable, match="in time"):
        await transport.ask("GET", "never", within=0.2)


async def test_a_limit_says_how_long(transport: Transport) -> None:
    with pytest.raises(CrmLimit) as limit:
        await transport.ask("GET", "busy")
    assert limit.value.retry_after == 7


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Retry-After": "30"}, 30.0),
        ({"Retry-After": "99999999"}, 86400.0),
        ({"Retry-After": "Sun, 06 Nov 1994 08:49:37 GMT"}, 0.0),
        ({"Retry-After": "Sun, 06 Nov 1994 08:49:37 GMT", "Date": "Sun, 06 Nov 1994 08:48:37 GMT"}, 60.0),
        ({"Retry-After": "Tue, 08 Nov 1994 08:49:37 GMT", "Date": "Sun, 06 Nov 1994 08:48:37 GMT"}, 86400.0),
        ({"Retry-After": "٣"}, None),
        ({"Retry-After": "9" * 5000}, 86400.0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "-5"}, None),
        ({}, None),
    ],
)
def test_retry_after(headers: Mapping[str, str], expected: float | None) -> None:
    assert retry_after(headers) == expected


def test_access() -> None:
    judge_access(200, "read")
    with pytest.raises(CrmAuthFailed):
        judge_access(401, "read")
    with pytest.raises(CrmRightsMissing, match="read cards"):
        judge_access(403, "read cards")


async def test_pace_spreads_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr("linker.crm.transport.asyncio.sleep", sleep)
    monkeypatch.setattr("linker.crm.transport.monotonic", lambda: 100.0)
    pace = Pace(2, burst=3)
    for _ in range(5):
        await pace.turn()
    assert slept == [0.5, 1.0]


async def test_why_nobody_answers_is_said_as_an_administrator_knows_it() -> None:
    server = TestServer(web.Application())
    await server.start_server()
    closed = server.make_url("/")
    await server.close()
    for base, words in (
        (str(closed), "Connection refused"),
        (f"https://127.0.0.1:{closed.port}", "Connection refused"),
    ):
        transport = Transport(base)
        with pytest.raises(CrmUnreachable, match=rf"^127\.0\.0\.1 does not answer: {words}\."):
            await transport.ask("GET", "secret-token/cards")
        await transport.close()


async def test_a_certificate_that_nobody_signed_is_named(tmp_path: Path) -> None:
    pair = Authority(tmp_path).issue("server")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pair.certificate, pair.key)
    server = TestServer(web.Application(), scheme="https")
    await server.start_server(ssl=context)
    transport = Transport(str(server.make_url("/")))
    with pytest.raises(CrmUnreachable, match="its certificate is not accepted: unable to get local issuer certificate"):
        await transport.ask("GET", "secret-token/cards")
    await transport.close()
    await server.close()
