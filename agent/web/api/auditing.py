"""Who looked at, took or changed what: in pages, and all of it as a table."""

from __future__ import annotations

from typing import Annotated

from aiohttp import web
from pydantic import Field

from agent.store import auditlog
from agent.store.auditlog import AuditEntry, AuditFilter
from agent.store.clients import Position
from agent.web.api import shapes
from agent.web.api.answers import answer_page, begin, encode
from agent.web.api.cursors import read_cursor
from agent.web.api.reading import Asked, Cursor, Limit, Moment, QueryAccount, read_query
from agent.web.auditlog import send_table

_HEAD = ["id", "at", "login", "name", "action", "subject"]


class Acts(Asked):
    """Narrowed to an act, an account (0: of no account), a time."""

    action: Annotated[str, Field(max_length=100)] = ""
    account: QueryAccount | None = None
    since: Moment | None = None
    until: Moment | None = None

    def plain(self) -> AuditFilter:
        """As the store has it."""
        return AuditFilter(account_id=self.account, action=self.action, since=self.since, until=self.until)


class AuditQuery(Acts):
    """A page of them."""

    cursor: Cursor = ""
    limit: Limit = 50


async def list_audit(request: web.Request) -> web.StreamResponse:
    """The newest first."""
    asked = read_query(request, AuditQuery)
    after = read_cursor(request.path, asked, asked.cursor)
    async with begin(request) as connection:
        before = after.id if after is not None else None
        found = await auditlog.list_entries(connection, asked.plain(), before=before, limit=asked.limit + 1)
    rows = found[: asked.limit]
    items = [
        {
            "id": one.id,
            "at": shapes.time(one.at),
            "login": one.login,
            "name": one.name,
            "action": one.action,
            "subject": dict(one.subject),
        }
        for one in rows
    ]
    last = Position(moment=rows[-1].at, id=rows[-1].id) if len(found) > asked.limit else None
    return await answer_page(request, asked, items, last)


async def export_audit(request: web.Request) -> web.StreamResponse:
    """The same as CSV, all of it, as it comes from the database; itself an act."""
    return await send_table(request, read_query(request, Acts).plain(), _HEAD, _row, mark=b"")


def _row(entry: AuditEntry) -> list[str]:
    subject = encode(dict(entry.subject)).decode()
    return [str(entry.id), shapes.time(entry.at) or "", entry.login, entry.name, entry.action, subject]
