"""Open logins, kept on the server: the browser holds a random token, the database only its SHA-256.

After the password of an account with a second factor the login waits for it: such a row is no login yet.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import delete, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import UserRole
from agent.store.asking import Query, ask
from agent.store.engine import storable
from agent.store.rights import Viewer, make_viewer
from agent.store.schema import account, login_session

IDLE = timedelta(hours=12)
LONGEST = timedelta(days=14)
WAITING = timedelta(minutes=15)  # for the second factor
CODE = "code"  # waits for a code of the second factor
ENROLMENT = "enrolment"  # waits until the account has a second factor, which its role must have
_TOUCH_AFTER = timedelta(minutes=5)
_LONGEST_BROWSER = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """An open login: who it is, and the token that every form must bring back."""

    viewer: Viewer
    login: str
    name: str
    csrf_token: str
    waits_for: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenLogin:
    """One of somebody's logins, as he lists them. ``reference`` names it in forms and opens nothing."""

    reference: str
    address: str
    browser: str
    opened: datetime
    used: datetime
    is_this: bool


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


async def open_login(
    connection: AsyncConnection, account_id: int, *, address: str = "", browser: str = "", waits_for: str = ""
) -> str:
    """A new login; returns the token for the browser. Logins that have expired are swept away here."""
    await connection.execute(delete(login_session).where(login_session.c.expires_at < func.now()))
    token = secrets.token_urlsafe(32)
    values = {
        "token_hash": _digest(token),
        "account_id": account_id,
        "csrf_token": secrets.token_urlsafe(32),
        "expires_at": datetime.now(UTC) + (WAITING if waits_for else IDLE),
        "waits_for": waits_for,
        "address": address,
        "browser": storable(browser)[:_LONGEST_BROWSER],
    }
    await connection.execute(insert(login_session).values(**values))
    if not waits_for:
        await connection.execute(update(account).where(account.c.id == account_id).values(last_login_at=func.now()))
    return token


_STANDING = text(
    """
    SELECT s.expires_at, s.created_at, s.csrf_token, s.waits_for, a.id, a.login, a.name, a.role, a.employee_id,
        a.all_teams
    FROM login_session s JOIN account a ON a.id = s.account_id
    WHERE s.token_hash = :digest AND s.expires_at > now() AND NOT a.disabled
    """
)


def _standing(token: str) -> Query[Any]:
    values = {"digest": _digest(token)}
    return Query(statement=_STANDING, values=values, read=lambda rows: rows[0] if rows else None)


async def find_login(
    connection: AsyncConnection,
    token: str,
    *,
    managers_see_team: bool = False,
    prolong: bool = True,
    commit: bool = False,
) -> Login | None:
    """The login of this token, one that waits for its second factor too (``waits_for``); using it keeps it open for
    `IDLE` more, up to `LONGEST` in all, unless it is only asked about (``prolong`` False). ``commit``: nothing came
    before it in this transaction, so that most often all of it is one trip."""
    (row,) = await ask(connection, _standing(token), commit=commit)
    if row is None:
        return None
    expires = min(datetime.now(UTC) + IDLE, row.created_at + LONGEST)
    if prolong and not row.waits_for and expires - row.expires_at > _TOUCH_AFTER:
        statement = update(login_session).where(login_session.c.token_hash == _digest(token))
        await connection.execute(statement.values(expires_at=expires, used_at=func.now()))
    viewer = await make_viewer(
        connection,
        account_id=row.id,
        role=UserRole(row.role),
        employee_id=row.employee_id,
        all_teams=row.all_teams,
        managers_see_team=managers_see_team,
    )
    return Login(viewer=viewer, login=row.login, name=row.name, csrf_token=row.csrf_token, waits_for=row.waits_for)


async def close_login(connection: AsyncConnection, token: str) -> None:
    """Log out."""
    await connection.execute(delete(login_session).where(login_session.c.token_hash == _digest(token)))


async def list_logins(connection: AsyncConnection, account_id: int, *, token: str = "") -> list[OpenLogin]:
    """Everything somebody is logged in with now, the last used first; ``token`` is the one that asks."""
    query = (
        select(login_session)
        .where(
            login_session.c.account_id == account_id,
            login_session.c.expires_at > func.now(),
            login_session.c.waits_for == "",
        )
        .order_by(login_session.c.used_at.desc(), login_session.c.created_at.desc())
    )
    return [
        OpenLogin(
            reference=row.token_hash.hex(),
            address=row.address,
            browser=row.browser,
            opened=row.created_at,
            used=row.used_at,
            is_this=row.token_hash == _digest(token),
        )
        for row in await connection.execute(query)
    ]


async def end_logins(
    connection: AsyncConnection, account_id: int, *, reference: str = "", but_token: str | None = None
) -> int:
    """End one of somebody's logins, or all; all but ``but_token`` where that is given. Returns how many."""
    statement = delete(login_session).where(login_session.c.account_id == account_id)
    if reference:
        statement = statement.where(login_session.c.token_hash == bytes.fromhex(reference))
    if but_token is not None:
        statement = statement.where(login_session.c.token_hash != _digest(but_token))
    return int((await connection.execute(statement)).rowcount)
