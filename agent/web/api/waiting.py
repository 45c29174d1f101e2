"""The technical part of what waits for a person: calls that may be one, what could not be read, work given up."""

from __future__ import annotations

from typing import Literal

from aiohttp import web

from agent.store import waiting
from agent.web import settling
from agent.web.api import shapes
from agent.web.api.answers import answer, begin
from agent.web.api.reading import Asked, Id, read_body, read_query
from agent.web.services import login_of, number_in

_MOST = 200


class Near(Asked):
    """Whether two calls are one."""

    first_id: Id
    second_id: Id
    answer: Literal["one", "two"]


class Unread(Asked):
    """What becomes of evidence that could not be read."""

    answer: Literal["again", "aside"]


class GivenUp(Asked):
    """What becomes of work that was given up."""

    answer: Literal["again", "forget"]


async def list_near(request: web.Request) -> web.StreamResponse:
    """Pairs of calls that may be one, the newest first."""
    read_query(request, Asked)
    async with begin(request) as connection:
        found = await waiting.list_near(connection, login_of(request).viewer, limit=_MOST)
    items = [
        {"first_id": one.first, "second_id": one.second, "started": shapes.time(one.started), "reason": one.reason}
        for one in found
    ]
    return await answer(request, {"items": items, "next": None})


async def settle_near(request: web.Request) -> web.StreamResponse:
    """They are one, or two."""
    asked = await read_body(request, Near)
    async with begin(request) as connection:
        is_one = asked.answer == "one"
        await settling.settle_near(request, connection, asked.first_id, asked.second_id, are_one=is_one)
    return web.Response(status=204)


async def settle_unreadable(request: web.Request) -> web.StreamResponse:
    """It is read again, or was looked at."""
    asked = await read_body(request, Unread)
    async with begin(request) as connection:
        await settling.settle_evidence(request, connection, number_in(request), again=asked.answer == "again")
    return web.Response(status=204)


async def list_failed_jobs(request: web.Request) -> web.StreamResponse:
    """Work that was given up after several attempts, the newest first."""
    read_query(request, Asked)
    async with begin(request) as connection:
        found = await waiting.list_failed_jobs(connection, limit=_MOST)
    items = [
        {"id": one.id, "task": one.task, "attempts": one.attempts, "failed": shapes.time(one.failed)} for one in found
    ]
    return await answer(request, {"items": items, "next": None})


async def settle_job(request: web.Request) -> web.StreamResponse:
    """It is done again, or not at all."""
    asked = await read_body(request, GivenUp)
    async with begin(request) as connection:
        await settling.settle_failed_job(request, connection, number_in(request), again=asked.answer == "again")
    return web.Response(status=204)
