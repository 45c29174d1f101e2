"""The client card: what is going on, what was promised, who talked last, and one history of everything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import InteractionKind
from agent.store import cardhistory, cardparts, cards, history, interactions, live, rights, searching, tasks
from agent.store.cardhistory import Talker
from agent.store.cardparts import CardPart
from agent.store.cards import ClientCard
from agent.store.clients import Position
from agent.store.notes import CardNote
from agent.store.rights import Viewer
from agent.store.searching import Filters
from agent.store.searchquery import parse_query
from agent.web.calls import LiveView, live_views
from agent.web.cardfilter import CardFilter, filter_in, history_filter
from agent.web.cardforms import seen_card
from agent.web.cardpanel import load_panel
from agent.web.cards import HISTORY_SIZE, parse_position, views, write_position
from agent.web.entries import by_day
from agent.web.pages import formats_of, page
from agent.web.services import login_of, number_in, services
from agent.web.shown import CallView, MailView, NoteView, View

_DONE = ("taken_off", "made_private", "made_public")
_WAITED_FOR = timedelta(days=30)
_MOST_SEARCHED = 20  # cards of a company whose words are looked through
_MOST_HITS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Glance:
    """What a card says in five seconds: the newest entry, whether somebody there waits for us, who of us was in touch,
    and how many entries of each kind the last thirty days have brought."""

    last: View | None
    is_waiting: bool
    talkers: Sequence[Talker]
    recent: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """An entry from which a task is taken: its id, its day, and words to begin with."""

    interaction_id: int
    started: datetime
    text: str


async def show_card(request: web.Request) -> web.StreamResponse:
    """One client, or a company with its people."""
    card_id, viewer = number_in(request), login_of(request).viewer
    after, chosen = parse_position(request.query.get("after", "")), filter_in(request)
    _, formats = formats_of(request)
    async with services(request).store.begin() as connection:
        card = await seen_card(request, connection, card_id)
        people = await cardhistory.list_people(connection, viewer, card_id) if card.kind == "company" else []
        ids = [card_id, *(one for one, _ in people)]
        has = await cardparts.find_parts(connection, ids)
        panel = await load_panel(request, connection, card, has)
        company = await _company(connection, viewer, card.company_id)
        total = await history.count_history(connection, card_id)
        found = await _positions(request, connection, viewer, ids, chosen, after)
        shown = found[:HISTORY_SIZE]
        known = {one.identity: card.name for one in card.contact_points}
        lives = await _lives(request, connection, ids) if after is None and CardPart.LIVE in has else {}
        going_on = await views(request, connection, list(lives), clients=known, brief=True)
        old = [one.id for one in shown if one.id not in lives]
        entries = await views(request, connection, old, clients=known, brief=True)
        is_first = after is None and chosen.is_empty
        glance = await _glance(request, connection, ids, entries[0] if entries and is_first else None)
        steps = await tasks.list_of_cards(connection, ids) if CardPart.TASKS in has else []
        done = await tasks.list_of_cards(connection, ids, is_done=True, limit=5) if CardPart.TASKS in has else []
        promise = await _promise(request, connection, viewer, card_id)
        written = panel.notes if chosen.has_notes else ()
    begin = shown[-1].moment if len(found) > HISTORY_SIZE else None
    inserted = [one for one in _notes(written, card_id, chosen, request) if _is_within(one.started, begin, after)]
    following = chosen.query(after=write_position(shown[-1])) if begin is not None else ""
    return page(
        request,
        "card.html",
        card=card,
        card_id=card_id,
        people=people,
        panel=panel,
        company=company,
        responsible=next((one.name for one in panel.employees if one.id == card.responsible_id), ""),
        total=total,
        glance=glance,
        lives=lives,
        going_on=going_on,
        days=by_day(entries, lambda moment: formats.local(moment).date(), inserted),
        next_url=f"/cards/{card_id}?{following}" if following else "",
        is_first=after is None,
        chosen=chosen,
        steps=steps,
        done=done,
        today=formats.today,
        promise=promise,
        promised=_promised_for(formats.today),
        own_id=viewer.employee_id,
        said=request.query.get("done", "") if request.query.get("done", "") in _DONE else "",
        said_of=request.query.get("entry", "") if request.query.get("entry", "").isdecimal() else "",
    )


async def _positions(
    request: web.Request,
    connection: AsyncConnection,
    viewer: Viewer,
    ids: Sequence[int],
    chosen: CardFilter,
    after: Position | None,
) -> list[Position]:
    """One more than a page, so that one knows whether there is another."""
    if not chosen.has_entries:
        return []
    if chosen.is_empty and len(ids) == 1:
        return await history.list_history(connection, ids[0], after=after, limit=HISTORY_SIZE + 1)
    among = await _among(connection, viewer, ids, chosen.words) if chosen.words else None
    wanted = history_filter(chosen, request, among)
    return await cardhistory.list_filtered(connection, ids, wanted, after=after, limit=HISTORY_SIZE + 1)


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


def _notes(written: Sequence[CardNote], card_id: int, chosen: CardFilter, request: web.Request) -> list[NoteView]:
    since, until = chosen.days(request)
    return [
        NoteView(id=one.id, card_id=card_id, started=one.at, text=one.text, by=one.by)
        for one in written
        if (since is None or one.at >= since)
        and (until is None or one.at < until)
        and chosen.words.casefold() in one.text.casefold()
    ]


def _is_within(moment: datetime, begin: datetime | None, after: Position | None) -> bool:
    """Whether a note belongs to this page: between its oldest entry and the newest of the page before."""
    return (begin is None or moment >= begin) and (after is None or moment < after.moment)


async def _glance(request: web.Request, connection: AsyncConnection, ids: Sequence[int], newest: View | None) -> Glance:
    now = datetime.now(UTC)
    if newest is None:
        found = await cardhistory.list_filtered(connection, ids, cardhistory.HistoryFilter(), limit=1)
        newest = next(iter(await views(request, connection, [one.id for one in found], brief=True)), None)
    return Glance(
        last=newest,
        is_waiting=newest is not None and _waits(newest, now),
        talkers=await cardhistory.list_talkers(connection, ids),
        recent=dict.fromkeys(InteractionKind, 0) | await cardhistory.count_recent(connection, ids, now),
    )


def _waits(newest: View, now: datetime) -> bool:
    """Whether the last word was the client's, and nobody of us has called or written since."""
    if now - newest.started > _WAITED_FOR:
        return False
    if isinstance(newest, CallView):
        return newest.outcome == "missed"
    return isinstance(newest, MailView) and newest.direction == "inbound"


async def _lives(request: web.Request, connection: AsyncConnection, ids: Sequence[int]) -> dict[int, LiveView]:
    """Calls with this client, or with anybody of the company, that go on now; they stand at the top."""
    found = await live.list_live_of_cards(connection, login_of(request).viewer, ids)
    return live_views(found, host=services(request).settings.host, now=datetime.now(UTC))


async def _promise(request: web.Request, connection: AsyncConnection, viewer: Viewer, card_id: int) -> Promise | None:
    """The entry named in the address, where the viewer may see it."""
    asked = request.query.get("promise", "")
    if not (asked.isascii() and asked.isdigit() and len(asked) <= 18):
        return None
    if not await rights.may_see_interaction(connection, viewer, int(asked)):
        return None
    (found,) = await interactions.find_interactions(connection, [int(asked)])
    (entry,) = await views(request, connection, [found.id])
    return Promise(
        interaction_id=found.id, started=found.started, text=entry.subject if isinstance(entry, MailView) else ""
    )


def _promised_for(today: date) -> date:
    """The next working day, where no other is named."""
    day = today + timedelta(days=1)
    while day.weekday() >= 5:
        day += timedelta(days=1)
    return day


async def _company(connection: AsyncConnection, viewer: Viewer, company_id: int | None) -> tuple[str, bool] | None:
    """Name of a card's company, and whether the viewer may open it."""
    if company_id is None:
        return None
    company: ClientCard | None = await cards.find_card(connection, company_id)
    return (company.name, await rights.may_see_card(connection, viewer, company_id)) if company else None
