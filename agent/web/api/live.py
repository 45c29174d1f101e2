"""What goes on now: calls in progress, and the stream of events."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta

from aiohttp import web

from agent.store import changes, interactionlist, live
from agent.web.api import shapes
from agent.web.api.answers import answer, begin
from agent.web.api.reading import Asked, read_query
from agent.web.calls import live_views
from agent.web.events import HEARTBEAT_SECONDS, HUB, LiveHub, Reader
from agent.web.guard import login_stands
from agent.web.problems import Refused
from agent.web.services import login_of, services

_OVERLAP = timedelta(seconds=30)  # what was committed late is told twice rather than never
_OLDEST = timedelta(days=7)
_REPLAYED = 1000


async def list_calls(request: web.Request) -> web.StreamResponse:
    """Calls in progress, the newest first; what two recorders hold is told once."""
    read_query(request, Asked)
    found, viewer = services(request), login_of(request).viewer
    async with begin(request) as connection:
        calls = await live.list_live(connection, viewer)
        lives = live_views(calls, host=found.settings.host, now=datetime.now(UTC))
        outlines = await interactionlist.load_outlines(connection, viewer, list(lives))
    items = [
        shapes.outline(one)
        | {
            "paused": (now := lives[one.interaction.id]).is_paused,
            "may_be_handled": now.is_handled,
            "hosts": now.hosts,
            "silent_since": shapes.time(now.silent_since),
        }
        for one in outlines
    ]
    return await answer(request, {"items": items, "next": None})


# --- Events -----------------------------------------------------------------------------------------------------------


async def stream_events(request: web.Request) -> web.StreamResponse:
    """Server-sent events: which interactions have changed. After Last-Event-ID what was missed comes first."""
    read_query(request, Asked)
    hub = request.app[HUB]
    reader = hub.join(login_of(request).viewer)
    if reader is None:
        raise Refused(503, "Too many streams of events are open.", headers={"Retry-After": "30"})
    answer = web.StreamResponse(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
    answer.content_type = "text/event-stream"
    answer.charset = "utf-8"
    try:
        await _tell_missed(request, reader)
        await answer.prepare(request)
        await answer.write(b"retry: 2000\n\n")
        while not hub.closing and await login_stands(request):
            await _pass_on(reader, hub, answer)
    except ConnectionResetError:
        pass
    finally:
        hub.leave(reader)
    return answer


async def _tell_missed(request: web.Request, reader: Reader) -> None:
    """What changed since the event that the reader saw last; too much, or nonsense, means: look at everything."""
    text = request.headers.get("Last-Event-ID", "").strip()
    if not text:
        return
    if not (text.isascii() and text.isdecimal() and len(text) <= 15):
        reader.tell_missed()
        return
    since = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=int(text)) - _OVERLAP
    if since < datetime.now(UTC) - _OLDEST:
        reader.tell_missed()
        return
    async with begin(request) as connection:
        ids = await changes.list_since(connection, since, most=_REPLAYED)
        if len(ids) == _REPLAYED:
            reader.tell_missed()
        elif visible := await live.list_visible(connection, reader.viewer, ids):
            reader.tell(visible)


async def _pass_on(reader: Reader, hub: LiveHub, answer: web.StreamResponse) -> None:
    """What comes until the next heartbeat, which also shows whether anybody is still there."""
    try:
        async with asyncio.timeout(HEARTBEAT_SECONDS):
            while not hub.closing:
                await reader.news.wait()
                number = f"id: {time.time_ns() // 1_000_000}\nevent: ".encode()
                await answer.write(reader.take().replace(b"event: ", number))
    except TimeoutError:
        await answer.write(b":\n\n")
