"""Two cards that are one client, and one card that is two: a supervisor says so, and may take it back."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.store import audit, cardmerges, duplicates, rights
from agent.web.cardforms import back_to, note_act, number_of, seen_card, text_in
from agent.web.pages import page
from agent.web.services import login_of, number_in, services
from linker import desk


async def list_duplicates(request: web.Request) -> web.StreamResponse:
    """Pairs of cards that may be one."""
    async with services(request).store.begin() as connection:
        found = await duplicates.list_duplicates(connection)
    return page(request, "duplicates.html", pairs=found)


async def merge_cards(request: web.Request) -> web.StreamResponse:
    """The other card becomes part of this one."""
    card_id, other = number_in(request), await number_of(request, "other")
    async with services(request).store.begin() as connection:
        await seen_card(request, connection, card_id)
        await merge(request, connection, card_id, other)
    raise back_to(card_id)


async def merge(request: web.Request, connection: AsyncConnection, card_id: int, other: int | None) -> int:
    """The same for the API, of a card that was seen; returns the merge's id.

    Raises:
        HTTPNotFound: the other one is hidden. HTTPConflict: it cannot be done.
    """
    other = await _seen_other(request, connection, other)
    by = login_of(request).login
    merge_id = await desk.merge_cards(connection, services(request).linker, card_id, other, by=by)
    if merge_id is None:
        raise web.HTTPConflict
    await note_act(request, connection, audit.CARDS_MERGED, card_id, other=other, merge_id=merge_id)
    return merge_id


async def undo_merge(request: web.Request) -> web.StreamResponse:
    """They are two again."""
    async with services(request).store.begin() as connection:
        card_id = await part_again(request, connection, number_in(request))
    raise back_to(card_id)


async def part_again(request: web.Request, connection: AsyncConnection, merge_id: int) -> int:
    """Take a merge back; returns the card that is there again."""
    kept = await cardmerges.find_kept(connection, merge_id)
    if kept is None or not await rights.may_see_card(connection, login_of(request).viewer, kept):
        raise web.HTTPNotFound
    by = login_of(request).login
    card_id = await desk.undo_merge(connection, services(request).linker, merge_id, by=by)
    if card_id is None:
        raise web.HTTPConflict
    await note_act(request, connection, audit.MERGE_UNDONE, card_id, merge_id=merge_id)
    return card_id


async def split_card(request: web.Request) -> web.StreamResponse:
    """Some of its numbers are another client's."""
    card_id, name = number_in(request), await text_in(request, "name")
    chosen = [str(one) for one in (await request.post()).getall("point", [])]
    points = [int(one) for one in chosen if one.isascii() and one.isdigit() and len(one) <= 18]
    if not name or not points:
        raise web.HTTPSeeOther(f"/cards/{card_id}?problem=split_wrong#split")
    async with services(request).store.begin() as connection:
        await seen_card(request, connection, card_id)
        new_id = await split(request, connection, card_id, points, name)
    raise back_to(new_id)


async def split(
    request: web.Request, connection: AsyncConnection, card_id: int, points: Sequence[int], name: str
) -> int:
    """A card of their own for some contact points of a card that was seen; returns its id."""
    linker, by = services(request).linker, login_of(request).login
    new_id = await desk.split_card(connection, linker, card_id, points, name, by=by)
    if new_id is None:
        raise web.HTTPNotFound
    await note_act(request, connection, audit.CARD_SPLIT, card_id, new_card_id=new_id)
    return new_id


async def keep_apart(request: web.Request) -> web.StreamResponse:
    """They are two, and nobody is asked again."""
    card_id, other = number_in(request), await number_of(request, "other")
    async with services(request).store.begin() as connection:
        await seen_card(request, connection, card_id)
        await mark_distinct(request, connection, card_id, other)
    raise web.HTTPSeeOther("/duplicates" if await text_in(request, "back") == "duplicates" else f"/cards/{card_id}")


async def mark_distinct(request: web.Request, connection: AsyncConnection, card_id: int, other: int | None) -> None:
    """Two cards, the first of which was seen, are not one client."""
    if other == card_id:
        raise web.HTTPNotFound
    other = await _seen_other(request, connection, other)
    await duplicates.keep_apart(connection, card_id, other, by=login_of(request).login)
    await note_act(request, connection, audit.CARDS_KEPT_APART, card_id, other=other)


async def _seen_other(request: web.Request, connection: AsyncConnection, other: int | None) -> int:
    """The second card of a pair, which must exist for the viewer as well."""
    if other is None or not await rights.may_see_card(connection, login_of(request).viewer, other):
        raise web.HTTPNotFound
    return other
