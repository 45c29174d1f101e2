"""What was said in a recording, for a history that has shown its beginning and is unfolded there."""

from __future__ import annotations

from aiohttp import web

from agent.store import recordings, rights
from agent.web.cards import views
from agent.web.pages import page
from agent.web.services import login_of, number_in, services
from agent.web.shown import CallView


async def show_said_of(request: web.Request) -> web.StreamResponse:
    """A part of a page: the whole text of one recording."""
    number, viewer = number_in(request), login_of(request).viewer
    async with services(request).store.begin() as connection:
        found = await recordings.find_recording(connection, number)
        if found is None or not await rights.may_see_interaction(connection, viewer, found.interaction_id):
            raise web.HTTPNotFound
        (entry,) = await views(request, connection, [found.interaction_id])
    sounds = entry.sounds if isinstance(entry, CallView) else ()
    one = next((each for each in sounds if each.id == number and each.lines), None)
    if one is None:
        raise web.HTTPNotFound
    return page(request, "_unfolded.html", one=one)
