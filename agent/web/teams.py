"""Teams with their members, from a day to a day: an administrator's page."""

from __future__ import annotations

from aiohttp import web

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
            number = await teams.insert_team(connection, name)
            if number is not None:
                await audit.add_entry(connection, account_of(request), audit.TEAM_ADDED, {"team": name})
    if number is None:
        return await _list(request, problem="team_wrong")
    raise web.HTTPSeeOther(f"/teams#team-{number}")


async def rename_team(request: web.Request) -> web.StreamResponse:
    """Another name."""
    number, name = number_in(request), await text_of(request, "name")
    async with services(request).store.begin() as connection:
        before = {one.id: one.name for one in await teams.list_teams(connection)}.get(number)
        if before is None:
            raise web.HTTPNotFound
        is_done = bool(name) and await teams.rename_team(connection, number, name)
        if is_done:
            subject = {"before": before, "after": name}
            await audit.add_entry(connection, account_of(request), audit.TEAM_RENAMED, subject)
    if not is_done:
        return await _list(request, problem="team_wrong", at=number)
    raise web.HTTPSeeOther(f"/teams#team-{number}")


async def remove_team(request: web.Request) -> web.StreamResponse:
    """Dissolve it."""
    number = number_in(request)
    async with services(request).store.begin() as connection:
        before = {one.id: one.name for one in await teams.list_teams(connection)}.get(number)
        if before is None or not await teams.remove_team(connection, number):
            raise web.HTTPNotFound
        await audit.add_entry(connection, account_of(request), audit.TEAM_REMOVED, {"team": before})
    raise web.HTTPSeeOther("/teams")


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
        known = {one.id: one.name for one in await teams.list_teams(connection)}
        names = await history.list_employee_names(connection, [int(text)])
        if number not in known or not names:
            raise web.HTTPNotFound
        is_done = await teams.add_member(connection, number, int(text), since)
        if is_done:
            subject = {"team": known[number], "employee": names[int(text)], "from": since.isoformat() if since else ""}
            await audit.add_entry(connection, account_of(request), audit.TEAM_MEMBER_ADDED, subject)
    if not is_done:
        return await _list(request, problem="member_known", at=number)
    raise web.HTTPSeeOther(f"/teams#team-{number}")


async def end_member(request: web.Request) -> web.StreamResponse:
    """The day from which he is a member no more."""
    number = number_in(request)
    try:
        until = day_in(request, await text_of(request, "valid_to"))
    except (ValueError, OverflowError):
        until = None
    async with services(request).store.begin() as connection:
        team_id = await teams.find_team_of(connection, number)
        if team_id is None:
            raise web.HTTPNotFound
        is_done = until is not None and await teams.end_member(connection, number, until)
        if is_done and until is not None:
            subject = {"team_id": team_id, "member_id": number, "until": until.isoformat()}
            await audit.add_entry(connection, account_of(request), audit.TEAM_MEMBER_ENDED, subject)
    if not is_done:
        return await _list(request, problem="date_wrong", at=team_id)
    raise web.HTTPSeeOther(f"/teams#team-{team_id}")


async def remove_member(request: web.Request) -> web.StreamResponse:
    """He never was one."""
    number = number_in(request)
    async with services(request).store.begin() as connection:
        team_id = await teams.find_team_of(connection, number)
        if team_id is None or not await teams.remove_member(connection, number):
            raise web.HTTPNotFound
        subject = {"team_id": team_id, "member_id": number}
        await audit.add_entry(connection, account_of(request), audit.TEAM_MEMBER_REMOVED, subject)
    raise web.HTTPSeeOther(f"/teams#team-{team_id}")
