"""«Settings»: everything that is set once in a while, the keys, and the guide through the first days."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from aiohttp import web

from agent.archive.sealkeys import SealKey
from agent.errors import CardlineError
from agent.model import UserRole
from agent.store import companysettings, guide, seals, sources
from agent.store.guide import FirstSteps
from agent.web.accounts import text_of
from agent.web.pages import page
from agent.web.services import Services, login_of, services

_GUIDE = "guide"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One of the guide: its name among the texts, where to do it, if it is done, and if one may go without."""

    name: str
    path: str
    is_done: bool
    is_optional: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A part of the settings: its address, the key of its name and of what it is for."""

    path: str
    name: str
    roles: frozenset[UserRole]
    whole: bool = False


_A = frozenset({UserRole.ADMINISTRATOR})
_S = frozenset({UserRole.ADMINISTRATOR, UserRole.SUPERVISOR})
_M = frozenset(UserRole)

PLACES = (
    ("group_people", (
        Place(path="/accounts", name="accounts", roles=_A),
        Place(path="/teams", name="teams", roles=_A),
        Place(path="/employees", name="employees", roles=_A),
        Place(path="/me", name="me", roles=_M),
    )),
    ("group_flow", (
        Place(path="/sources", name="sources", roles=_S, whole=True),
        Place(path="/mail-rules", name="mail_rules", roles=_A),
        Place(path="/glossary", name="glossary", roles=_A),
        Place(path="/decisions", name="decisions", roles=_S, whole=True),
        Place(path="/crm", name="crm", roles=_S, whole=True),
    )),
    ("group_care", (
        Place(path="/keys", name="keys", roles=_A),
        Place(path="/retention", name="retention", roles=_A),
        Place(path="/masks", name="masks", roles=_A),
        Place(path="/audit", name="audit", roles=_A),
        Place(path="/tokens", name="tokens", roles=_A),
    )),
)  # fmt: skip


STEPS = ("account", "source", "call", "extensions", "cards", "keys", "seals", "crm")
_OPTIONAL = ("seals", "crm")
_PATHS = {
    "account": "/accounts",
    "source": "/sources",
    "call": "/sources",
    "extensions": "/employees",
    "cards": "/cards",
    "keys": "/keys",
    "seals": "/keys",
    "crm": "/crm",
}


async def show_settings(request: web.Request) -> web.StreamResponse:
    """The index, with the guide on top until everything is done."""
    viewer = login_of(request).viewer
    steps: list[Step] = []
    if viewer.role is UserRole.ADMINISTRATOR:
        async with services(request).store.begin() as connection:
            found = await guide.find_first_steps(connection)
            skipped = (await companysettings.find_value(connection, _GUIDE)).get("skipped", [])
        steps = [one for one in _steps(services(request), found) if one.name not in skipped]
    groups = [
        (name, [one for one in places if viewer.role in one.roles and (viewer.sees_all or not one.whole)])
        for name, places in PLACES
    ]
    return page(
        request,
        "settings.html",
        steps=steps if any(not one.is_done for one in steps) else [],
        left=sum(not one.is_done for one in steps),
        groups=[(name, places) for name, places in groups if places],
    )


def _steps(found: Services, first: FirstSteps) -> list[Step]:
    settings = found.settings
    has_own = bool(
        settings.mailbox or settings.asterisk or settings.provider or settings.recordings or settings.sip.line
    )
    done = {
        "account": True,
        "source": has_own or first.has_source,
        "call": first.has_call,
        "extensions": first.has_extensions,
        "cards": first.has_cards,
        "keys": found.archive.keys.is_confirmed,
        "seals": bool(settings.seal.targets),
        "crm": bool(settings.crm),
    }
    return [Step(name=one, path=_PATHS[one], is_done=done[one], is_optional=one in _OPTIONAL) for one in STEPS]


async def skip_step(request: web.Request) -> web.StreamResponse:
    """This installation goes without."""
    name = await text_of(request, "step")
    if name not in _OPTIONAL:
        raise web.HTTPBadRequest
    async with services(request).store.begin() as connection:
        skipped = (await companysettings.find_value(connection, _GUIDE)).get("skipped", [])
        await companysettings.save_value(connection, _GUIDE, {"skipped": sorted({*skipped, name})})
    raise web.HTTPSeeOther("/settings")


async def show_keys(request: web.Request) -> web.StreamResponse:
    """Check codes of the keys, whether a copy is confirmed, and how far the chain is sealed outside. No key is shown:
    `cardline keys show` does that on the machine itself. Nor is the check code before it was confirmed, since typing it
    proves that the saved copy was looked at."""
    found = services(request)
    ring = found.archive.keys
    problem, seal_key = "", None
    try:
        seal_key = await asyncio.to_thread(SealKey.open, ring.folder)
    except (CardlineError, OSError) as error:
        problem = str(error)
    async with found.store.begin() as connection:
        last = await seals.find_last_seal(connection)
        copies = await seals.list_copies(connection, last.number) if last is not None else []
        waiting = {one: await seals.count_waiting(connection, one) for one in found.settings.seal.targets}
        states = [one for one in await sources.list_statuses(connection) if one.source.startswith("seal")]
    return page(
        request,
        "keys.html",
        check_code=ring.check_code(),
        is_confirmed=ring.is_confirmed,
        folder=str(ring.folder),
        seal_key=seal_key,
        problem=problem,
        last=last,
        copies=copies,
        waiting=waiting,
        targets=found.settings.seal.targets,
        states=states,
    )
