"""Recordings by the links that CRMs were given: mp3 by byte ranges, for whoever has the link, until it is revoked.

The link is the secret: 24 random bytes, one for each delivery. Guessing is slowed down by address, use of one link is
bounded, each listening is in the audit log, and an erased or withdrawn recording is gone at the next request.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import BinaryIO, cast

from aiohttp import web

from agent.model import SealedBlob
from agent.sound.mp3 import encode_mp3
from agent.store import audit, recordings, shares
from agent.store.recordings import Recording
from agent.store.shares import Share
from agent.web.entering import client_address
from agent.web.ranges import ByteRange, Unsatisfiable, parse_range
from agent.web.services import services

_MEDIA_TYPE = "audio/mpeg"
_KEPT_BYTES = 64 * 1024 * 1024
_ENCODED_AT_ONCE = 2
_AUDIT_SECONDS = 1800.0
_WINDOW_SECONDS = 600.0
_MOST_MISSES, _MOST_REQUESTS = 30, 600
_MOST_KEYS = 10_000


class Window:
    """So many events a key within ten minutes."""

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._clock = most, clock
        self._times: OrderedDict[str, deque[float]] = OrderedDict()

    def is_full(self, key: str) -> bool:
        """Whether one more is too many."""
        times = self._times.get(key)
        while times and times[0] < self._clock() - _WINDOW_SECONDS:
            times.popleft()
        return times is not None and len(times) >= self._most

    def note(self, key: str) -> None:
        """One more."""
        self._times.setdefault(key, deque(maxlen=self._most)).append(self._clock())
        self._times.move_to_end(key)
        while len(self._times) > _MOST_KEYS:
            self._times.popitem(last=False)


class SharedSounds:
    """One a server: limits, and the newest mp3s in memory, since a player asks for one in many ranges."""

    def __init__(self) -> None:
        self.misses = Window(_MOST_MISSES)
        self.requests = Window(_MOST_REQUESTS)
        self._audited: OrderedDict[int, float] = OrderedDict()
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._turn = asyncio.Semaphore(_ENCODED_AT_ONCE)

    def is_news(self, share_id: int) -> bool:
        """Whether this listening is to be noted: once in half an hour."""
        now, before = time.monotonic(), self._audited.get(share_id)
        if before is not None and now - before < _AUDIT_SECONDS:
            return False
        self._audited[share_id] = now
        while len(self._audited) > _MOST_KEYS:
            self._audited.popitem(last=False)
        return True

    async def mp3(self, blob: SealedBlob, encode: Callable[[SealedBlob], bytes]) -> bytes:
        """The recording as mp3."""
        if (kept := self._kept.get(blob.name)) is not None:
            self._kept.move_to_end(blob.name)
            return kept
        async with self._turn:
            if (kept := self._kept.get(blob.name)) is None:
                kept = self._kept[blob.name] = await asyncio.to_thread(encode, blob)
        while sum(map(len, self._kept.values())) > _KEPT_BYTES and len(self._kept) > 1:
            self._kept.popitem(last=False)
        return kept


SHARED: web.AppKey[SharedSounds] = web.AppKey("shared", SharedSounds)


async def send_shared(request: web.Request) -> web.StreamResponse:
    """GET and HEAD with Range."""
    sounds, address, token = request.app[SHARED], client_address(request), request.match_info["token"]
    if sounds.misses.is_full(address) or sounds.requests.is_full(token):
        raise web.HTTPTooManyRequests(headers={"Retry-After": "600"})
    share, found = await _find(request, token)
    if share is None or found is None:
        sounds.misses.note(address)
        raise web.HTTPNotFound
    sounds.requests.note(token)
    archive = services(request).archive

    def encode(blob: SealedBlob) -> bytes:
        with archive.open(blob) as sealed:
            return encode_mp3(cast(BinaryIO, sealed))

    content = await sounds.mp3(found.blob, encode)
    if request.method == "GET" and sounds.is_news(share.id):
        await _note(request, share, found, address)
    return _answer(request, content, found)


async def _find(request: web.Request, token: str) -> tuple[Share | None, Recording | None]:
    async with services(request).store.begin() as connection:
        share = await shares.find_share(connection, token)
        found = await recordings.find_recording(connection, share.recording_id) if share is not None else None
    return share, found if found is not None and found.blob.wrapped_key is not None else None


async def _note(request: web.Request, share: Share, found: Recording, address: str) -> None:
    subject = {
        "recording_id": found.id,
        "interaction_id": found.interaction_id,
        "crm": share.connector,
        "address": address,
    }
    async with services(request).store.begin() as connection:
        await audit.add_entry(connection, None, audit.RECORDING_PLAYED_BY_LINK, subject)


def _answer(request: web.Request, content: bytes, found: Recording) -> web.Response:
    headers = {
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-store",
        "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
        "Cross-Origin-Resource-Policy": "cross-origin",  # the CRM's page plays it
        "Content-Disposition": f'inline; filename="{found.started:%Y-%m-%d-%H%M%S}.mp3"',
    }
    try:
        wanted = parse_range(request.headers.get("Range") if request.method == "GET" else None, len(content))
    except Unsatisfiable:
        return web.Response(status=416, headers={**headers, "Content-Range": f"bytes */{len(content)}"})
    part = wanted or ByteRange(0, len(content))
    if wanted is not None:
        headers["Content-Range"] = f"bytes {part.start}-{part.end - 1}/{len(content)}"
    status = 200 if wanted is None else 206
    return web.Response(status=status, body=content[part.start : part.end], headers=headers, content_type=_MEDIA_TYPE)
