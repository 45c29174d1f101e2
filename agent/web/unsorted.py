"""«To be sorted»: who is this? A person answers once, and the past follows."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from aiohttp import web

from agent.model import Identity, IdentityKind, LinkState, UserRole
from agent.store import audit, cards, clients, employees, evidence, links, proposals, rights, unsorted
from agent.store.cards import Candidate
from agent.store.linkrules import RuleDecision
from agent.store.links import RankedCard
from agent.store.unsorted import UnsortedGroup
from agent.web.cards import views
from agent.web.decisions import remember
from agent.web.employees import suggested
from agent.web.pages import page
from agent.web.services import login_of, services

_DONE = ("done_card", "done_contact", "done_decision", "done_extension", "card_not_found")
_CARD_NUMBER = re.compile(r"№ ?(\d{1,18})\s*$")
_UNREADABLE_SHOWN = 50
_LONGEST_NAME = 200


async def show_unsorted(request: web.Request) -> web.StreamResponse:
    """Groups of waiting entries, each with the forms that sort it."""
    viewer = login_of(request).viewer
    async with services(request).store.begin() as connection:
        groups = await unsorted.list_unsorted(connection, viewer)
        shown = await views(request, connection, [one for group in groups for one in group.interaction_ids])
        ambiguous = [one.identity for one in groups if one.state is LinkState.AMBIGUOUS and one.identity]
        candidates = await cards.find_candidates(connection, [*ambiguous, *_domains(ambiguous)])
        newest = [one.interaction_ids[0] for one in groups if one.state is LinkState.AMBIGUOUS]
        ranked = {one.interaction_id: one.candidates for one in await links.list_links(connection, newest)}
        visible = {one.card_id for one in candidates if await rights.may_see_card(connection, viewer, one.card_id)}
        choices = await clients.list_card_choices(connection, viewer)
        nobodys = await unsorted.list_nobodys(connection) if viewer.role is UserRole.ADMINISTRATOR else []
        names = await proposals.list_names(connection, [one.extension for one in nobodys])
        colleagues = await employees.list_employees(connection) if nobodys else []
        unreadable = await evidence.list_unreadable(connection, _UNREADABLE_SHOWN) if viewer.sees_all else []
    done = request.query.get("done", "")
    return page(
        request,
        "unsorted.html",
        groups=[(group, _candidates_of(group, candidates, visible, ranked)) for group in groups],
        entries={one.id: one for one in shown},
        choices=choices,
        unreadable=unreadable,
        nobodys=[(one, one.name or names.get(one.extension, "")) for one in nobodys],
        employees=colleagues,
        suggested={one.extension: suggested((one.name, names.get(one.extension, "")), colleagues) for one in nobodys},
        done=done if done in _DONE else "",
    )


def _domains(identities: list[Identity]) -> list[Identity]:
    return [
        Identity(kind=IdentityKind.DOMAIN, value=one.value.rpartition("@")[2])
        for one in identities
        if one.kind is IdentityKind.ADDRESS
    ]


def _candidates_of(
    group: UnsortedGroup, candidates: list[Candidate], visible: set[int], ranked: Mapping[int, Sequence[RankedCard]]
) -> list[tuple[Candidate, int, tuple[str, ...]]]:
    """The cards a group could belong to, as far as the viewer may see them, each once, with how sure it is of the
    newest entry and why, the likeliest first."""
    if group.state is not LinkState.AMBIGUOUS or group.identity is None:
        return []
    meant = {group.identity, *_domains([group.identity])}
    fitting = [one for one in candidates if one.contact_point.identity in meant and one.card_id in visible]
    known = {card: (sure, why) for card, sure, why in ranked.get(group.interaction_ids[0], ())}
    once = {one.card_id: one for one in fitting}.values()
    return sorted(((one, *known.get(one.card_id, (0, ()))) for one in once), key=lambda each: -each[1])


async def make_card(request: web.Request) -> web.StreamResponse:
    """A new client card for an identity; a manager becomes responsible for it."""
    identity = await _checked_identity(request)
    name = " ".join(str((await request.post()).get("name", "")).split())[:_LONGEST_NAME]
    if not name:
        raise web.HTTPBadRequest
    found, viewer = services(request), login_of(request).viewer
    card_id = await found.linker.create_card_from(identity, name, responsible_id=viewer.employee_id)
    await _note(request, audit.CARD_CREATED, {"card_id": card_id, "identity": identity.value})
    raise web.HTTPSeeOther("/unsorted?done=done_card")


async def add_contact_point(request: web.Request) -> web.StreamResponse:
    """One more number or address for a card that is there."""
    identity = await _checked_identity(request)
    card_id = await _checked_card(request)
    await services(request).linker.add_contact_point(card_id, identity)
    await _note(request, audit.CONTACT_POINT_ADDED, {"card_id": card_id, "identity": identity.value})
    raise web.HTTPSeeOther("/unsorted?done=done_contact")


async def decide(request: web.Request) -> web.StreamResponse:
    """Several cards fit: a person says which one it is. It is remembered, holds for the past and from now on, and can
    be revoked on the page of decisions."""
    identity = await _checked_identity(request)
    card_id = await _checked_card(request)
    async with services(request).store.begin() as connection:
        await remember(request, connection, identity, RuleDecision.CARD, card_id)
    raise web.HTTPSeeOther("/unsorted?done=done_decision")


async def set_aside(request: web.Request) -> web.StreamResponse:
    """It is private, or concerns nobody: on no card, and nobody is asked again."""
    identity = await _checked_identity(request)
    decision = {"private": RuleDecision.PRIVATE, "ignore": RuleDecision.IGNORE}.get(
        str((await request.post()).get("decision", ""))
    )
    if decision is None:
        raise web.HTTPBadRequest
    async with services(request).store.begin() as connection:
        await remember(request, connection, identity, decision, None)
    raise web.HTTPSeeOther("/unsorted?done=done_decision")


async def _checked_identity(request: web.Request) -> Identity:
    """Only what waits for this viewer can be sorted by him, so no form reaches into other people's histories."""
    form = await request.post()
    try:
        identity = Identity(kind=IdentityKind(str(form.get("kind", ""))), value=str(form.get("value", "")))
    except ValueError:
        raise web.HTTPBadRequest from None
    if "\0" in identity.value:
        raise web.HTTPBadRequest
    async with services(request).store.begin() as connection:
        if not await unsorted.list_waiting_of(connection, login_of(request).viewer, identity):
            raise web.HTTPNotFound
    return identity


async def _checked_card(request: web.Request) -> int:
    """The card meant by the form: by its number, as the list of choices writes it, else by a search that finds one."""
    text = str((await request.post()).get("card", "")).replace("\0", "")[:_LONGEST_NAME].strip()
    viewer = login_of(request).viewer
    async with services(request).store.begin() as connection:
        if named := _CARD_NUMBER.search(text):
            card_id = int(named[1])
            if not await rights.may_see_card(connection, viewer, card_id):
                raise web.HTTPNotFound
            return card_id
        found = await clients.list_clients(connection, viewer, search=text, limit=2) if text else []
    if len(found) != 1:
        raise web.HTTPSeeOther("/unsorted?done=card_not_found")
    return found[0].id


async def _note(request: web.Request, action: str, subject: dict[str, object]) -> None:
    async with services(request).store.begin() as connection:
        await audit.add_entry(connection, login_of(request).viewer.account_id, action, subject)
