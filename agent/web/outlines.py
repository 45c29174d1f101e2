"""What a player draws and follows: peaks of a recording and its silences, and when each word was spoken.

Peaks are made of the sealed sound when somebody first looks at a recording, one at a time a recording and two at a time
a server, and kept in the database: to look is cheap from then on, and nobody's browser decodes an hour.
"""

from __future__ import annotations

import asyncio
import base64
from typing import BinaryIO, cast

import numpy as np
import structlog
from aiohttp import web

from agent.errors import Unreadable
from agent.model import SealedBlob
from agent.sound.outline import Outline, measure, silences
from agent.store import outlines, recordings, rights, transcripts
from agent.store.outlines import StoredOutline
from agent.store.recordings import Recording
from agent.web.said import chosen_transcript
from agent.web.services import caller_of, number_in, services

log = structlog.get_logger()

_AT_ONCE = 2
_HEADERS = {"Cache-Control": "private, no-cache"}


class Measuring:
    """Who measures which recording now. One a server."""

    def __init__(self) -> None:
        self._turn = asyncio.Semaphore(_AT_ONCE)
        self._going: dict[int, asyncio.Task[StoredOutline]] = {}

    async def outline(self, request: web.Request, found: Recording) -> StoredOutline:
        """Measured now, or by whoever asked a moment ago; it goes on although the one who asked has left."""
        task = self._going.get(found.id)
        if task is None:
            task = asyncio.create_task(self._measure(request, found), name=f"outline-{found.id}")
            self._going[found.id] = task
            task.add_done_callback(lambda done: self._ended(found.id, done))
        return await asyncio.shield(task)

    def _ended(self, recording_id: int, done: asyncio.Task[StoredOutline]) -> None:
        """What went wrong is looked at, whether or not somebody still waits for it."""
        self._going.pop(recording_id, None)
        if not done.cancelled() and (error := done.exception()) is not None:
            log.warning("recording_not_measured", recording_id=recording_id, reason=str(error))

    async def _measure(self, request: web.Request, found: Recording) -> StoredOutline:
        parts = services(request)

        def measured(blob: SealedBlob) -> StoredOutline:
            with parts.archive.open(blob) as sealed:
                made = measure(cast(BinaryIO, sealed), duration_ms=found.duration_ms)
            return StoredOutline(bucket_ms=made.bucket_ms, peaks=b"".join(one.tobytes() for one in made.peaks))

        async with self._turn:
            made = await asyncio.to_thread(measured, found.blob)
        async with parts.store.begin() as connection:
            await outlines.save_outline(connection, found.id, made)
        return made


MEASURING: web.AppKey[Measuring] = web.AppKey("measuring", Measuring)


async def send_peaks(request: web.Request) -> web.StreamResponse:
    """``{"bucket_ms": 50, "channels": [base64 of a byte a bucket, …], "silences": [[seconds, seconds], …]}``.

    Looking at a recording is not listening to it, so nothing is noted.
    """
    found, stored = await _find(request)
    etag = f'"peaks-{found.blob.name}"'
    headers = {**_HEADERS, "ETag": etag}
    if request.headers.get("If-None-Match") == etag:
        return web.Response(status=304, headers=headers)
    if stored is None:
        try:
            stored = await request.app[MEASURING].outline(request, found)
        except Unreadable as error:
            raise web.HTTPNotFound(text=str(error)) from error
    return web.json_response(await asyncio.to_thread(_shown, stored, found.channels), headers=headers)


async def _find(request: web.Request) -> tuple[Recording, StoredOutline | None]:
    async with services(request).store.begin() as connection:
        found = await recordings.find_recording(connection, number_in(request))
        viewer = caller_of(request).viewer
        if found is None or not await rights.may_see_interaction(connection, viewer, found.interaction_id):
            raise web.HTTPNotFound
        return found, await outlines.find_outline(connection, found.id)


def _shown(stored: StoredOutline, channels: int) -> dict[str, object]:
    length = len(stored.peaks) // max(1, channels)
    measured = np.array(bytearray(stored.peaks), np.uint8)
    peaks = tuple(measured[channel * length : (channel + 1) * length] for channel in range(channels))
    outline = Outline(bucket_ms=stored.bucket_ms, peaks=peaks)
    return {
        "bucket_ms": outline.bucket_ms,
        "channels": [base64.b64encode(one.tobytes()).decode() for one in outline.peaks],
        "silences": silences(outline.peaks, outline.bucket_ms),
    }


async def send_words(request: web.Request) -> web.StreamResponse:
    """``{"<utterance>": [[start, end, "word"], …]}`` in seconds, for a player that follows word by word.

    An utterance that a person has corrected has the machine's words here: the page compares and shows no wrong word.
    """
    number, viewer = number_in(request), caller_of(request).viewer
    async with services(request).store.begin() as connection:
        found = await recordings.find_recording(connection, number)
        if found is None or not await rights.may_see_interaction(connection, viewer, found.interaction_id):
            raise web.HTTPNotFound
        spoken = await transcripts.list_words(connection, number, chosen=chosen_transcript(request))
    words = {str(one): [[each["start"], each["end"], each["text"]] for each in told] for one, told in spoken.items()}
    return web.json_response(words, headers=_HEADERS)
