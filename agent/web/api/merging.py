"""Cards that are one client, and one that is two: proposed, merged, parted and split; supervisors do it."""

from __future__ import annotations

from typing import Annotated

from aiohttp import web
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.store import duplicates
from agent.web import cardmerging
from agent.web.api import shapes
from agent.web.api.answers import Made, answer, begin, perform
from agent.web.api.cards import seen_card
from agent.web.api.reading import Asked, Id, Line, read_body, read_query
from agent.web.services import number_in


class Other(Asked):
    """The second card of a pair."""

    other_id: Id


class Split(Asked):
    """Which contact points get a card of their own."""

    contact_point_ids: Annotated[list[Id], Field(min_length=1, max_length=200)]
    name: Line


async def list_duplicates(request: web.Request) -> web.StreamResponse:
    """Pairs of cards that may be one."""
    read_query(request, Asked)
    async with begin(request) as connection:
        found = await duplicates.list_duplicates(connection)
    return await answer(request, {"items": [shapes.duplicate(one) for one in found], "next": None})


async def merge(request: web.Request) -> web.StreamResponse:
    """The other card becomes part of this one."""
    asked = await read_body(request, Other)

    async def act(connection: AsyncConnection) -> Made:
        card = await seen_card(request, connection, number_in(request))
        merge_id = await cardmerging.merge(request, connection, card.id, asked.other_id)
        return Made(content={"id": merge_id}, location=f"{shapes.API}/cards/{card.id}")

    return await perform(request, act)


async def undo_merge(request: web.Request) -> web.StreamResponse:
    """They are two again."""

    async def act(connection: AsyncConnection) -> Made:
        card_id = await cardmerging.part_again(request, connection, number_in(request))
        return Made(content={"id": card_id}, location=f"{shapes.API}/cards/{card_id}", status=200)

    return await perform(request, act)


async def split(request: web.Request) -> web.StreamResponse:
    """Some of its contact points are another client's, who gets a card."""
    asked = await read_body(request, Split)

    async def act(connection: AsyncConnection) -> Made:
        card = await seen_card(request, connection, number_in(request))
        points = list(dict.fromkeys(asked.contact_point_ids))
        new_id = await cardmerging.split(request, connection, card.id, points, asked.name)
        return Made(content={"id": new_id}, location=f"{shapes.API}/cards/{new_id}")

    return await perform(request, act)


async def keep_apart(request: web.Request) -> web.StreamResponse:
    """They are two, and nobody is asked again."""
    asked = await read_body(request, Other)
    async with begin(request) as connection:
        card = await seen_card(request, connection, number_in(request))
        await cardmerging.mark_distinct(request, connection, card.id, asked.other_id)
    return web.Response(status=204)
