"""Recordings by byte ranges, so that a player can seek: decrypted in a thread, a few frames at a time.

Listening and saving are two rights: a manager hears what he sees, and saves it only where ``web.managers_download``
says so. What a browser plays it could keep; the setting takes the button away, refuses the address, and the audit log
names whoever listened.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import structlog
from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.archive.sealing import FRAME, SealedReader
from agent.errors import CardlineError
from agent.model import UserRole
from agent.store import audit, recordings, rights
from agent.store.recordings import Recording
from agent.web.ranges import ByteRange, Unsatisfiable, parse_range
from agent.web.services import caller_of, number_in, services

log = structlog.get_logger()

CHUNK = FRAME  # at a time: larger pieces keep a hundred listeners and whoever opens a page waiting for each other
_READERS = ThreadPoolExecutor(8, thread_name_prefix="recording")  # their own: passwords being hashed hold up no sound
_POLICY = "default-src 'none'; frame-ancestors 'none'; sandbox"


def may_download(request: web.Request) -> bool:
    """Whether whoever asks may save recordings as files."""
    role = caller_of(request).viewer.role
    return role is not UserRole.MANAGER or services(request).settings.web.managers_download


async def send_recording(request: web.Request) -> web.StreamResponse:
    """GET and HEAD with Range, If-Range and If-None-Match; the entity tag is the name of the sealed blob."""
    is_saved = "download" in request.query or request.headers.get("Sec-Fetch-Dest") == "document"  # not by a player
    found = await _find(request, is_saved=is_saved)
    etag = f'"{found.blob.name}"'
    headers = {
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",
        "Content-Security-Policy": _POLICY,
        "ETag": etag,
    }
    if "download" in request.query:
        name = f"{found.started:%Y-%m-%d-%H%M%S}-{found.interaction_id}.flac"
        headers["Content-Disposition"] = f'attachment; filename="{name}"'
    if _is_known(request.headers.get("If-None-Match"), etag):
        return web.Response(status=304, headers=headers)
    size = found.blob.plain_size
    try:
        wanted = parse_range(_range_header(request, etag), size)
    except Unsatisfiable:
        return web.Response(status=416, headers={**headers, "Content-Range": f"bytes */{size}"})
    return await _answer(request, found, wanted, headers)


async def _find(request: web.Request, *, is_saved: bool) -> Recording:
    """The recording, if it is the viewer's to hear, or to save; either is noted (asking for its headers is not)."""
    caller = caller_of(request)
    async with services(request).store.begin() as connection:
        found = await recordings.find_recording(connection, number_in(request))
        if found is None or not await rights.may_see_interaction(connection, caller.viewer, found.interaction_id):
            raise web.HTTPNotFound
        if is_saved and not may_download(request):
            raise web.HTTPForbidden(text="Recordings may be listened to here, not saved.")
        if request.method == "GET":
            await _note(request, connection, found, caller.account_id, is_saved=is_saved)
    return found


async def _note(
    request: web.Request, connection: AsyncConnection, found: Recording, account_id: int | None, *, is_saved: bool
) -> None:
    """A file that is saved from its beginning is noted each time; listening, and what continues, once in a while."""
    subject = {"recording_id": found.id, "interaction_id": found.interaction_id}
    action = audit.RECORDING_DOWNLOADED if is_saved else audit.RECORDING_PLAYED
    continues = not (request.headers.get("Range") or "bytes=0-").replace(" ", "").startswith("bytes=0-")
    if is_saved and not continues:
        await audit.add_entry(connection, account_id, action, subject)
    else:
        await audit.add_entry_once(connection, account_id, action, subject)


def _is_known(header: str | None, etag: str) -> bool:
    tags = [one.strip().removeprefix("W/") for one in (header or "").split(",")]
    return "*" in tags or etag in tags


def _range_header(request: web.Request, etag: str) -> str | None:
    """The Range, unless If-Range says that it was meant for other bytes (RFC 9110 section 13.1.5); none for HEAD."""
    if request.method != "GET" or request.headers.get("If-Range", etag) != etag:
        return None
    return request.headers.get("Range")


async def _answer(
    request: web.Request, found: Recording, wanted: ByteRange | None, headers: dict[str, str]
) -> web.StreamResponse:
    size = found.blob.plain_size
    part = wanted or ByteRange(0, size)
    answer = web.StreamResponse(status=200 if wanted is None else 206, headers=headers)
    answer.content_type = found.blob.media_type
    answer.content_length = part.length
    if wanted is not None:
        answer.headers["Content-Range"] = f"bytes {part.start}-{part.end - 1}/{size}"
    if request.method == "HEAD":
        await answer.prepare(request)
        return answer
    loop = asyncio.get_running_loop()
    reader = await loop.run_in_executor(_READERS, services(request).archive.open, found.blob)
    chunk = await loop.run_in_executor(_READERS, _read, reader, part.start, part.end)  # before 200 is promised
    await answer.prepare(request)
    await _stream(request, answer, reader, chunk, part)
    return answer


async def _stream(
    request: web.Request, answer: web.StreamResponse, reader: SealedReader, chunk: bytes, part: ByteRange
) -> None:
    """Send the rest; a blob that turns out to be altered ends the connection, which a player sees as an error."""
    position, loop = part.start, asyncio.get_running_loop()
    try:
        while chunk:
            await answer.write(chunk)
            position += len(chunk)
            chunk = await loop.run_in_executor(_READERS, _read, reader, position, part.end)
        await answer.write_eof()
    except ConnectionResetError:
        return  # the listener went on to another place
    except CardlineError as error:
        log.error("recording_not_sent", recording_id=number_in(request), error=str(error))  # noqa: TRY400 - it says all
        if request.transport is not None:
            request.transport.abort()


def _read(reader: SealedReader, start: int, end: int) -> bytes:
    """The rest of a frame, or of what is wanted; empty at the end."""
    reader.seek(start)
    return reader.read(max(0, min(CHUNK - start % CHUNK, end - start))) or b""
