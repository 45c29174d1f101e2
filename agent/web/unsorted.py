"""«To be sorted»: everything that waits for a person, each with its remedy in a click. A person answers once, and the
past follows; after the click he stays in the list, at the next item."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import Identity, IdentityKind, LinkState, UserRole
from agent.store import (
    audit,
    cards,
    clients,
    connectors,
    employees,
    links,
    mirror,
    proposals,
    rights,
    undelivered,
    unsorted,
    waiting,
)
from agent.store.cards import Candidate
from agent.store.linkrules import RuleDecision
from agent.store.links import RankedCard
from agent.store.rights import Viewer
from agent.store.unsorted import UnsortedGroup
from agent.web.cards import views
from agent.web.decisions import remember
from agent.web.employees import suggested
from agent.web.entering import local_target
from agent.web.pages import page
from agent.web.services import login_of, services
from agent.web.settling import settle_delivery, settle_evidence, settle_failed_job, settle_near

SORTS = (
    "unknown",
    "ambiguous",
    "taken_off",
    "proposals",
    "near",
    "extensions",
    "unreadable",
    "undelivered",
    "unmapped",
    "sources",
    "jobs",
)
_DONE = (
    *("done_card", "done_contact", "done_decision", "done_extension", "card_not_found"),
    *("done_united", "done_two", "done_again", "done_aside"),
)
_CARD_NUMBER = re.compile(r"№ ?(\d{1,18})\s*$")
_LONGEST_NAME = 200
_A_PAGE = 25
_AT_FIRST = 6  # of each sort, where all are shown
_LAST_PAGE = 4000


async def show_unsorted(request: web.Request) -> web.StreamResponse:
    """All sorts with the newest of each, or one sort page by page."""
    viewer = login_of(request).viewer
    chosen, start = request.query.get("sort", ""), _start(request)
    chosen = chosen if chosen in SORTS else ""
    async with services(request).store.begin() as connection:
        counts = await _counts(connection, viewer)
        wanted = [chosen] if chosen in counts else [one for one, count in counts.items() if count and not chosen]
        most = _A_PAGE if chosen else _AT_FIRST
        lists = {one: await _load(request, connection, one, most + 1, start if chosen else 0) for one in wanted}
    done = request.query.get("done", "")
    return page(
        request,
        "unsorted.html",
        counts=counts,
        most_counted=unsorted.MOST_COUNTED,
        chosen=chosen,
        start=start if chosen else 0,
        lists={one: _cut(held, most) for one, held in lists.items()},
        has_more={one: _length(held) > most for one, held in lists.items()},
        next_url=f"/unsorted?sort={chosen}&start={start + most}"
        if chosen and _length(lists.get(chosen)) > most
        else "",
        may_map=viewer.role is UserRole.ADMINISTRATOR,
        done=done if done in _DONE else "",
    )


async def _counts(connection: AsyncConnection, viewer: Viewer) -> dict[str, int]:
    """Of the sorts that are this viewer's, in their order."""
    found = await waiting.count_waiting(connection, viewer)
    if viewer.role is UserRole.ADMINISTRATOR:
        found["extensions"] = len(await unsorted.list_nobodys(connection))
        found["jobs"] = await waiting.count_failed_jobs(connection)
    if viewer.sees_all:
        found["unmapped"] = len(await _unmapped(connection))
    return {one: found[one] for one in SORTS if one in found}


async def _load(request: web.Request, connection: AsyncConnection, sort: str, limit: int, offset: int) -> Any:
    viewer, place = login_of(request).viewer, {"limit": limit, "offset": offset}
    if sort in ("unknown", "ambiguous"):
        return await _groups(request, connection, LinkState(sort), limit, offset)
    if sort == "taken_off":
        return await waiting.list_taken_off(connection, viewer, **place)
    if sort == "proposals":
        return await waiting.list_proposals(connection, viewer, **place)
    if sort == "near":
        return await waiting.list_near(connection, viewer, **place)
    if sort == "unreadable":
        return await waiting.list_unreadable(connection, **place)
    if sort == "jobs":
        return await waiting.list_failed_jobs(connection, **place)
    if sort == "undelivered":
        return (await undelivered.list_failed(connection, limit=offset + limit))[offset:]
    if sort == "extensions":
        return await _extensions(connection, limit, offset)
    found: Sequence[Any] = await _unmapped(connection) if sort == "unmapped" else await waiting.list_broken(connection)
    return found[offset : offset + limit]


@dataclass(frozen=True, slots=True, kw_only=True)
class Groups:
    """Entries of one identity each, with the cards they could be; ``entries`` are the views of those shown."""

    groups: Sequence[tuple[UnsortedGroup, Sequence[tuple[Candidate, int, Sequence[str]]]]]
    entries: Mapping[int, Any]


async def _groups(
    request: web.Request, connection: AsyncConnection, state: LinkState, limit: int, offset: int
) -> Groups:
    viewer = login_of(request).viewer
    groups = await unsorted.list_unsorted(connection, viewer, state=state, limit=limit, offset=offset)
    shown = await views(request, connection, [one for group in groups for one in group.interaction_ids[:3]])
    ambiguous = [one.identity for one in groups if one.state is LinkState.AMBIGUOUS and one.identity]
    candidates = await cards.find_candidates(connection, [*ambiguous, *_domains(ambiguous)])
    newest = [one.interaction_ids[0] for one in groups if one.state is LinkState.AMBIGUOUS]
    ranked = {one.interaction_id: one.candidates for one in await links.list_links(connection, newest)}
    ids = sorted({one.card_id for one in candidates})
    visible = await rights.list_seen_cards(connection, viewer, ids) if ids else set()
    return Groups(
        groups=[(group, _candidates_of(group, candidates, visible, ranked)) for group in groups],
        entries={one.id: one for one in shown},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Extensions:
    """Extensions that nobody holds, each with a name if a source has one, and who may be meant."""

    held: Sequence[tuple[Any, str]]
    employees: Sequence[Any]
    suggested: Mapping[str, int]


async def _extensions(connection: AsyncConnection, limit: int, offset: int) -> Extensions:
    nobodys = (await unsorted.list_nobodys(connection))[offset : offset + limit]
    names = await proposals.list_names(connection, [one.extension for one in nobodys])
    colleagues = await employees.list_employees(connection)
    return Extensions(
        held=[(one, one.name or names.get(one.extension, "")) for one in nobodys],
        employees=colleagues,
        suggested={one.extension: suggested((one.name, names.get(one.extension, "")), colleagues) for one in nobodys},
    )


async def _unmapped(connection: AsyncConnection) -> list[tuple[int, str, int, str]]:
    """Connector and its name, employee and his name."""
    return [
        (one.id, one.name, number, name)
        for one in await connectors.list_connectors(connection)
        for number, name in await mirror.list_unmapped(connection, one.id)
    ]


def _length(held: Any) -> int:
    if held is None:
        return 0
    return len(held.groups if isinstance(held, Groups) else held.held if isinstance(held, Extensions) else held)


def _cut(held: Any, most: int) -> Any:
    """One more than a page was asked for, to know whether there is another."""
    if isinstance(held, Groups):
        return Groups(groups=held.groups[:most], entries=held.entries)
    if isinstance(held, Extensions):
        return Extensions(held=held.held[:most], employees=held.employees, suggested=held.suggested)
    return held[:most]


def _start(request: web.Request) -> int:
    text = request.query.get("start", "0")
    return min(int(text), _LAST_PAGE) if text.isascii() and text.isdigit() and len(text) <= 6 else 0


async def onward(request: web.Request, done: str) -> web.HTTPSeeOther:
    """To where the form stood in the list: what was decided is gone, so the next item stands there."""
    back = local_target(str((await request.post()).get("back", "")))
    path, mark, place = back.partition("#")
    if path != "/unsorted" and not path.startswith("/unsorted?"):
        return web.HTTPSeeOther(f"/unsorted?done={done}")
    path = re.sub(r"[?&]done=[a-z_]*", "", path)
    return web.HTTPSeeOther(f"{path}{'&' if '?' in path else '?'}done={done}{mark}{place}")


async def unite_near(request: web.Request) -> web.StreamResponse:
    """Two calls are one, or they are two and nobody asks again."""
    first, second = await _number(request, "first"), await _number(request, "second")
    answer = str((await request.post()).get("answer", ""))
    if answer not in ("one", "two"):
        raise web.HTTPBadRequest
    async with services(request).store.begin() as connection:
        await settle_near(request, connection, first, second, are_one=answer == "one")
    raise await onward(request, "done_united" if answer == "one" else "done_two")


async def settle_unreadable(request: web.Request) -> web.StreamResponse:
    """What could not be read is tried again, or was looked at and bothers nobody any more."""
    number, answer = await _number(request, "evidence"), str((await request.post()).get("answer", ""))
    if answer not in ("again", "aside"):
        raise web.HTTPBadRequest
    if not login_of(request).viewer.sees_all:
        raise web.HTTPNotFound
    async with services(request).store.begin() as connection:
        await settle_evidence(request, connection, number, again=answer == "again")
    raise await onward(request, "done_again" if answer == "again" else "done_aside")


async def settle_failed_delivery(request: web.Request) -> web.StreamResponse:
    """What a CRM could not be told is tried again, or it need not know."""
    number, answer = await _number(request, "delivery"), str((await request.post()).get("answer", ""))
    if answer not in ("again", "forget"):
        raise web.HTTPBadRequest
    async with services(request).store.begin() as connection:
        await settle_delivery(request, connection, number, again=answer == "again")
    raise await onward(request, "done_again" if answer == "again" else "done_aside")


async def settle_job(request: web.Request) -> web.StreamResponse:
    """Work that was given up is done again, or not at all."""
    number, answer = await _number(request, "job"), str((await request.post()).get("answer", ""))
    if answer not in ("again", "forget"):
        raise web.HTTPBadRequest
    async with services(request).store.begin() as connection:
        await settle_failed_job(request, connection, number, again=answer == "again")
    raise await onward(request, "done_again" if answer == "again" else "done_aside")


async def _number(request: web.Request, name: str) -> int:
    text = str((await request.post()).get(name, ""))
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise web.HTTPBadRequest
    return int(text)


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
    raise await onward(request, "done_card")


async def add_contact_point(request: web.Request) -> web.StreamResponse:
    """One more number or address for a card that is there."""
    identity = await _checked_identity(request)
    card_id = await _checked_card(request)
    await services(request).linker.add_contact_point(card_id, identity)
    await _note(request, audit.CONTACT_POINT_ADDED, {"card_id": card_id, "identity": identity.value})
    raise await onward(request, "done_contact")


async def decide(request: web.Request) -> web.StreamResponse:
    """Several cards fit: a person says which one it is. It is remembered, holds for the past and from now on, and can
    be revoked on the page of decisions."""
    identity = await _checked_identity(request)
    card_id = await _checked_card(request)
    async with services(request).store.begin() as connection:
        await remember(request, connection, identity, RuleDecision.CARD, card_id)
    raise await onward(request, "done_decision")


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
    raise await onward(request, "done_decision")


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
        raise await onward(request, "card_not_found")
    return found[0].id


async def _note(request: web.Request, action: str, subject: dict[str, object]) -> None:
    async with services(request).store.begin() as connection:
        await audit.add_entry(connection, login_of(request).viewer.account_id, action, subject)
