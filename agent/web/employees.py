"""Employees and what is theirs, from when to when: an administrator's page."""

from __future__ import annotations

from datetime import UTC, date, datetime, time

from aiohttp import web

from agent.model import Identity
from agent.store import audit, employees, history, proposals
from agent.store.employees import EmployeeIdentity
from agent.web.formats import zone_of
from agent.web.pages import page
from agent.web.services import login_of, number_in, services
from linker.normalize import normalize_address

LONGEST = 200


async def list_employees(request: web.Request) -> web.StreamResponse:
    """Everybody with extensions, phones and addresses, and the extensions that wait for a holder."""
    return await employees_page(request)


async def add_employee(request: web.Request) -> web.StreamResponse:
    """A new colleague."""
    name = await name_in(request)
    if not name:
        return await employees_page(request, problem="name_missing")
    async with services(request).store.begin() as connection:
        employee_id = await employees.insert_employee(connection, name)
        await audit.add_entry(connection, account_of(request), audit.EMPLOYEE_ADDED, {"employee_id": employee_id})
    raise web.HTTPSeeOther(f"/employees#employee-{employee_id}")


async def rename_employee(request: web.Request) -> web.StreamResponse:
    """Another name, in the past too."""
    employee_id, name = number_in(request), await name_in(request)
    if not name:
        return await employees_page(request, problem="name_missing", at=employee_id)
    async with services(request).store.begin() as connection:
        before = await history.list_employee_names(connection, [employee_id])
        if not await employees.rename_employee(connection, employee_id, name):
            raise web.HTTPNotFound
        subject = {"employee_id": employee_id, "before": before.get(employee_id, ""), "after": name}
        await audit.add_entry(connection, account_of(request), audit.EMPLOYEE_RENAMED, subject)
    raise web.HTTPSeeOther(f"/employees#employee-{employee_id}")


async def add_identity(request: web.Request) -> web.StreamResponse:
    """An extension or address from a day on; the entries it took part in are linked anew."""
    employee_id = number_in(request)
    form = await request.post()
    identity = _identity(request, str(form.get("value", ""))[:LONGEST])
    if identity is None:
        return await employees_page(request, problem="identity_wrong", at=employee_id)
    try:
        valid_from = day_in(request, str(form.get("valid_from", "")))
    except (ValueError, OverflowError):
        return await employees_page(request, problem="date_wrong", at=employee_id)
    async with services(request).store.begin() as connection:
        if not await history.list_employee_names(connection, [employee_id]):
            raise web.HTTPNotFound
        await services(request).linker.add_employee_identity(connection, employee_id, identity, valid_from=valid_from)
        subject = {"employee_id": employee_id, "identity": identity.value}
        await audit.add_entry(connection, account_of(request), audit.EMPLOYEE_IDENTITY_ADDED, subject)
    raise web.HTTPSeeOther(f"/employees#employee-{employee_id}")


async def end_identity(request: web.Request) -> web.StreamResponse:
    """The day from which it is the employee's no more: he left, or moved to another desk."""
    try:
        valid_to = day_in(request, str((await request.post()).get("valid_to", "")))
    except (ValueError, OverflowError):
        valid_to = None
    async with services(request).store.begin() as connection:
        held = await employees.find_identity(connection, number_in(request))
        if held is None:
            raise web.HTTPNotFound
        if valid_to is not None and (held.valid_from is None or held.valid_from < valid_to):
            await services(request).linker.end_employee_identity(connection, held, valid_to)
            subject = {**_subject(held), "valid_to": valid_to.isoformat()}
            await audit.add_entry(connection, account_of(request), audit.EMPLOYEE_IDENTITY_ENDED, subject)
            is_done = True
        else:
            is_done = False
    if is_done:
        raise web.HTTPSeeOther(_place(held))
    return await employees_page(request, problem="date_wrong", at=held.employee_id or 0)


async def remove_identity(request: web.Request) -> web.StreamResponse:
    """It was given by mistake, and never was the employee's."""
    async with services(request).store.begin() as connection:
        held = await employees.find_identity(connection, number_in(request))
        if held is None:
            raise web.HTTPNotFound
        await services(request).linker.remove_employee_identity(connection, held)
        await audit.add_entry(connection, account_of(request), audit.EMPLOYEE_IDENTITY_REMOVED, _subject(held))
    raise web.HTTPSeeOther(_place(held))


def _subject(held: EmployeeIdentity) -> dict[str, object]:
    return {
        "employee_id": held.employee_id,
        "identity": held.identity.value,
        "valid_from": held.valid_from.isoformat() if held.valid_from else None,
    }


def _place(held: EmployeeIdentity) -> str:
    return f"/employees#employee-{held.employee_id}" if held.employee_id else "/employees#shared"


def _identity(request: web.Request, text: str) -> Identity | None:
    """An address when there is an @ in it, else a number, extension or SIP account by this installation's rules."""
    if "\0" in text:
        return None
    is_uri = text.strip().lower().startswith(("sip:", "sips:", "tel:"))
    return normalize_address(text) if "@" in text and not is_uri else services(request).linker.phone(text)


async def name_in(request: web.Request) -> str:
    """The name in the form, empty where there is none that can be kept."""
    name = " ".join(str((await request.post()).get("name", "")).split())[:LONGEST]
    return "" if "\0" in name else name


def day_in(request: web.Request, text: str) -> datetime | None:
    """Midnight of that day where the administrator sits; None for no day.

    Raises:
        ValueError, OverflowError: it is no day.
    """
    if not text:
        return None
    midnight = datetime.combine(date.fromisoformat(text), time.min)
    zone = zone_of(request.cookies)
    return (midnight.replace(tzinfo=zone) if zone else midnight.astimezone()).astimezone(UTC)


async def employees_page(request: web.Request, *, problem: str = "", at: int = 0, where: str = "") -> web.Response:
    """The page, with what was wrong: of the employee ``at``, or with the extension ``where``."""
    async with services(request).store.begin() as connection:
        found = await employees.list_employees(connection)
        nobodys = await employees.list_nobodys(connection)
        proposed = await proposals.list_open(connection)
    return page(
        request,
        "employees.html",
        status=400 if problem else 200,
        employees=found,
        nobodys=nobodys,
        proposed=proposed,
        suggested={one.extension: suggested(one.names, found) for one in proposed},
        problem=problem,
        at=at,
        where=where,
    )


def suggested(names: tuple[str, ...], found: list[employees.Employee]) -> int:
    """The employee whose name a source gives to an extension, 0 for none."""
    wanted = {" ".join(one.casefold().split()) for one in names}
    return next((one.id for one in found if " ".join(one.name.casefold().split()) in wanted), 0)


def account_of(request: web.Request) -> int:
    """Who does it, for the audit log."""
    return login_of(request).viewer.account_id
