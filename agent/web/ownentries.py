"""What a person says of one entry by a click: it is not this client's, it is private, it is private no more."""

from __future__ import annotations

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import LinkState
from agent.store import audit, interactions, links, notices, privates, rights
from agent.store.cards import ClientCard
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
    async with services(request).store.begin() as connection:
        await check_seen(request, connection, number)
        card = await seen_card(request, connection, card_id or 0)
        await take_entry_off(request, connection, number, card)
    raise web.HTTPSeeOther(f"/cards/{card.id}?done=taken_off&entry={number}")


async def take_entry_off(request: web.Request, connection: AsyncConnection, number: int, card: ClientCard) -> None:
    """The same for the API, of an entry and a card that were seen.

    Raises:
        HTTPNotFound: it is not on the card.
    """
    login = login_of(request)
    decision = Link(
        interaction_id=number,
        card_id=None,
        started=(await _find(connection, number)).started,
        state=LinkState.UNKNOWN,
        reason=f"taken off the card {card.name} by {login.name}",
        decided_by=login.login,
    )
    if not await links.take_off(connection, decision, card.id):
        raise web.HTTPNotFound(text="It is not on this card.")
    subject = {"interaction_id": number, "card_id": card.id}
    await audit.add_entry(connection, account_of(request), audit.ENTRY_TAKEN_OFF, subject)
    await notices.notify(connection, notices.INTERACTIONS, number)


async def make_private(request: web.Request) -> web.StreamResponse:
    """One's own mail or call concerns nobody else: from now on it is shown to nobody, the administrator included.
    That it was done stays in the audit log."""
    number, login = number_in(request), login_of(request)
    if (await request.post()).get("confirm") != "1":
        raise web.HTTPBadRequest
    async with services(request).store.begin() as connection:
        await check_seen(request, connection, number)
        standing = await links.list_links(connection, [number])
        await hide_entry(request, connection, number, login=login.login, name=login.name)
        seen = [one.card_id for one in standing if one.card_id is not None]
        open_to_him = await rights.list_seen_cards(connection, login.viewer, seen) if seen else set()
    raise web.HTTPSeeOther(f"/cards/{min(open_to_him)}?done=made_private" if open_to_him else "/private")


async def hide_entry(request: web.Request, connection: AsyncConnection, number: int, *, login: str, name: str) -> None:
    """The same for the API, of an entry that was seen; ``login`` is the person's, who alone may take it back.

    Raises:
        HTTPNotFound: he took no part in it.
    """
    if not await privates.is_own(connection, login_of(request).viewer, number):
        raise web.HTTPNotFound(text="You took no part in it.")
    entry = await _find(connection, number)
    await desk.decide_entry(connection, entry, LinkState.PRIVATE, login=login, name=name, card_id=None)
    await audit.add_entry(connection, account_of(request), audit.ENTRY_MADE_PRIVATE, {"interaction_id": number})
    await notices.notify(connection, notices.INTERACTIONS, number)


async def list_private(request: web.Request) -> web.StreamResponse:
    """What this person has made private: when and what sort of entry, no more, and the way back."""
    async with services(request).store.begin() as connection:
        found = await privates.list_private(connection, login_of(request).login)
    return page(request, "private.html", entries=found)


async def make_public(request: web.Request) -> web.StreamResponse:
    """Whoever made an entry private takes that back; rules decide about it again."""
    async with services(request).store.begin() as connection:
        await reveal_entry(request, connection, number_in(request), login=login_of(request).login)
    raise web.HTTPSeeOther("/private")


async def reveal_entry(request: web.Request, connection: AsyncConnection, number: int, *, login: str) -> None:
    """The same for the API.

    Raises:
        HTTPNotFound: this person has not made it private.
    """
    if not await privates.was_made_private_by(connection, number, login):
        raise web.HTTPNotFound(text="You have not made it private.")
    await desk.undecide_entry(connection, services(request).linker, number)
    await audit.add_entry(connection, account_of(request), audit.ENTRY_MADE_PUBLIC, {"interaction_id": number})
    await notices.notify(connection, notices.INTERACTIONS, number)


async def check_seen(request: web.Request, connection: AsyncConnection, number: int) -> None:
    """What is not the viewer's does not exist for him.

    Raises:
        HTTPNotFound: so it is.
    """
    if not await rights.may_see_interaction(connection, login_of(request).viewer, number):
        raise web.HTTPNotFound


async def _find(connection: AsyncConnection, number: int) -> Interaction:
    (entry,) = await interactions.find_interactions(connection, [number])
    return entry
