"""For machines: is it alive, figures for Prometheus, and the static files."""

from __future__ import annotations

import asyncio

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from agent.model import UserRole
from agent.web.entering import is_loopback
from agent.web.pages import PAGES
from agent.web.services import LOGIN

_FORWARDING = ("Forwarded", "X-Forwarded-For", "X-Real-IP", "Via")


async def healthz(request: web.Request) -> web.StreamResponse:
    """It answers, so it is alive; nothing more is told to the world."""
    return web.Response(text="ok\n")


async def metrics(request: web.Request) -> web.StreamResponse:
    """For a Prometheus on this machine, or an administrator; what a reverse proxy passes on is from elsewhere."""
    login = request.get(LOGIN)
    is_local = is_loopback(request.remote or "") and not any(name in request.headers for name in _FORWARDING)
    if not is_local and (login is None or login.viewer.role is not UserRole.ADMINISTRATOR):
        raise web.HTTPNotFound
    body = await asyncio.to_thread(generate_latest)
    return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})


async def static_file(request: web.Request) -> web.StreamResponse:
    """A file under the digest of today's content: whoever has it need never ask again."""
    static = request.app[PAGES].static
    found = static.files.get(request.match_info["name"])
    if found is None or request.match_info["digest"] != static.digest:
        raise web.HTTPNotFound
    content, media_type = found
    answer = web.Response(body=content, headers={"Cache-Control": "public, max-age=31536000, immutable"})
    answer.content_type = media_type
    if media_type.startswith("text/"):
        answer.charset = "utf-8"
    return answer
