"""Teams with their members, from a moment to a moment."""

from __future__ import annotations

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.store import history, teams
from agent.web import teams as acts
from agent.web.api import shapes
from agent.web.api.answers import Made, answer, begin, perform
from agent.web.api.people import EndedIdentity, Named
from agent.web.api.reading import Asked, Id, Moment, read_body, read_query
from agent.web.problems import Refused
from agent.web.services import number_in

_TAKEN = "Another team has this name."


class NewMember(Asked):
    """Who joins, from a moment on, or for all the past too."""

    employee_id: Id
    valid_from: Moment | None = None


async def list_teams(request: web.Request) -> web.StreamResponse:
    """Every team with its members, those of the past too."""
    read_query(request, Asked)
    async with begin(request) as connection:
        found = await teams.list_teams(connection)
    items = [
        {
            "id": one.id,
            "name": one.name,
            "members": [
                {
                    "id": member.id,
                    "employee": {"id": member.employee_id, "name": member.name},
                    "valid_from": shapes.time(member.valid_from),
                    "valid_to": shapes.time(member.valid_to),
                }
                for member in one.members
            ],
            "supervisors": [name for _, name in one.supervisors],
        }
        for one in found
    ]
    return await answer(request, {"items": items, "next": None})


async def add_team(request: web.Request) -> web.StreamResponse:
    """A new team."""
    asked = await read_body(request, Named)

    async def act(connection: AsyncConnection) -> Made:
        number = await acts.add(request, connection, asked.name)
        if number is None:
            raise Refused(409, _TAKEN)
        return Made(content={"id": number}, location=f"{shapes.API}/teams")

    return await perform(request, act)


async def rename_team(request: web.Request) -> web.StreamResponse:
    """Another name."""
    asked = await read_body(request, Named)
    async with begin(request) as connection:
        if not await acts.rename(request, connection, number_in(request), asked.name):
            raise Refused(409, _TAKEN)
    return web.Response(status=204)


async def remove_team(request: web.Request) -> web.StreamResponse:
    """It is dissolved."""
    async with begin(request) as connection:
        await acts.dissolve(request, connection, number_in(request))
    return web.Response(status=204)


async def add_member(request: web.Request) -> web.StreamResponse:
    """An employee joins."""
    asked = await read_body(request, NewMember)

    async def act(connection: AsyncConnection) -> Made:
        number = number_in(request)
        if not await history.list_employee_names(connection, [asked.employee_id]):
            raise Refused(422, "There is no such employee.", faults=[("/employee_id", "no employee")])
        if not await acts.join(request, connection, number, asked.employee_id, asked.valid_from):
            raise Refused(409, "He is a member already.")
        (team,) = [one for one in await teams.list_teams(connection) if one.id == number]
        member = max(one.id for one in team.members if one.employee_id == asked.employee_id)
        return Made(content={"id": member}, location=f"{shapes.API}/teams")

    return await perform(request, act)


async def end_member(request: web.Request) -> web.StreamResponse:
    """From then on he is a member no more."""
    asked = await read_body(request, EndedIdentity)
    async with begin(request) as connection:
        if not await acts.leave(request, connection, number_in(request), asked.valid_to):
            raise Refused(422, "It would end before it begins.", faults=[("/valid_to", "before valid_from")])
    return web.Response(status=204)


async def remove_member(request: web.Request) -> web.StreamResponse:
    """He never was one."""
    async with begin(request) as connection:
        await acts.forget_member(request, connection, number_in(request))
    return web.Response(status=204)
