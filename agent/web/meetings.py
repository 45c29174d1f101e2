"""What people say of meetings: it was held, or it was not."""

from __future__ import annotations

from aiohttp import web

from agent.store import audit, meetings, notices, rights
from agent.web.employees import account_of
from agent.web.services import login_of, number_in, services
from linker.meetings import HELD, NOT_HELD


async def say_of_meeting(request: web.Request) -> web.StreamResponse:
    """A word that counts more than what calendars say; an empty one takes it back."""
    number, said = number_in(request), str((await request.post()).get("said", ""))
    if said not in (HELD, NOT_HELD, ""):
        raise web.HTTPBadRequest
    login = login_of(request)
    async with services(request).store.begin() as connection:
        if not await rights.may_see_interaction(connection, login.viewer, number):
            raise web.HTTPNotFound
        if not await meetings.say(connection, number, said, login.login):
            raise web.HTTPNotFound
        subject = {"interaction_id": number, "said": said}
        await audit.add_entry(connection, account_of(request), audit.MEETING_DECIDED, subject)
        await services(request).linker.relink(connection, [number])
        await notices.notify(connection, notices.INTERACTIONS, number)
    raise web.HTTPSeeOther(f"/interactions/{number}")
