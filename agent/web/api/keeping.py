"""How long calls and mails are kept, what that would erase, and cards that are exempt."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from aiohttp import web
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import InteractionKind
from agent.store import retention
from agent.web import retention as acts
from agent.web.api import shapes
from agent.web.api.answers import Json, answer, begin, check_unchanged
from agent.web.api.reading import Asked, Line, Months, QueryMonths, read_body, read_query
from agent.web.problems import Refused
from agent.web.retention import MOST_COUNTED, NAMES
from agent.web.services import number_in


class Policy(Asked):
    """Months for which each kind is kept; None: for ever. Both must be said."""

    calls: Months | None = Field(...)
    mails: Months | None = Field(...)


class Foreseen(Asked):
    """A policy to be looked at."""

    calls: QueryMonths | None = None
    mails: QueryMonths | None = None


class Reason(Asked):
    """Why a card is exempt."""

    reason: Line


def _plain(asked: Policy | Foreseen) -> dict[InteractionKind, int]:
    return {kind: months for kind, name in NAMES.items() if (months := getattr(asked, name)) is not None}


def _told(policy: Mapping[InteractionKind, int]) -> Json:
    return {name: policy.get(kind) for kind, name in NAMES.items()}


async def show_policy(request: web.Request) -> web.StreamResponse:
    """Months for which each kind is kept."""
    read_query(request, Asked)
    async with begin(request) as connection:
        policy = await retention.find_policy(connection)
    return await answer(request, _told(policy))


async def save_policy(request: web.Request) -> web.StreamResponse:
    """From now on; under If-Match only in place of what the caller has seen."""
    asked = await read_body(request, Policy)
    async with begin(request) as connection:
        await retention.lock_policy(connection)
        check_unchanged(request, _told(await retention.find_policy(connection)))
        await acts.save(request, connection, _plain(asked))
    return await answer(request, _told(_plain(asked)))


async def foresee(request: web.Request) -> web.StreamResponse:
    """How many calls and mails a policy would erase now."""
    policy = _plain(read_query(request, Foreseen))
    async with begin(request) as connection:
        content = {name: await _count(connection, kind, policy.get(kind)) for kind, name in NAMES.items()}
    return await answer(request, content | {"most": MOST_COUNTED})


async def _count(connection: AsyncConnection, kind: InteractionKind, months: int | None) -> int:
    if months is None:
        return 0
    before = retention.months_before(datetime.now(UTC), months)
    return await retention.count_due(connection, kind, before, most=MOST_COUNTED)


async def list_holds(request: web.Request) -> web.StreamResponse:
    """Cards of which nothing is erased by age, the newest first."""
    read_query(request, Asked)
    async with begin(request) as connection:
        found = await retention.list_holds(connection)
    items = [
        {
            "card": {"id": one.card_id, "name": one.name},
            "reason": one.reason,
            "by": one.by,
            "at": shapes.time(one.at),
        }
        for one in found
    ]
    return await answer(request, {"items": items, "next": None})


async def hold(request: web.Request) -> web.StreamResponse:
    """A dispute, an inquiry: nothing of this card is erased by age."""
    asked, number = await read_body(request, Reason), number_in(request)
    async with begin(request) as connection:
        is_done = await acts.hold(request, connection, number, asked.reason)
        if not is_done and number not in [one.card_id for one in await retention.list_holds(connection)]:
            raise Refused(404, "There is no such card.")
    return web.Response(status=204)


async def release(request: web.Request) -> web.StreamResponse:
    """The policy holds for it again."""
    async with begin(request) as connection:
        await acts.release(request, connection, number_in(request))
    return web.Response(status=204)
