"""The client card: what is going on, what was promised, who talked last, and one history of everything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import InteractionKind
from agent.store import cardhistory, cardparts, cards, employees, interactions, live, rights, tasks
from agent.store.asking import ask
from agent.store.cardhistory import Outline, Talker
from agent.store.cardparts import CardPart
from agent.store.cards import ClientCard
from agent.store.rights import Viewer
from agent.web.calls import LiveView, live_views
from agent.web.cardentries import asked_in, is_part, list_positions, load_stretch, show_older
from agent.web.cardforms import seen_card
from agent.web.cardpanel import load_panel
from agent.web.cards import HISTORY_SIZE, views
from agent.web.pages import formats_of, page
from agent.web.services import login_of, number_in, services
from agent.web.shown import CallView, MailView, View

_DONE = ("taken_off", "made_private", "made_public")
_WAITED_FOR = timedelta(days=30)


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
    asked = asked_in(request)
    _, formats = formats_of(request)
    async with services(request).store.begin() as connection:
        card = await seen_card(request, connection, card_id)
        people = await cardhistory.list_people(connection, viewer, card_id) if card.kind == "company" else []
        ids = [card_id, *(one for one, _ in people)]
        if is_part(request):
            return await show_older(request, connection, card, ids)
        outline = cardhistory.outline_of(card_id, ids, datetime.now(UTC), page=HISTORY_SIZE + 1)
        has, told, names = await ask(connection, cardparts.parts_of(ids), outline, employees.names())
        panel = await load_panel(request, connection, card, has, names)
        company = await _company(connection, viewer, card.company_id)
        found = told.newest if asked.is_first else await list_positions(request, connection, viewer, ids, asked)
        known = {one.identity: card.name for one in card.contact_points}
        lives = await _lives(request, connection, ids) if asked.after is None and CardPart.LIVE in has else {}
        going_on = await views(request, connection, list(lives), clients=known, brief=True)
        stretch = await load_stretch(
            request, connection, asked, found, card_id, notes=panel.notes, clients=known, but=lives
        )
        glance = await _glance(request, connection, told, stretch.entries if asked.is_first else ())
        steps = await tasks.list_of_cards(connection, ids) if CardPart.TASKS in has else []
        done = await tasks.list_of_cards(connection, ids, is_done=True, limit=5) if CardPart.TASKS in has else []
        promise = await _promise(request, connection, viewer, card_id)
    return page(
        request,
        "card.html",
        card=card,
        card_id=card_id,
        people=people,
        panel=panel,
        company=company,
        responsible=panel.employees.get(card.responsible_id or 0, ""),
        total=told.total,
        glance=glance,
        lives=lives,
        going_on=going_on,
        stretch=stretch,
        next_url=stretch.following(card_id, asked.chosen),
        own_login=panel.login,
        is_first=asked.after is None,
        chosen=asked.chosen,
        steps=steps,
        done=done,
        today=formats.today,
        promise=promise,
        promised=_promised_for(formats.today),
        own_id=viewer.employee_id,
        said=request.query.get("done", "") if request.query.get("done", "") in _DONE else "",
        said_of=request.query.get("entry", "") if request.query.get("entry", "").isdecimal() else "",
    )


async def _glance(request: web.Request, connection: AsyncConnection, told: Outline, entries: Sequence[View]) -> Glance:
    """``entries`` are the newest, where they are loaded anyway."""
    newest = entries[0] if entries else None
    if newest is None:
        newest = next(iter(await views(request, connection, [one.id for one in told.newest[:1]], brief=True)), None)
    return Glance(
        last=newest,
        is_waiting=newest is not None and _waits(newest, datetime.now(UTC)),
        talkers=told.talkers,
        recent=dict.fromkeys(InteractionKind, 0) | dict(told.recent),
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
