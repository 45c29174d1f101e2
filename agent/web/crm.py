"""«CRM»: how each one goes, what it could not be told and what to do about it, and who is who there."""

from __future__ import annotations

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.store import audit, connectors, employees, mirror, outbox
from agent.web.employees import account_of
from agent.web.pages import page
from agent.web.services import login_of, number_in, services
from agent.web.settling import settle_delivery

_DONE = ("crm_retried", "crm_dropped", "crm_mapped")


async def show_crms(request: web.Request) -> web.StreamResponse:
    """All there are, failed deliveries first."""
    async with services(request).store.begin() as connection:
        found = await connectors.list_connectors(connection)
        counts = {one.id: await outbox.count_states(connection, one.id) for one in found}
        users = {one.id: await mirror.list_users(connection, one.id) for one in found}
        unmapped = {one.id: await mirror.list_unmapped(connection, one.id) for one in found}
        failed = await outbox.list_failed(connection)
        total = await outbox.count_failed(connection)
    done = request.query.get("done", "")
    return page(
        request,
        "crms.html",
        connectors=found,
        counts=counts,
        users=users,
        unmapped=unmapped,
        failed=failed,
        total=total,
        done=done if done in _DONE else "",
    )


async def retry_deliveries(request: web.Request) -> web.StreamResponse:
    """Try again what was given up: one delivery, or all."""
    chosen = await _chosen(request)
    async with services(request).store.begin() as connection:
        count = await outbox.retry(connection, ids=[chosen] if chosen is not None else None)
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


async def _chosen(request: web.Request) -> int | None:
    """The delivery that the form names."""
    chosen = str((await request.post()).get("delivery", ""))
    if chosen and not (chosen.isascii() and chosen.isdigit() and len(chosen) < 19):
        raise web.HTTPBadRequest
    return int(chosen) if chosen else None


async def map_employee(request: web.Request) -> web.StreamResponse:
    """Say which user of a CRM an employee is; what he took part in is told anew."""
    form = await request.post()
    connector_id, employee = number_in(request), str(form.get("employee", ""))
    if not (employee.isdecimal() and len(employee) < 19):
        raise web.HTTPBadRequest
    user = str(form.get("user", ""))[:200]
    async with services(request).store.begin() as connection:
        await map_user(request, connection, connector_id, user, int(employee))
    raise web.HTTPSeeOther("/crm?done=crm_mapped")


async def map_user(
    request: web.Request, connection: AsyncConnection, connector_id: int, user: str, employee_id: int
) -> None:
    """The same for the API; ``user`` is the id over there.

    Raises:
        HTTPNotFound: there is no such employee, or no such user of this CRM.
    """
    if employee_id not in [one.id for one in await employees.list_employees(connection)]:
        raise web.HTTPNotFound(text="There is no such employee.")
    if not await mirror.map_user(connection, connector_id, user, employee_id, login_of(request).login):
        raise web.HTTPNotFound(text="There is no such user of this CRM.")
    await outbox.stir_employee(connection, employee_id)
    subject = {"connector_id": connector_id, "user": user, "employee_id": employee_id}
    await audit.add_entry(connection, account_of(request), audit.CRM_USER_MAPPED, subject)
