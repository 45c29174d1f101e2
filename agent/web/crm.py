"""«CRM»: how each one goes, what it could not be told and what to do about it, and who is who there."""

from __future__ import annotations

from typing import NoReturn

from aiohttp import web

from agent.model import UserRole
from agent.store import audit, connectors, employees, mirror, undelivered
from agent.web.crm_users import strangers
from agent.web.employees import account_of
from agent.web.pages import page
from agent.web.services import login_of, services
from agent.web.settling import settle_delivery

_DONE = ("crm_retried", "crm_dropped", "crm_mapped")


async def show_crms(request: web.Request) -> web.StreamResponse:
    """All there are, failed deliveries first."""
    async with services(request).store.begin() as connection:
        found = await connectors.list_connectors(connection)
        counts = {one.id: await undelivered.count_states(connection, one.id) for one in found}
        users = {one.id: await mirror.list_users(connection, one.id) for one in found}
        unmapped = {one.id: await mirror.list_unmapped(connection, one.id) for one in found}
        known = await employees.list_employees(connection)
        failed = await undelivered.list_failed(connection)
        total = await undelivered.count_failed(connection)
    done = request.query.get("done", "")
    return page(
        request,
        "crms.html",
        connectors=found,
        counts=counts,
        users=users,
        unmapped=unmapped,
        strangers={one.id: strangers(users[one.id], known) for one in found if may_map(request)},
        may_map=may_map(request),
        failed=failed,
        total=total,
        done=done if done in _DONE else "",
    )


def may_map(request: web.Request) -> bool:
    """Whether he may say who is who."""
    return login_of(request).viewer.role is UserRole.ADMINISTRATOR


async def retry_deliveries(request: web.Request) -> web.StreamResponse:
    """Try again what was given up: one delivery, or all; or go on at once with a CRM that is left alone."""
    paused, chosen = await _chosen(request, "connector"), await _chosen(request)
    if paused is not None:
        await _resume(request, paused)
    async with services(request).store.begin() as connection:
        count = await undelivered.retry(connection, ids=[chosen] if chosen is not None else None)
        subject = {"delivery_id": chosen} if chosen is not None else {"count": count}
        await audit.add_entry(connection, account_of(request), audit.DELIVERIES_RETRIED, subject)
    raise web.HTTPSeeOther("/crm?done=crm_retried")


async def drop_delivery(request: web.Request) -> web.StreamResponse:
    """The CRM need not know of one that was given up."""
    chosen = await _chosen(request)
    if chosen is None:
        raise web.HTTPBadRequest
    async with services(request).store.begin() as connection:
        await settle_delivery(request, connection, chosen, again=False)
    raise web.HTTPSeeOther("/crm?done=crm_dropped")


async def _resume(request: web.Request, connector_id: int) -> NoReturn:
    async with services(request).store.begin() as connection:
        if connector_id not in [one.id for one in await connectors.list_connectors(connection)]:
            raise web.HTTPNotFound
        await connectors.resume(connection, connector_id)
        await audit.add_entry(
            connection, account_of(request), audit.DELIVERIES_RETRIED, {"connector_id": connector_id, "count": 0}
        )
    raise web.HTTPSeeOther("/crm?done=crm_retried")


async def _chosen(request: web.Request, name: str = "delivery") -> int | None:
    """What the form names."""
    chosen = str((await request.post()).get(name, ""))
    if chosen and not (chosen.isascii() and chosen.isdigit() and len(chosen) < 19):
        raise web.HTTPBadRequest
    return int(chosen) if chosen else None
