"""Who is who in a CRM: employees who are users there, and users there who are to be employees here, typed by nobody."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import Identity, IdentityKind
from agent.store import audit, employees, mirror, outbox
from agent.store.mirror import UserRow
from agent.web.employees import account_of, suggested
from agent.web.services import login_of, number_in, services
from linker.normalize import normalize_address

_NEW, _ALL = "new", "all"


def strangers(users: Sequence[UserRow], found: Sequence[employees.Employee]) -> list[tuple[UserRow, int]]:
    """Users who are nobody here, each with the employee of the same name, 0 for none."""
    return [(one, suggested((one.name,), list(found))) for one in users if one.employee_id is None]


async def map_employee(request: web.Request) -> web.StreamResponse:
    """Say which user of a CRM an employee is, have an employee made of a user, or of all users who are nobody here;
    what they took part in is told anew."""
    form = await request.post()
    connector_id, employee, user = number_in(request), str(form.get("employee", "")), str(form.get("user", ""))[:200]
    async with services(request).store.begin() as connection:
        if employee == _ALL:
            for one in await _new_ones(connection, connector_id):
                await _employ(request, connection, connector_id, one)
        elif employee == _NEW:
            await _employ(request, connection, connector_id, await _user(connection, connector_id, user))
        elif employee.isascii() and employee.isdigit() and len(employee) < 19:
            await map_user(request, connection, connector_id, user, int(employee))
        else:
            raise web.HTTPBadRequest
    raise web.HTTPSeeOther("/crm?done=crm_mapped")


async def map_user(
    request: web.Request, connection: AsyncConnection, connector_id: int, user: str, employee_id: int
) -> None:
    """The same for the API; ``user`` is the id over there.

    Raises:
        HTTPNotFound: there is no such employee, or no such user of this CRM.
    """
    if employee_id not in await employees.list_names(connection):
        raise web.HTTPNotFound(text="There is no such employee.")
    if not await mirror.map_user(connection, connector_id, user, employee_id, login_of(request).login):
        raise web.HTTPNotFound(text="There is no such user of this CRM.")
    await outbox.stir_employee(connection, employee_id)
    subject = {"connector_id": connector_id, "user": user, "employee_id": employee_id}
    await audit.add_entry(connection, account_of(request), audit.CRM_USER_MAPPED, subject)


async def _user(connection: AsyncConnection, connector_id: int, user: str) -> UserRow:
    found = [one for one in await mirror.list_users(connection, connector_id) if one.external_id == user]
    if not found or found[0].employee_id is not None:
        raise web.HTTPNotFound(text="There is no such user of this CRM who is nobody here.")
    return found[0]


async def _new_ones(connection: AsyncConnection, connector_id: int) -> list[UserRow]:
    """Those who have a name that nobody here has."""
    users = await mirror.list_users(connection, connector_id)
    known = await employees.list_employees(connection)
    return [one for one, same in strangers(users, known) if one.name and not same]


async def _employ(request: web.Request, connection: AsyncConnection, connector_id: int, one: UserRow) -> None:
    """An employee of this name, with address and extension as far as they are nobody's."""
    employee_id = await employees.insert_employee(connection, one.name or one.external_id)
    await audit.add_entry(connection, account_of(request), audit.EMPLOYEE_ADDED, {"employee_id": employee_id})
    identities = _identities(request, one)
    taken = {held.identity for held in await employees.find_holders(connection, identities) if held.valid_to is None}
    for identity in identities:
        if identity not in taken:
            await services(request).linker.add_employee_identity(connection, employee_id, identity)
            subject = {"employee_id": employee_id, "identity": identity.value}
            await audit.add_entry(connection, account_of(request), audit.EMPLOYEE_IDENTITY_ADDED, subject)
    await map_user(request, connection, connector_id, one.external_id, employee_id)


def _identities(request: web.Request, one: UserRow) -> list[Identity]:
    address = normalize_address(one.address) if one.address else None
    extension = services(request).linker.phone(one.extension) if one.extension else None
    if extension is not None and extension.kind is not IdentityKind.EXTENSION:
        extension = None  # his own telephone, which is no desk of ours
    return [found for found in (address, extension) if found is not None]
