"""Who may log in: an administrator's pages."""

from __future__ import annotations

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
            number = await accounts.insert_account(connection, login, name, None, role, employee)
            subject = {"account": accounts.normalise_login(login), "role": role.value, "employee_id": employee}
            await audit.add_entry(connection, account_of(request), audit.ACCOUNT_ADDED, subject)
    except Misconfigured:
        return await _list(request, problem="account_wrong")
    return await _invite(request, number)


async def show_account(request: web.Request) -> web.StreamResponse:
    """One account: what it may do, and what can be done about it."""
    problem = request.query.get("problem", "")
    return await _show(request, number_in(request), problem="last_admin" if problem == "last_admin" else "")


async def _show(request: web.Request, number: int, *, problem: str = "", link: str = "") -> web.Response:
    async with services(request).store.begin() as connection:
        account = await _found(connection, number)
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


async def _found(connection: AsyncConnection, number: int) -> Account:
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
        before = await _found(connection, number)
        employee = await _employee(request, connection)
        is_done = await accounts.change_account(
            connection, number, name=name or before.login, role=role, employee_id=employee, all_teams=all_teams
        )
        if is_done:
            await teams.set_supervised(connection, number, [] if all_teams else ids)
            after = {"role": role.value, "employee_id": employee, "teams": "all" if all_teams else ids}
            subject = {"account": before.login, "before": {"role": before.role.value}, "after": after}
            await audit.add_entry(connection, account_of(request), audit.ACCOUNT_CHANGED, subject)
    if not is_done:
        raise web.HTTPSeeOther(f"/accounts/{number}?problem=last_admin")
    raise web.HTTPSeeOther(f"/accounts/{number}?done=account_changed")


async def disable_account(request: web.Request) -> web.StreamResponse:
    """Shut out at once, or let in again."""
    number, disabled = number_in(request), await text_of(request, "disabled") == "yes"
    async with services(request).store.begin() as connection:
        account = await _found(connection, number)
        is_done = await accounts.disable_account(connection, number, disabled=disabled)
        if is_done:
            action = audit.ACCOUNT_DISABLED if disabled else audit.ACCOUNT_ENABLED
            await audit.add_entry(connection, account_of(request), action, {"account": account.login})
    if not is_done:
        raise web.HTTPSeeOther(f"/accounts/{number}?problem=last_admin")
    raise web.HTTPSeeOther(f"/accounts/{number}?done={'account_disabled' if disabled else 'account_enabled'}")


async def invite(request: web.Request) -> web.StreamResponse:
    """A link by which somebody chooses a password, shown once."""
    return await _invite(request, number_in(request))


async def _invite(request: web.Request, number: int) -> web.Response:
    async with services(request).store.begin() as connection:
        account = await _found(connection, number)
        token = await invitations.invite(connection, number)
        await audit.add_entry(connection, account_of(request), audit.ACCOUNT_INVITED, {"account": account.login})
    base = services(request).settings.web.public_url.rstrip("/") or str(request.url.origin())
    return await _show(request, number, link=f"{base}/invitation/{token}")


async def reset_factor(request: web.Request) -> web.StreamResponse:
    """The telephone was lost: the second factor is taken away, and set up anew where the role must have one."""
    number = number_in(request)
    async with services(request).store.begin() as connection:
        account = await _found(connection, number)
        await secondfactors.clear_factor(connection, number)
        await logins.end_logins(connection, number)
        await audit.add_entry(connection, account_of(request), audit.SECOND_FACTOR_RESET, {"account": account.login})
    raise web.HTTPSeeOther(f"/accounts/{number}?done=factor_reset")


async def end_logins(request: web.Request) -> web.StreamResponse:
    """Log somebody out everywhere."""
    number = number_in(request)
    async with services(request).store.begin() as connection:
        account = await _found(connection, number)
        count = await logins.end_logins(connection, number)
        subject = {"account": account.login, "count": count}
        await audit.add_entry(connection, account_of(request), audit.LOGINS_ENDED, subject)
    raise web.HTTPSeeOther(f"/accounts/{number}?done=logins_ended")


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
