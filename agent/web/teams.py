"""Teams with their members, from a day to a day: an administrator's page."""

from __future__ import annotations

from datetime import datetime

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.store import audit, employees, history, teams
from agent.web.accounts import text_of
from agent.web.employees import account_of, day_in
from agent.web.pages import page
from agent.web.services import number_in, services


async def list_teams(request: web.Request) -> web.StreamResponse:
    """All teams."""
    return await _list(request)


async def _list(request: web.Request, *, problem: str = "", at: int = 0) -> web.Response:
    async with services(request).store.begin() as connection:
        found = await teams.list_teams(connection)
        people = await employees.list_employees(connection)
    return page(
        request,
        "teams.html",
        status=400 if problem else 200,
        teams=found,
        employees=people,
        managers_see=services(request).settings.web.managers_see,
        problem=problem,
        at=at,
    )


async def add_team(request: web.Request) -> web.StreamResponse:
    """A new team."""
    name = await text_of(request, "name")
    number = None
    if name:
        async with services(request).store.begin() as connection:
            number = await add(request, connection, name)
    if number is None:
        return await _list(request, problem="team_wrong")
    raise web.HTTPSeeOther(f"/teams#team-{number}")


async def add(request: web.Request, connection: AsyncConnection, name: str) -> int | None:
    """The same for the API; None where the name is taken."""
    number = await teams.insert_team(connection, name)
    if number is not None:
        await audit.add_entry(connection, account_of(request), audit.TEAM_ADDED, {"team": name})
    return number


async def rename_team(request: web.Request) -> web.StreamResponse:
    """Another name."""
    number, name = number_in(request), await text_of(request, "name")
    async with services(request).store.begin() as connection:
        is_done = await rename(request, connection, number, name)
    if not is_done:
        return await _list(request, problem="team_wrong", at=number)
    raise web.HTTPSeeOther(f"/teams#team-{number}")


async def rename(request: web.Request, connection: AsyncConnection, number: int, name: str) -> bool:
    """The same for the API; False where another one has the name.

    Raises:
        HTTPNotFound: there is no such team.
    """
    before = await _name(connection, number)
    is_done = bool(name) and await teams.rename_team(connection, number, name)
    if is_done:
        subject = {"before": before, "after": name}
        await audit.add_entry(connection, account_of(request), audit.TEAM_RENAMED, subject)
    return is_done


async def _name(connection: AsyncConnection, number: int) -> str:
    found = {one.id: one.name for one in await teams.list_teams(connection)}.get(number)
    if found is None:
        raise web.HTTPNotFound
    return found


async def remove_team(request: web.Request) -> web.StreamResponse:
    """Dissolve it."""
    number = number_in(request)
    async with services(request).store.begin() as connection:
        await dissolve(request, connection, number)
    raise web.HTTPSeeOther("/teams")


async def dissolve(request: web.Request, connection: AsyncConnection, number: int) -> None:
    """The same for the API.

    Raises:
        HTTPNotFound: there is no such team.
    """
    before = await _name(connection, number)
    await teams.remove_team(connection, number)
    await audit.add_entry(connection, account_of(request), audit.TEAM_REMOVED, {"team": before})


async def add_member(request: web.Request) -> web.StreamResponse:
    """An employee joins, from a day on or for all the past too."""
    number, text = number_in(request), await text_of(request, "employee")
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise web.HTTPBadRequest
    try:
        since = day_in(request, await text_of(request, "valid_from"))
    except (ValueError, OverflowError):
        return await _list(request, problem="date_wrong", at=number)
    async with services(request).store.begin() as connection:
        is_done = await join(request, connection, number, int(text), since)
    if not is_done:
        return await _list(request, problem="member_known", at=number)
    raise web.HTTPSeeOther(f"/teams#team-{number}")


async def join(
    request: web.Request, connection: AsyncConnection, number: int, employee_id: int, since: datetime | None
) -> bool:
    """The same for the API; False where he is a member already.

    Raises:
        HTTPNotFound: there is no such team, or no such employee.
    """
    name, names = await _name(connection, number), await history.list_employee_names(connection, [employee_id])
    if not names:
        raise web.HTTPNotFound
    is_done = await teams.add_member(connection, number, employee_id, since)
    if is_done:
        subject = {"team": name, "employee": names[employee_id], "from": since.isoformat() if since else ""}
        await audit.add_entry(connection, account_of(request), audit.TEAM_MEMBER_ADDED, subject)
    return is_done


async def end_member(request: web.Request) -> web.StreamResponse:
    """The day from which he is a member no more."""
    number = number_in(request)
    try:
        until = day_in(request, await text_of(request, "valid_to"))
    except (ValueError, OverflowError):
        until = None
    async with services(request).store.begin() as connection:
        team_id = await _team_of(connection, number)
        is_done = until is not None and await leave(request, connection, number, until)
    if not is_done:
        return await _list(request, problem="date_wrong", at=team_id)
    raise web.HTTPSeeOther(f"/teams#team-{team_id}")


async def _team_of(connection: AsyncConnection, number: int) -> int:
    team_id = await teams.find_team_of(connection, number)
    if team_id is None:
        raise web.HTTPNotFound
    return team_id


async def leave(request: web.Request, connection: AsyncConnection, number: int, until: datetime) -> bool:
    """The same for the API; False where it would end before it began.

    Raises:
        HTTPNotFound: there is no such member.
    """
    team_id = await _team_of(connection, number)
    is_done = await teams.end_member(connection, number, until)
    if is_done:
        subject = {"team_id": team_id, "member_id": number, "until": until.isoformat()}
        await audit.add_entry(connection, account_of(request), audit.TEAM_MEMBER_ENDED, subject)
    return is_done


async def remove_member(request: web.Request) -> web.StreamResponse:
    """He never was one."""
    async with services(request).store.begin() as connection:
        team_id = await forget_member(request, connection, number_in(request))
    raise web.HTTPSeeOther(f"/teams#team-{team_id}")


async def forget_member(request: web.Request, connection: AsyncConnection, number: int) -> int:
    """The same for the API; returns the team.

    Raises:
        HTTPNotFound: there is no such member.
    """
    team_id = await _team_of(connection, number)
    await teams.remove_member(connection, number)
    subject = {"team_id": team_id, "member_id": number}
    await audit.add_entry(connection, account_of(request), audit.TEAM_MEMBER_REMOVED, subject)
    return team_id
