"""The history on a card's page: the entries that were asked for, a page of them at a time, and more as one reads on."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from datetime import datetime

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import Identity
from agent.store import cardhistory, cardparts, history, notes, searching
from agent.store.asking import ask
from agent.store.cardparts import CardPart
from agent.store.cards import ClientCard
from agent.store.clients import Position
from agent.store.notes import CardNote
from agent.store.rights import Viewer
from agent.store.searching import Filters
from agent.store.searchquery import parse_query
from agent.web.cardfilter import CardFilter, filter_in, history_filter
from agent.web.cards import HISTORY_SIZE, parse_position, views, write_position
from agent.web.entries import by_day
from agent.web.pages import formats_of, page
from agent.web.services import login_of
from agent.web.shown import Day, NoteView, View

_MOST_SEARCHED = 20  # cards of a company whose words are looked through
_MOST_HITS = 500
_MOST_FRESH = 100  # entries of a page that is asked for again
_PART = "X-Part"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Which entries the address asks for: those that fit, older than ``after``, down to ``through`` where a page that
    goes on further is made fresh, else as many as a page has."""

    chosen: CardFilter
    after: Position | None
    through: Position | None

    @property
    def is_first(self) -> bool:
        """Whether it is the beginning of everything there is."""
        return self.after is None and self.through is None and self.chosen.is_empty

    @property
    def size(self) -> int:
        """Entries, at most."""
        return HISTORY_SIZE if self.through is None else _MOST_FRESH

    def fits(self, one: Position) -> bool:
        """Whether an entry is not older than what is wanted."""
        return self.through is None or (one.moment, one.id) >= (self.through.moment, self.through.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Entries by day, newest first. ``end`` is the last of them where older ones follow; ``goes_on``: its first day is
    that of the entry before it; ``is_upper``: a page that is open has older ones below it already."""

    entries: Sequence[View]
    days: Sequence[Day]
    end: Position | None
    goes_on: bool = False
    is_upper: bool = False

    def following(self, card_id: int, chosen: CardFilter) -> str:
        """Where the older ones are; empty where there are none."""
        return f"/cards/{card_id}?{chosen.query(after=write_position(self.end))}" if self.end is not None else ""


def asked_in(request: web.Request) -> Asked:
    """From the address."""
    return Asked(
        chosen=filter_in(request),
        after=parse_position(request.query.get("after", "")),
        through=parse_position(request.query.get("through", "")),
    )


def is_part(request: web.Request) -> bool:
    """Whether a page that is open asks for older entries alone, to put them below those it has."""
    return request.headers.get(_PART) == "history"


async def show_older(
    request: web.Request, connection: AsyncConnection, card: ClientCard, ids: Sequence[int]
) -> web.Response:
    """Entries of a card that the viewer may see, without the rest of its page."""
    asked, viewer = asked_in(request), login_of(request).viewer
    (has,) = await ask(connection, cardparts.parts_of(ids))
    written = await notes.list_notes(connection, card.id) if CardPart.NOTES in has else ()
    found = await list_positions(request, connection, viewer, ids, asked)
    known = {one.identity: card.name for one in card.contact_points}
    stretch = await load_stretch(request, connection, asked, found, card.id, notes=written, clients=known)
    return page(
        request,
        "_history.html",
        card_id=card.id,
        stretch=stretch,
        after=request.query.get("after", ""),
        next_url=stretch.following(card.id, asked.chosen),
        own_login=own_login(request),
        lives={},
    )


def own_login(request: web.Request) -> str:
    """Whose notes the viewer may remove; empty: everybody's."""
    login = login_of(request)
    return "" if login.viewer.supervises else login.login


async def list_positions(
    request: web.Request, connection: AsyncConnection, viewer: Viewer, ids: Sequence[int], asked: Asked
) -> list[Position]:
    """One more than a page, so that one knows whether there is another."""
    chosen, after, limit = asked.chosen, asked.after, asked.size + 1
    if not chosen.has_entries:
        return []
    if chosen.is_empty and len(ids) == 1:
        return await history.list_history(connection, ids[0], after=after, limit=limit)
    among = await _among(connection, viewer, ids, chosen.words) if chosen.words else None
    wanted = history_filter(chosen, request, among)
    return await cardhistory.list_filtered(connection, ids, wanted, after=after, limit=limit)


async def _among(connection: AsyncConnection, viewer: Viewer, ids: Sequence[int], words: str) -> list[int]:
    """Entries of these cards in which the words were said or written, by the index of all words."""
    question = await searching.ask(connection, parse_query(words))
    if question.is_empty:
        return []
    found: list[int] = []
    for card_id in ids[:_MOST_SEARCHED]:
        here = Filters(card_id=card_id)
        hits = (await searching.find(connection, viewer, question, here, most=_MOST_HITS, ranked=False)).hits
        found += [one.interaction_id for one in hits if one.interaction_id is not None]
    return found


async def load_stretch(
    request: web.Request,
    connection: AsyncConnection,
    asked: Asked,
    found: Sequence[Position],
    card_id: int,
    *,
    notes: Sequence[CardNote],
    clients: dict[Identity, str],
    but: Container[int] = (),
) -> Stretch:
    """What of the positions makes the page, with the notes of its time; ``but`` are entries that stand elsewhere."""
    shown = [one for one in found[: asked.size] if asked.fits(one)]
    end = shown[-1] if shown and len(found) > len(shown) else None
    wanted = [one.id for one in shown if one.id not in but]
    entries = await views(request, connection, wanted, clients=clients, brief=True)
    written = notes if asked.chosen.has_notes else ()
    _, formats = formats_of(request)
    days = by_day(
        entries,
        lambda moment: formats.local(moment).date(),
        [one for one in _notes(written, card_id, asked.chosen, request) if _is_within(one.started, end, asked.after)],
    )
    before = formats.local(asked.after.moment).date() if asked.after is not None else None
    goes_on = bool(days) and formats.local(days[0].moment).date() == before
    is_upper = asked.through is not None
    return Stretch(entries=entries, days=days, end=end, goes_on=goes_on, is_upper=is_upper)


def _notes(written: Sequence[CardNote], card_id: int, chosen: CardFilter, request: web.Request) -> list[NoteView]:
    since, until = chosen.days(request)
    return [
        NoteView(id=one.id, card_id=card_id, started=one.at, text=one.text, by=one.by)
        for one in written
        if (since is None or one.at >= since)
        and (until is None or one.at < until)
        and chosen.words.casefold() in one.text.casefold()
    ]


def _is_within(moment: datetime, end: Position | None, after: Position | None) -> bool:
    """Whether a note belongs to this page: between its oldest entry and the newest of the page before."""
    return (end is None or moment >= end.moment) and (after is None or moment < after.moment)
