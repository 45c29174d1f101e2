"""What the service itself tells: who asks, its sources, its CRMs."""

from __future__ import annotations

from typing import Annotated, Literal

from aiohttp import web
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from agent import __version__
from agent.store import audit, connectors, mirror, sources, undelivered
from agent.store.connectors import Connector
from agent.store.undelivered import FailedDelivery
from agent.web import crm_users, settling
from agent.web.api import shapes
from agent.web.api.answers import Json, Made, answer, begin, perform
from agent.web.api.reading import Asked, Id, read_body, read_query
from agent.web.employees import account_of
from agent.web.problems import Refused
from agent.web.services import TOKEN, login_of, number_in


class Retry(Asked):
    """Which deliveries; none named means all that were given up."""

    ids: Annotated[list[Id], Field(min_length=1, max_length=200)] | None = None


class GivenUp(Asked):
    """What becomes of a delivery that was given up."""

    answer: Literal["again", "forget"]


class UserOf(Asked):
    """Who somebody is over there."""

    user: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00]+$")]
    employee_id: Id


async def show_me(request: web.Request) -> web.StreamResponse:
    """Who asks, and what he may do."""
    read_query(request, Asked)
    login, token = login_of(request), request.get(TOKEN)
    viewer = login.viewer
    content = {
        "name": login.name,
        "role": viewer.role.value,
        "sees_all": viewer.sees_all,
        "employee_id": viewer.employee_id,
        "account_id": viewer.account_id or None,
        "token": {"name": token.name, "scopes": sorted(token.scopes)} if token is not None else None,
        "version": __version__,
    }
    return await answer(request, content)


async def list_sources(request: web.Request) -> web.StreamResponse:
    """Every source with its state, since when, and why."""
    read_query(request, Asked)
    async with begin(request) as connection:
        found = await sources.list_statuses(connection)
    items = [
        {"source": one.source, "state": one.state.value, "detail": one.detail, "since": shapes.time(one.changed)}
        for one in found
    ]
    return await answer(request, {"items": items, "next": None})


async def list_crms(request: web.Request) -> web.StreamResponse:
    """Every CRM: how it goes, and how many deliveries are in which state."""
    read_query(request, Asked)
    async with begin(request) as connection:
        found = await connectors.list_connectors(connection)
        items = [_crm(one, await undelivered.count_states(connection, one.id)) for one in found]
    return await answer(request, {"items": items, "next": None})


def _crm(one: Connector, counts: dict[str, int]) -> Json:
    return {
        "id": one.id,
        "name": one.name,
        "kind": one.kind,
        "delivers": one.delivers,
        "since": shapes.time(one.since),
        "state": one.state,
        "problem": one.problem,
        "paused_until": shapes.time(one.paused_until),
        "succeeded": shapes.time(one.succeeded),
        "read": shapes.time(one.read),
        "read_problem": one.read_problem,
        "deliveries": {name: counts.get(name, 0) for name in ("waiting", "unready", "done", "failed", "dropped")},
    }


async def list_failed(request: web.Request) -> web.StreamResponse:
    """Deliveries that were given up, the newest first, each with its remedy."""
    read_query(request, Asked)
    async with begin(request) as connection:
        found = await undelivered.list_failed(connection)
        total = await undelivered.count_failed(connection)
    return await answer(request, {"items": [_delivery(one) for one in found], "next": None, "total": total})


def _delivery(one: FailedDelivery) -> Json:
    return {
        "id": one.id,
        "crm": one.connector,
        "interaction_id": one.interaction_id,
        "card_id": one.card_id,
        "started": shapes.time(one.started),
        "failure": one.failure,
        "problem": one.problem,
        "remedy": one.remedy,
        "tried": shapes.time(one.tried),
    }


async def retry_deliveries(request: web.Request) -> web.StreamResponse:
    """Try again what was given up."""
    asked = await read_body(request, Retry)

    async def act(connection: AsyncConnection) -> Made:
        count = await undelivered.retry(connection, ids=asked.ids)
        subject = {"delivery_ids": asked.ids} if asked.ids else {"count": count}
        await audit.add_entry(connection, account_of(request), audit.DELIVERIES_RETRIED, subject)
        return Made(content={"retried": count}, status=200)

    return await perform(request, act)


async def settle_delivery(request: web.Request) -> web.StreamResponse:
    """One is tried again, or the CRM need not know."""
    asked = await read_body(request, GivenUp)
    async with begin(request) as connection:
        await settling.settle_delivery(request, connection, number_in(request), again=asked.answer == "again")
    return web.Response(status=204)


async def list_users(request: web.Request) -> web.StreamResponse:
    """Who works in a CRM and which employee each is; whose calls and mails are told there as nobody's."""
    read_query(request, Asked)
    number = number_in(request)
    async with begin(request) as connection:
        if number not in [one.id for one in await connectors.list_connectors(connection)]:
            raise Refused(404, "There is no such CRM.")
        found = await mirror.list_users(connection, number)
        nobodys = await mirror.list_unmapped(connection, number)
    items = [
        {
            "user": one.external_id,
            "name": one.name,
            "address": one.address,
            "extension": one.extension,
            "employee_id": one.employee_id,
            "mapped_by": one.mapped_by,
        }
        for one in found
    ]
    unmapped = [{"id": number, "name": name} for number, name in nobodys]
    return await answer(request, {"items": items, "next": None, "unmapped": unmapped})


async def map_user(request: web.Request) -> web.StreamResponse:
    """An employee is this user; what he took part in is told anew."""
    asked = await read_body(request, UserOf)
    async with begin(request) as connection:
        await crm_users.map_user(request, connection, number_in(request), asked.user, asked.employee_id)
    return web.Response(status=204)
