"""What emulators of CRMs have in common: a server that keeps state, counts acts, and fails as it is told."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any, Self

from aiohttp import web
from aiohttp.test_utils import TestServer

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Fault(Enum):
    """What goes wrong with the next act (a request that changes something)."""

    LOSES_ANSWER = "it is done, and the connection breaks before the answer"
    FAILS = "502, and nothing is done"
    HANGS = "nothing is ever answered"
    EXPIRES = "the token has expired at that moment"
    LIMITS = "too many requests"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What a person would see on a card of one call or mail."""

    key: str
    card: tuple[str, str]
    is_call: bool
    employee: str
    inbound: bool
    seconds: int
    started: datetime
    text: str = ""
    recording: str = ""  # a link, or the name of an uploaded file
    transcript: str = ""


class Emulator:
    """Base. ``acts`` counts the requests that changed something."""

    def __init__(self) -> None:
        self.acts = 0
        self.requests = 0
        self.sent: list[str] = []  # mails that the CRM would have sent; must stay empty
        self.faults: deque[Fault] = deque()
        self._release = asyncio.Event()
        self._server: TestServer | None = None

    def routes(self) -> list[web.RouteDef]:
        """What it answers."""
        raise NotImplementedError

    async def is_act(self, request: web.Request) -> bool:
        """Whether a request changes something."""
        raise NotImplementedError

    def limited(self) -> web.Response:
        """How it asks for fewer requests."""
        raise NotImplementedError

    def expire(self) -> None:
        """Its tokens are no longer good; nothing where it has none."""

    @property
    def url(self) -> str:
        """Its address."""
        assert self._server is not None
        return str(self._server.make_url("/")).rstrip("/")

    async def __aenter__(self) -> Self:
        application = web.Application(middlewares=[self._middleware], client_max_size=64 * 1024 * 1024)
        application.add_routes(self.routes())
        self._server = TestServer(application, host="127.0.0.1")
        await self._server.start_server()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._release.set()
        assert self._server is not None
        await self._server.close()

    @web.middleware
    async def _middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self.requests += 1
        fault = self.faults.popleft() if self.faults and await self.is_act(request) else None
        match fault:
            case Fault.FAILS:
                return web.Response(status=502, text="<html>Bad Gateway</html>")
            case Fault.LIMITS:
                return self.limited()
            case Fault.HANGS:
                await self._release.wait()
            case Fault.EXPIRES:
                self.expire()
            case _:
                pass
        answer = await handler(request)
        if fault is Fault.LOSES_ANSWER and request.transport is not None:
            request.transport.abort()
        return answer


def last_ten(phone: str) -> str:
    """By which CRMs compare numbers."""
    return "".join(one for one in phone if one.isdigit())[-10:]


def json_of(data: Any, status: int = 200) -> web.Response:
    """An answer."""
    return web.json_response(data, status=status)
