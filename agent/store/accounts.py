"""Accounts: who may log in, with which role, and as which employee."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.errors import Misconfigured
from agent.model import UserRole
from agent.store.engine import AnyRow
from agent.store.passwords import hash_password
from agent.store.schema import account, login_session

_SHORTEST_PASSWORD = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A person who may log in; a manager sees what ``employee_id`` took part in."""

    id: int
    login: str
    name: str
    role: UserRole
    employee_id: int | None
    disabled: bool


def normalise_login(login: str) -> str:
    """Logins are compared without regard to case and outer spaces."""
    return login.strip().casefold()


def _account(row: AnyRow) -> Account:
    return Account(
        id=row.id,
        login=row.login,
        name=row.name,
        role=UserRole(row.role),
        employee_id=row.employee_id,
        disabled=row.disabled,
    )


async def insert_account(
    connection: AsyncConnection,
    login: str,
    name: str,
    password: str,
    role: UserRole,
    employee_id: int | None = None,
) -> int:
    """A new account; the password is hashed in a thread and kept nowhere.

    Raises:
        Misconfigured: the login is empty or taken, or the password is too short.
    """
    login = normalise_login(login)
    if not login:
        raise Misconfigured("The login is empty.", remedy="Give it at least one letter.")
    if await find_account(connection, login) is not None:
        raise Misconfigured(f"The login {login} is taken.", remedy="Choose another one.")
    values = {
        "login": login,
        "name": name.strip() or login,
        "password_hash": await _checked_hash(password),
        "role": role,
        "employee_id": employee_id,
    }
    return int((await connection.execute(insert(account).values(**values).returning(account.c.id))).scalar_one())


async def find_account(connection: AsyncConnection, login: str) -> Account | None:
    """The account of this login, disabled ones too."""
    row = (await connection.execute(select(account).where(account.c.login == normalise_login(login)))).first()
    return _account(row) if row else None


async def find_password_hash(connection: AsyncConnection, login: str) -> tuple[int, str] | None:
    """Id and password hash of the account that may log in under this name."""
    query = select(account.c.id, account.c.password_hash).where(
        account.c.login == normalise_login(login), ~account.c.disabled
    )
    row = (await connection.execute(query)).first()
    return (row.id, row.password_hash) if row else None


async def list_accounts(connection: AsyncConnection) -> list[Account]:
    """Everybody, by login."""
    return [_account(row) for row in await connection.execute(select(account).order_by(account.c.login))]


async def count_accounts(connection: AsyncConnection) -> int:
    """How many accounts there are; none at all means that nobody can log in yet."""
    return int((await connection.execute(select(func.count()).select_from(account))).scalar_one())


async def save_password(connection: AsyncConnection, account_id: int, password: str) -> None:
    """A new password; every open login of this account ends.

    Raises:
        Misconfigured: the password is too short.
    """
    await save_password_hash(connection, account_id, await _checked_hash(password))
    await connection.execute(delete(login_session).where(login_session.c.account_id == account_id))


async def save_password_hash(connection: AsyncConnection, account_id: int, encoded: str) -> None:
    """The same password under today's parameters."""
    await connection.execute(update(account).where(account.c.id == account_id).values(password_hash=encoded))


async def disable_account(connection: AsyncConnection, account_id: int, *, disabled: bool = True) -> None:
    """Shut an account out at once, or let it in again."""
    await connection.execute(update(account).where(account.c.id == account_id).values(disabled=disabled))
    if disabled:
        await connection.execute(delete(login_session).where(login_session.c.account_id == account_id))


async def _checked_hash(password: str) -> str:
    if len(password) < _SHORTEST_PASSWORD:
        raise Misconfigured(
            "The password is too short.", remedy=f"Choose one of at least {_SHORTEST_PASSWORD} characters."
        )
    return await hash_password(password)
