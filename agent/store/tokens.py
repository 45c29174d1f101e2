"""API tokens: what a CRM or another program shows instead of a login. Only a digest of each is kept."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, insert, or_, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.errors import Misconfigured
from agent.model import UserRole
from agent.store.rights import Viewer, make_viewer
from agent.store.schema import account, api_token

READ = "read"  # whatever its account may see, without the sound
WRITE = "write"  # what its account may change on the pages people work in
LISTEN = "listen"  # sound of calls
CALLS_PAUSE = "calls:pause"
ADMIN = "admin"  # who may log in, tokens, how long things are kept: for an administrator's token
SCOPES = (READ, WRITE, LISTEN, CALLS_PAUSE, ADMIN)
PREFIX = "cardline_"  # lets scanners for leaked secrets recognise one
_LONGEST_NAME = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiToken:
    """A token that is valid now: what it may do, and for whom it sees."""

    id: int
    name: str
    scopes: frozenset[str]
    account_id: int | None
    viewer: Viewer


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenFacts:
    """A token as the administrator lists it."""

    id: int
    name: str
    scopes: tuple[str, ...]
    login: str
    created: datetime
    used: datetime | None
    revoked: datetime | None


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


async def insert_token(
    connection: AsyncConnection, name: str, scopes: Sequence[str], *, account_id: int | None = None
) -> str:
    """A new token, returned here and nowhere again. Without an account it has the rights of a supervisor.

    Raises:
        Misconfigured: the name is empty or taken, or a scope is unknown.
    """
    name = " ".join(name.split())[:_LONGEST_NAME]
    if not name:
        raise Misconfigured("The token has no name.", remedy="Name it after the program that will use it.")
    if not scopes or (strange := sorted(set(scopes) - set(SCOPES))):
        what = f"There is no scope {strange[0]}." if scopes else "The token may do nothing."
        raise Misconfigured(what, remedy=f"Give it one of: {', '.join(SCOPES)}.")
    known = select(api_token.c.id).where(api_token.c.name == name)
    if (await connection.execute(known)).first() is not None:
        raise Misconfigured(f"There is or was a token {name}.", remedy="Choose another name.")
    token = PREFIX + secrets.token_urlsafe(32)
    values = {"token_hash": _digest(token), "name": name, "scopes": sorted(set(scopes)), "account_id": account_id}
    await connection.execute(insert(api_token).values(**values))
    return token


async def find_token(connection: AsyncConnection, token: str, *, managers_see_team: bool = False) -> ApiToken | None:
    """What this token allows; None when it is unknown, revoked, or its account is disabled. Its use is noted."""
    query = (
        select(api_token, account.c.role, account.c.employee_id, account.c.all_teams)
        .outerjoin(account, account.c.id == api_token.c.account_id)
        .where(
            api_token.c.token_hash == _digest(token),
            api_token.c.revoked_at.is_(None),
            or_(api_token.c.account_id.is_(None), ~account.c.disabled),
        )
    )
    row = (await connection.execute(query)).first()
    if row is None:
        return None
    is_stale = or_(api_token.c.used_at.is_(None), api_token.c.used_at < func.now() - text("interval '1 minute'"))
    used = update(api_token).where(api_token.c.id == row.id, is_stale).values(used_at=func.now())
    await connection.execute(used)
    viewer = await make_viewer(
        connection,
        account_id=row.account_id or 0,
        role=UserRole(row.role) if row.role else UserRole.SUPERVISOR,
        employee_id=row.employee_id,
        all_teams=row.all_teams is not False,
        managers_see_team=managers_see_team,
    )
    return ApiToken(id=row.id, name=row.name, scopes=frozenset(row.scopes), account_id=row.account_id, viewer=viewer)


async def find_name(connection: AsyncConnection, token_id: int) -> str | None:
    """The name of a token, revoked or not."""
    query = select(api_token.c.name).where(api_token.c.id == token_id)
    found: str | None = (await connection.execute(query)).scalar_one_or_none()
    return found


async def find_id(connection: AsyncConnection, name: str) -> int | None:
    """The number of a token of this name, revoked or not."""
    query = select(api_token.c.id).where(api_token.c.name == " ".join(name.split())[:_LONGEST_NAME])
    found: int | None = (await connection.execute(query)).scalar_one_or_none()
    return found


async def revoke_token(connection: AsyncConnection, name: str) -> bool:
    """Shut a token out at once and for good; False when there is no such token."""
    statement = update(api_token).where(api_token.c.name == name, api_token.c.revoked_at.is_(None))
    return bool((await connection.execute(statement.values(revoked_at=func.now()))).rowcount)


async def list_tokens(connection: AsyncConnection) -> list[TokenFacts]:
    """All there ever were, by name."""
    query = select(api_token, account.c.login).outerjoin(account, account.c.id == api_token.c.account_id)
    return [
        TokenFacts(
            id=row.id,
            name=row.name,
            scopes=tuple(row.scopes),
            login=row.login or "",
            created=row.created_at,
            used=row.used_at,
            revoked=row.revoked_at,
        )
        for row in await connection.execute(query.order_by(api_token.c.name))
    ]
