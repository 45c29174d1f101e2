"""Second factors of accounts: the encrypted secret, the newest step whose code was used, recovery codes as digests."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import any_, func, literal, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.store.schema import account


@dataclass(frozen=True, slots=True, kw_only=True)
class SecondFactor:
    """``since`` None: begun and not confirmed by a code, so it is asked for nowhere yet."""

    sealed: bytes
    since: datetime | None
    recovery_codes: int


def _digest(code: str) -> bytes:
    return hashlib.sha256(code.encode()).digest()


async def find_factor(connection: AsyncConnection, account_id: int) -> SecondFactor | None:
    """What an account has."""
    query = select(
        account.c.totp_secret, account.c.totp_since, func.cardinality(account.c.recovery_codes).label("left")
    )
    row = (await connection.execute(query.where(account.c.id == account_id))).first()
    if row is None or row.totp_secret is None:
        return None
    return SecondFactor(sealed=bytes(row.totp_secret), since=row.totp_since, recovery_codes=row.left)


async def begin_factor(connection: AsyncConnection, account_id: int, sealed: bytes) -> None:
    """A secret that is shown now; it counts once a code confirms it. One that counts already is not touched."""
    mine = (account.c.id == account_id) & account.c.totp_since.is_(None)
    await connection.execute(update(account).where(mine).values(totp_secret=sealed, totp_step=None))


async def confirm_factor(connection: AsyncConnection, account_id: int, step: int, codes: Sequence[str]) -> bool:
    """From now on it is asked for; False where it was confirmed already."""
    mine = (account.c.id == account_id) & account.c.totp_since.is_(None) & account.c.totp_secret.is_not(None)
    values = {"totp_since": func.now(), "totp_step": step, "recovery_codes": [_digest(one) for one in codes]}
    return bool((await connection.execute(update(account).where(mine).values(**values))).rowcount)


async def renew_codes(connection: AsyncConnection, account_id: int, codes: Sequence[str]) -> None:
    """Other recovery codes; the earlier ones open nothing any more."""
    values = {"recovery_codes": [_digest(one) for one in codes]}
    await connection.execute(update(account).where(account.c.id == account_id).values(**values))


async def use_step(connection: AsyncConnection, account_id: int, step: int) -> bool:
    """Note that the code of this step was used; False where it, or a later one, was used before (RFC 6238 5.2)."""
    fresh = or_(account.c.totp_step.is_(None), account.c.totp_step < step)
    statement = update(account).where(account.c.id == account_id, account.c.totp_since.is_not(None), fresh)
    return bool((await connection.execute(statement.values(totp_step=step))).rowcount)


async def use_recovery_code(connection: AsyncConnection, account_id: int, code: str) -> bool:
    """Take a recovery code, which opens once."""
    digest = _digest(code)
    mine = (
        (account.c.id == account_id)
        & account.c.totp_since.is_not(None)
        & (literal(digest) == any_(account.c.recovery_codes))
    )
    left = func.array_remove(account.c.recovery_codes, digest)
    return bool((await connection.execute(update(account).where(mine).values(recovery_codes=left))).rowcount)


async def clear_factor(connection: AsyncConnection, account_id: int) -> bool:
    """Take it away: the telephone was lost. False where there was none."""
    mine = (account.c.id == account_id) & account.c.totp_secret.is_not(None)
    values: dict[str, object] = {"totp_secret": None, "totp_since": None, "totp_step": None, "recovery_codes": []}
    return bool((await connection.execute(update(account).where(mine).values(**values))).rowcount)
