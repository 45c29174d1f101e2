"""The pages' socket: it listens before anybody serves; whoever waits has the answer of the first that does."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

from agent.errors import Misconfigured
from agent.settings import WebSettings
from agent.web import binding
from agent.web.binding import open_socket, until_served


async def test_whoever_connects_waits_until_somebody_serves() -> None:
    listening = open_socket(WebSettings(port=0))
    host, port = listening.getsockname()
    waiting = asyncio.create_task(until_served(host, port))
    reader, writer = await asyncio.open_connection(host, port)  # the socket takes it, nobody answers
    writer.write(b"GET /healthz HTTP/1.0\r\n\r\n")
    assert not waiting.done()

    async def answer(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(text="ok\n")

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    await web.SockSite(runner, listening).start()
    await asyncio.wait_for(waiting, 10)
    assert (await reader.readline()).startswith(b"HTTP/1.0 200")
    writer.close()
    await runner.cleanup()


async def test_a_process_that_dies_with_the_question_is_asked_again() -> None:
    asked = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        await reader.readline()
        if asked > 2:
            writer.write(b"HTTP/1.0 200 OK\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        await asyncio.wait_for(until_served(*server.sockets[0].getsockname()), 10)
    assert asked == 3


def test_a_taken_address_is_told_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binding, "_PATIENCE_SECONDS", 0.0)
    with open_socket(WebSettings(port=0)) as taken, pytest.raises(Misconfigured, match="cannot listen") as refused:
        open_socket(WebSettings(port=taken.getsockname()[1]))
    assert "web.port" in refused.value.remedy
