"""The list of clients, and what pages of entries share."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import Identity
from agent.store import history
from agent.store.clients import NAME, RESPONSIBLE, ClientRow, ListOrder, Position, list_clients
from agent.store.employees import list_names
from agent.store.history import Entry
from agent.web.entries import view
from agent.web.pages import page
from agent.web.services import login_of, services
from agent.web.shown import Names, View

PAGE_SIZE = 50
HISTORY_SIZE = 8  # entries of a card's page, each with what was said in it: over a screen; more come as one reads on
_LONGEST_SEARCH = 200
_SUGGESTED, _FEWEST_SUGGESTED_FOR = 20, 2  # cards; letters
_POSITION = re.compile(r"(-?[0-9]{1,18})\.([0-9]{1,18})")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


async def list_cards(request: web.Request) -> web.StreamResponse:
    """Clients with the newest contact first, or by name or responsible; found by name, number or address."""
    search = request.query.get("q", "").replace("\0", "")[:_LONGEST_SEARCH]
    after = parse_position(request.query.get("after", ""))
    viewer, order = login_of(request).viewer, _order_in(request)
    async with services(request).store.begin() as connection:
        found = await list_clients(connection, viewer, search=search, after=after, limit=PAGE_SIZE + 1, order=order)
        people = await list_names(connection) if viewer.sees_all else {}
    rows, more = found[:PAGE_SIZE], len(found) > PAGE_SIZE
    parts = {"q": search, "by": order.by, "who": str(order.responsible_id or ""), "stage": order.stage}
    following = {name: value for name, value in parts.items() if value}
    next_url = ""
    if more and order.by:
        next_url = "/cards?" + urlencode({**following, "from": order.offset + PAGE_SIZE})
    elif more:
        last = Position(moment=rows[-1].moment, id=rows[-1].id)
        next_url = "/cards?" + urlencode({**following, "after": write_position(last)})
    return page(
        request,
        "cards.html",
        rows=rows,
        search=search,
        order=order,
        orders=tuple((by, "/cards?" + urlencode(following | {"by": by})) for by in ("", NAME, RESPONSIBLE)),
        people=people,
        stages=services(request).settings.linking.stages,
        first_url="/cards" + (f"?{urlencode(following)}" if following else ""),
        next_url=next_url,
        is_first=after is None and not order.offset,
        problem="card_wrong" if request.query.get("problem") == "card_wrong" else "",
        may_list=viewer.sees_all,
    )


async def suggest_cards(request: web.Request) -> web.StreamResponse:
    """Cards for somebody who begins to write one into a form: `name №id` each, as such a form is read."""
    words = request.query.get("q", "").replace("\0", "").strip()[:_LONGEST_SEARCH]
    found: list[ClientRow] = []
    if len(words) >= _FEWEST_SUGGESTED_FOR:
        async with services(request).store.begin() as connection:
            order = ListOrder(by=NAME)
            viewer = login_of(request).viewer
            found = await list_clients(connection, viewer, search=words, limit=_SUGGESTED, order=order)
    answer = web.json_response([f"{one.name} №{one.id}" for one in found])
    answer.headers["Cache-Control"] = "no-store"
    return answer


def _order_in(request: web.Request) -> ListOrder:
    """From the address; what cannot be read is as if it were not there."""
    asked = request.query
    by, who, offset = asked.get("by", ""), asked.get("who", ""), asked.get("from", "")
    return ListOrder(
        by=by if by in (NAME, RESPONSIBLE) else "",
        responsible_id=int(who) if who.isascii() and who.isdigit() and len(who) <= 18 else None,
        stage=asked.get("stage", "").replace("\0", "")[:_LONGEST_SEARCH],
        offset=int(offset) if offset.isascii() and offset.isdigit() and len(offset) <= 7 else 0,
    )


async def views(
    request: web.Request,
    connection: AsyncConnection,
    ids: Sequence[int],
    *,
    clients: Mapping[Identity, str] | None = None,
    brief: bool = False,
    transcript: int = 0,
) -> list[View]:
    """Interactions as templates show them, in the order asked for; ``clients`` are names for identities, ``brief`` is
    for histories: of what was said there is the beginning, and the rest is asked for when somebody unfolds it.
    ``transcript`` is one that is looked at in place of the one that is shown."""
    entries = await history.load_entries(connection, ids, brief=brief, transcript=transcript)
    return shown(request, entries, clients=clients, brief=brief)


def shown(
    request: web.Request,
    entries: Sequence[Entry],
    *,
    clients: Mapping[Identity, str] | None = None,
    brief: bool = False,
) -> list[View]:
    """The same of entries that are loaded."""
    employees = {number: name for entry in entries for number, name in entry.employees.items()}
    names = Names(employees=employees, clients=clients or {})
    transcribes = services(request).settings.transcribe.enabled
    return [view(entry, names, transcribes=transcribes, brief=brief) for entry in entries]


def write_position(position: Position) -> str:
    """For an address: microseconds since 1970 and the id, both whole numbers."""
    return f"{(position.moment - _EPOCH) // timedelta(microseconds=1)}.{position.id}"


def parse_position(text: str) -> Position | None:
    """The other way round; None for the first page.

    Raises:
        HTTPBadRequest: it was not made by `write_position`.
    """
    if not text:
        return None
    found = _POSITION.fullmatch(text)
    if found is None:
        raise web.HTTPBadRequest
    try:
        return Position(moment=_EPOCH + timedelta(microseconds=int(found[1])), id=int(found[2]))
    except (ValueError, OverflowError):
        raise web.HTTPBadRequest from None
