"""`cardline user`: who may log in; and the way in where nobody can any more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from agent.commandline.base import console, fail, in_database, read_settings
from agent.errors import CardlineError, Misconfigured
from agent.model import UserRole

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from agent.store.accounts import Account

user = typer.Typer(no_args_is_help=True, help="Who may log in.")


@user.command("add")
def user_add(
    login: str,
    role: Annotated[UserRole, typer.Option(help="What this person may do.")] = UserRole.MANAGER,
    name: Annotated[str, typer.Option(help="Name on the pages; the login unless given.")] = "",
    password: Annotated[str, typer.Option(prompt=True, hide_input=True, confirmation_prompt=True)] = "",
    employee: Annotated[str, typer.Option(help="Name of the employee this person is; made where it is new.")] = "",
    team: Annotated[
        list[str] | None, typer.Option(help="Team that a supervisor leads; may be repeated. Without one he sees all.")
    ] = None,
) -> None:
    """Let somebody log in."""
    from agent.store import accounts, employees, teams

    if team and role is not UserRole.SUPERVISOR:
        fail(Misconfigured("Only a supervisor leads teams.", remedy="Give --role supervisor, or no --team."))

    async def add(connection: AsyncConnection) -> None:
        employee_id = await employees.find_or_insert_employee(connection, employee) if employee else None
        number = await accounts.insert_account(connection, login, name, password, role, employee_id, all_teams=not team)
        ids = [await teams.find_or_insert_team(connection, one) for one in team or ()]
        await teams.set_supervised(connection, number, ids)

    in_database(add)
    console.print(f"{escape(login)} may log in as {role}.")


@user.command("invite")
def user_invite(
    login: str,
    role: Annotated[UserRole, typer.Option(help="What this person may do, where the account is new.")] = (
        UserRole.MANAGER
    ),
    name: Annotated[str, typer.Option(help="Name on the pages; the login unless given.")] = "",
) -> None:
    """Print a link by which somebody chooses a password, once; the account is made where there is none."""
    from agent.store import accounts, audit, invitations

    settings = read_settings()

    async def invite(connection: AsyncConnection) -> str:
        found = await accounts.find_account(connection, login)
        number = found.id if found else await accounts.insert_account(connection, login, name, None, role)
        await audit.add_entry(connection, None, audit.ACCOUNT_INVITED, {"account": accounts.normalise_login(login)})
        return await invitations.invite(connection, number)

    token = in_database(invite)
    base = settings.web.public_url.rstrip("/") or f"http://{settings.web.listen}:{settings.web.port}"
    console.print(f"{base}/invitation/{token}", highlight=False)
    hours = int(invitations.VALID.total_seconds()) // 3600
    console.print(f"It opens once within {hours} hours, and is shown only now.", highlight=False)


@user.command("list")
def user_list() -> None:
    """Everybody who may log in, or might."""
    from agent.store import accounts

    table = Table(box=None, padding=(0, 2))
    for title in ("login", "name", "role", "second factor", "last login", ""):
        table.add_column(title)
    for one in in_database(accounts.list_accounts):
        last = f"{one.last_login:%Y-%m-%d %H:%M}" if one.last_login else ""
        words = (one.login, one.name, one.role, "yes" if one.has_totp else "", last, "disabled" if one.disabled else "")
        table.add_row(*(escape(word) for word in words))
    console.print(table, soft_wrap=False)


@user.command("password")
def user_password(
    login: str,
    password: Annotated[str, typer.Option(prompt=True, hide_input=True, confirmation_prompt=True)] = "",
) -> None:
    """Give somebody another password; he is logged out everywhere."""
    from agent.store import accounts, audit

    async def change(connection: AsyncConnection) -> None:
        number = (await _found(connection, login)).id
        await accounts.save_password(connection, number, password)
        await audit.add_entry(connection, None, audit.PASSWORD_CHANGED, {"account": accounts.normalise_login(login)})

    in_database(change)
    console.print(f"{escape(login)} has another password.")


@user.command("reset-totp")
def user_reset_totp(login: str) -> None:
    """Take the second factor away: the telephone was lost. Where the role must have one, it is set up anew."""
    from agent.store import audit, logins, secondfactors

    async def reset(connection: AsyncConnection) -> bool:
        account = await _found(connection, login)
        await logins.end_logins(connection, account.id)
        await audit.add_entry(connection, None, audit.SECOND_FACTOR_RESET, {"account": account.login})
        return await secondfactors.clear_factor(connection, account.id)

    if not in_database(reset):
        fail(CardlineError(f"{login} has no second factor.", remedy="See `cardline user list`."))
    console.print(f"{escape(login)} logs in without a second factor.")


async def _found(connection: AsyncConnection, login: str) -> Account:
    from agent.store import accounts

    account = await accounts.find_account(connection, login)
    if account is None:
        raise CardlineError(f"There is no login {login}.", remedy="See `cardline user list`.")
    return account
