"""Pausing a recording while card data are spoken: asked by a person on a page or by a CRM with a token.

The answer comes when the recorder has done it, so that who asks knows from when on nothing is kept.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from aiohttp import web

from agent.model import Identity, IdentityKind
from agent.store import audit, commands, live
from agent.store.commands import CallCommand, CommandKind
from agent.store.live import LiveCall
from agent.web.entering import local_target
from agent.web.services import Caller, caller_of, number_in, services

log = structlog.get_logger()

WAIT_SECONDS = 3.0  # for the recorder to do it; then the answer is 202: asked, not done yet
_LOOKS = (0.02, 0.2)  # seconds between two looks at the table, at first and at most
_LONGEST = 100
_EXTENSION = re.compile(r"[0-9*#]{1,20}")
_ACTIONS = {CommandKind.PAUSE: audit.CALL_PAUSED, CommandKind.RESUME: audit.CALL_RESUMED}
_STATES = {CommandKind.PAUSE: "paused", CommandKind.RESUME: "recording"}
_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")


async def pause_call(request: web.Request) -> web.StreamResponse:
    """Keep nothing of this call from now on."""
    return await _ask_about_one(request, CommandKind.PAUSE)


async def resume_call(request: web.Request) -> web.StreamResponse:
    """Record it again."""
    return await _ask_about_one(request, CommandKind.RESUME)


async def pause_by_number(request: web.Request) -> web.StreamResponse:
    """The same for whatever call an employee's extension or an outside number has now."""
    return await _ask_by_number(request, CommandKind.PAUSE)


async def resume_by_number(request: web.Request) -> web.StreamResponse:
    """The other way round."""
    return await _ask_by_number(request, CommandKind.RESUME)


async def _ask_about_one(request: web.Request, kind: CommandKind) -> web.StreamResponse:
    caller = caller_of(request)
    async with services(request).store.begin() as connection:
        found = await live.find_live(connection, caller.viewer, number_in(request))
    return await _ask(request, caller, kind, found)


async def _ask_by_number(request: web.Request, kind: CommandKind) -> web.StreamResponse:
    caller, identity = caller_of(request), _identity(request, await _fields(request))
    async with services(request).store.begin() as connection:
        found = await live.find_live_with(connection, caller.viewer, identity)
    return await _ask(request, caller, kind, found)


async def _ask(
    request: web.Request, caller: Caller, kind: CommandKind, found: Sequence[LiveCall]
) -> web.StreamResponse:
    if not found:
        raise web.HTTPNotFound(text="There is no such call in progress.")
    async with services(request).store.begin() as connection:
        ids = [await commands.insert_command(connection, one.capture_id, one.host, kind, caller.name) for one in found]
        for number in sorted({one.interaction_id for one in found}):
            subject = {"interaction_id": number} | ({"token": caller.token} if caller.token else {})
            await audit.add_entry(connection, caller.account_id, _ACTIONS[kind], subject)
    done = await _await_done(request, ids)
    if request.content_type in _FORMS and not caller.token and "X-CSRF-Token" not in request.headers:
        raise web.HTTPSeeOther(local_target(str((await request.post()).get("next", "/live"))))
    return _answer(kind, found, done)


async def _await_done(request: web.Request, ids: Sequence[int]) -> list[CallCommand]:
    """The commands as they are when all are done, or when it took too long."""
    deadline, (pause, longest) = time.monotonic() + WAIT_SECONDS, _LOOKS
    while True:
        await asyncio.sleep(pause)
        async with services(request).store.begin() as connection:
            found = await commands.find_commands(connection, ids)
        if all(one.done is not None for one in found) or time.monotonic() > deadline:
            return found
        pause = min(pause * 2, longest)


def _answer(kind: CommandKind, found: Sequence[LiveCall], done: Sequence[CallCommand]) -> web.Response:
    owners = {one.capture_id: one.interaction_id for one in found}
    calls: list[dict[str, Any]] = []
    for one in done:
        state = "asked" if one.done is None else "failed" if one.problem else _STATES[kind]
        calls.append({"id": owners[one.capture_id], "state": state} | ({"problem": one.problem} if one.problem else {}))
    states = {one["state"] for one in calls}
    if states == {"failed"}:
        raise web.HTTPConflict(text=f"It came to nothing: {done[0].problem}.")
    if "asked" in states:
        log.error("call_command_not_done", ids=[one.id for one in done], hosts=sorted({one.host for one in done}))
    status = 202 if "asked" in states else 207 if "failed" in states else 200
    return web.json_response({"calls": calls}, status=status, headers={"Cache-Control": "no-store"})


async def _fields(request: web.Request) -> Mapping[str, object]:
    if request.content_type in _FORMS:
        return await request.post()
    try:
        content = await request.json()
    except (json.JSONDecodeError, UnicodeDecodeError, LookupError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise web.HTTPBadRequest(text='Send a JSON object such as {"extension": "101"}.')
    return content


def _identity(request: web.Request, fields: Mapping[str, object]) -> Identity:
    """Whose call is meant: ``extension`` of an employee or ``number`` of either side, as a CRM has it."""
    extension, number = fields.get("extension"), fields.get("number")
    if isinstance(extension, str) and _EXTENSION.fullmatch(extension.strip()):
        return Identity(kind=IdentityKind.EXTENSION, value=extension.strip())
    if isinstance(number, str) and len(number) <= _LONGEST and "\0" not in number:
        identity = services(request).linker.phone(number)
        if identity is not None:
            return identity
    raise web.HTTPBadRequest(text="Give extension or number, as a string: digits, for a number also +, ( ) and -.")
