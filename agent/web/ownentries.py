"""What a person says of one entry by a click: it is not this client's, it is private, it is private no more."""

from __future__ import annotations

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import LinkState
from agent.store import audit, interactions, links, notices, privates, rights
from agent.store.interactions import Interaction
from agent.store.links import Link
from agent.web.cardforms import number_of, seen_card
from agent.web.employees import account_of
from agent.web.pages import page
from agent.web.services import login_of, number_in, services
from linker import desk


async def take_off(request: web.Request) -> web.StreamResponse:
    """It is not this client's: it leaves the card and waits for somebody to say whose it is."""
    number, card_id = number_in(request), await number_of(request, "card")
    login = login_of(request)
    async with services(request).store.begin() as connection:
        entry = await _seen(request, connection, number)
        card = await seen_card(request, connection, card_id or 0)
        decision = Link(
            interaction_id=number,
            card_id=None,
            started=entry.started,
            state=LinkState.UNKNOWN,
            reason=f"taken off the card {card.name} by {login.name}",
            decided_by=login.login,
        )
        if not await links.take_off(connection, decision, card.id):
            raise web.HTTPNotFound
        subject = {"interaction_id": number, "card_id": card.id}
        await audit.add_entry(connection, account_of(request), audit.ENTRY_TAKEN_OFF, subject)
        await notices.notify(connection, notices.INTERACTIONS, number)
    raise web.HTTPSeeOther(f"/cards/{card.id}?done=taken_off&entry={number}")


async def make_private(request: web.Request) -> web.StreamResponse:
    """One's own mail or call concerns nobody else: from now on it is shown to nobody, the administrator included.
    That it was done stays in the audit log."""
    number, login = number_in(request), login_of(request)
    if (await request.post()).get("confirm") != "1":
        raise web.HTTPBadRequest
    async with services(request).store.begin() as connection:
        entry = await _seen(request, connection, number)
        if not await privates.is_own(connection, login.viewer, number):
            raise web.HTTPNotFound
        standing = await links.list_links(connection, [number])
        await desk.decide_entry(connection, entry, LinkState.PRIVATE, login=login.login, name=login.name, card_id=None)
        await audit.add_entry(connection, account_of(request), audit.ENTRY_MADE_PRIVATE, {"interaction_id": number})
        await notices.notify(connection, notices.INTERACTIONS, number)
        seen = [one.card_id for one in standing if one.card_id is not None]
        open_to_him = await rights.list_seen_cards(connection, login.viewer, seen) if seen else set()
    raise web.HTTPSeeOther(f"/cards/{min(open_to_him)}?done=made_private" if open_to_him else "/private")


async def list_private(request: web.Request) -> web.StreamResponse:
    """What this person has made private: when and what sort of entry, no more, and the way back."""
    async with services(request).store.begin() as connection:
        found = await privates.list_private(connection, login_of(request).login)
    return page(request, "private.html", entries=found)


async def make_public(request: web.Request) -> web.StreamResponse:
    """Whoever made an entry private takes that back; rules decide about it again."""
    number, login = number_in(request), login_of(request)
    async with services(request).store.begin() as connection:
        if not await privates.was_made_private_by(connection, number, login.login):
            raise web.HTTPNotFound
        await desk.undecide_entry(connection, services(request).linker, number)
        await audit.add_entry(connection, account_of(request), audit.ENTRY_MADE_PUBLIC, {"interaction_id": number})
        await notices.notify(connection, notices.INTERACTIONS, number)
    raise web.HTTPSeeOther("/private")


async def _seen(request: web.Request, connection: AsyncConnection, number: int) -> Interaction:
    if not await rights.may_see_interaction(connection, login_of(request).viewer, number):
        raise web.HTTPNotFound
    (entry,) = await interactions.find_interactions(connection, [number])
    return entry
