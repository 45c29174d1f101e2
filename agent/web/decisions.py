"""What people have decided about numbers and entries: remembered, visible, and revoked by a click."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import Identity, LinkState, Role, UserRole
from agent.store import audit, cards, clients, interactions, linkrules, links, notices, relinks, rights
from agent.store.interactions import Party
from agent.store.linkrules import RuleDecision, UnknownPolicy
from agent.store.links import Link
from agent.web.cardforms import text_in
from agent.web.employees import account_of
from agent.web.entering import local_target
from agent.web.pages import page
from agent.web.services import login_of, number_in, services
from linker import desk

_CARD_NUMBER = re.compile(r"№ ?(\d{1,18})\s*$")
DECISIONS = ("card", "ignore", "rules")
_PROBLEMS = ("identity_wrong", "card_not_found", "choose_card")


async def list_decisions(request: web.Request) -> web.StreamResponse:
    """Rules in force and revoked, the policies of lines, and what is being decided anew."""
    problem = request.query.get("problem", "")
    async with services(request).store.begin() as connection:
        rules = await linkrules.list_rules(connection)
        revoked = await linkrules.list_rules(connection, revoked=True, limit=50)
        counts = await linkrules.count_links_by(connection, [one.id for one in rules])
        policies = await linkrules.list_policies(connection)
        runs = await relinks.list_open_runs(connection)
    linking = services(request).settings.linking
    return page(
        request,
        "decisions.html",
        rules=rules,
        revoked=revoked,
        counts=counts,
        policies=policies,
        runs=runs,
        defaults=(linking.unknown_calls, linking.unknown_mails),
        may_set=login_of(request).viewer.role is UserRole.ADMINISTRATOR,
        problem=problem if problem in _PROBLEMS else "",
    )


async def make_rule(request: web.Request) -> web.StreamResponse:
    """A number, an address or a domain is somebody's, private, or concerns nobody."""
    identity = services(request).linker.identity(await text_in(request, "value"))
    try:
        decision = RuleDecision(await text_in(request, "decision"))
    except ValueError:
        raise web.HTTPBadRequest from None
    if identity is None:
        raise web.HTTPSeeOther("/decisions?problem=identity_wrong")
    async with services(request).store.begin() as connection:
        card_id = await chosen_card(request, connection) if decision is RuleDecision.CARD else None
        if decision is RuleDecision.CARD and card_id is None:
            raise web.HTTPSeeOther("/decisions?problem=card_not_found")
        await remember(request, connection, identity, decision, card_id, note=await text_in(request, "note"))
    raise web.HTTPSeeOther("/decisions")


async def revoke_rule(request: web.Request) -> web.StreamResponse:
    """It holds no more, and what it decided is decided anew."""
    rule_id = number_in(request)
    async with services(request).store.begin() as connection:
        linker, by = services(request).linker, login_of(request).login
        if not await desk.revoke_rule(connection, linker, rule_id, by=by):
            raise web.HTTPNotFound
        await audit.add_entry(connection, account_of(request), audit.LINK_RULE_REVOKED, {"rule_id": rule_id})
    raise web.HTTPSeeOther("/decisions")


async def save_policy(request: web.Request) -> web.StreamResponse:
    """What becomes of unknown numbers at one of our lines."""
    identity = services(request).linker.identity(await text_in(request, "line"))
    try:
        unknown = UnknownPolicy(await text_in(request, "unknown"))
    except ValueError:
        raise web.HTTPBadRequest from None
    if identity is None:
        raise web.HTTPSeeOther("/decisions?problem=identity_wrong#policies")
    async with services(request).store.begin() as connection:
        await linkrules.save_policy(connection, identity, unknown, by=login_of(request).login)
        subject = {"line": identity.value, "unknown": unknown.value}
        await audit.add_entry(connection, account_of(request), audit.LINE_POLICY_SET, subject)
    raise web.HTTPSeeOther("/decisions#policies")


async def remove_policy(request: web.Request) -> web.StreamResponse:
    """The default holds for this line again."""
    async with services(request).store.begin() as connection:
        if not await linkrules.remove_policy(connection, number_in(request)):
            raise web.HTTPNotFound
        subject = {"policy_id": number_in(request)}
        await audit.add_entry(connection, account_of(request), audit.LINE_POLICY_REMOVED, subject)
    raise web.HTTPSeeOther("/decisions#policies")


async def relink_entry(request: web.Request) -> web.StreamResponse:
    """This entry belongs to that card, or concerns nobody, or the rules shall decide again; with ``always`` it holds
    for the number from now on."""
    number, decision = number_in(request), await text_in(request, "decision")
    if decision not in DECISIONS:
        raise web.HTTPBadRequest
    async with services(request).store.begin() as connection:
        await check_entry(request, connection, number)
        card_id = await chosen_card(request, connection) if decision == "card" else None
        if decision == "card" and card_id is None:
            raise web.HTTPSeeOther(f"/interactions/{number}?problem=card_not_found#correct-link")
        always = (await outside_of(connection, number)).get(await text_in(request, "always"))
        await settle_entry(request, connection, number, decision, card_id=card_id, always=always)
    back = local_target(await text_in(request, "back"))
    raise web.HTTPSeeOther(back if back.startswith("/unsorted") else f"/interactions/{number}")


async def check_entry(request: web.Request, connection: AsyncConnection, number: int) -> None:
    """What is not the viewer's does not exist for him."""
    if not await rights.may_see_interaction(connection, login_of(request).viewer, number):
        raise web.HTTPNotFound


async def settle_entry(
    request: web.Request,
    connection: AsyncConnection,
    number: int,
    decision: str,
    *,
    card_id: int | None,
    always: Identity | None,
) -> None:
    """Where an entry that was seen belongs: on a card, nowhere, or where the rules put it. ``always`` is a number of
    the other side for which it holds from now on."""
    login = login_of(request)
    (entry,) = await interactions.find_interactions(connection, [number])
    if decision == "rules":
        await desk.undecide_entry(connection, services(request).linker, number)
    elif always is not None:
        await links.forget_decision(connection, number)
        kind = RuleDecision.CARD if card_id is not None else RuleDecision.IGNORE
        await remember(request, connection, always, kind, card_id)
    else:
        state = LinkState.LINKED if card_id is not None else LinkState.IGNORED
        await desk.decide_entry(connection, entry, state, login=login.login, name=login.name, card_id=card_id)
    subject = {"interaction_id": number, "decision": decision}
    await audit.add_entry(connection, account_of(request), audit.LINK_DECIDED, subject)
    await notices.notify(connection, notices.INTERACTIONS, number)


@dataclass(frozen=True, slots=True, kw_only=True)
class Relinking:
    """For the page of an entry: where else it could belong (card, name, per cent, signs), and the numbers of the other
    side for which a decision may hold from now on."""

    candidates: Sequence[tuple[int, str, int, Sequence[str]]]
    identities: Sequence[Identity]
    problem: bool


async def load_relinking(
    request: web.Request, connection: AsyncConnection, parties: Sequence[Party], linked: Sequence[Link]
) -> Relinking:
    """What the viewer may see of it; ``parties`` and ``linked`` are the entry's."""
    viewer, candidates = login_of(request).viewer, []
    for one in linked:
        for card_id, sure, why in one.candidates:
            card = await cards.find_card(connection, card_id)
            if card is not None and await rights.may_see_card(connection, viewer, card_id):
                candidates.append((card_id, card.name, sure, why))
    outside = {one.identity: None for one in parties if one.identity is not None and one.role is Role.CLIENT}
    return Relinking(
        candidates=candidates,
        identities=list(outside),
        problem=request.query.get("problem") == "card_not_found",
    )


async def outside_of(connection: AsyncConnection, number: int) -> dict[str, Identity]:
    """The numbers of the other side of an entry, by value."""
    parties = (await interactions.list_parties(connection, [number]))[number]
    return {one.identity.value: one.identity for one in parties if one.identity and one.role is Role.CLIENT}


async def remember(
    request: web.Request,
    connection: AsyncConnection,
    identity: Identity,
    decision: RuleDecision,
    card_id: int | None,
    *,
    note: str = "",
) -> int:
    """A person has decided about a number once for all; returns the rule's id."""
    linker, by = services(request).linker, login_of(request).login
    rule_id = await desk.decide_identity(connection, linker, identity, decision, by=by, card_id=card_id, note=note)
    subject = {"rule_id": rule_id, "identity": identity.value, "decision": decision.value, "card_id": card_id}
    await audit.add_entry(connection, account_of(request), audit.LINK_RULE_MADE, subject)
    return rule_id


async def chosen_card(request: web.Request, connection: AsyncConnection) -> int | None:
    """The card a form means: by its number, as the list of choices writes it, else by a search that finds one."""
    text, viewer = await text_in(request, "card"), login_of(request).viewer
    if named := _CARD_NUMBER.search(text):
        card = await cards.find_card(connection, int(named[1]))
        seen = card is not None and await rights.may_see_card(connection, viewer, card.id)
        return card.id if card is not None and seen and card.merged_into_id is None else None
    found = await clients.list_clients(connection, viewer, search=text, limit=2) if text else []
    return found[0].id if len(found) == 1 else None
