"""What a supervisor corrects of a call: it is two, these two are one, it was this colleague's."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import Role
from agent.store import audit, corrections, employees, evidence, history, interactions, notices, rights, views
from agent.store.callparts import CallPart
from agent.store.employees import Employee
from agent.store.interactions import Party
from agent.store.rights import Viewer
from agent.web.employees import account_of
from agent.web.services import login_of, number_in, services


async def separate_call(request: web.Request) -> web.StreamResponse:
    """What one source told is a call of its own."""
    async with services(request).store.begin() as connection:
        _, new = await separate(request, connection, number_in(request))
    raise web.HTTPSeeOther(f"/interactions/{new}")


async def separate(request: web.Request, connection: AsyncConnection, evidence_id: int) -> tuple[int, int]:
    """The same for the API; returns the old and the new interaction."""
    proofs = await evidence.find_evidence(connection, [evidence_id])
    if not proofs or proofs[0].interaction_id is None:
        raise web.HTTPNotFound
    await _check(request, connection, proofs[0].interaction_id)
    parted = await corrections.separate_call(connection, evidence_id)
    if parted is None:
        raise web.HTTPNotFound
    await services(request).linker.relink(connection, parted)
    subject = {"evidence_id": evidence_id, "interaction_id": parted[0], "new_interaction_id": parted[1]}
    await audit.add_entry(connection, account_of(request), audit.CALL_SEPARATED, subject)
    for number in parted:
        await notices.notify(connection, notices.INTERACTIONS, number)
    return parted


async def unite_calls(request: web.Request) -> web.StreamResponse:
    """Two entries are one call."""
    first, second = number_in(request), await _number(request, "other")
    async with services(request).store.begin() as connection:
        kept = await unite(request, connection, first, second)
    raise web.HTTPSeeOther(f"/interactions/{kept}")


async def unite(request: web.Request, connection: AsyncConnection, first: int, second: int) -> int:
    """The same for the API; returns the interaction that stays."""
    await _check(request, connection, first)
    await _check(request, connection, second)
    if second not in await corrections.list_near(connection, first):  # only what the page itself offers
        raise web.HTTPNotFound
    kept = await corrections.unite_calls(connection, first, second)
    if kept is None:
        raise web.HTTPConflict
    await services(request).linker.relink(connection, [kept])
    subject = {"interaction_id": kept, "absorbed": first + second - kept}
    await audit.add_entry(connection, account_of(request), audit.CALLS_UNITED, subject)
    for number in (first, second):
        await notices.notify(connection, notices.INTERACTIONS, number)
    return kept


async def credit_call(request: web.Request) -> web.StreamResponse:
    """Whose call on a shared phone it was; no employee takes it back."""
    number, party_id = number_in(request), await _number(request, "party")
    chosen = str((await request.post()).get("employee", ""))
    employee_id = await _number(request, "employee") if chosen else None
    async with services(request).store.begin() as connection:
        await credit(request, connection, number, party_id, employee_id)
    raise web.HTTPSeeOther(f"/interactions/{number}")


async def credit(
    request: web.Request, connection: AsyncConnection, number: int, party_id: int, employee_id: int | None
) -> None:
    """The same for the API."""
    if employee_id is not None and not await history.list_employee_names(connection, [employee_id]):
        raise web.HTTPNotFound
    await _check(request, connection, number)
    mine = {one.id for one in (await interactions.list_parties(connection, [number]))[number]}
    by = login_of(request).login
    if party_id not in mine or await interactions.credit_party(connection, party_id, employee_id, by) is None:
        raise web.HTTPNotFound
    await services(request).linker.relink(connection, [number])
    subject = {"interaction_id": number, "party_id": party_id, "employee_id": employee_id}
    await audit.add_entry(connection, account_of(request), audit.CALL_CREDITED, subject)


async def _check(request: web.Request, connection: AsyncConnection, interaction_id: int) -> None:
    """Only what exists for the supervisor can be corrected by him."""
    if not await rights.may_see_interaction(connection, login_of(request).viewer, interaction_id):
        raise web.HTTPNotFound


async def _number(request: web.Request, name: str) -> int:
    text = str((await request.post()).get(name, ""))
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise web.HTTPBadRequest
    return int(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Uncredited:
    """One of ours in a call who is nobody for certain, or was said by hand to be ``employee_id``."""

    party_id: int
    contact: str
    employee_id: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Correctable:
    """What may be corrected of a call: evidence that can be parted from it, calls that may be the same with the reason
    why no rule took them for it, and whom it could be credited to."""

    parts: frozenset[int]
    near: tuple[tuple[int, str], ...]
    uncredited: tuple[Uncredited, ...]
    employees: tuple[Employee, ...]


async def list_correctable(
    connection: AsyncConnection, viewer: Viewer, number: int, parties: Sequence[Party], has: Container[CallPart]
) -> Correctable:
    """For the page of one call, which exists for the viewer; of the calls near it those that do as well."""
    told = [one.id for one in await views.list_views(connection, number)] if CallPart.VIEWS in has else []
    uncredited = tuple(
        Uncredited(party_id=one.id, contact=one.identity.value, employee_id=one.employee_id)
        for one in parties
        if one.role is Role.EMPLOYEE and one.identity and (one.employee_id is None or one.credited_by)
    )
    near = sorted((await corrections.list_near(connection, number)).items()) if told else []
    return Correctable(
        parts=frozenset(told) if len(told) > 1 else frozenset(),
        near=tuple([one for one in near if await rights.may_see_interaction(connection, viewer, one[0])]),
        uncredited=uncredited,
        employees=tuple(await employees.list_employees(connection)) if uncredited else (),
    )
