"""The state of every source, for those who must act when one fails."""

from __future__ import annotations

from aiohttp import web

from agent.store import sources
from agent.web.pages import page
from agent.web.services import services


async def list_sources(request: web.Request) -> web.StreamResponse:
    """All sources with state, since when, and why."""
    async with services(request).store.begin() as connection:
        found = await sources.list_statuses(connection)
    return page(request, "sources.html", sources=found)
