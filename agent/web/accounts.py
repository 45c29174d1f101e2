"""Who may log in: an administrator's pages."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.errors import Misconfigured
from agent.model import UserRole
from agent.store import accounts, audit, employees, history, invitations, logins, secondfactors, teams
from agent.store.accounts import Account
from agent.web import secondfactor
from agent.web.employees import LONGEST, account_of
from agent.web.login import HASHING, LONGEST_PASSWORD
from agent.web.pages import page
from agent.web.services import number_in, services

_DONE = ("account_changed", "account_disabled", "account_enabled", "factor_reset", "logins_ended")


async def list_accounts(request: web.Request) -> web.StreamResponse:
    """Everybody, and the form for one more."""
    return await _list(request)


async def _list(request: web.Request, *, problem: str = "") -> web.Response:
    async with services(request).store.begin() as connection:
        found = await accounts.list_accounts(connection)
        people = await employees.list_employees(connection)
        named = await teams.list_teams(connection)
    supervised = {
        one.id: [team.name for team in named if one.id in {number for number, _ in team.supervisors}] for one in found
    }
    return page(
        request,
        "accounts.html",
        status=400 if problem else 200,
        accounts=found,
        employees={one.id: one.name for one in people},
        supervised=supervised,
        roles=list(UserRole),
        problem=problem,
    )


async def text_of(request: web.Request, name: str, longest: int = LONGEST) -> str:
    """A line of the form, its spaces as one."""
    text = str((await request.post()).get(name, "")).replace("\0", "")
    return " ".join(text.split())[:longest]


async def _role(request: web.Request) -> UserRole:
    try:
        return UserRole(await text_of(request, "role"))
    except ValueError:
        raise web.HTTPBadRequest from None


async def _employee(request: web.Request, connection: AsyncConnection) -> int | None:
    text = await text_of(request, "employee")
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise web.HTTPBadRequest
    if not await history.list_employee_names(connection, [int(text)]):
        raise web.HTTPNotFound
    return int(text)


async def add_account(request: web.Request) -> web.StreamResponse:
    """Somebody more; he chooses his password by a link that is shown once."""
    login, name, role = await text_of(request, "login"), await text_of(request, "name"), await _role(request)
    try:
        async with services(request).store.begin() as connection:
            employee = await _employee(request, connection)
            number = await add(request, connection, login, name, role, employee)
    except Misconfigured:
        return await _list(request, problem="account_wrong")
    return await _invite(request, number)


async def add(
    request: web.Request, connection: AsyncConnection, login: str, name: str, role: UserRole, employee_id: int | None
) -> int:
    """The same for the API; returns the account's id.

    Raises:
        Misconfigured: the login is taken.
    """
    number = await accounts.insert_account(connection, login, name, None, role, employee_id)
    subject = {"account": accounts.normalise_login(login), "role": role.value, "employee_id": employee_id}
    await audit.add_entry(connection, account_of(request), audit.ACCOUNT_ADDED, subject)
    return number


async def show_account(request: web.Request) -> web.StreamResponse:
    """One account: what it may do, and what can be done about it."""
    problem = request.query.get("problem", "")
    return await _show(request, number_in(request), problem="last_admin" if problem == "last_admin" else "")


async def _show(request: web.Request, number: int, *, problem: str = "", link: str = "") -> web.Response:
    async with services(request).store.begin() as connection:
        account = await found_account(connection, number)
        people = await employees.list_employees(connection)
        open_now = await logins.list_logins(connection, number)
        named = await teams.list_teams(connection)
        supervised = await teams.list_supervised(connection, number)
    done = request.query.get("done", "")
    return page(
        request,
        "account.html",
        status=400 if problem else 200,
        account=account,
        employees=people,
        logins=open_now,
        teams=named,
        supervised=supervised,
        roles=list(UserRole),
        is_own=account.id == account_of(request),
        is_required=secondfactor.is_required(request, account.role),
        link=link,
        hours=int(invitations.VALID.total_seconds()) // 3600,
        problem=problem,
        done=done if done in _DONE else "",
    )


async def found_account(connection: AsyncConnection, number: int) -> Account:
    """The account of this number.

    Raises:
        HTTPNotFound: there is none.
    """
    account = await accounts.find_by_id(connection, number)
    if account is None:
        raise web.HTTPNotFound
    return account


async def change_account(request: web.Request) -> web.StreamResponse:
    """Name, role, employee, and which teams he supervises. He is logged out, so that no old right lives on."""
    number, name, role = number_in(request), await text_of(request, "name"), await _role(request)
    chosen = [str(one) for one in (await request.post()).getall("team", [])]
    ids = [int(one) for one in chosen if one.isascii() and one.isdigit() and len(one) <= 18]
    all_teams = role is not UserRole.SUPERVISOR or await text_of(request, "sees") != "teams"
    async with services(request).store.begin() as connection:
        before = await found_account(connection, number)
        employee = await _employee(request, connection)
        is_done = await change(
            request,
            connection,
            before,
            name=name or before.login,
            role=role,
            employee_id=employee,
            team_ids=None if all_teams else ids,
        )
    if not is_done:
        raise web.HTTPSeeOther(f"/accounts/{number}?problem=last_admin")
    raise web.HTTPSeeOther(f"/accounts/{number}?done=account_changed")


async def change(
    request: web.Request,
    connection: AsyncConnection,
    before: Account,
    *,
    name: str,
    role: UserRole,
    employee_id: int | None,
    team_ids: Sequence[int] | None,
) -> bool:
    """The same for the API; ``team_ids`` None: all teams. False, and nothing is changed, where no administrator would
    be left."""
    is_done = await accounts.change_account(
        connection, before.id, name=name, role=role, employee_id=employee_id, all_teams=team_ids is None
    )
    if is_done:
        await teams.set_supervised(connection, before.id, team_ids or [])
        told: object = "all" if team_ids is None else list(team_ids)
        after = {"role": role.value, "employee_id": employee_id, "teams": told}
        subject = {"account": before.login, "before": {"role": before.role.value}, "after": after}
        await audit.add_entry(connection, account_of(request), audit.ACCOUNT_CHANGED, subject)
    return is_done


async def disable_account(request: web.Request) -> web.StreamResponse:
    """Shut out at once, or let in again."""
    number, disabled = number_in(request), await text_of(request, "disabled") == "yes"
    async with services(request).store.begin() as connection:
        account = await found_account(connection, number)
        is_done = await disable(request, connection, account, disabled=disabled)
    if not is_done:
        raise web.HTTPSeeOther(f"/accounts/{number}?problem=last_admin")
    raise web.HTTPSeeOther(f"/accounts/{number}?done={'account_disabled' if disabled else 'account_enabled'}")


async def disable(request: web.Request, connection: AsyncConnection, account: Account, *, disabled: bool) -> bool:
    """The same for the API; False, and nothing is changed, where no administrator would be left."""
    is_done = await accounts.disable_account(connection, account.id, disabled=disabled)
    if is_done:
        action = audit.ACCOUNT_DISABLED if disabled else audit.ACCOUNT_ENABLED
        await audit.add_entry(connection, account_of(request), action, {"account": account.login})
    return is_done


async def invite(request: web.Request) -> web.StreamResponse:
    """A link by which somebody chooses a password, shown once."""
    return await _invite(request, number_in(request))


async def _invite(request: web.Request, number: int) -> web.Response:
    async with services(request).store.begin() as connection:
        link = await invite_by_link(request, connection, await found_account(connection, number))
    return await _show(request, number, link=link)


async def invite_by_link(request: web.Request, connection: AsyncConnection, account: Account) -> str:
    """The same for the API: the link's address, told here and nowhere again."""
    token = await invitations.invite(connection, account.id)
    await audit.add_entry(connection, account_of(request), audit.ACCOUNT_INVITED, {"account": account.login})
    base = services(request).settings.web.public_url.rstrip("/") or str(request.url.origin())
    return f"{base}/invitation/{token}"


async def reset_factor(request: web.Request) -> web.StreamResponse:
    """The telephone was lost: the second factor is taken away, and set up anew where the role must have one."""
    number = number_in(request)
    async with services(request).store.begin() as connection:
        await clear_factor(request, connection, await found_account(connection, number))
    raise web.HTTPSeeOther(f"/accounts/{number}?done=factor_reset")


async def clear_factor(request: web.Request, connection: AsyncConnection, account: Account) -> None:
    """The same for the API; he is logged out."""
    await secondfactors.clear_factor(connection, account.id)
    await logins.end_logins(connection, account.id)
    await audit.add_entry(connection, account_of(request), audit.SECOND_FACTOR_RESET, {"account": account.login})


async def end_logins(request: web.Request) -> web.StreamResponse:
    """Log somebody out everywhere."""
    number = number_in(request)
    async with services(request).store.begin() as connection:
        await log_out_everywhere(request, connection, await found_account(connection, number))
    raise web.HTTPSeeOther(f"/accounts/{number}?done=logins_ended")


async def log_out_everywhere(request: web.Request, connection: AsyncConnection, account: Account) -> None:
    """The same for the API."""
    count = await logins.end_logins(connection, account.id)
    subject = {"account": account.login, "count": count}
    await audit.add_entry(connection, account_of(request), audit.LOGINS_ENDED, subject)


async def show_invitation(request: web.Request) -> web.StreamResponse:
    """Where somebody chooses his password; the link is the proof of who he is."""
    return await _invitation(request)


async def _invitation(request: web.Request, *, problem: str = "") -> web.Response:
    async with services(request).store.begin() as connection:
        found = await invitations.find_invited(connection, request.match_info["token"])
    if found is None:
        return page(request, "invitation.html", status=404, login_name="", problem="", action="")
    return page(
        request,
        "invitation.html",
        status=400 if problem else 200,
        login_name=found[1],
        problem=problem,
        action=request.path,
    )


async def take_invitation(request: web.Request) -> web.StreamResponse:
    """The password is chosen, the link used up, every open login ended."""
    form = await request.post()
    wanted = str(form.get("wanted", ""))[:LONGEST_PASSWORD]
    if wanted != str(form.get("again", ""))[:LONGEST_PASSWORD]:
        return await _invitation(request, problem="password_differs")
    token = request.match_info["token"]
    async with services(request).store.begin() as connection:
        found = await invitations.find_invited(connection, token)
    if found is None:
        return await _invitation(request)
    try:
        async with request.app[HASHING]:
            encoded = await accounts.checked_hash(wanted)
    except Misconfigured:
        return await _invitation(request, problem="password_short")
    async with services(request).store.begin() as connection:
        number = await invitations.take_invitation(connection, token)
        if number is None:
            raise web.HTTPNotFound
        await accounts.save_password_hash(connection, number, encoded)
        await logins.end_logins(connection, number)
        await audit.add_entry(connection, number, audit.PASSWORD_CHOSEN)
    raise web.HTTPSeeOther("/login")
