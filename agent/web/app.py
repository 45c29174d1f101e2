"""The application of the pages, and the server that carries it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import structlog
from aiohttp import web

from agent.store.attempts import CODE_LIMITS, Attempts
from agent.store.notices import INTERACTIONS
from agent.web.accepting import SharedSite
from agent.web.api.limits import make_buckets, serve_api
from agent.web.binding import open_socket
from agent.web.entering import ATTEMPTS, CODE_ATTEMPTS
from agent.web.events import HUB, LiveHub
from agent.web.guard import ROUTES, answer_errors, check_rights, set_headers
from agent.web.listening import LISTENERS
from agent.web.login import HASHES_AT_ONCE, HASHING
from agent.web.oidc import PROVIDER
from agent.web.openid import Provider
from agent.web.outlines import MEASURING, Measuring
from agent.web.pages import PAGES, PATHS, Pages
from agent.web.routes import TABLE
from agent.web.services import SERVICES, Services
from agent.web.shared import SHARED, SharedSounds

log = structlog.get_logger()

_LARGEST_FORM = 64 * 1024
_STOP_SECONDS = 5.0


def make_app(services: Services) -> web.Application:
    """Everything the table of routes names, behind the guard."""
    app = web.Application(middlewares=[answer_errors, check_rights, serve_api], client_max_size=_LARGEST_FORM)
    app[SERVICES] = services
    app[PAGES] = Pages()
    secret = services.archive.keys.derive(b"login attempts")
    app[ATTEMPTS] = Attempts(secret)
    app[PROVIDER] = Provider(services.settings.web.oidc)
    app[CODE_ATTEMPTS] = Attempts(secret, subject="code", limits=CODE_LIMITS)
    app[HASHING] = asyncio.Semaphore(HASHES_AT_ONCE)
    table = {}
    for route in TABLE:
        added = app.router.add_route(route.method, route.path, route.handler)
        assert added.resource is not None
        table[route.method, added.resource.canonical] = route
    app[ROUTES] = table
    app[PATHS] = frozenset(table)
    app[LISTENERS] = set()
    make_buckets(app, services.settings.web.api_per_minute)
    app[SHARED] = SharedSounds()
    app[MEASURING] = Measuring()
    app[HUB] = LiveHub(services.store, most=services.settings.web.max_event_streams)
    app.cleanup_ctx.append(_keep_telling)
    app.on_shutdown.append(_end_streams)
    app.on_response_prepare.append(set_headers)
    return app


async def _keep_telling(app: web.Application) -> AsyncIterator[None]:
    """Pages hear of news for as long as the server runs."""
    hub, notices = app[HUB], app[SERVICES].notices
    if notices is not None:
        notices.listen(INTERACTIONS, hub.hear)
    task = asyncio.create_task(hub.run(), name="live-hub")
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _end_streams(app: web.Application) -> None:
    app[HUB].close()


class WebServer:
    """Serves the pages; HTTPS is the reverse proxy's."""

    def __init__(self, services: Services) -> None:
        self._settings = services.settings.web
        self._runner = web.AppRunner(make_app(services), access_log=None, shutdown_timeout=_STOP_SECONDS)
        self.address: tuple[str, int] = (self._settings.listen, self._settings.port)

    async def start(self, listening: socket.socket | None = None) -> None:
        """Take connections of a socket that others may serve too, or of one of our own; `address` tells where.

        Raises:
            Misconfigured: there is none to be had, as the address is taken or not ours.
        """
        await self._runner.setup()
        if listening is None:
            listening = open_socket(self._settings)
        await SharedSite(self._runner, listening).start()
        host, port = listening.getsockname()[:2]
        self.address = (str(host), int(port))
        log.info("web_listening", address=host, port=port)

    async def stop(self) -> None:
        """Finish what is being answered, then close."""
        await self._runner.cleanup()
