"""Employees, what is theirs from when to when, and the extensions that wait for a holder."""

from __future__ import annotations

from typing import Annotated, Literal

from aiohttp import web
from pydantic import Field, model_validator
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import Identity
from agent.store import audit, employees, history, proposals
from agent.store.employees import EmployeeIdentity
from agent.web.api import shapes
from agent.web.api.answers import Json, Made, answer, begin, perform
from agent.web.api.reading import Asked, Contact, Id, Line, Moment, read_body, read_query
from agent.web.employees import account_of
from agent.web.extensions import give_extension
from agent.web.problems import Refused
from agent.web.services import login_of, number_in, services
from linker.normalize import normalize_address


class Named(Asked):
    """An employee's name."""

    name: Line


class NewIdentity(Asked):
    """An extension, number, SIP account or address, from a moment on."""

    value: Contact
    valid_from: Moment | None = None


class EndedIdentity(Asked):
    """The moment from which it is the employee's no more."""

    valid_to: Moment


class Holder(Asked):
    """Whose an extension is: an employee's, a new one's, or nobody's on purpose."""

    holder: Literal["employee", "new", "nobody"]
    employee_id: Id | None = None
    name: Annotated[str, Field(max_length=200)] = ""
    valid_from: Moment | None = None

    @model_validator(mode="after")
    def _whole(self) -> Holder:
        if (self.holder == "employee") != (self.employee_id is not None):
            raise ValueError("give employee_id with the holder employee, and with no other")
        if self.holder == "new" and not self.plain_name:
            raise ValueError("give the name of the new employee")
        return self

    @property
    def plain_name(self) -> str:
        """Its spaces as one."""
        return " ".join(self.name.replace("\0", " ").split())


async def list_employees(request: web.Request) -> web.StreamResponse:
    """Everybody, by name; what is theirs is told to those who supervise."""
    read_query(request, Asked)
    async with begin(request) as connection:
        found = await employees.list_employees(connection)
    is_told = login_of(request).viewer.supervises
    items = [
        {
            "id": one.id,
            "name": one.name,
            "identities": [_held(each) for each in one.identities] if is_told else [],
        }
        for one in found
    ]
    return await answer(request, {"items": items, "next": None})


def _held(one: EmployeeIdentity) -> Json:
    return {
        "id": one.id,
        "identity": shapes.identity(one.identity),
        "label": one.label,
        "valid_from": shapes.time(one.valid_from),
        "valid_to": shapes.time(one.valid_to),
    }


async def add_employee(request: web.Request) -> web.StreamResponse:
    """A new colleague."""
    asked = await read_body(request, Named)

    async def act(connection: AsyncConnection) -> Made:
        employee_id = await employees.insert_employee(connection, asked.name)
        await audit.add_entry(connection, account_of(request), audit.EMPLOYEE_ADDED, {"employee_id": employee_id})
        return Made(content={"id": employee_id}, location=f"{shapes.API}/employees")

    return await perform(request, act)


async def rename_employee(request: web.Request) -> web.StreamResponse:
    """Another name, in the past too."""
    asked, employee_id = await read_body(request, Named), number_in(request)
    async with begin(request) as connection:
        before = await history.list_employee_names(connection, [employee_id])
        if not await employees.rename_employee(connection, employee_id, asked.name):
            raise Refused(404, "There is no such employee.")
        subject = {"employee_id": employee_id, "before": before.get(employee_id, ""), "after": asked.name}
        await audit.add_entry(connection, account_of(request), audit.EMPLOYEE_RENAMED, subject)
    return web.Response(status=204)


async def add_identity(request: web.Request) -> web.StreamResponse:
    """The entries it took part in are linked anew."""
    asked, employee_id = await read_body(request, NewIdentity), number_in(request)
    identity = _identity(request, asked.value)

    async def act(connection: AsyncConnection) -> Made:
        if not await history.list_employee_names(connection, [employee_id]):
            raise Refused(404, "There is no such employee.")
        linker = services(request).linker
        await linker.add_employee_identity(connection, employee_id, identity, valid_from=asked.valid_from)
        subject = {"employee_id": employee_id, "identity": identity.value}
        await audit.add_entry(connection, account_of(request), audit.EMPLOYEE_IDENTITY_ADDED, subject)
        held = await employees.find_holders(connection, [identity])
        number = max((one.id for one in held if one.employee_id == employee_id), default=None)
        return Made(content={"id": number}, location=f"{shapes.API}/employees")

    return await perform(request, act)


def _identity(request: web.Request, text: str) -> Identity:
    """An address where there is an @ in it, else a number, extension or SIP account."""
    is_uri = text.strip().lower().startswith(("sip:", "sips:", "tel:"))
    found = normalize_address(text) if "@" in text and not is_uri else services(request).linker.phone(text)
    if found is None:
        detail = "That is no extension, number or address."
        raise Refused(422, detail, faults=[("/value", "no extension, number or address")])
    return found


async def end_identity(request: web.Request) -> web.StreamResponse:
    """He left, or moved to another desk; what came after is decided anew."""
    asked = await read_body(request, EndedIdentity)
    async with begin(request) as connection:
        held = await _held_one(request, connection)
        if held.valid_from is not None and held.valid_from >= asked.valid_to:
            raise Refused(422, "It would end before it begins.", faults=[("/valid_to", "before valid_from")])
        await services(request).linker.end_employee_identity(connection, held, asked.valid_to)
        subject = {
            "employee_id": held.employee_id,
            "identity": held.identity.value,
            "valid_to": asked.valid_to.isoformat(),
        }
        await audit.add_entry(connection, account_of(request), audit.EMPLOYEE_IDENTITY_ENDED, subject)
    return web.Response(status=204)


async def remove_identity(request: web.Request) -> web.StreamResponse:
    """It was given by mistake, and never was the employee's."""
    async with begin(request) as connection:
        held = await _held_one(request, connection)
        await services(request).linker.remove_employee_identity(connection, held)
        subject = {"employee_id": held.employee_id, "identity": held.identity.value}
        await audit.add_entry(connection, account_of(request), audit.EMPLOYEE_IDENTITY_REMOVED, subject)
    return web.Response(status=204)


async def _held_one(request: web.Request, connection: AsyncConnection) -> EmployeeIdentity:
    held = await employees.find_identity(connection, number_in(request))
    if held is None:
        raise Refused(404, "There is no such identity of an employee.")
    return held


async def list_extensions(request: web.Request) -> web.StreamResponse:
    """What PBXs and providers propose, and what is nobody's on purpose."""
    read_query(request, Asked)
    async with begin(request) as connection:
        found = await proposals.list_open(connection)
        nobodys = await employees.list_nobodys(connection)
    items = [
        {
            "extension": one.extension,
            "names": list(one.names),
            "sources": list(one.sources),
            "holders": list(one.holders),
            "first_seen": shapes.time(one.first_seen),
            "last_seen": shapes.time(one.last_seen),
        }
        for one in found
    ]
    return await answer(request, {"items": items, "next": None, "nobodys": [_held(one) for one in nobodys]})


async def decide_extension(request: web.Request) -> web.StreamResponse:
    """Whose an extension is; while somebody has it, a moment is needed from which it is another's."""
    asked = await read_body(request, Holder)
    identity = services(request).linker.phone(request.match_info["extension"])
    if identity is None:
        raise Refused(404, "That is no extension.")
    async with begin(request) as connection:

        async def holder() -> int | None:
            if asked.holder == "new":
                made = await employees.insert_employee(connection, asked.plain_name)
                await audit.add_entry(connection, account_of(request), audit.EMPLOYEE_ADDED, {"employee_id": made})
                return made
            if asked.employee_id and not await history.list_employee_names(connection, [asked.employee_id]):
                raise Refused(422, "There is no such employee.", faults=[("/employee_id", "no employee")])
            return asked.employee_id

        is_given = await give_extension(
            request, connection, identity, valid_from=asked.valid_from, holder=holder, label=asked.plain_name
        )
        if not is_given:
            raise Refused(409, "Somebody has it. Give valid_from, the moment from which it is another's.")
    return web.Response(status=204)
