"""Accounts: who may log in, with which role, and as which employee."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

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
    """A person who may log in; a manager sees what ``employee_id`` took part in. ``all_teams``: a supervisor of all.

    ``has_password`` is False where none was chosen yet, or somebody comes by the other login only (``is_external``).
    """

    id: int
    login: str
    name: str
    role: UserRole
    employee_id: int | None
    disabled: bool
    all_teams: bool = True
    has_password: bool = True
    has_totp: bool = False
    is_external: bool = False
    last_login: datetime | None = None


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
        all_teams=row.all_teams,
        has_password=bool(row.password_hash),
        has_totp=row.totp_since is not None,
        is_external=row.oidc_subject is not None,
        last_login=row.last_login_at,
    )


async def insert_account(
    connection: AsyncConnection,
    login: str,
    name: str,
    password: str | None,
    role: UserRole,
    employee_id: int | None = None,
    *,
    all_teams: bool = True,
) -> int:
    """A new account; the password is hashed in a thread and kept nowhere. Without one nobody gets in until he has
    chosen it by an invitation.

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
        "password_hash": await checked_hash(password) if password is not None else "",
        "role": role,
        "employee_id": employee_id,
        "all_teams": all_teams,
    }
    return int((await connection.execute(insert(account).values(**values).returning(account.c.id))).scalar_one())


async def find_account(connection: AsyncConnection, login: str) -> Account | None:
    """The account of this login, disabled ones too."""
    row = (await connection.execute(select(account).where(account.c.login == normalise_login(login)))).first()
    return _account(row) if row else None


async def find_password_hash(connection: AsyncConnection, login: str) -> tuple[int, str] | None:
    """Id and password hash of the account that may log in under this name."""
    query = select(account.c.id, account.c.password_hash).where(
        account.c.login == normalise_login(login), ~account.c.disabled, account.c.password_hash != ""
    )
    row = (await connection.execute(query)).first()
    return (row.id, row.password_hash) if row else None


async def find_by_id(connection: AsyncConnection, account_id: int) -> Account | None:
    """The account of this number, disabled ones too."""
    row = (await connection.execute(select(account).where(account.c.id == account_id))).first()
    return _account(row) if row else None


async def lock_account(connection: AsyncConnection, account_id: int) -> None:
    """Whoever changes it by what he has read of it changes it alone, until his transaction ends."""
    await connection.execute(select(account.c.id).where(account.c.id == account_id).with_for_update())


async def find_by_subject(connection: AsyncConnection, subject: str) -> Account | None:
    """The account of somebody whom the other login vouches for."""
    row = (await connection.execute(select(account).where(account.c.oidc_subject == subject))).first()
    return _account(row) if row else None


async def save_subject(connection: AsyncConnection, account_id: int, subject: str) -> None:
    """From now on the account is his whom the other login calls so."""
    await connection.execute(update(account).where(account.c.id == account_id).values(oidc_subject=subject))


async def find_hash(connection: AsyncConnection, account_id: int) -> str:
    """The password's hash, empty where there is none."""
    query = select(account.c.password_hash).where(account.c.id == account_id)
    return (await connection.execute(query)).scalar_one_or_none() or ""


async def change_account(
    connection: AsyncConnection,
    account_id: int,
    *,
    name: str,
    role: UserRole,
    employee_id: int | None,
    all_teams: bool,
) -> bool:
    """What somebody is called and may do. Every open login of his ends, so that no old right lives on.

    Returns False, and changes nothing, where no administrator would be left.
    """
    if role is not UserRole.ADMINISTRATOR and not await _is_dispensable(connection, account_id):
        return False
    values = {"name": name, "role": role, "employee_id": employee_id, "all_teams": all_teams}
    await connection.execute(update(account).where(account.c.id == account_id).values(**values))
    await connection.execute(delete(login_session).where(login_session.c.account_id == account_id))
    return True


async def _is_dispensable(connection: AsyncConnection, account_id: int) -> bool:
    """Whether an administrator would be left without this account. Administrators are locked meanwhile."""
    admins = select(account.c.id).where(account.c.role == UserRole.ADMINISTRATOR, ~account.c.disabled)
    found = set((await connection.execute(admins.order_by(account.c.id).with_for_update())).scalars())
    return found != {account_id}


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
    await save_password_hash(connection, account_id, await checked_hash(password))
    await connection.execute(delete(login_session).where(login_session.c.account_id == account_id))


async def save_password_hash(connection: AsyncConnection, account_id: int, encoded: str) -> None:
    """The same password under today's parameters."""
    await connection.execute(update(account).where(account.c.id == account_id).values(password_hash=encoded))


async def disable_account(connection: AsyncConnection, account_id: int, *, disabled: bool = True) -> bool:
    """Shut an account out at once, or let it in again.

    Returns False, and changes nothing, where no administrator would be left.
    """
    if disabled and not await _is_dispensable(connection, account_id):
        return False
    await connection.execute(update(account).where(account.c.id == account_id).values(disabled=disabled))
    if disabled:
        await connection.execute(delete(login_session).where(login_session.c.account_id == account_id))
    return True


async def checked_hash(password: str) -> str:
    """The hash of a new password; raises `Misconfigured` where it is too short."""
    if len(password) < _SHORTEST_PASSWORD:
        raise Misconfigured(
            "The password is too short.", remedy=f"Choose one of at least {_SHORTEST_PASSWORD} characters."
        )
    return await hash_password(password)
