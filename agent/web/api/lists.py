"""Lists of cards taken in after a look at what would come of them, and searches that people keep."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from aiohttp import web
from pydantic import AfterValidator, Field
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.store import cardimports, savedsearches
from agent.store.cardimports import CardImport
from agent.web import cardlists
from agent.web.api import shapes
from agent.web.api.answers import Json, Made, answer, begin, encode, perform
from agent.web.api.reading import Asked, Line, read_body, read_query
from agent.web.find import query_in
from agent.web.problems import Refused
from agent.web.services import login_of, number_in, services
from linker.csvcards import COLUMNS, ENCODINGS, LARGEST, MOST_COLUMNS, SEPARATORS, Plan, Unlisted, sample
from linker.importing import Preview, preview
from linker.reading import Reader


def _one_of(*known: str) -> Any:
    def check(value: str) -> str:
        if value not in known:
            raise ValueError("it is none of those there are")
        return value

    return AfterValidator(check)


class UploadQuery(Asked):
    """What the list is called."""

    name: Annotated[str, Field(max_length=200)] = ""


class ReadingPlan(Asked):
    """How a list is to be read."""

    encoding: Annotated[str, _one_of(*ENCODINGS)]
    separator: Annotated[str, _one_of(*SEPARATORS)]
    has_heading: bool
    columns: Annotated[list[Annotated[str, _one_of(*COLUMNS)]], Field(max_length=MOST_COLUMNS)]


class KeptSearch(Asked):
    """A search of the page *Find* under a name."""

    name: Annotated[Line, Field(max_length=80)]
    query: Annotated[str, Field(min_length=1, max_length=2000)]


# --- Lists of cards ---------------------------------------------------------------------------------------------------


async def upload(request: web.Request) -> web.StreamResponse:
    """A list, kept and looked at; nothing is done yet."""
    asked = read_query(request, UploadQuery)
    content = await request.read()
    if len(content) > LARGEST:
        raise web.HTTPRequestEntityTooLarge(max_size=LARGEST, actual_size=len(content))
    try:
        number = await cardlists.keep_list(request, asked.name or "API", content)
    except Unlisted as error:
        raise Refused(422, str(error)) from None
    place = f"{shapes.API}/imports/{number}"
    headers = {"Location": place, "Cache-Control": "no-store"}
    return web.Response(body=encode({"id": number}), status=201, content_type="application/json", headers=headers)


async def show_import(request: web.Request) -> web.StreamResponse:
    """How it is read and what would come of it, or how far it has come."""
    read_query(request, Asked)
    async with begin(request) as connection:
        one = await _find(request, connection)
        is_waiting = not one.applied and one.content is not None
        foreseen = await preview(connection, one, Reader(services(request).settings)) if is_waiting else None
    plan = Plan.from_json(one.plan)
    lines = await asyncio.to_thread(sample, one.content, plan) if is_waiting and one.content else []
    return await answer(
        request,
        {
            "id": one.id,
            "name": one.name,
            "by": one.by,
            "at": shapes.time(one.at),
            "state": "waiting" if is_waiting else _state(one),
            "plan": plan.to_json(),
            "lines": [list(line) for line in lines],
            "foreseen": _foreseen(foreseen) if foreseen is not None else None,
            "report": dict(one.report) or None,
        },
    )


def _state(one: CardImport) -> str:
    if not one.applied:
        return "forgotten"
    return "done" if one.content is None else "going"


def _foreseen(found: Preview) -> Json:
    rows = [
        {
            "line": one.row.line,
            "name": one.row.name,
            "outcome": one.outcome,
            "card": {"id": one.card_id, "name": one.card_name} if one.card_id is not None else None,
            "problems": list(one.row.problems),
        }
        for one in found.rows
    ]
    return found.tally.to_json() | {"first": rows}


async def change_plan(request: web.Request) -> web.StreamResponse:
    """It is to be read otherwise than was guessed."""
    asked = await read_body(request, ReadingPlan)
    async with begin(request) as connection:
        one = await _find(request, connection)
        if one.applied or one.content is None:
            raise Refused(409, "It is read already, or forgotten.")
        plan = Plan(
            encoding=asked.encoding,
            separator=asked.separator,
            has_heading=asked.has_heading,
            columns=tuple(asked.columns),
        )
        await cardlists.read_otherwise(connection, one, plan)
    return web.Response(status=204)


async def apply_import(request: web.Request) -> web.StreamResponse:
    """Somebody has looked and says yes."""

    async def act(connection: AsyncConnection) -> Made:
        one = await _find(request, connection)
        await cardlists.take_in(request, connection, one)
        return Made(content={"id": one.id}, location=f"{shapes.API}/imports/{one.id}", status=202)

    return await perform(request, act)


async def _find(request: web.Request, connection: AsyncConnection) -> CardImport:
    found = await cardimports.find_import(connection, number_in(request))
    if found is None:
        raise Refused(404, "There is no such import.")
    return found


# --- Searches ---------------------------------------------------------------------------------------------------------


async def list_searches(request: web.Request) -> web.StreamResponse:
    """One's own, by name."""
    read_query(request, Asked)
    async with begin(request) as connection:
        found = await savedsearches.list_searches(connection, login_of(request).viewer.account_id)
    items = [{"id": one.id, "name": one.name, "query": one.query} for one in found]
    return await answer(request, {"items": items, "next": None})


async def keep_search(request: web.Request) -> web.StreamResponse:
    """Under a name; one that is there already goes."""
    asked = await read_body(request, KeptSearch)
    account_id = login_of(request).viewer.account_id
    if not account_id:
        raise Refused(403, "A search is somebody's: use a token that belongs to an account.")
    query = query_in(asked.query.replace("\0", ""))
    if query.is_empty:
        raise Refused(422, "Nothing is searched for.", faults=[("/query", "no search of the page")])

    async def act(connection: AsyncConnection) -> Made:
        if not await savedsearches.save_search(connection, account_id, asked.name, query.url().partition("?")[2]):
            raise Refused(409, f"There are {savedsearches.MOST} already.")
        kept = await savedsearches.list_searches(connection, account_id)
        number = next(one.id for one in kept if one.name == asked.name)
        return Made(content={"id": number}, location=f"{shapes.API}/searches")

    return await perform(request, act)


async def remove_search(request: web.Request) -> web.StreamResponse:
    """One's own."""
    async with begin(request) as connection:
        account_id = login_of(request).viewer.account_id
        if not await savedsearches.remove_search(connection, account_id, number_in(request)):
            raise Refused(404, "You have no such search.")
    return web.Response(status=204)
