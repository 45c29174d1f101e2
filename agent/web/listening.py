"""Listening in to a call in progress, for supervisors, and for a manager in a call of his own. Each time is noted."""

from __future__ import annotations

import time

import structlog
from aiohttp import web

from agent.store import audit, live
from agent.web.guard import login_stands
from agent.web.pages import formats_of, page
from agent.web.problems import is_api, problem
from agent.web.services import login_of, number_in, services

log = structlog.get_logger()

LISTENERS: web.AppKey[set[str]] = web.AppKey("listeners", set)
_LOGIN_SECONDS = 15.0  # between two looks whether the listener is still logged in
_POLICY = "default-src 'none'; media-src 'self'; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox"


async def listen_in(request: web.Request) -> web.StreamResponse:
    """The sound as a WAV stream without an end, about a second behind; it ends with the call."""
    number, viewer, found = number_in(request), login_of(request).viewer, services(request)
    async with found.store.begin() as connection:
        captures = await live.find_live(connection, viewer, number)
        if not captures:
            raise web.HTTPNotFound
        here = [one for one in captures if one.host == found.settings.host]
        if here and found.listen is not None:
            await audit.add_entry(connection, viewer.account_id, audit.CALL_LISTENED_IN, {"interaction_id": number})
    if not here or found.listen is None:
        return _elsewhere(request, ", ".join(sorted({one.host for one in captures})))
    listeners = request.app[LISTENERS]
    if len(listeners) >= _most(request):
        log.warning("too_many_listeners", remedy="Raise web.max_listeners.")
        raise web.HTTPServiceUnavailable
    mark = f"{viewer.account_id} {number} {id(request)}"
    listeners.add(mark)
    try:
        return await _stream(request, here[0].capture_id)
    finally:
        listeners.discard(mark)


def _most(request: web.Request) -> int:
    return services(request).settings.web.max_listeners


def _elsewhere(request: web.Request, host: str) -> web.Response:
    if is_api(request):
        return problem(request, 409, f"It is recorded by {host}; ask there.")
    texts, _ = formats_of(request)
    return page(request, "error.html", status=409, known=409, lead=texts("listen_elsewhere", host=host))


async def _stream(request: web.Request, capture_id: str) -> web.StreamResponse:
    listen = services(request).listen
    assert listen is not None
    answer = web.StreamResponse(
        headers={"Cache-Control": "no-store", "Content-Security-Policy": _POLICY, "X-Accel-Buffering": "no"}
    )
    answer.content_type = "audio/wav"
    async with listen(capture_id) as pieces:
        try:
            await answer.prepare(request)
            asked = time.monotonic()
            async for piece in pieces:
                await answer.write(piece)
                if time.monotonic() - asked > _LOGIN_SECONDS:
                    asked = time.monotonic()
                    if not await login_stands(request):
                        break
            await answer.write_eof()
        except ConnectionResetError:
            pass  # the listener has heard enough
    return answer
