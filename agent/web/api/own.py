"""What a person says of one entry: it is not this client's, it is private, it is private no more."""

from __future__ import annotations

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.store import accounts, privates
from agent.web import ownentries
from agent.web.api import shapes
from agent.web.api.answers import answer, begin
from agent.web.api.cards import seen_card
from agent.web.api.interactions import check_entry
from agent.web.api.reading import Asked, Id, read_body, read_query
from agent.web.problems import Refused
from agent.web.services import TOKEN, login_of, number_in


class NotClient(Asked):
    """From which card it is taken."""

    card_id: Id


async def take_off(request: web.Request) -> web.StreamResponse:
    """It leaves the card, and waits for somebody to say whose it is."""
    asked, number = await read_body(request, NotClient), number_in(request)
    async with begin(request) as connection:
        await check_entry(request, connection, number)
        card = await seen_card(request, connection, asked.card_id)
        await ownentries.take_entry_off(request, connection, number, card)
    return web.Response(status=204)


async def make_private(request: web.Request) -> web.StreamResponse:
    """One's own mail or call is shown to nobody from now on."""
    number = number_in(request)
    async with begin(request) as connection:
        await check_entry(request, connection, number)
        login, name = await _person(request, connection)
        await ownentries.hide_entry(request, connection, number, login=login, name=name)
    return web.Response(status=204)


async def make_public(request: web.Request) -> web.StreamResponse:
    """Whoever made it private takes that back."""
    async with begin(request) as connection:
        login, _ = await _person(request, connection)
        await ownentries.reveal_entry(request, connection, number_in(request), login=login)
    return web.Response(status=204)


async def list_private(request: web.Request) -> web.StreamResponse:
    """What the caller's person has made private: when, and what sort."""
    read_query(request, Asked)
    async with begin(request) as connection:
        login, _ = await _person(request, connection)
        found = await privates.list_private(connection, login)
    items = [
        {
            "id": one.id,
            "kind": one.kind.value,
            "started": shapes.time(one.started),
            "decided": shapes.time(one.decided),
        }
        for one in found
    ]
    return await answer(request, {"items": items, "next": None})


async def _person(request: web.Request, connection: AsyncConnection) -> tuple[str, str]:
    """Login and name of the person: what is private is his, by whichever of his tokens he said so.

    Raises:
        Refused: the token is nobody's (403).
    """
    token, login = request.get(TOKEN), login_of(request)
    if token is None:
        return login.login, login.name
    found = await accounts.find_by_id(connection, token.account_id) if token.account_id is not None else None
    if found is None:
        raise Refused(403, "Private is somebody's: use a token that belongs to an account.")
    return found.login, found.name
