"""Employees and what is theirs: an administrator's page."""

from __future__ import annotations

from datetime import UTC, date, datetime, time

from aiohttp import web

from agent.model import Identity
from agent.store import audit, employees, history
from agent.web.formats import zone_of
from agent.web.pages import page
from agent.web.services import login_of, number_in, services
from linker.normalize import normalize_address

_LONGEST = 200


async def list_employees(request: web.Request) -> web.StreamResponse:
    """Everybody with extensions, phones and addresses."""
    return await _page(request)


async def add_employee(request: web.Request) -> web.StreamResponse:
    """A new colleague."""
    name = " ".join(str((await request.post()).get("name", "")).split())[:_LONGEST]
    if not name or "\0" in name:
        return await _page(request, problem="name_missing")
    async with services(request).store.begin() as connection:
        employee_id = await employees.insert_employee(connection, name)
        await audit.add_entry(connection, _account(request), audit.EMPLOYEE_ADDED, {"employee_id": employee_id})
    raise web.HTTPSeeOther(f"/employees#employee-{employee_id}")


async def add_identity(request: web.Request) -> web.StreamResponse:
    """An extension or address from a day on; the entries it took part in are linked anew."""
    employee_id = number_in(request)
    form = await request.post()
    identity = _identity(request, str(form.get("value", ""))[:_LONGEST])
    if identity is None:
        return await _page(request, problem="identity_wrong", at=employee_id)
    try:
        valid_from = _valid_from(request, str(form.get("valid_from", "")))
    except (ValueError, OverflowError):
        return await _page(request, problem="date_wrong", at=employee_id)
    async with services(request).store.begin() as connection:
        if not await history.list_employee_names(connection, [employee_id]):
            raise web.HTTPNotFound
        await services(request).linker.add_employee_identity(connection, employee_id, identity, valid_from=valid_from)
        subject = {"employee_id": employee_id, "identity": identity.value}
        await audit.add_entry(connection, _account(request), audit.EMPLOYEE_IDENTITY_ADDED, subject)
    raise web.HTTPSeeOther(f"/employees#employee-{employee_id}")


def _identity(request: web.Request, text: str) -> Identity | None:
    """An address when there is an @ in it, else a number or extension by this installation's rules."""
    if "\0" in text:
        return None
    return normalize_address(text) if "@" in text else services(request).linker.phone(text)


def _valid_from(request: web.Request, text: str) -> datetime | None:
    """Midnight of that day where the administrator sits."""
    if not text:
        return None
    midnight = datetime.combine(date.fromisoformat(text), time.min)
    zone = zone_of(request.cookies)
    return (midnight.replace(tzinfo=zone) if zone else midnight.astimezone()).astimezone(UTC)


async def _page(request: web.Request, *, problem: str = "", at: int = 0) -> web.Response:
    async with services(request).store.begin() as connection:
        found = await employees.list_employees(connection)
    return page(request, "employees.html", status=400 if problem else 200, employees=found, problem=problem, at=at)


def _account(request: web.Request) -> int:
    return login_of(request).viewer.account_id
