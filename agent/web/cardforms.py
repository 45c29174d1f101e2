"""What people write on a client card: who it is, how to reach him, whose he is, his stage, notes. Whoever sees a card
may write on it, and every change is in the audit log."""

from __future__ import annotations

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import Identity
from agent.store import audit, cards, contactproposals, history, notes, rights
from agent.store.cards import ClientCard
from agent.web.employees import LONGEST, account_of
from agent.web.entering import local_target
from agent.web.services import login_of, number_in, services
from linker import desk

KINDS = ("person", "company")
LONGEST_NOTE = 5000
LONGEST_STAGE = 100


async def seen_card(request: web.Request, connection: AsyncConnection, card_id: int) -> ClientCard:
    """The card, for whoever may see it.

    Raises:
        HTTPNotFound: there is none, or it is hidden from the viewer.
        HTTPSeeOther: it became another card.
    """
    card = await cards.find_card(connection, card_id)
    successor = card.merged_into_id if card is not None else None
    viewer = login_of(request).viewer
    if card is None or not (viewer.sees_all or await rights.may_see_card(connection, viewer, successor or card_id)):
        raise web.HTTPNotFound
    if successor is not None:
        raise web.HTTPSeeOther(f"/cards/{successor}")
    return card


async def text_in(request: web.Request, name: str, longest: int = LONGEST) -> str:
    """A line of the form, its spaces as one."""
    text = str((await request.post()).get(name, "")).replace("\0", "")
    return " ".join(text.split())[:longest]


async def number_of(request: web.Request, name: str) -> int | None:
    """A number of the form; None where nothing is chosen.

    Raises:
        HTTPBadRequest: it is none.
    """
    text = str((await request.post()).get(name, ""))
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise web.HTTPBadRequest
    return int(text)


async def note_act(
    request: web.Request, connection: AsyncConnection, action: str, card_id: int, **subject: object
) -> None:
    """For the audit log."""
    await audit.add_entry(connection, account_of(request), action, {"card_id": card_id, **subject})


def back_to(card_id: int, place: str = "") -> web.HTTPSeeOther:
    """The card again."""
    return web.HTTPSeeOther(f"/cards/{card_id}{f'#{place}' if place else ''}")


async def add_card(request: web.Request) -> web.StreamResponse:
    """A new card by hand; a manager becomes responsible for it."""
    name, kind = await text_in(request, "name"), await text_in(request, "kind")
    raw = await text_in(request, "contact")
    identity = services(request).linker.identity(raw) if raw else None
    if not name or kind not in KINDS or (raw and identity is None):
        raise web.HTTPSeeOther("/cards?problem=card_wrong")
    async with services(request).store.begin() as connection:
        responsible = login_of(request).viewer.employee_id
        card_id = await cards.insert_card(connection, name, kind=kind, responsible_id=responsible)
        if identity is not None:
            await services(request).linker.learn(connection, card_id, identity, by=login_of(request).login)
        await note_act(request, connection, audit.CARD_CREATED, card_id)
    raise back_to(card_id)


async def change_card(request: web.Request) -> web.StreamResponse:
    """Name, kind, company, responsible employee and stage."""
    card_id, name, kind = number_in(request), await text_in(request, "name"), await text_in(request, "kind")
    responsible, company = await number_of(request, "responsible"), await text_in(request, "company")
    if not name or kind not in KINDS:
        raise web.HTTPBadRequest
    async with services(request).store.begin() as connection:
        card = await seen_card(request, connection, card_id)
        if responsible is not None and not await history.list_employee_names(connection, [responsible]):
            raise web.HTTPBadRequest
        company_id = await _company(request, connection, company) if company else None
        values = {"name": name, "kind": kind, "responsible_id": responsible, "company_id": company_id}
        before = {one: getattr(card, one) for one in values if getattr(card, one) != values[one]}
        await cards.change_card(
            connection, card_id, name=name, kind=kind, responsible_id=responsible, company_id=company_id
        )
        stage = await text_in(request, "stage", LONGEST_STAGE)
        if await notes.set_stage(connection, card_id, stage, by=login_of(request).login):
            before["stage"] = card.stage
        await note_act(request, connection, audit.CARD_CHANGED, card_id, before=before)
    raise back_to(card_id)


async def _company(request: web.Request, connection: AsyncConnection, text: str) -> int:
    """The company named, by its number where the list of choices wrote that, made where there is none."""
    name, _, number = text.rpartition("№")
    if number.strip().isdigit() and len(number.strip()) <= 18:
        company = await cards.find_card(connection, int(number))
        seen = company is not None and await rights.may_see_card(connection, login_of(request).viewer, company.id)
        if company is not None and seen and company.kind == "company":
            return company.id
    wanted = (name or text).strip()
    return await cards.find_or_insert_company(connection, wanted)


async def add_contact(request: web.Request) -> web.StreamResponse:
    """One more number, address or domain; the past follows."""
    card_id, label = number_in(request), await text_in(request, "label", 60)
    identity = _identity(request, await text_in(request, "value"))
    async with services(request).store.begin() as connection:
        await seen_card(request, connection, card_id)
        if identity is None:
            raise web.HTTPSeeOther(f"/cards/{card_id}?problem=contact_wrong#contacts")
        linker = services(request).linker
        await linker.learn(connection, card_id, identity, label=label, by=login_of(request).login)
        await note_act(request, connection, audit.CONTACT_POINT_ADDED, card_id, identity=identity.value)
    raise back_to(card_id, "contacts")


async def remove_contact(request: web.Request) -> web.StreamResponse:
    """A number that is not this client's: entries that were here by it leave."""
    card_id, point_id = number_in(request), await number_of(request, "point")
    async with services(request).store.begin() as connection:
        await seen_card(request, connection, card_id)
        by = login_of(request).login
        found = await desk.remove_contact_point(connection, services(request).linker, card_id, point_id or 0, by=by)
        if found is None:
            raise web.HTTPNotFound
        await note_act(request, connection, audit.CONTACT_POINT_REMOVED, card_id, identity=found.value)
    raise back_to(card_id, "contacts")


async def answer_proposal(request: web.Request) -> web.StreamResponse:
    """What a signature offers is this client's, or is not."""
    card_id, number, answer = number_in(request), await number_of(request, "proposal"), await text_in(request, "answer")
    back = local_target(await text_in(request, "back"))
    state = {"take": contactproposals.TAKEN, "dismiss": contactproposals.DISMISSED}.get(answer)
    if state is None:
        raise web.HTTPBadRequest
    async with services(request).store.begin() as connection:
        await seen_card(request, connection, card_id)
        found = await contactproposals.settle(connection, number or 0, card_id, state)
        if found is None:
            raise web.HTTPNotFound
        if state == contactproposals.TAKEN:
            linker, by = services(request).linker, login_of(request).login
            await linker.learn(connection, card_id, found.identity, label=found.label, by=by)
            await note_act(request, connection, audit.CONTACT_POINT_ADDED, card_id, identity=found.identity.value)
    raise web.HTTPSeeOther(back) if back.startswith("/unsorted") else back_to(card_id, "contacts")


async def add_note(request: web.Request) -> web.StreamResponse:
    """A note, as it was written."""
    card_id = number_in(request)
    words = str((await request.post()).get("text", "")).replace("\0", "").strip()[:LONGEST_NOTE]
    if not words:
        raise web.HTTPBadRequest
    async with services(request).store.begin() as connection:
        await seen_card(request, connection, card_id)
        note_id = await notes.add_note(connection, card_id, words, by=login_of(request).login)
        await note_act(request, connection, audit.NOTE_ADDED, card_id, note_id=note_id)
    raise back_to(card_id, "notes")


async def remove_note(request: web.Request) -> web.StreamResponse:
    """One's own note; a supervisor removes any."""
    card_id, note_id = number_in(request), await number_of(request, "note")
    login = login_of(request)
    async with services(request).store.begin() as connection:
        await seen_card(request, connection, card_id)
        by = None if login.viewer.supervises else login.login
        if not await notes.remove_note(connection, card_id, note_id or 0, by=by):
            raise web.HTTPNotFound
        await note_act(request, connection, audit.NOTE_REMOVED, card_id, note_id=note_id)
    raise back_to(card_id, "notes")


def _identity(request: web.Request, text: str) -> Identity | None:
    return services(request).linker.identity(text) if text else None
