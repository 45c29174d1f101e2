"""Open logins, kept on the server: the browser holds a random token, the database only its SHA-256."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import UserRole
from agent.store.rights import Viewer
from agent.store.schema import account, login_session

IDLE = timedelta(hours=12)
LONGEST = timedelta(days=14)
_TOUCH_AFTER = timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """An open login: who it is, and the token that every form must bring back."""

    viewer: Viewer
    login: str
    name: str
    csrf_token: str


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


async def open_login(connection: AsyncConnection, account_id: int) -> str:
    """A new login; returns the token for the browser. Logins that have expired are swept away here."""
    await connection.execute(delete(login_session).where(login_session.c.expires_at < func.now()))
    token = secrets.token_urlsafe(32)
    values = {
        "token_hash": _digest(token),
        "account_id": account_id,
        "csrf_token": secrets.token_urlsafe(32),
        "expires_at": datetime.now(UTC) + IDLE,
    }
    await connection.execute(insert(login_session).values(**values))
    return token


async def find_login(connection: AsyncConnection, token: str) -> Login | None:
    """The login of this token; using it keeps it open for `IDLE` more, up to `LONGEST` in all."""
    query = (
        select(
            login_session.c.expires_at,
            login_session.c.created_at,
            login_session.c.csrf_token,
            account.c.id,
            account.c.login,
            account.c.name,
            account.c.role,
            account.c.employee_id,
        )
        .join(account)
        .where(
            login_session.c.token_hash == _digest(token), login_session.c.expires_at > func.now(), ~account.c.disabled
        )
    )
    row = (await connection.execute(query)).first()
    if row is None:
        return None
    expires = min(datetime.now(UTC) + IDLE, row.created_at + LONGEST)
    if expires - row.expires_at > _TOUCH_AFTER:
        statement = update(login_session).where(login_session.c.token_hash == _digest(token))
        await connection.execute(statement.values(expires_at=expires))
    viewer = Viewer(account_id=row.id, role=UserRole(row.role), employee_id=row.employee_id)
    return Login(viewer=viewer, login=row.login, name=row.name, csrf_token=row.csrf_token)


async def is_open(connection: AsyncConnection, token: str) -> bool:
    """Whether this login still stands, for what stays open longer than one request. Asking does not prolong it."""
    query = (
        select(account.c.id)
        .join(login_session)
        .where(
            login_session.c.token_hash == _digest(token), login_session.c.expires_at > func.now(), ~account.c.disabled
        )
    )
    return (await connection.execute(query)).first() is not None


async def close_login(connection: AsyncConnection, token: str) -> None:
    """Log out."""
    await connection.execute(delete(login_session).where(login_session.c.token_hash == _digest(token)))
