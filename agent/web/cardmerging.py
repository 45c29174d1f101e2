"""Two cards that are one client, and one card that is two: a supervisor says so, and may take it back."""

from __future__ import annotations

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.store import audit, cardmerges, duplicates, rights
from agent.web.cardforms import back_to, note_act, number_of, seen_card, text_in
from agent.web.employees import account_of
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
        by = login_of(request).login
        other = await _seen_other(request, connection, other)
        merge_id = await desk.merge_cards(connection, services(request).linker, card_id, other, by=by)
        if merge_id is None:
            raise web.HTTPConflict
        await note_act(request, connection, audit.CARDS_MERGED, card_id, other=other, merge_id=merge_id)
    raise back_to(card_id)


async def undo_merge(request: web.Request) -> web.StreamResponse:
    """They are two again."""
    merge_id = number_in(request)
    async with services(request).store.begin() as connection:
        kept = await cardmerges.find_kept(connection, merge_id)
        if kept is None or not await rights.may_see_card(connection, login_of(request).viewer, kept):
            raise web.HTTPNotFound
        by = login_of(request).login
        card_id = await desk.undo_merge(connection, services(request).linker, merge_id, by=by)
        if card_id is None:
            raise web.HTTPConflict
        await note_act(request, connection, audit.MERGE_UNDONE, card_id, merge_id=merge_id)
    raise back_to(card_id)


async def split_card(request: web.Request) -> web.StreamResponse:
    """Some of its numbers are another client's."""
    card_id, name = number_in(request), await text_in(request, "name")
    chosen = [str(one) for one in (await request.post()).getall("point", [])]
    points = [int(one) for one in chosen if one.isascii() and one.isdigit() and len(one) <= 18]
    if not name or not points:
        raise web.HTTPSeeOther(f"/cards/{card_id}?problem=split_wrong#split")
    async with services(request).store.begin() as connection:
        await seen_card(request, connection, card_id)
        linker, by = services(request).linker, login_of(request).login
        new_id = await desk.split_card(connection, linker, card_id, points, name, by=by)
        if new_id is None:
            raise web.HTTPNotFound
        await note_act(request, connection, audit.CARD_SPLIT, card_id, new_card_id=new_id)
    raise back_to(new_id)


async def keep_apart(request: web.Request) -> web.StreamResponse:
    """They are two, and nobody is asked again."""
    card_id, other = number_in(request), await number_of(request, "other")
    async with services(request).store.begin() as connection:
        await seen_card(request, connection, card_id)
        if other == card_id:
            raise web.HTTPNotFound
        other = await _seen_other(request, connection, other)
        await duplicates.keep_apart(connection, card_id, other, by=login_of(request).login)
        subject = {"card_id": card_id, "other": other}
        await audit.add_entry(connection, account_of(request), audit.CARDS_KEPT_APART, subject)
    raise web.HTTPSeeOther("/duplicates" if await text_in(request, "back") == "duplicates" else f"/cards/{card_id}")


async def _seen_other(request: web.Request, connection: AsyncConnection, other: int | None) -> int:
    """The second card of a pair, which must exist for the viewer as well."""
    if other is None or not await rights.may_see_card(connection, login_of(request).viewer, other):
        raise web.HTTPNotFound
    return other
