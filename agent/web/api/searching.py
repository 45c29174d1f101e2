"""Finding: over everything that was said and written, as far as the caller may see it."""

from __future__ import annotations

from typing import Annotated, Literal

from aiohttp import web
from pydantic import Field, model_validator

from agent.store import searching
from agent.store.searching import Filters
from agent.store.searchquery import parse_query
from agent.web.api import shapes
from agent.web.api.answers import Json, answer_page, begin
from agent.web.api.cursors import read_cursor
from agent.web.api.reading import Asked, Cursor, Limit, Moment, QueryId, read_query
from agent.web.find import Result, grouped, load_results
from agent.web.services import login_of


class SearchQuery(Asked):
    """``q``: words, "phrases", names, numbers; -word leaves out. ``order`` best ranks the newest hits and gives one
    page of them."""

    q: Annotated[str, Field(max_length=200)] = ""
    kind: Literal["call", "message", "meeting", "file", "note"] | None = None
    direction: Literal["inbound", "outbound", "internal"] | None = None
    employee: QueryId | None = None
    card: QueryId | None = None
    started_from: Moment | None = None
    started_to: Moment | None = None
    tag: Annotated[str, Field(max_length=60)] = ""
    order: Literal["best", "newest"] = "best"
    cursor: Cursor = ""
    limit: Limit = 50

    @model_validator(mode="after")
    def _something(self) -> SearchQuery:
        if not self.model_fields_set - {"order", "cursor", "limit"}:
            raise ValueError("say what to look for: q or a filter")
        return self


async def search(request: web.Request) -> web.StreamResponse:
    """Hits grouped by interaction or note, each with the places in it."""
    asked = read_query(request, SearchQuery)
    start = read_cursor(request.path, asked, asked.cursor)
    viewer = login_of(request).viewer
    wanted = Filters(
        kind=asked.kind or "",
        direction=asked.direction or "",
        employee_id=asked.employee,
        card_id=asked.card,
        since=asked.started_from,
        until=asked.started_to,
        tag=asked.tag,
    )
    is_best = asked.order == "best"
    async with begin(request) as connection:
        question = await searching.ask(connection, parse_query(asked.q))
        most = searching.WINDOW if is_best else asked.limit
        found = await searching.find(connection, viewer, question, wanted, start=start, most=most, ranked=is_best)
        results = await load_results(connection, viewer, question, grouped(found.hits)[: asked.limit])
    last = None if is_best else found.next_start
    return await answer_page(
        request, asked, [_result(one) for one in results], last, only_stop_words=question.is_empty and bool(asked.q)
    )


def _result(one: Result) -> Json:
    """``text`` is plain, ``found`` are the stretches of it that were looked for."""
    number = one.entry.id if one.entry is not None else None
    return {
        "kind": one.kind,
        "interaction_id": number,
        "card_id": one.note.card_id if one.note is not None else None,
        "started": shapes.time(one.started),
        "url": one.url,
        "title": _plain(one.title),
        "people": _plain(one.people),
        "places": [
            {
                "second": place.second,
                "file": place.file,
                "comment": place.is_comment,
                "text": _plain(place.pieces),
                "found": _found(place.pieces),
            }
            for place in one.places
        ],
    }


def _plain(pieces: tuple[tuple[str, bool], ...]) -> str:
    return "".join(text for text, _ in pieces)


def _found(pieces: tuple[tuple[str, bool], ...]) -> list[str]:
    return [text for text, is_hit in pieces if is_hit]
