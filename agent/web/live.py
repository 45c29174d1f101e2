"""«Calls now»: every call in progress with its parties, how long it lasts, and what may be done with it."""

from __future__ import annotations

from datetime import UTC, datetime

from aiohttp import web

from agent.store import live
from agent.web.calls import live_views
from agent.web.cards import views
from agent.web.pages import page
from agent.web.services import login_of, services


async def show_live(request: web.Request) -> web.StreamResponse:
    """The newest first; the module `live.js` asks for this page again whenever something has changed."""
    found = services(request)
    async with found.store.begin() as connection:
        calls = await live.list_live(connection, login_of(request).viewer)
        lives = live_views(calls, host=found.settings.host, now=datetime.now(UTC))
        entries = await views(request, connection, list(lives))
    return page(request, "live.html", entries=entries, lives=lives)
