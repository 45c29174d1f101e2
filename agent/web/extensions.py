"""Whose is an extension? Proposed by a PBX, a provider or a pasted list, or met in a call; answered by one click."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Awaitable, Callable
from datetime import datetime

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import Identity
from agent.store import audit, employees, history, proposals
from agent.web.employees import LONGEST, account_of, day_in, employees_page, name_in
from agent.web.services import services

PASTED = "pasted"
_LONGEST_PASTE = 200_000
_BACK = {"unsorted": "/unsorted?done=done_extension", "employees": "/employees"}


async def decide_extension(request: web.Request) -> web.StreamResponse:
    """It is an employee's, a new one's, or nobody's on purpose, from a day on; its past is linked anew.

    Without a day it is from when the holder before had it no more, or from ever on. While somebody has it a day is
    needed, else the two would share it.
    """
    identity, holder = await _extension(request), str((await request.post()).get("holder", ""))
    try:
        valid_from = day_in(request, str((await request.post()).get("valid_from", "")))
    except (ValueError, OverflowError):
        return await employees_page(request, problem="date_wrong", where=identity.value)
    if holder == "new" and not await name_in(request):
        return await employees_page(request, problem="name_missing", where=identity.value)
    async with services(request).store.begin() as connection:
        is_given = await give_extension(
            request,
            connection,
            identity,
            valid_from=valid_from,
            holder=lambda: _holder(request, connection, holder),
            label=await name_in(request),
        )
    if not is_given:
        return await employees_page(request, problem="day_needed", where=identity.value)
    raise web.HTTPSeeOther(_BACK.get(str((await request.post()).get("back", "")), _BACK["employees"]))


async def give_extension(
    request: web.Request,
    connection: AsyncConnection,
    identity: Identity,
    *,
    valid_from: datetime | None,
    holder: Callable[[], Awaitable[int | None]],
    label: str,
) -> bool:
    """The same for the API; ``holder`` says whose it is, or None, and ``label`` what it is if it is nobody's. False:
    somebody has it, and no day is given."""
    held = await employees.find_holders(connection, [identity])
    if valid_from is None and any(one.valid_to is None for one in held):
        return False
    since = valid_from or max((one.valid_to for one in held if one.valid_to), default=None)
    employee_id = await holder()
    label = "" if employee_id else label  # what a source calls it: fax
    linker = services(request).linker
    await linker.add_employee_identity(connection, employee_id, identity, valid_from=since, label=label)
    action = audit.EMPLOYEE_IDENTITY_ADDED if employee_id else audit.EXTENSION_SHARED
    subject = {"employee_id": employee_id, "identity": identity.value}
    await audit.add_entry(connection, account_of(request), action, subject)
    return True


async def _extension(request: web.Request) -> Identity:
    text = str((await request.post()).get("extension", ""))[:LONGEST]
    identity = services(request).linker.phone(text)
    if identity is None or "\0" in text:
        raise web.HTTPBadRequest
    return identity


async def _holder(request: web.Request, connection: AsyncConnection, holder: str) -> int | None:
    """The employee meant by the form, made where he is new; None: nobody."""
    if holder == "nobody":
        return None
    if holder == "new":
        employee_id = await employees.insert_employee(connection, await name_in(request))
        await audit.add_entry(connection, account_of(request), audit.EMPLOYEE_ADDED, {"employee_id": employee_id})
        return employee_id
    chosen = str((await request.post()).get("employee", ""))
    if holder != "employee" or not (chosen.isascii() and chosen.isdigit() and len(chosen) <= 18):
        raise web.HTTPBadRequest
    if not await history.list_employee_names(connection, [int(chosen)]):
        raise web.HTTPNotFound
    return int(chosen)


async def paste_extensions(request: web.Request) -> web.StreamResponse:
    """A list with an extension and a name on each line, as spreadsheets and PBXs give it, becomes proposals."""
    pairs = read_list(str((await request.post()).get("list", ""))[:_LONGEST_PASTE].replace("\0", ""))
    if not pairs:
        return await employees_page(request, problem="list_wrong", where=PASTED)
    async with services(request).store.begin() as connection:
        await proposals.offer(connection, PASTED, pairs)
        await audit.add_entry(connection, account_of(request), audit.PROPOSALS_PASTED, {"lines": len(pairs)})
    raise web.HTTPSeeOther("/employees#proposals")


def read_list(text: str) -> list[tuple[str, str]]:
    """Pairs of extension and name, in whichever order and with whichever separator they stand; other lines are left
    out, a heading among them."""
    pairs = []
    for line in itertools.islice(text.splitlines(), proposals.MOST):
        separator = next((one for one in "\t;," if one in line), " ")
        cells = next(csv.reader(io.StringIO(line), delimiter=separator, skipinitialspace=True), [])
        cells = [one.strip() for one in cells]
        number = next((place for place, one in enumerate(cells) if one.isascii() and one.isdigit()), None)
        if number is not None:
            names = cells[:number] + cells[number + 1 :]
            name = " ".join(names) if separator == " " else next(filter(None, names), "")
            pairs.append((cells[number], " ".join(name.split())))
    return pairs
