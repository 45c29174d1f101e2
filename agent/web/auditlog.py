"""Who looked at, took or changed what: an administrator's page, and the same as a table for a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from agent.store import accounts, audit, auditlog
from agent.store.auditlog import AuditEntry, AuditFilter
from agent.web.employees import account_of, day_in
from agent.web.pages import formats_of, page
from agent.web.services import services
from agent.web.texts import Texts

PAGE_SIZE = 100
_PIECE = 200
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_LONGEST_VALUE = 300


async def show_audit(request: web.Request) -> web.StreamResponse:
    """The newest acts first, by filter."""
    wanted, before = _filter(request), request.query.get("before", "")
    if before and not (before.isascii() and before.isdigit() and len(before) <= 18):
        raise web.HTTPBadRequest
    async with services(request).store.begin() as connection:
        after = int(before) if before else None
        found = await auditlog.list_entries(connection, wanted, before=after, limit=PAGE_SIZE + 1)
        people = await accounts.list_accounts(connection)
        actions = await auditlog.list_actions(connection)
    shown = found[:PAGE_SIZE]
    query = {name: request.query[name] for name in ("who", "what", "since", "until") if request.query.get(name)}
    texts, _ = formats_of(request)
    more = len(found) > PAGE_SIZE
    return page(
        request,
        "audit.html",
        entries=[(one, texts.act(one.action), in_words(one.subject, texts), place_of(one.subject)) for one in shown],
        accounts=people,
        actions=sorted((texts.act(one), one) for one in actions),
        query=query,
        next_url=f"/audit?{urlencode({**query, 'before': shown[-1].id})}" if more else "",
        csv_url=f"/audit.csv?{urlencode(query)}" if query else "/audit.csv",
        is_first=not before,
    )


def _filter(request: web.Request) -> AuditFilter:
    who, what = request.query.get("who", ""), request.query.get("what", "").replace("\0", "")[:100]
    if who and not (who.isascii() and who.isdigit() and len(who) <= 18):
        raise web.HTTPBadRequest
    return AuditFilter(
        account_id=int(who) if who else None,
        action=what,
        since=_day(request, "since"),
        until=_day(request, "until", days=1),
    )


def _day(request: web.Request, name: str, *, days: int = 0) -> datetime | None:
    try:
        found = day_in(request, request.query.get(name, ""))
        return found + timedelta(days=days) if found is not None else None
    except (ValueError, OverflowError):
        raise web.HTTPBadRequest from None


def place_of(subject: Mapping[str, Any]) -> str:
    """The page of the entry or card that an act was about; empty where there is none."""
    for name, path in (("interaction_id", "/interactions"), ("card_id", "/cards")):
        if isinstance(number := subject.get(name), int):
            return f"{path}/{number}"
    return ""


def in_words(subject: Mapping[str, Any], texts: Texts | None = None) -> str:
    """What an act was about, as short as it can be said: for a reader, or without ``texts`` as the log keeps it."""
    told = [(name, value) for name, value in subject.items() if value not in (None, "", [], {})]
    return ", ".join(f"{texts.about(name) if texts else name}: {_value(value, texts)}" for name, value in told)


def _value(value: object, texts: Texts | None) -> str:
    if isinstance(value, dict):
        each = value.items()
        return "; ".join(f"{texts.about(name) if texts else name} {_value(one, texts)}" for name, one in each)
    if isinstance(value, list):
        return " ".join(_value(one, texts) for one in value)
    return texts.about_value(str(value)[:_LONGEST_VALUE]) if texts else str(value)[:_LONGEST_VALUE]


async def export_audit(request: web.Request) -> web.StreamResponse:
    """All that the filter leaves, as it comes from the database; itself an act."""
    wanted = _filter(request)
    texts, _ = formats_of(request)
    head = [texts(one) for one in ("audit_at", "audit_who", "audit_what", "audit_about")]

    def row(entry: AuditEntry) -> list[str]:
        return _row(entry, texts.act(entry.action))

    return await send_table(
        request, wanted, ["id", head[0], head[1], "login", head[2], "action", head[3]], row, mark=b"\xef\xbb\xbf"
    )


async def send_table(
    request: web.Request, wanted: AuditFilter, head: list[str], row: Callable[[AuditEntry], list[str]], *, mark: bytes
) -> web.StreamResponse:
    """The same for the API; ``mark`` tells a spreadsheet what the bytes are."""
    async with services(request).store.begin() as connection:
        await audit.add_entry(connection, account_of(request), audit.AUDIT_EXPORTED, _subject(wanted))
    answer = web.StreamResponse(
        headers={
            "Content-Disposition": f'attachment; filename="cardline-audit-{datetime.now(UTC):%Y-%m-%d}.csv"',
            "Cache-Control": "private, no-store",
        }
    )
    answer.content_type, answer.charset = "text/csv", "utf-8"
    await answer.prepare(request)
    await answer.write(mark + _rows([head]))
    before: int | None = None
    while True:  # a transaction a piece: whoever reads slowly holds no connection
        async with services(request).store.begin() as connection:
            piece = await auditlog.list_entries(connection, wanted, before=before, limit=_PIECE)
        await answer.write(_rows([row(one) for one in piece]))
        if len(piece) < _PIECE:
            break
        before = piece[-1].id
    await answer.write_eof()
    return answer


def _subject(wanted: AuditFilter) -> dict[str, Any]:
    since, until = (one.isoformat() if one is not None else None for one in (wanted.since, wanted.until))
    told = {"account_id": wanted.account_id, "action": wanted.action or None, "since": since, "until": until}
    return {name: one for name, one in told.items() if one is not None}


def _row(entry: AuditEntry, what: str) -> list[str]:
    return [
        str(entry.id),
        entry.at.astimezone(UTC).isoformat(timespec="seconds"),
        entry.name,
        entry.login,
        what,
        entry.action,
        in_words(entry.subject),
    ]


def _rows(rows: list[list[str]]) -> bytes:
    """What a spreadsheet would take for a formula is led by an apostrophe (CWE-1236)."""
    text = io.StringIO()
    writer = csv.writer(text)
    for row in rows:
        writer.writerow([f"'{one}" if one.startswith(_FORMULA) else one for one in row])
    return text.getvalue().encode()
