"""What waits for a person, what people have decided about numbers, and the policies of lines."""

from __future__ import annotations

from typing import Annotated, Literal

from aiohttp import web
from pydantic import Field, model_validator
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import Identity, IdentityKind, LinkState
from agent.store import audit, cards, linkrules, links, unsorted
from agent.store.interactionlist import list_card_names
from agent.store.linkrules import RuleDecision, UnknownPolicy
from agent.web import decisions
from agent.web.api import shapes
from agent.web.api.answers import Made, answer, begin, perform
from agent.web.api.interactions import check_card
from agent.web.api.reading import Asked, CardKind, Contact, Flag, Id, Line, read_body, read_query
from agent.web.cardforms import note_act
from agent.web.employees import account_of
from agent.web.problems import Refused
from agent.web.services import login_of, number_in, services
from linker import desk

_MOST = 200


class NamedIdentity(Asked):
    """An identity as a group of the list has it."""

    kind: Literal["phone", "extension", "login", "address", "domain"]
    value: Annotated[str, Field(min_length=1, max_length=320)]

    def plain(self) -> Identity:
        """The same as a noun."""
        return Identity(kind=IdentityKind(self.kind), value=self.value.replace("\0", ""))


class CardFor(Asked):
    """A new card for an identity that waits."""

    identity: NamedIdentity
    name: Line
    kind: CardKind = "person"


class PointFor(Asked):
    """A card that gets an identity that waits."""

    identity: NamedIdentity
    card_id: Id


class DecisionFor(Asked):
    """What an identity that waits is, once for all."""

    identity: NamedIdentity
    decision: Literal["card", "private", "ignore"]
    card_id: Id | None = None

    @model_validator(mode="after")
    def _whole(self) -> DecisionFor:
        if (self.decision == "card") != (self.card_id is not None):
            raise ValueError("give card_id with the decision card, and with no other")
        return self


class RuleQuery(Asked):
    """``revoked``: those that hold no more."""

    revoked: Flag = False


class NewRule(Asked):
    """A decision about whatever a person types: a number, an address, @example.com."""

    value: Contact
    decision: Literal["card", "private", "ignore"]
    card_id: Id | None = None
    note: Annotated[str, Field(max_length=200)] = ""

    @model_validator(mode="after")
    def _whole(self) -> NewRule:
        if (self.decision == "card") != (self.card_id is not None):
            raise ValueError("give card_id with the decision card, and with no other")
        return self


class NewPolicy(Asked):
    """What becomes of unknown numbers at a line of ours."""

    line: Contact
    unknown: Literal["propose", "create", "ignore"]


# --- To be sorted -----------------------------------------------------------------------------------------------------


async def list_unsorted(request: web.Request) -> web.StreamResponse:
    """Groups by identity, the newest contact first, each with the cards it could be."""
    read_query(request, Asked)
    viewer = login_of(request).viewer
    async with begin(request) as connection:
        groups = await unsorted.list_unsorted(connection, viewer, limit=_MOST)
        total = await unsorted.count_unsorted(connection, viewer)
        newest = [one.interaction_ids[0] for one in groups if one.state is LinkState.AMBIGUOUS]
        ranked = {one.interaction_id: one.candidates for one in await links.list_links(connection, newest)}
        named = await list_card_names(connection, viewer, sorted({one[0] for each in ranked.values() for one in each}))
    items = [
        shapes.group(
            one,
            [
                {"card": shapes.named(number, named), "confidence": sure, "reasons": list(why)}
                for number, sure, why in ranked.get(one.interaction_ids[0], ())
                if number in named
            ],
        )
        for one in groups
    ]
    return await answer(request, {"items": items, "next": None, "total": total})


async def _waiting(request: web.Request, connection: AsyncConnection, named: NamedIdentity) -> Identity:
    """Only what waits for this viewer can be sorted by him.

    Raises:
        Refused: it does not wait (404).
    """
    identity = named.plain()
    if not await unsorted.list_waiting_of(connection, login_of(request).viewer, identity):
        raise Refused(404, "Nothing of this identity waits for you.")
    return identity


async def make_card(request: web.Request) -> web.StreamResponse:
    """A new client card for an identity; a manager becomes responsible for it."""
    asked = await read_body(request, CardFor)

    async def act(connection: AsyncConnection) -> Made:
        identity = await _waiting(request, connection, asked.identity)
        login = login_of(request)
        card_id = await cards.insert_card(
            connection, asked.name, kind=asked.kind, responsible_id=login.viewer.employee_id
        )
        await services(request).linker.learn(connection, card_id, identity, by=login.login)
        await note_act(request, connection, audit.CARD_CREATED, card_id, identity=identity.value)
        return Made(content={"id": card_id}, location=f"{shapes.API}/cards/{card_id}")

    return await perform(request, act)


async def add_contact_point(request: web.Request) -> web.StreamResponse:
    """One more number or address for a card that is there."""
    asked = await read_body(request, PointFor)
    async with begin(request) as connection:
        identity = await _waiting(request, connection, asked.identity)
        await check_card(request, connection, asked.card_id, "/card_id")
        await services(request).linker.learn(connection, asked.card_id, identity, by=login_of(request).login)
        await note_act(request, connection, audit.CONTACT_POINT_ADDED, asked.card_id, identity=identity.value)
    return web.Response(status=204)


async def decide(request: web.Request) -> web.StreamResponse:
    """Whose it is, that it is private, or that it concerns nobody: now, in the past and from now on."""
    asked = await read_body(request, DecisionFor)

    async def act(connection: AsyncConnection) -> Made:
        identity = await _waiting(request, connection, asked.identity)
        if asked.card_id is not None:
            await check_card(request, connection, asked.card_id, "/card_id")
        rule_id = await decisions.remember(request, connection, identity, RuleDecision(asked.decision), asked.card_id)
        return Made(content={"id": rule_id})

    return await perform(request, act)


# --- Decisions and policies -------------------------------------------------------------------------------------------


async def list_rules(request: web.Request) -> web.StreamResponse:
    """What people have decided about numbers."""
    asked = read_query(request, RuleQuery)
    async with begin(request) as connection:
        found = await linkrules.list_rules(connection, revoked=asked.revoked, limit=_MOST if asked.revoked else 5000)
    return await answer(request, {"items": [shapes.rule(one) for one in found], "next": None})


async def make_rule(request: web.Request) -> web.StreamResponse:
    """Whose a number is, once for all."""
    asked = await read_body(request, NewRule)

    async def act(connection: AsyncConnection) -> Made:
        identity = _identity(request, asked.value, "/value")
        if asked.card_id is not None:
            await check_card(request, connection, asked.card_id, "/card_id")
        note = " ".join(asked.note.replace("\0", " ").split())
        rule_id = await decisions.remember(
            request, connection, identity, RuleDecision(asked.decision), asked.card_id, note=note
        )
        return Made(content={"id": rule_id}, location=f"{shapes.API}/decisions")

    return await perform(request, act)


def _identity(request: web.Request, raw: str, at: str) -> Identity:
    identity = services(request).linker.identity(raw)
    if identity is None:
        raise Refused(422, "That is no number, address or domain.", faults=[(at, "no number, address or domain")])
    return identity


async def revoke_rule(request: web.Request) -> web.StreamResponse:
    """It holds no more, and what it decided is decided anew."""
    rule_id = number_in(request)
    async with begin(request) as connection:
        linker, by = services(request).linker, login_of(request).login
        if not await desk.revoke_rule(connection, linker, rule_id, by=by):
            raise Refused(404, "There is no such decision in force.")
        await audit.add_entry(connection, account_of(request), audit.LINK_RULE_REVOKED, {"rule_id": rule_id})
    return web.Response(status=204)


async def list_policies(request: web.Request) -> web.StreamResponse:
    """Of all lines that have one."""
    read_query(request, Asked)
    async with begin(request) as connection:
        found = await linkrules.list_policies(connection)
    return await answer(request, {"items": [shapes.policy(one) for one in found], "next": None})


async def save_policy(request: web.Request) -> web.StreamResponse:
    """The policy of a line, in place of the one before."""
    asked = await read_body(request, NewPolicy)
    identity = _identity(request, asked.line, "/line")
    async with begin(request) as connection:
        unknown = UnknownPolicy(asked.unknown)
        await linkrules.save_policy(connection, identity, unknown, by=login_of(request).login)
        subject = {"line": identity.value, "unknown": unknown.value}
        await audit.add_entry(connection, account_of(request), audit.LINE_POLICY_SET, subject)
    return web.Response(status=204)


async def remove_policy(request: web.Request) -> web.StreamResponse:
    """The default holds for this line again."""
    async with begin(request) as connection:
        if not await linkrules.remove_policy(connection, number_in(request)):
            raise Refused(404, "There is no such policy.")
        subject = {"policy_id": number_in(request)}
        await audit.add_entry(connection, account_of(request), audit.LINE_POLICY_REMOVED, subject)
    return web.Response(status=204)
