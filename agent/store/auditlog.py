"""The audit log as it is read: filtered, the newest first, a page at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.store.engine import AnyRow
from agent.store.schema import account, audit_entry


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """An act: by whom (empty: a command, a rule, a program), what, and of what."""

    id: int
    at: datetime
    login: str
    name: str
    action: str
    subject: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """``account_id`` 0: what nobody's account did. ``since`` is inclusive, ``until`` exclusive."""

    account_id: int | None = None
    action: str = ""
    since: datetime | None = None
    until: datetime | None = None


def _entries(wanted: AuditFilter) -> Select[*tuple[Any, ...]]:
    query = select(audit_entry, account.c.login, account.c.name).outerjoin(account)
    if wanted.account_id is not None:
        who = audit_entry.c.account_id
        query = query.where(who == wanted.account_id if wanted.account_id else who.is_(None))
    if wanted.action:
        query = query.where(audit_entry.c.action == wanted.action)
    if wanted.since is not None:
        query = query.where(audit_entry.c.at >= wanted.since)
    if wanted.until is not None:
        query = query.where(audit_entry.c.at < wanted.until)
    return query.order_by(audit_entry.c.id.desc())


def _entry(row: AnyRow) -> AuditEntry:
    subject = row.subject if isinstance(row.subject, dict) else {}
    return AuditEntry(
        id=row.id, at=row.at, login=row.login or "", name=row.name or "", action=row.action, subject=subject
    )


async def list_entries(
    connection: AsyncConnection, wanted: AuditFilter, *, before: int | None = None, limit: int = 100
) -> list[AuditEntry]:
    """The newest acts, from the one before the id ``before``."""
    query = _entries(wanted).limit(limit)
    if before is not None:
        query = query.where(audit_entry.c.id < before)
    return [_entry(row) for row in await connection.execute(query)]


async def list_actions(connection: AsyncConnection) -> list[str]:
    """Every kind of act there ever was, found by hopping through the index."""
    found: list[str] = []
    last = (await connection.execute(select(func.min(audit_entry.c.action)))).scalar_one()
    while last is not None:
        found.append(last)
        query = select(func.min(audit_entry.c.action)).where(audit_entry.c.action > last)
        last = (await connection.execute(query)).scalar_one()
    return found
