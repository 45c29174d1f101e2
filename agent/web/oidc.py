"""Logging in through an OpenID Connect provider: its groups say who may come in, as what, for which teams."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime

import structlog
from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.errors import CardlineError
from agent.model import Identity, IdentityKind, UserRole
from agent.settings_oidc import OidcSettings
from agent.store import accounts, audit, employees, teams
from agent.store.accounts import Account
from agent.web.entering import enter, local_target
from agent.web.guard import is_secure
from agent.web.openid import Asked, Person, Provider
from agent.web.services import services

log = structlog.get_logger()

PROVIDER: web.AppKey[Provider] = web.AppKey("provider", Provider)
_MINUTES = 10
_RANK = (UserRole.ADMINISTRATOR, UserRole.SUPERVISOR, UserRole.MANAGER)


def _cookie(request: web.Request) -> str:
    return "__Host-cardline_oidc" if is_secure(request) else "cardline_oidc"


def _back(request: web.Request) -> str:
    base = services(request).settings.web.public_url.rstrip("/") or str(request.url.origin())
    return f"{base}/login/oidc/back"


def _provider(request: web.Request) -> Provider:
    if not services(request).settings.web.oidc.issuer:
        raise web.HTTPNotFound
    return request.app[PROVIDER]


async def go_to_provider(request: web.Request) -> web.StreamResponse:
    """Send the browser there; what has to come back stays in its cookie."""
    asked = Asked.new(local_target(request.query.get("next", "/")))
    try:
        address = await _provider(request).address(asked, _back(request))
    except CardlineError as error:
        raise _failed(str(error)) from error
    answer = web.HTTPSeeOther(address)
    answer.set_cookie(
        _cookie(request),
        asked.to_cookie(),
        max_age=_MINUTES * 60,
        httponly=True,
        samesite="Lax",
        secure=is_secure(request),
        path="/",
    )
    raise answer


def _failed(reason: str, problem: str = "login_other_failed") -> web.HTTPSeeOther:
    log.warning("login_refused", how="oidc", reason=reason[:300])
    return web.HTTPSeeOther(f"/login?problem={problem}")


async def come_back(request: web.Request) -> web.StreamResponse:
    """The browser is back with a code: ask the provider whose it is, and let him in if his groups allow it."""
    provider = _provider(request)
    asked = Asked.from_cookie(request.cookies.get(_cookie(request), ""))
    state, code = request.query.get("state", ""), request.query.get("code", "")
    if asked is None or not secrets.compare_digest(state.encode(), asked.state.encode()):
        raise _failed("the answer is not to a request of this browser")
    if not code or len(code) > 4000:
        raise _failed(f"no code: {request.query.get('error', '')[:100]}")
    try:
        person = await provider.find_person(asked, code, _back(request))
    except CardlineError as error:
        raise _failed(str(error)) from error
    role = role_of(person, services(request).settings.web.oidc)
    if role is None:
        raise _failed("no group of his has a role", "login_other_unknown")
    async with services(request).store.begin() as connection:
        account_id = await _settle(connection, person, role, services(request).settings.web.oidc)
    if account_id is None:
        raise _failed("disabled, or the name is another account's", "login_other_unknown")
    answer = web.HTTPSeeOther(local_target(asked.target))
    await enter(request, answer, account_id, is_proved=True, how="openid connect")
    answer.del_cookie(_cookie(request), path="/", secure=is_secure(request), httponly=True, samesite="Lax")
    raise answer


def role_of(person: Person, settings: OidcSettings) -> UserRole | None:
    """The highest of the roles that somebody's groups give."""
    given = {UserRole(role) for group, role in settings.roles.items() if group in person.groups}
    return next((one for one in _RANK if one in given), None)


async def _settle(connection: AsyncConnection, person: Person, role: UserRole, settings: OidcSettings) -> int | None:
    """The account of a person, made at the first login and brought in line with his groups at each.

    One that was made by hand is his where it has his name and no password: an account with a password is never taken
    over because somebody at the provider is called the same.
    """
    account = await accounts.find_by_subject(connection, person.subject)
    if account is None:
        account = await accounts.find_account(connection, person.login)
        if account is not None and (account.has_password or account.is_external):
            return None
        if account is None:
            number = await accounts.insert_account(connection, person.login, person.name, None, role)
            await audit.add_entry(connection, number, audit.ACCOUNT_ADDED, {"account": person.login, "how": "oidc"})
            account = await accounts.find_by_id(connection, number)
            assert account is not None
        await accounts.save_subject(connection, account.id, person.subject)
    if account.disabled:
        return None
    await _align(connection, account, person, role, settings)
    return account.id


async def _align(
    connection: AsyncConnection, account: Account, person: Person, role: UserRole, settings: OidcSettings
) -> None:
    """Role, employee and teams as the groups have them now."""
    employee_id = account.employee_id
    if employee_id is None and person.email:
        mine = Identity(kind=IdentityKind.ADDRESS, value=person.email)
        held = [one for one in await employees.find_holders(connection, [mine]) if one.is_valid(datetime.now(UTC))]
        employee_id = held[0].employee_id if len(held) == 1 else None
    names = sorted({team for group, team in settings.teams.items() if group in person.groups})
    all_teams = role is not UserRole.SUPERVISOR or not settings.teams
    if (account.role, account.employee_id, account.all_teams) != (role, employee_id, all_teams):
        is_done = await accounts.change_account(
            connection, account.id, name=account.name, role=role, employee_id=employee_id, all_teams=all_teams
        )
        after = {"role": role.value, "employee_id": employee_id}
        if is_done:
            subject = {"account": account.login, "how": "oidc", "after": after}
            await audit.add_entry(connection, account.id, audit.ACCOUNT_CHANGED, subject)
    ids = [await teams.find_or_insert_team(connection, name) for name in names]
    if role is UserRole.SUPERVISOR:
        await teams.set_supervised(connection, account.id, ids)
    elif role is UserRole.MANAGER and employee_id is not None and settings.teams:
        mapped = {await teams.find_or_insert_team(connection, name) for name in set(settings.teams.values())}
        await teams.set_membership(connection, employee_id, mapped & set(ids), of=mapped)
