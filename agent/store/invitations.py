"""Links by which somebody chooses a password, once: for a new account, or one whose password was lost."""

from __future__ import annotations

import hashlib
import secrets
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.store.schema import account, account_invitation

VALID = timedelta(hours=72)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


async def invite(connection: AsyncConnection, account_id: int) -> str:
    """The token of a new link, told here and nowhere again; an earlier link of the account opens nothing any more."""
    old = (account_invitation.c.account_id == account_id) | (account_invitation.c.expires_at < func.now())
    await connection.execute(delete(account_invitation).where(old))
    token = secrets.token_urlsafe(32)
    values = {"token_hash": _digest(token), "account_id": account_id, "expires_at": datetime.now(UTC) + VALID}
    await connection.execute(insert(account_invitation).values(**values))
    return token


async def find_invited(connection: AsyncConnection, token: str) -> tuple[int, str] | None:
    """Id and login of whom the link is for; None where it is used, replaced, too old or never was."""
    query = (
        select(account.c.id, account.c.login)
        .join(account_invitation)
        .where(
            account_invitation.c.token_hash == _digest(token),
            account_invitation.c.expires_at > func.now(),
            ~account.c.disabled,
        )
    )
    row = (await connection.execute(query)).first()
    return (row.id, row.login) if row else None


async def take_invitation(connection: AsyncConnection, token: str) -> int | None:
    """Use the link up; the account it was for."""
    statement = delete(account_invitation).where(
        account_invitation.c.token_hash == _digest(token), account_invitation.c.expires_at > func.now()
    )
    found: int | None = (
        await connection.execute(statement.returning(account_invitation.c.account_id))
    ).scalar_one_or_none()
    return found
