"""Tasks: noted on a card, done by a click, and a page of what is mine, ours and late."""

from __future__ import annotations

from datetime import date
from typing import Any

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.store import audit, history, rights, tasks
from agent.store.tasks import Task
from agent.web.cardforms import number_of, seen_card, text_in
from agent.web.employees import account_of
from agent.web.entering import local_target
from agent.web.pages import formats_of, page
from agent.web.services import login_of, number_in, services

LONGEST_TASK = 500
_SHOWN = 100
_LISTS = ("mine", "all", "late", "done")


async def list_tasks(request: web.Request) -> web.StreamResponse:
    """Mine; of everybody I see; late ones; done ones."""
    wanted = request.query.get("list", "mine")
    wanted = wanted if wanted in _LISTS else "mine"
    start = request.query.get("start", "0")
    offset = int(start) if start.isascii() and start.isdigit() and len(start) <= 6 else 0
    login, (_, formats) = login_of(request), formats_of(request)
    async with services(request).store.begin() as connection:
        found = await tasks.list_tasks(
            connection,
            login.viewer,
            whose="mine" if wanted == "mine" else "all",
            login=login.login,
            is_done=wanted == "done",
            overdue_on=formats.today if wanted == "late" else None,
            limit=_SHOWN + 1,
            offset=offset,
        )
    shown = found[:_SHOWN]
    return page(
        request,
        "tasks.html",
        lists=_LISTS,
        wanted=wanted,
        groups=_by_day(shown, formats.today) if wanted != "done" else [("", shown)] if shown else [],
        today=formats.today,
        here_path=f"/tasks?list={wanted}",
        next_url=f"/tasks?list={wanted}&start={offset + _SHOWN}" if len(found) > _SHOWN else "",
        is_first=offset == 0,
    )


def _by_day(found: list[Task], today: date) -> list[tuple[str, list[Task]]]:
    """Late, today, later, without a day: those there are, in this order."""
    groups: dict[str, list[Task]] = {"late": [], "today": [], "later": [], "someday": []}
    for one in found:
        name = "someday" if one.due is None else "late" if one.due < today else "today" if one.due == today else "later"
        groups[name].append(one)
    return [(name, held) for name, held in groups.items() if held]


async def add_task(request: web.Request) -> web.StreamResponse:
    """For a card that he sees; with an entry it is what was promised there."""
    card_id, entry_id = number_in(request), await number_of(request, "interaction")
    values = await _values(request)
    if not values["text"]:
        raise web.HTTPBadRequest
    async with services(request).store.begin() as connection:
        await seen_card(request, connection, card_id)
        await _check_employee(connection, values["employee_id"])
        if entry_id is not None and not await rights.may_see_interaction(
            connection, login_of(request).viewer, entry_id
        ):
            raise web.HTTPNotFound
        task_id = await tasks.add_task(
            connection,
            card_id,
            values["text"],
            by=login_of(request).login,
            employee_id=values["employee_id"],
            due=values["due_on"],
            interaction_id=entry_id,
        )
        subject = {"card_id": card_id, "task_id": task_id, "interaction_id": entry_id}
        await audit.add_entry(connection, account_of(request), audit.TASK_ADDED, subject)
    raise web.HTTPSeeOther(f"/cards/{card_id}#task-{task_id}")


async def change_task(request: web.Request) -> web.StreamResponse:
    """Other words, another day, another colleague's."""
    values = await _values(request)
    if not values["text"]:
        raise web.HTTPBadRequest
    async with services(request).store.begin() as connection:
        found = await _own(request, connection)
        await _check_employee(connection, values["employee_id"])
        await tasks.change_task(connection, found.id, values)
        subject = {"card_id": found.card_id, "task_id": found.id}
        await audit.add_entry(connection, account_of(request), audit.TASK_CHANGED, subject)
    raise await _back(request, found)


async def finish_task(request: web.Request) -> web.StreamResponse:
    """It is done. Said twice it is done once."""
    async with services(request).store.begin() as connection:
        found = await _own(request, connection)
        if await tasks.finish_task(connection, found.id, by=login_of(request).login):
            subject = {"card_id": found.card_id, "task_id": found.id}
            await audit.add_entry(connection, account_of(request), audit.TASK_DONE, subject)
    raise await _back(request, found)


async def reopen_task(request: web.Request) -> web.StreamResponse:
    """It is not done after all."""
    async with services(request).store.begin() as connection:
        found = await _own(request, connection)
        if await tasks.reopen_task(connection, found.id):
            subject = {"card_id": found.card_id, "task_id": found.id}
            await audit.add_entry(connection, account_of(request), audit.TASK_REOPENED, subject)
    raise await _back(request, found)


async def _own(request: web.Request, connection: AsyncConnection) -> Task:
    """The task, for whoever has it or sees its card."""
    found = await tasks.find_task(connection, number_in(request), login_of(request).viewer)
    if found is None:
        raise web.HTTPNotFound
    return found


async def _check_employee(connection: AsyncConnection, employee_id: int | None) -> None:
    if employee_id is not None and not await history.list_employee_names(connection, [employee_id]):
        raise web.HTTPBadRequest


async def _values(request: web.Request) -> dict[str, Any]:
    day = await text_in(request, "due", 10)
    try:
        due = date.fromisoformat(day) if day else None
    except ValueError:
        raise web.HTTPBadRequest from None
    text, employee_id = await text_in(request, "text", LONGEST_TASK), await number_of(request, "employee")
    return {"text": text, "due_on": due, "employee_id": employee_id}


async def _back(request: web.Request, found: Task) -> web.HTTPSeeOther:
    """To the list or the card from which it was said."""
    wanted = str((await request.post()).get("back", ""))
    return web.HTTPSeeOther(local_target(wanted) if wanted else f"/cards/{found.card_id}#steps")
