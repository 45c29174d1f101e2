"""Rules that sort mail, and our own domains: listed, tried, changed, and all mails sorted anew."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

from aiohttp import web
from pydantic import AfterValidator, Field, model_validator
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import MessageCategory
from agent.store import employees, rules
from agent.store.rules import MailRule
from agent.store.runs import MAILS
from agent.web import mail_rules
from agent.web.api import shapes
from agent.web.api.answers import Json, Made, answer, begin, check_unchanged, perform
from agent.web.api.reading import Asked, Id, Line, read_body, read_query
from agent.web.mail_rules import CHOICES, LONGEST_NAME, LONGEST_TAG, LONGEST_VALUE, MOST_VALUES
from agent.web.problems import Refused
from agent.web.services import number_in
from linker.rules import FIELDS
from linker.trial import Trial, try_rules


def _known(values: dict[str, list[str]]) -> dict[str, list[str]]:
    for field, found in values.items():
        if field not in FIELDS:
            raise ValueError(f"there is no field {field[:50]}")
        if strange := sorted(set(found) - set(CHOICES.get(field, found))):
            raise ValueError(f"{field} is never {strange[0][:50]}")
    return {field: list(dict.fromkeys(found)) for field, found in values.items()}


Value = Annotated[Line, Field(max_length=LONGEST_VALUE)]
Values = Annotated[list[Value], Field(min_length=1, max_length=MOST_VALUES)]
Category = Literal["conversation", "automatic", "newsletter", "bounce", "internal", "private"]


class Rule(Asked):
    """Who gets which category, or which tag: all fields must fit, and of each field one value."""

    name: Annotated[Line, Field(max_length=LONGEST_NAME)]
    conditions: Annotated[dict[str, Values], Field(min_length=1), AfterValidator(_known)]
    category: Category | None = None
    tag: Annotated[Line, Field(max_length=LONGEST_TAG)] | None = None
    enabled: bool = True

    @model_validator(mode="after")
    def _one_result(self) -> Rule:
        if (self.category is None) == (self.tag is None):
            raise ValueError("give a category or a tag, and not both")
        return self

    def plain(self, number: int) -> MailRule:
        """As the store has it."""
        category = MessageCategory(self.category) if self.category is not None else None
        return MailRule(
            id=number,
            place=0,
            name=self.name,
            conditions=self.conditions,
            category=category,
            tag=self.tag,
            enabled=self.enabled,
        )


class TriedRule(Rule):
    """A rule to be tried; ``id`` names the one that it stands for."""

    id: Id | None = None


class Move(Asked):
    """Which way."""

    way: Literal["up", "down"]


class NewDomain(Asked):
    """A domain of ours."""

    domain: Annotated[str, Field(min_length=1, max_length=255)]


async def list_rules(request: web.Request) -> web.StreamResponse:
    """In their order, with how many mails there are of each category and how far the last run is."""
    read_query(request, Asked)
    async with begin(request) as connection:
        found = await rules.list_rules(connection)
        counts = await rules.count_categories(connection)
        run = await MAILS.find(connection)
    return await answer(
        request,
        {
            "items": [_rule(one) for one in found],
            "next": None,
            "mails": {one.value: counts.get(one, 0) for one in MessageCategory},
            "run": shapes.run(run) if run is not None else None,
        },
    )


def _rule(one: MailRule) -> Json:
    return {
        "id": one.id,
        "place": one.place,
        "name": one.name,
        "conditions": {field: list(values) for field, values in one.conditions.items()},
        "category": one.category.value if one.category is not None else None,
        "tag": one.tag,
        "preset": one.preset,
        "enabled": one.enabled,
    }


async def show_rule(request: web.Request) -> web.StreamResponse:
    """One of them."""
    read_query(request, Asked)
    async with begin(request) as connection:
        found = await _find(connection, number_in(request))
    return await answer(request, _rule(found))


async def _find(connection: AsyncConnection, number: int) -> MailRule:
    found = next((one for one in await rules.list_rules(connection) if one.id == number), None)
    if found is None:
        raise Refused(404, "There is no such rule.")
    return found


async def add_rule(request: web.Request) -> web.StreamResponse:
    """It comes before all others, and counts for what arrives from now on."""
    asked = await read_body(request, Rule)

    async def act(connection: AsyncConnection) -> Made:
        number = await mail_rules.keep_rule(request, connection, asked.plain(0))
        return Made(content={"id": number}, location=f"{shapes.API}/mail-rules/{number}")

    return await perform(request, act)


async def change_rule(request: web.Request) -> web.StreamResponse:
    """The whole rule anew; under If-Match only what the caller has seen."""
    asked, number = await read_body(request, Rule), number_in(request)
    async with begin(request) as connection:
        await rules.lock_rules(connection)
        check_unchanged(request, _rule(await _find(connection, number)))
        await mail_rules.keep_rule(request, connection, asked.plain(number))
        content = _rule(await _find(connection, number))
    return await answer(request, content)


async def remove_rule(request: web.Request) -> web.StreamResponse:
    """One that was made here; one that comes with the program is switched off instead."""
    async with begin(request) as connection:
        found = await _find(connection, number_in(request))
        if found.preset:
            raise Refused(409, "It comes with the program. Switch it off.")
        await mail_rules.forget_rule(request, connection, found.id)
    return web.Response(status=204)


async def move_rule(request: web.Request) -> web.StreamResponse:
    """It changes places with its neighbour."""
    asked = await read_body(request, Move)
    async with begin(request) as connection:
        found = await _find(connection, number_in(request))
        await mail_rules.swap_rule(request, connection, found.id, up=asked.way == "up")
    return web.Response(status=204)


async def try_rule(request: web.Request) -> web.StreamResponse:
    """What it would change among the newest mails; nothing is saved."""
    asked = await read_body(request, TriedRule)
    async with begin(request) as connection:
        known = await rules.list_rules(connection)
        rule = asked.plain(asked.id or 0)
        if rule.id:
            rule = replace(rule, place=(await _find(connection, rule.id)).place)
        trial = await try_rules(connection, mail_rules.with_rule(known, rule))
    return await answer(request, _trial(trial))


def _trial(trial: Trial) -> Json:
    moves = [{"before": old, "after": new, "mails": count} for (old, new), count in trial.moves.items()]
    examples: list[dict[str, Any]] = [
        {
            "interaction_id": one.interaction_id,
            "started": shapes.time(one.started),
            "sender": one.sender,
            "subject": one.subject,
            "before": one.before,
            "after": one.after,
            "tags": list(one.tags),
            "reason": one.reason,
        }
        for one in trial.examples
    ]
    return {
        "mails": trial.mails,
        "moves": moves,
        "tags_gained": dict(trial.tags_gained),
        "tags_lost": dict(trial.tags_lost),
        "examples": examples,
    }


async def resort(request: web.Request) -> web.StreamResponse:
    """All mails are sorted anew by the rules as they stand; the list of rules tells how far that is."""

    async def act(connection: AsyncConnection) -> Made:
        run = await mail_rules.resort_all(request, connection)
        return Made(content={"id": run.id}, location=f"{shapes.API}/mail-rules", status=202)

    return await perform(request, act)


# --- Our own domains --------------------------------------------------------------------------------------------------


async def list_domains(request: web.Request) -> web.StreamResponse:
    """Whoever writes from one of these is one of us."""
    read_query(request, Asked)
    async with begin(request) as connection:
        found = await employees.list_own_domains(connection)
    items = [{"id": one.id, "domain": one.identity.value} for one in found]
    return await answer(request, {"items": items, "next": None})


async def add_domain(request: web.Request) -> web.StreamResponse:
    """Mails of before are decided anew."""
    asked = await read_body(request, NewDomain)
    domain = mail_rules.read_domain(asked.domain)
    if domain is None:
        detail = "That is no domain of a company."
        raise Refused(422, detail, faults=[("/domain", "no domain, or one at which anybody has a mailbox")])

    async def act(connection: AsyncConnection) -> Made:
        await mail_rules.own(request, connection, domain)
        held = await employees.list_own_domains(connection)
        number = next(one.id for one in held if one.identity == domain)
        return Made(content={"id": number}, location=f"{shapes.API}/mail-domains")

    return await perform(request, act)


async def remove_domain(request: web.Request) -> web.StreamResponse:
    """It is not ours; mails of before are decided anew."""
    async with begin(request) as connection:
        await mail_rules.disown(request, connection, number_in(request))
    return web.Response(status=204)
