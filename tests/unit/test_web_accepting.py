"""Several processes on one socket: each gets its share of the connections, and none is lost."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from agent.web import accepting
from agent.web.accepting import SharedSite

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def serving(listening: socket.socket) -> AsyncIterator[web.AppRunner]:
    """One that serves the socket, as a page process does with the descriptor it was given."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(text="here")

    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    own = listening.dup()
    await SharedSite(runner, own).start()
    try:
        yield runner
    finally:
        await runner.cleanup()
        own.close()


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=256) as one:
        yield one


async def ask(listening: socket.socket) -> Streams:
    """An answered connection that stays open, as a browser's does."""
    streams = await asyncio.open_connection(*listening.getsockname()[:2])
    streams[1].write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert await streams[0].readuntil(b"here")
    return streams


async def ask_many(listening: socket.socket, count: int) -> list[Streams]:
    return list(await asyncio.gather(*(ask(listening) for _ in range(count))))


async def test_all_get_their_share_of_the_connections(listening: socket.socket) -> None:
    async with serving(listening) as first, serving(listening) as second:
        clients = await ask_many(listening, 16)
        shares = sorted(len(one.server.connections) for one in (first, second) if one.server is not None)
        assert sum(shares) == 16
        assert shares[0] >= 6
        for _, writer in clients:
            writer.close()


async def test_who_is_alone_takes_all_and_who_leaves_hinders_nobody(listening: socket.socket) -> None:
    async with serving(listening) as first:
        async with serving(listening):
            pass
        clients = await ask_many(listening, 60)
        assert first.server is not None
        assert len(first.server.connections) == 60
        for _, writer in clients:
            writer.close()


class Poor:
    """A socket of a process without descriptors for the first connections."""

    def __init__(self, listening: socket.socket, refusals: int) -> None:
        self._listening, self._refusals = listening, refusals

    def __getattr__(self, name: str) -> Any:
        return getattr(self._listening, name)

    def accept(self) -> Any:
        if self._refusals:
            self._refusals -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        return self._listening.accept()


async def test_without_descriptors_whoever_knocks_waits(
    listening: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accepting, "_PAUSE_SECONDS", 0.01)
    poor = Poor(listening, refusals=3)
    runner = web.AppRunner(web.Application(), access_log=None)
    await runner.setup()
    await SharedSite(runner, poor).start()  # type: ignore[arg-type]
    reader, writer = await asyncio.open_connection(*listening.getsockname()[:2])
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert await reader.readuntil(b"404")
    writer.close()
    await runner.cleanup()
