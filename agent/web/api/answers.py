"""Answers as JSON, with an entity tag each, compressed where that pays, and the transaction in which they are made."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from aiohttp import web
from pydantic import BaseModel
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.store import replies
from agent.store.clients import Position
from agent.web.api.cursors import write_cursor
from agent.web.problems import Refused
from agent.web.services import TOKEN, login_of, services

STATEMENT_SECONDS = 10
_BOUND = text(f"SET LOCAL statement_timeout = '{STATEMENT_SECONDS}s'")
_COMPRESSED_FROM = 1400  # bytes: what fits into a packet goes as it is
_IN_A_THREAD_FROM = 128 * 1024
_LONGEST_KEY = 200

Json = dict[str, Any]


@asynccontextmanager
async def begin(request: web.Request) -> AsyncIterator[AsyncConnection]:
    """A transaction in which no statement takes for ever; one that would is answered with 503."""
    async with services(request).store.begin() as connection:
        await connection.execute(_BOUND)
        yield connection


# --- Reading ----------------------------------------------------------------------------------------------------------


def encode(content: object) -> bytes:
    """The same bytes for the same content; lone surrogates of broken senders are replaced."""
    words = json.dumps(content, ensure_ascii=False, separators=(",", ":"), default=_plain)
    return words.encode("utf-8", "replace")


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(type(value).__name__)


def tag_of(body: bytes) -> str:
    """A strong entity tag (RFC 9110 section 8.8.3) of this representation."""
    return hashlib.sha256(body).hexdigest()[:32]


async def answer(
    request: web.Request, content: object, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """JSON; nothing but 304 to whoever has it."""
    body = encode(content)
    return await answer_bytes(request, body, "application/json", status=status, headers=headers)


async def answer_bytes(
    request: web.Request,
    body: bytes,
    media_type: str,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """The same of anything that is text."""
    tag = tag_of(body)
    packed = len(body) >= _COMPRESSED_FROM and _takes_gzip(request)
    shown = f'"{tag}-gzip"' if packed else f'"{tag}"'
    more = {"Cache-Control": "private, no-cache", "Vary": "Accept-Encoding", "ETag": shown} | dict(headers or {})
    if status == 200 and request.method in ("GET", "HEAD") and _has(request.headers.get("If-None-Match", ""), tag):
        return web.Response(status=304, headers=more)
    if packed:
        is_large = len(body) >= _IN_A_THREAD_FROM
        body = await asyncio.to_thread(gzip.compress, body, 6) if is_large else gzip.compress(body, 6)
        more["Content-Encoding"] = "gzip"
    return web.Response(body=body, status=status, content_type=media_type, headers=more)


def _takes_gzip(request: web.Request) -> bool:
    offered = request.headers.get("Accept-Encoding", "").lower().replace(" ", "")
    return any(
        one == "gzip" or (one.startswith("gzip;q=") and one[7:] not in ("0", "0.0")) for one in offered.split(",")
    )


def _has(header: str, tag: str) -> bool:
    """Weak comparison, of either encoding of the same content."""
    tags = {one.strip().removeprefix("W/").strip('"').removesuffix("-gzip") for one in header.split(",")}
    return tag in tags or "*" in tags


def check_unchanged(request: web.Request, content: object) -> None:
    """For changes under If-Match: what the caller has seen is what is there.

    Raises:
        Refused: it has changed since (412).
    """
    wanted = request.headers.get("If-Match")
    strong = ",".join(one for one in (wanted or "").split(",") if not one.strip().startswith("W/"))
    if wanted is not None and not _has(strong, tag_of(encode(content))):
        raise Refused(412, "It has changed since you read it. Read it again.", kind="changed")


async def answer_page(
    request: web.Request,
    asked: BaseModel,
    items: Sequence[Json],
    last: Position | None,
    **more: object,
) -> web.Response:
    """A page of a list; ``last`` is the last row of it where another page follows."""
    following = None
    if last is not None:
        cursor = write_cursor(request.path, asked, last)
        following = str(request.rel_url.update_query(cursor=cursor))
    headers = {"Link": f'<{following}>; rel="next"'} if following else None
    return await answer(request, {"items": list(items), "next": following, **more}, headers=headers)


# --- Changing ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What came of a change. ``content`` names things by their ids, and never repeats what was written: it is kept with
    an Idempotency-Key."""

    content: Json = field(default_factory=dict)
    location: str = ""
    status: int = 201


Act = Callable[[AsyncConnection], Awaitable[Made]]


def owner_of(request: web.Request) -> str:
    """Whose keys and limits these are: the token's, or the account's."""
    token = request.get(TOKEN)
    return f"token {token.id}" if token is not None else f"account {login_of(request).viewer.account_id}"


async def perform(request: web.Request, act: Act) -> web.Response:
    """Do it in one transaction; with an Idempotency-Key once, however often it is asked for."""
    key = request.headers.get("Idempotency-Key", "")
    if not key:
        async with begin(request) as connection:
            made = await act(connection)
        return _made(made)
    if len(key) > _LONGEST_KEY or not key.isascii() or not key.isprintable():
        raise Refused(400, f"An Idempotency-Key has at most {_LONGEST_KEY} printable ASCII characters.")
    owner = owner_of(request)
    asked = hashlib.sha256(f"{request.method} {request.path_qs}\n".encode() + await request.read()).digest()
    async with begin(request) as connection:
        before = await replies.claim(connection, owner, key, asked)
        if before is None:
            made = await act(connection)
            content = json.dumps(made.content)
            await replies.keep(connection, owner, key, status=made.status, location=made.location, content=content)
    if before is None:
        return _made(made)
    if not before.is_same:
        raise Refused(422, "This Idempotency-Key was used for another request.", kind="idempotency-key")
    again = _made(Made(content=json.loads(before.content), location=before.location, status=before.status))
    again.headers["Idempotency-Replayed"] = "true"
    return again


def _made(made: Made) -> web.Response:
    headers = {"Cache-Control": "no-store"} | ({"Location": made.location} if made.location else {})
    if made.status == 204:
        return web.Response(status=204, headers=headers)
    return web.Response(body=encode(made.content), status=made.status, content_type="application/json", headers=headers)
