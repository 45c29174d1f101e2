"""Our own requests: never into a private network, never too large, never too long, redirects or not."""

from __future__ import annotations

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from agent.sip.providers import egress as egress_module
from agent.sip.providers.egress import (
    AddressForbidden,
    AnswerTooLarge,
    CheckedResolver,
    Egress,
    ProviderUnreachable,
    is_public,
)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """An HTTP server whose answers a test sets; it counts what is asked."""

    def __init__(self) -> None:
        self.answers: dict[str, Handler] = {}
        self.asked: list[tuple[str, str, bytes]] = []
        self.port = 0

    async def start(self) -> web.AppRunner:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.port = runner.addresses[0][1]
        return runner

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((request.method, request.path, await request.read()))
        return await self.answers[request.path](request)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    found = Server()
    runner = await found.start()
    yield found
    await runner.cleanup()


@pytest.fixture
async def near() -> AsyncIterator[Egress]:
    """May go into private networks, to this machine only."""
    found = Egress(["127.0.0.1"], allow_private=True)
    yield found
    await found.close()


@pytest.fixture
async def far() -> AsyncIterator[Egress]:
    """As it is for a provider on the internet."""
    found = Egress(["example.com", "127.0.0.1", "localhost", "[::1]"])
    yield found
    await found.close()


def sends(body: bytes, **more: Any) -> Handler:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(body=body, **{"content_type": "audio/mpeg", **more})

    return answer


def redirects(place: str, status: int = 302) -> Handler:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, headers={"Location": place})

    return answer


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.0.0.1", "172.16.5.5", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",
        "224.0.0.1", "255.255.255.255", "192.0.2.1", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "ff02::1",
        "::ffff:10.0.0.1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a00:1", "2002:7f00:1::", "2002:a00:1::",
        "2001:0:7f00:1::", "nonsense", "",
    ],
)  # fmt: skip
def test_addresses_that_are_not_of_the_internet(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_addresses_of_the_internet(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "http://example.com/a",
        "https://example.org/a",
        "https://example.com.evil.org/a",
        "https://evilexample.com/a",
        "https://user@evil.org/example.com",
        "https://example.com@evil.org/",
        "ftp://example.com/",
        "file:///etc/passwd",
        "https:///a",
        "//example.com/a",
        "",
        "https://127.0.0.1/a",
        "https://[::1]/a",
        "https://[::ffff:127.0.0.1]/a",
        "https://169.254.169.254/latest",
        "https://exa mple.com:99999/",
    ],
)
async def test_where_no_request_goes(far: Egress, address: str) -> None:
    with pytest.raises(AddressForbidden):
        far.check(address)


async def test_hosts_and_their_subdomains(far: Egress) -> None:
    assert str(far.check("https://example.com/a")) == "https://example.com/a"
    assert far.check("https://media.Example.com./b").path == "/b"


async def test_a_name_that_leads_into_a_private_network(far: Egress, server: Server, tmp_path: Path) -> None:
    with pytest.raises(ProviderUnreachable):
        await far.download(f"https://localhost:{server.port}/a", tmp_path / "a", limit=10, within=5)
    assert server.asked == []
    with pytest.raises(OSError, match="no address of the internet"):
        await CheckedResolver().resolve("localhost", 443)


async def test_the_connection_goes_to_the_address_that_was_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that answers once with a public and then with a private address gains nothing: it is asked once."""
    answers = iter([("93.184.215.14", 443), ("127.0.0.1", 443)])
    loop = asyncio.get_running_loop()

    async def resolve(*_: object, **__: object) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", next(answers))]

    monkeypatch.setattr(loop, "getaddrinfo", resolve)
    found = await CheckedResolver().resolve("example.com", 443)
    assert [one["host"] for one in found] == ["93.184.215.14"]
    assert found[0]["flags"] & socket.AI_NUMERICHOST
    with pytest.raises(OSError, match="no address of the internet"):
        await CheckedResolver().resolve("example.com", 443)


async def test_a_mixed_answer_loses_its_private_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    async def resolve(*_: object, **__: object) -> list[Any]:
        places = ["10.0.0.1", "93.184.215.14", "169.254.169.254"]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, 443)) for one in places]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
    assert [one["host"] for one in await CheckedResolver().resolve("example.com", 443)] == ["93.184.215.14"]


async def test_a_file_comes_whole(near: Egress, server: Server, tmp_path: Path) -> None:
    body = bytes(range(256)) * 4000
    server.answers["/a"] = sends(body)
    kind = await near.download(server.url("/a"), tmp_path / "a", limit=len(body), within=10)
    assert (tmp_path / "a").read_bytes() == body
    assert kind == "audio/mpeg"


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_file_that_is_too_large(near: Egress, server: Server, tmp_path: Path, chunked: bool) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "audio/mpeg"})
        if chunked:
            response.enable_chunked_encoding()
        else:
            response.content_length = 2_000_000
        await response.prepare(request)
        for _ in range(20):
            await response.write(bytes(100_000))
        return response

    server.answers["/a"] = answer
    with pytest.raises(AnswerTooLarge):
        await near.download(server.url("/a"), tmp_path / "a", limit=1_000_000, within=10)
    path = tmp_path / "a"
    assert not path.exists() or path.stat().st_size <= 1_000_000


async def test_what_is_packed_stays_packed(near: Egress, server: Server, tmp_path: Path) -> None:
    packed = gzip.compress(bytes(10_000_000))
    server.answers["/a"] = sends(packed, headers={"Content-Encoding": "gzip"})
    await near.download(server.url("/a"), tmp_path / "a", limit=100_000, within=10)
    assert (tmp_path / "a").stat().st_size == len(packed)


async def test_a_server_that_never_finishes(near: Egress, server: Server, tmp_path: Path) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "audio/mpeg"})
        await response.prepare(request)
        while True:
            await response.write(b"x")
            await asyncio.sleep(0.05)

    server.answers["/a"] = answer
    with pytest.raises(ProviderUnreachable, match=r"within 0.5 seconds"):
        await near.download(server.url("/a"), tmp_path / "a", limit=10_000, within=0.5)


@pytest.mark.parametrize(
    "place", ["http://10.0.0.1/x", "http://example.org/x", "file:///etc/passwd", "", "//evil.org/"]
)
async def test_a_redirect_elsewhere_is_not_followed(near: Egress, server: Server, tmp_path: Path, place: str) -> None:
    server.answers["/a"] = redirects(place)
    with pytest.raises((AddressForbidden, ProviderUnreachable)):
        await near.download(server.url("/a"), tmp_path / "a", limit=10, within=5)
    assert not (tmp_path / "a").exists()


async def test_a_form_is_posted_once_and_not_to_where_it_redirects(
    near: Egress, server: Server, tmp_path: Path
) -> None:
    server.answers["/a"] = redirects("/b", 307)
    server.answers["/b"] = sends(b"sound")
    await near.download(server.url("/a"), tmp_path / "a", limit=10, within=5, form={"key": "secret"})
    assert server.asked == [("POST", "/a", b"key=secret"), ("GET", "/b", b"")]


async def test_redirects_without_end(near: Egress, server: Server, tmp_path: Path) -> None:
    server.answers["/a"] = redirects("/a")
    with pytest.raises(ProviderUnreachable, match="too many redirects"):
        await near.download(server.url("/a"), tmp_path / "a", limit=10, within=5)
    assert len(server.asked) == egress_module._MOST_REDIRECTS + 1


@pytest.mark.parametrize(
    ("status", "kind", "body"),
    [(404, "audio/mpeg", b"x"), (500, "audio/mpeg", b"x"), (429, "audio/mpeg", b""), (403, "text/html", b"x"),
     (200, "text/html", b"<p>log in</p>"), (200, "application/json", b"{}"), (200, "audio/mpeg", b"")],
)  # fmt: skip
async def test_an_answer_that_is_no_file(
    near: Egress, server: Server, tmp_path: Path, status: int, kind: str, body: bytes
) -> None:
    server.answers["/a"] = sends(body, status=status, content_type=kind)
    with pytest.raises(ProviderUnreachable):
        await near.download(server.url("/a"), tmp_path / "a", limit=10_000, within=5)


async def test_nobody_listens(near: Egress, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(ProviderUnreachable, match="does not answer"):
            await near.download(f"http://127.0.0.1:{taken.getsockname()[1]}/", tmp_path / "a", limit=10, within=5)


async def test_no_proxy_of_the_environment(
    near: Egress, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://192.0.2.1:3128")
    server.answers["/a"] = sends(b"sound")
    await near.download(server.url("/a"), tmp_path / "a", limit=10, within=5)
    assert (tmp_path / "a").read_bytes() == b"sound"
