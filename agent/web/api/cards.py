"""Client cards: listed, read, made and changed, with contact points, notes and stages."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

from aiohttp import web
from pydantic import Field, model_validator
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import Identity
from agent.store import audit, cardmerges, cards, contactproposals, history, notes, rights
from agent.store.cards import ClientCard
from agent.store.clients import Position, list_clients
from agent.store.interactionlist import list_card_names
from agent.web.api import shapes
from agent.web.api.answers import Json, Made, answer, answer_page, begin, check_unchanged, perform
from agent.web.api.cursors import read_cursor
from agent.web.api.reading import (
    Asked,
    CardKind,
    Contact,
    Cursor,
    Id,
    Limit,
    Line,
    Page,
    Short,
    Words,
    read_body,
    read_query,
)
from agent.web.cardforms import note_act
from agent.web.problems import Refused
from agent.web.services import login_of, number_in, services
from linker import desk

_CHANGED = ("name", "kind", "responsible_id", "company_id")
_NO_CARD = "There is no such card, or it is not yours to see."


# --- What is asked ----------------------------------------------------------------------------------------------------


class CardQuery(Page):
    """``q``: part of a name, of a number in any notation, or the beginning of an address."""

    q: Annotated[str, Field(max_length=200)] = ""
    cursor: Cursor = ""
    limit: Limit = 50


class NewCard(Asked):
    """A card by hand."""

    name: Line
    kind: CardKind = "person"
    contact: Contact | None = None
    responsible_id: Id | None = None
    company_id: Id | None = None
    stage: Short = ""


class CardChange(Asked):
    """What is named is changed; None takes a company or a responsible employee away."""

    name: Line | None = None
    kind: CardKind | None = None
    responsible_id: Id | None = None
    company_id: Id | None = None
    stage: Short | None = None

    @model_validator(mode="after")
    def _something(self) -> CardChange:
        if not self.model_fields_set:
            raise ValueError("name what shall change")
        if any(getattr(self, one) is None for one in self.model_fields_set & {"name", "kind", "stage"}):
            raise ValueError("name, kind and stage cannot be taken away")
        return self


class NewContactPoint(Asked):
    """A number, an address, or @example.com for all at a domain."""

    value: Contact
    label: Annotated[str, Field(max_length=60)] = ""


class NewNote(Asked):
    """A note, as it is written."""

    text: Words


class ProposalAnswer(Asked):
    """Whether what a signature offers is this client's."""

    answer: Literal["take", "dismiss"]


# --- Reading ----------------------------------------------------------------------------------------------------------


async def list_cards(request: web.Request) -> web.StreamResponse:
    """Those with the newest contact first."""
    asked = read_query(request, CardQuery)
    after = read_cursor(request.path, asked, asked.cursor)
    async with begin(request) as connection:
        found = await list_clients(
            connection, login_of(request).viewer, search=asked.q, after=after, limit=asked.limit + 1
        )
    rows = found[: asked.limit]
    last = Position(moment=rows[-1].moment, id=rows[-1].id) if len(found) > asked.limit else None
    return await answer_page(request, asked, [shapes.card_row(one) for one in rows], last)


async def show_card(request: web.Request) -> web.StreamResponse:
    """One, with its contact points."""
    read_query(request, Asked)
    async with begin(request) as connection:
        card = await seen_card(request, connection, number_in(request))
        content = await card_content(request, connection, card)
    return await answer(request, content)


async def seen_card(request: web.Request, connection: AsyncConnection, card_id: int) -> ClientCard:
    """The card, for whoever may see it.

    Raises:
        Refused: there is none for him (404), or it became another one, which the answer names (410).
    """
    successor = await cardmerges.find_successor(connection, card_id)
    if not await rights.may_see_card(connection, login_of(request).viewer, successor or card_id):
        raise Refused(404, _NO_CARD)
    if successor is not None:
        headers = {"Location": f"{shapes.API}/cards/{successor}"}
        raise Refused(410, f"It was merged into card {successor}.", kind="merged", headers=headers)
    card = await cards.find_card(connection, card_id)
    if card is None:
        raise Refused(404, _NO_CARD)
    return card


async def card_content(request: web.Request, connection: AsyncConnection, card: ClientCard) -> Json:
    """As it is told; the entity tag is that of these words."""
    company, responsible = card.company_id, card.responsible_id
    seen = await list_card_names(connection, login_of(request).viewer, [company] if company else [])
    names = await history.list_employee_names(connection, [responsible] if responsible else [])
    return shapes.card(
        card,
        company=shapes.named(company, seen) if company in seen else None,
        responsible=shapes.named(responsible, names),
    )


async def list_notes(request: web.Request) -> web.StreamResponse:
    """The newest hundred."""
    read_query(request, Asked)
    async with begin(request) as connection:
        card = await seen_card(request, connection, number_in(request))
        found = await notes.list_notes(connection, card.id)
    return await answer(request, {"items": [shapes.note(one) for one in found], "next": None})


async def list_stages(request: web.Request) -> web.StreamResponse:
    """The way of a card, the newest first."""
    read_query(request, Asked)
    async with begin(request) as connection:
        card = await seen_card(request, connection, number_in(request))
        found = await notes.list_stages(connection, card.id)
    return await answer(request, {"items": [shapes.stage(one) for one in found], "next": None})


async def list_proposals(request: web.Request) -> web.StreamResponse:
    """What signatures offer for a card."""
    read_query(request, Asked)
    async with begin(request) as connection:
        card = await seen_card(request, connection, number_in(request))
        found = await contactproposals.list_open(connection, card.id)
    return await answer(request, {"items": [shapes.proposal(one) for one in found], "next": None})


# --- Changing ---------------------------------------------------------------------------------------------------------


async def add_card(request: web.Request) -> web.StreamResponse:
    """A new one; a manager who names nobody becomes responsible."""
    asked = await read_body(request, NewCard)

    async def act(connection: AsyncConnection) -> Made:
        identity = _identity(request, asked.contact, "/contact") if asked.contact else None
        responsible = asked.responsible_id or login_of(request).viewer.employee_id
        await _check_responsible(connection, asked.responsible_id)
        await _check_company(request, connection, asked.company_id)
        card_id = await cards.insert_card(
            connection, asked.name, kind=asked.kind, responsible_id=responsible, company_id=asked.company_id
        )
        by = login_of(request).login
        if asked.stage.strip():
            await notes.set_stage(connection, card_id, " ".join(asked.stage.split()), by=by)
        if identity is not None:
            await services(request).linker.learn(connection, card_id, identity, by=by)
        await note_act(request, connection, audit.CARD_CREATED, card_id)
        return Made(content={"id": card_id}, location=f"{shapes.API}/cards/{card_id}")

    return await perform(request, act)


async def change_card(request: web.Request) -> web.StreamResponse:
    """What the body names; under If-Match only what the caller has seen."""
    asked = await read_body(request, CardChange)
    async with begin(request) as connection:
        await cards.lock_card(connection, number_in(request))
        card = await seen_card(request, connection, number_in(request))
        check_unchanged(request, await card_content(request, connection, card))
        given = asked.model_fields_set
        if "responsible_id" in given:
            await _check_responsible(connection, asked.responsible_id)
        if "company_id" in given and asked.company_id != card.company_id:
            await _check_company(request, connection, asked.company_id, of=card.id)
        new = replace(
            card,
            name=asked.name or card.name,
            kind=asked.kind or card.kind,
            responsible_id=asked.responsible_id if "responsible_id" in given else card.responsible_id,
            company_id=asked.company_id if "company_id" in given else card.company_id,
        )
        before = {one: getattr(card, one) for one in _CHANGED if getattr(card, one) != getattr(new, one)}
        await cards.change_card(
            connection,
            card.id,
            name=new.name,
            kind=new.kind,
            responsible_id=new.responsible_id,
            company_id=new.company_id,
        )
        if asked.stage is not None:
            stage = " ".join(asked.stage.replace("\0", " ").split())
            if await notes.set_stage(connection, card.id, stage, by=login_of(request).login):
                before["stage"] = card.stage
        if before:
            await note_act(request, connection, audit.CARD_CHANGED, card.id, before=before)
        changed = await cards.find_card(connection, card.id)
        assert changed is not None
        content = await card_content(request, connection, changed)
    return await answer(request, content)


async def _check_responsible(connection: AsyncConnection, employee_id: int | None) -> None:
    if employee_id is not None and not await history.list_employee_names(connection, [employee_id]):
        raise Refused(422, "There is no such employee.", faults=[("/responsible_id", "no employee")])


async def _check_company(
    request: web.Request, connection: AsyncConnection, company_id: int | None, of: int = 0
) -> None:
    """A company is a card of that kind which the viewer may see, and nobody's own."""
    if company_id is None:
        return
    company = await cards.find_card(connection, company_id)
    seen = await rights.may_see_card(connection, login_of(request).viewer, company_id)
    is_one = company is not None and company.kind == "company" and company.merged_into_id is None
    if not seen or not is_one or company_id == of:
        raise Refused(422, "There is no such company.", faults=[("/company_id", "no company")])


def _identity(request: web.Request, raw: str, at: str) -> Identity:
    identity = services(request).linker.identity(raw)
    if identity is None:
        raise Refused(422, "That is no number, address or domain.", faults=[(at, "no number, address or domain")])
    return identity


async def add_contact_point(request: web.Request) -> web.StreamResponse:
    """One more number, address or domain; the past follows."""
    asked = await read_body(request, NewContactPoint)

    async def act(connection: AsyncConnection) -> Made:
        card = await seen_card(request, connection, number_in(request))
        identity = _identity(request, asked.value, "/value")
        linker, by, label = services(request).linker, login_of(request).login, " ".join(asked.label.split())
        is_new = await linker.learn(connection, card.id, identity, label=label.replace("\0", ""), by=by)
        if is_new:
            await note_act(request, connection, audit.CONTACT_POINT_ADDED, card.id, identity=identity.value)
        found = await cards.find_card(connection, card.id)
        points = found.contact_points if found is not None else ()
        number = next((one.id for one in points if one.identity == identity), None)
        return Made(content={"id": number}, status=201 if is_new else 200)

    return await perform(request, act)


async def remove_contact_point(request: web.Request) -> web.StreamResponse:
    """It is not this client's: entries that were here by it leave."""
    async with begin(request) as connection:
        card = await seen_card(request, connection, number_in(request))
        linker, by, point = services(request).linker, login_of(request).login, number_in(request, "point")
        found = await desk.remove_contact_point(connection, linker, card.id, point, by=by)
        if found is None:
            raise Refused(404, "The card has no such contact point.")
        await note_act(request, connection, audit.CONTACT_POINT_REMOVED, card.id, identity=found.value)
    return web.Response(status=204)


async def answer_proposal(request: web.Request) -> web.StreamResponse:
    """What a signature offers is this client's, or is not."""
    asked = await read_body(request, ProposalAnswer)
    state = contactproposals.TAKEN if asked.answer == "take" else contactproposals.DISMISSED
    async with begin(request) as connection:
        card = await seen_card(request, connection, number_in(request))
        found = await contactproposals.settle(connection, number_in(request, "proposal"), card.id, state)
        if found is None:
            raise Refused(404, "There is no such proposal of this card.")
        if state == contactproposals.TAKEN:
            linker, by = services(request).linker, login_of(request).login
            await linker.learn(connection, card.id, found.identity, label=found.label, by=by)
            await note_act(request, connection, audit.CONTACT_POINT_ADDED, card.id, identity=found.identity.value)
    return web.Response(status=204)


async def add_note(request: web.Request) -> web.StreamResponse:
    """A note, as it was written."""
    asked = await read_body(request, NewNote)

    async def act(connection: AsyncConnection) -> Made:
        card = await seen_card(request, connection, number_in(request))
        note_id = await notes.add_note(connection, card.id, asked.text, by=login_of(request).login)
        await note_act(request, connection, audit.NOTE_ADDED, card.id, note_id=note_id)
        return Made(content={"id": note_id}, location=f"{shapes.API}/cards/{card.id}/notes")

    return await perform(request, act)


async def remove_note(request: web.Request) -> web.StreamResponse:
    """One's own; a supervisor removes any."""
    login = login_of(request)
    async with begin(request) as connection:
        card = await seen_card(request, connection, number_in(request))
        by, note_id = None if login.viewer.supervises else login.login, number_in(request, "note")
        if not await notes.remove_note(connection, card.id, note_id, by=by):
            raise Refused(404, "The card has no such note of yours.")
        await note_act(request, connection, audit.NOTE_REMOVED, card.id, note_id=note_id)
    return web.Response(status=204)
