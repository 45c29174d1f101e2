"""Lists of cards: taken in after a look at what would come of them, and handed out for a spreadsheet."""

from __future__ import annotations

import asyncio

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncConnection

from agent import jobs
from agent.store import audit, cardimports
from agent.store.cardimports import CardImport, ExportedCard
from agent.web.employees import account_of
from agent.web.pages import page
from agent.web.services import login_of, number_in, services
from linker.csvcards import (
    COLUMNS,
    ENCODINGS,
    HEADING,
    LARGEST,
    SEPARATORS,
    Plan,
    Unlisted,
    guess_plan,
    sample,
    write_row,
)
from linker.importing import preview
from linker.reading import Reader

LARGEST_FORM = LARGEST + 64 * 1024
_SEPARATOR_NAMES = {"\t": "Tab"}


async def show_upload(request: web.Request) -> web.StreamResponse:
    """Where a list is handed over."""
    return page(request, "import_new.html", problem="")


async def upload(request: web.Request) -> web.StreamResponse:
    """A list, looked at and shown; nothing is done yet."""
    field = (await request.post()).get("list")
    if not isinstance(field, web.FileField):
        return page(request, "import_new.html", problem="list_missing", status=400)
    content = await asyncio.to_thread(field.file.read, LARGEST + 1)
    try:
        number = await keep_list(request, field.filename, content)
    except Unlisted as error:
        return page(request, "import_new.html", problem=str(error), status=400)
    raise web.HTTPSeeOther(f"/cards/import/{number}")


async def keep_list(request: web.Request, name: str, content: bytes) -> int:
    """The same for the API; returns the import's id.

    Raises:
        Unlisted: it is no list; the text says why.
    """
    plan = await asyncio.to_thread(guess_plan, content)
    name = " ".join(name.replace("\0", "").split())[:200]
    async with services(request).store.begin() as connection:
        return await cardimports.keep_import(connection, name, content, plan.to_json(), login_of(request).login)


async def show_import(request: web.Request) -> web.StreamResponse:
    """How it is read, what would come of it; or how far it has come."""
    async with services(request).store.begin() as connection:
        one = await _find(request, connection)
        is_waiting = not one.applied and one.content is not None
        foreseen = await preview(connection, one, Reader(services(request).settings)) if is_waiting else None
    plan = Plan.from_json(one.plan)
    lines = await asyncio.to_thread(sample, one.content, plan) if is_waiting and one.content else []
    return page(
        request,
        "import.html",
        one=one,
        plan=plan,
        foreseen=foreseen,
        lines=lines,
        width=max((len(line) for line in lines), default=0),
        columns=COLUMNS,
        encodings=ENCODINGS,
        separators=[(each, _SEPARATOR_NAMES.get(each, each)) for each in SEPARATORS],
    )


async def change_plan(request: web.Request) -> web.StreamResponse:
    """It is to be read otherwise than was guessed."""
    form = await request.post()
    encoding, separator = str(form.get("encoding", "")), str(form.get("separator", ""))
    columns = [str(one) for one in form.getall("column", [])]
    if encoding not in ENCODINGS or separator not in SEPARATORS or any(one not in COLUMNS for one in columns):
        raise web.HTTPBadRequest
    plan = Plan(encoding=encoding, separator=separator, has_heading="heading" in form, columns=tuple(columns))
    async with services(request).store.begin() as connection:
        one = await _find(request, connection)
        await read_otherwise(connection, one, plan)
    raise web.HTTPSeeOther(f"/cards/import/{one.id}")


async def read_otherwise(connection: AsyncConnection, one: CardImport, plan: Plan) -> None:
    """The same for the API; where the encoding or the separator is another, the columns are guessed again."""
    before = Plan.from_json(one.plan)
    if (before.encoding, before.separator) != (plan.encoding, plan.separator) and one.content is not None:
        fresh = await asyncio.to_thread(_guess_again, one.content, plan)
        plan = fresh or plan
    await cardimports.change_plan(connection, one.id, plan.to_json())


def _guess_again(content: bytes, plan: Plan) -> Plan | None:
    """Read otherwise, the columns are others too; guessed from the same file in UTF-8, where it can be."""
    lines = sample(content, plan, most=50)
    text = "".join(write_row(line) for line in lines)
    try:
        guessed = guess_plan(text.encode())
    except Unlisted:
        return None
    return Plan(
        encoding=plan.encoding, separator=plan.separator, has_heading=guessed.has_heading, columns=guessed.columns
    )


async def apply_import(request: web.Request) -> web.StreamResponse:
    """A person has looked and says yes."""
    async with services(request).store.begin() as connection:
        one = await _find(request, connection)
        await take_in(request, connection, one)
    raise web.HTTPSeeOther(f"/cards/import/{one.id}")


async def take_in(request: web.Request, connection: AsyncConnection, one: CardImport) -> None:
    """The same for the API.

    Raises:
        HTTPConflict: somebody has said so already, or the file is no more.
    """
    if not await cardimports.begin(connection, one.id):
        raise web.HTTPConflict
    await jobs.defer(connection, [jobs.Job(task=jobs.IMPORT_CARDS, args={"import_id": one.id})])
    subject = {"import_id": one.id, "name": one.name}
    await audit.add_entry(connection, account_of(request), audit.CARDS_IMPORTED, subject)


async def _find(request: web.Request, connection: AsyncConnection) -> CardImport:
    found = await cardimports.find_import(connection, number_in(request))
    if found is None:
        raise web.HTTPNotFound
    return found


async def export_cards(request: web.Request) -> web.StreamResponse:
    """All cards for a spreadsheet, a thousand at a time; UTF-8 with the mark by which spreadsheets know it."""
    store = services(request).store
    async with store.begin() as connection:
        await audit.add_entry(connection, account_of(request), audit.CARDS_EXPORTED, {})
    answer = web.StreamResponse()
    answer.headers["Content-Type"] = "text/csv; charset=utf-8"
    answer.headers["Content-Disposition"] = 'attachment; filename="cardline-clients.csv"'
    answer.headers["Cache-Control"] = "private, no-store"
    await answer.prepare(request)
    await answer.write(b"\xef\xbb\xbf" + write_row(HEADING).encode())
    after = 0
    while True:
        async with store.begin() as connection:
            found = await cardimports.list_for_export(connection, after)
        if not found:
            break
        await answer.write("".join(_line(one) for one in found).encode())
        after = found[-1].id
    await answer.write_eof()
    return answer


def _line(one: ExportedCard) -> str:
    contacts = {
        wanted: ", ".join(_contact(value, label) for kind, value, label in one.points if kind == wanted)
        for wanted in ("phone", "address", "domain")
    }
    cells = (str(one.id), one.kind, one.name, one.company, one.responsible, one.stage, *contacts.values(), one.notes)
    return write_row(cells)


def _contact(value: str, label: str) -> str:
    """A number with what is dialled after it, as it is read again."""
    _, mark, extension = label.rpartition("ext. ")
    return f"{value} ext. {extension}" if mark and extension.isdigit() else value
