"""The door for what virtual PBXs tell: public, since they have no login; each request is signed or names a token."""

from __future__ import annotations

import asyncio

from aiohttp import web

from agent.web.entering import client_address
from agent.web.services import HookRequest, services

_BODY_SECONDS = 5.0
_LONGEST_QUERY = 16 * 1024
_SIGNATURES = ("Signature", "X-Signature")


async def take_hook(request: web.Request) -> web.StreamResponse:
    """Store what came and answer as the provider wants; 503 where it is to come again."""
    take = services(request).take_hook
    if take is None:
        raise web.HTTPNotFound
    if len(request.rel_url.raw_query_string) > _LONGEST_QUERY:
        raise web.HTTPRequestURITooLong(text="The query is too long.")
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            body = await request.read()
    except TimeoutError:
        raise web.HTTPRequestTimeout(text="The body did not come in time.") from None
    found = HookRequest(
        name=request.match_info["name"],
        tail=request.match_info.get("tail", ""),
        query=request.rel_url.raw_query_string,
        content_type=request.headers.get("Content-Type", ""),
        body=body,
        signature=next((request.headers[name] for name in _SIGNATURES if name in request.headers), ""),
        address=client_address(request),
    )
    reply = await take(found)
    headers = {"Cache-Control": "no-store"} | ({"Retry-After": "10"} if reply.status == 503 else {})
    return web.Response(status=reply.status, body=reply.body, content_type=reply.media_type, headers=headers)
