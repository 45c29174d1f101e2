"""The stream of events: pages that are open hear within a moment that an interaction has changed.

An event says only which interaction and on which cards; the page asks for itself again, so there is one way to show
things and one to check rights. The database's notices are gathered for a moment and asked about once for all readers
with the same rights.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter, defaultdict

import structlog
from aiohttp import web

from agent.errors import Unavailable
from agent.store import live
from agent.store.engine import Store
from agent.store.rights import Tenure, Viewer
from agent.web.guard import login_stands
from agent.web.services import login_of

log = structlog.get_logger()

GATHER_SECONDS = 0.25
HEARTBEAT_SECONDS = 15.0
MOST_OF_ONE = 20  # streams of one account
_RELOAD = b"event: reload\ndata: {}\n\n"


class Reader:
    """One open stream: what it has not been told yet."""

    def __init__(self, viewer: Viewer) -> None:
        self.viewer = viewer
        self.news = asyncio.Event()
        self._changed: dict[int, list[int]] = {}
        self._missed = False

    def tell(self, changed: dict[int, list[int]]) -> None:
        """These interactions have changed; each with the cards it stands on. All of them are the viewer's to see."""
        self._changed |= changed
        self.news.set()

    def tell_missed(self) -> None:
        """Nobody knows what has changed: look at everything."""
        self._missed = True
        self.news.set()

    def take(self) -> bytes:
        """Everything untold, in the form of the stream; the newest state of an interaction once."""
        self.news.clear()
        changed, self._changed = self._changed, {}
        missed, self._missed = self._missed, False
        if missed:
            return _RELOAD
        return b"".join(
            b"event: interaction\ndata: " + json.dumps({"id": number, "cards": cards}).encode() + b"\n\n"
            for number, cards in changed.items()
        )


class LiveHub:
    """Everybody who reads the stream, and what is to be told them."""

    def __init__(self, store: Store, *, most: int) -> None:
        self._store, self._most = store, most
        self._readers: set[Reader] = set()
        self._ids: set[int] = set()
        self._missed = False
        self._news = asyncio.Event()
        self.closing = False

    def hear(self, payload: str | None) -> None:
        """A notice of the database: id of an interaction, or None when some may have been missed."""
        if payload is None:
            self._missed = True
        elif payload.isdigit():
            self._ids.add(int(payload))
        self._news.set()

    def join(self, viewer: Viewer) -> Reader | None:
        """A new stream; None when there are too many."""
        own = Counter(one.viewer.account_id for one in self._readers)
        if self.closing or len(self._readers) >= self._most or own[viewer.account_id] >= MOST_OF_ONE:
            return None
        reader = Reader(viewer)
        self._readers.add(reader)
        return reader

    def leave(self, reader: Reader) -> None:
        """The stream has ended."""
        self._readers.discard(reader)

    def close(self) -> None:
        """End all streams."""
        self.closing = True
        for reader in self._readers:
            reader.news.set()

    async def run(self) -> None:
        """Gather notices and hand them on, for ever."""
        while True:
            await self._news.wait()
            await asyncio.sleep(GATHER_SECONDS)
            self._news.clear()
            ids, self._ids = sorted(self._ids), set()
            missed, self._missed = self._missed, False
            try:
                await self._spread(ids)
            except Unavailable as error:
                log.warning("events_not_spread", reason=str(error))
                missed = True
            except Exception:
                log.exception("events_not_spread")
                missed = True
            if missed:
                for reader in self._readers:
                    reader.tell_missed()

    async def _spread(self, ids: list[int]) -> None:
        groups: defaultdict[tuple[bool, tuple[Tenure, ...]], list[Reader]] = defaultdict(list)
        for reader in self._readers:
            viewer = reader.viewer
            groups[viewer.sees_all, () if viewer.sees_all else viewer.tenures].append(reader)
        if not ids or not groups:
            return
        async with self._store.begin() as connection:
            for readers in groups.values():
                visible = await live.list_visible(connection, readers[0].viewer, ids)
                for reader in readers if visible else ():
                    reader.tell(visible)


HUB: web.AppKey[LiveHub] = web.AppKey("live_hub", LiveHub)


async def stream_events(request: web.Request) -> web.StreamResponse:
    """Server-sent events, until the reader goes, the login ends or the service stops."""
    hub = request.app[HUB]
    reader = hub.join(login_of(request).viewer)
    if reader is None:
        raise web.HTTPServiceUnavailable
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # a proxy must not hold events back
    answer = web.StreamResponse(headers=headers)
    answer.content_type = "text/event-stream"
    answer.charset = "utf-8"
    try:
        await answer.prepare(request)
        await answer.write(b"retry: 2000\n\n")
        while not hub.closing and await login_stands(request):
            await _pass_on(reader, hub, answer)
    except ConnectionResetError:
        pass
    finally:
        hub.leave(reader)
    return answer


async def _pass_on(reader: Reader, hub: LiveHub, answer: web.StreamResponse) -> None:
    """What comes until the next heartbeat, which also shows whether anybody is still there."""
    try:
        async with asyncio.timeout(HEARTBEAT_SECONDS):
            while not hub.closing:
                await reader.news.wait()
                await answer.write(reader.take())
    except TimeoutError:
        await answer.write(b":\n\n")
