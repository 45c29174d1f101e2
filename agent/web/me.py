"""One's own account: password, second factor, and where one is logged in."""

from __future__ import annotations

import re
from typing import Any

from aiohttp import web

from agent.errors import Misconfigured
from agent.store import accounts, audit, logins, secondfactors, teams
from agent.web import secondfactor, totp
from agent.web.entering import ATTEMPTS, CODE_ATTEMPTS, forget_tries, may_try
from agent.web.guard import cookie_name
from agent.web.login import HASHING, LONGEST_PASSWORD, is_password
from agent.web.pages import page
from agent.web.secondstep import LONGEST_CODE
from agent.web.services import login_of, services

_REFERENCE = re.compile(r"[0-9a-f]{64}")
# What a browser calls itself → what people call it; the first that fits, for each claims to be its ancestors too.
_BROWSERS = (
    ("YaBrowser/", "Yandex"),
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
)
_SYSTEMS = (
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("Linux", "Linux"),
)
_DONE = ("password_changed", "factor_removed", "login_ended")


async def show_me(request: web.Request) -> web.StreamResponse:
    """The page."""
    return await _me(request, problem="code_wrong" if request.query.get("problem") == "code_wrong" else "", at="factor")


async def _me(request: web.Request, *, problem: str = "", at: str = "", secret: bytes | None = None) -> web.Response:
    """The page with what was wrong ``at`` one of its parts; ``secret`` of a factor that is being set up."""
    login = login_of(request)
    async with services(request).store.begin() as connection:
        account = await accounts.find_by_id(connection, login.viewer.account_id)
        factor = await secondfactors.find_factor(connection, login.viewer.account_id)
        token = request.cookies.get(cookie_name(request), "")
        found = await logins.list_logins(connection, login.viewer.account_id, token=token)
        supervised = await teams.list_supervised(connection, login.viewer.account_id)
        names = [one.name for one in await teams.list_teams(connection) if one.id in supervised]
    done = request.query.get("done", "")
    return page(
        request,
        "me.html",
        status=400 if problem else 200,
        account=account,
        factor=factor if factor is not None and factor.since is not None else None,
        is_required=secondfactor.is_required(request, login.viewer.role),
        logins=found,
        browser_name=browser_name,
        teams=() if login.viewer.sees_all else names,
        problem=problem,
        at=at,
        secret=totp.written(secret) if secret is not None else "",
        address=totp.address(secret, login.login) if secret is not None else "",
        done=done if done in _DONE else "",
    )


def browser_name(text: str) -> str:
    """A browser and its machine as people call them, from what it says of itself; what is no browser as it is."""
    program = next((name for mark, name in _BROWSERS if mark in text), "")
    system = next((name for mark, name in _SYSTEMS if mark in text), "")
    return " · ".join(one for one in (program, system) if one) if program else text[:80]


async def _field(request: web.Request, name: str, longest: int) -> str:
    return str((await request.post()).get(name, ""))[:longest]


async def change_password(request: web.Request) -> web.StreamResponse:
    """Another password, by whoever knows the present one; everywhere else one is logged out."""
    login = login_of(request)
    account_id = login.viewer.account_id
    if not await _knows_password(request):
        return await _me(request, problem="password_wrong", at="password")
    wanted = await _field(request, "wanted", LONGEST_PASSWORD)
    if wanted != await _field(request, "again", LONGEST_PASSWORD):
        return await _me(request, problem="password_differs", at="password")
    try:
        async with request.app[HASHING]:
            encoded = await accounts.checked_hash(wanted)
    except Misconfigured:
        return await _me(request, problem="password_short", at="password")
    async with services(request).store.begin() as connection:
        await accounts.save_password_hash(connection, account_id, encoded)
        await logins.end_logins(connection, account_id, but_token=request.cookies.get(cookie_name(request), ""))
        await audit.add_entry(connection, account_id, audit.PASSWORD_CHANGED)
    raise web.HTTPSeeOther("/me?done=password_changed")


async def _knows_password(request: web.Request) -> bool:
    """Whether the form has the present password: an unattended screen must not be enough. Guessing is counted."""
    login = login_of(request)
    if not await may_try(request, ATTEMPTS, login.login):
        raise web.HTTPTooManyRequests
    async with services(request).store.begin() as connection:
        encoded = await accounts.find_hash(connection, login.viewer.account_id)
    if not await is_password(request, encoded or None, await _field(request, "password", LONGEST_PASSWORD)):
        return False
    await forget_tries(request, ATTEMPTS, login.login)
    return True


async def begin_factor(request: web.Request) -> web.StreamResponse:
    """Show a secret for an authenticator; nothing is asked for until a code has confirmed it."""
    account_id = login_of(request).viewer.account_id
    if not await _knows_password(request):
        return await _me(request, problem="password_wrong", at="factor")
    async with services(request).store.begin() as connection:
        secret = await secondfactor.begin(request, connection, account_id)
    if secret is None:
        raise web.HTTPSeeOther("/me#factor")
    return await _me(request, at="factor", secret=secret)


async def confirm_factor(request: web.Request) -> web.StreamResponse:
    """From now on a code is asked for; the recovery codes are shown this once."""
    login = login_of(request)
    if not await may_try(request, CODE_ATTEMPTS, login.login):
        raise web.HTTPTooManyRequests
    async with services(request).store.begin() as connection:
        typed = await _field(request, "code", LONGEST_CODE)
        codes = await secondfactor.confirm(request, connection, login.viewer.account_id, typed)
        secret = None
        if codes is not None:
            await audit.add_entry(connection, login.viewer.account_id, audit.SECOND_FACTOR_ADDED)
            token = request.cookies.get(cookie_name(request), "")
            await logins.end_logins(connection, login.viewer.account_id, but_token=token)
        else:
            secret = await secondfactor.begin(request, connection, login.viewer.account_id)
    if codes is None:
        return await _me(request, problem="code_wrong", at="factor", secret=secret)
    await forget_tries(request, CODE_ATTEMPTS, login.login)
    return page(request, "recovery_codes.html", codes=codes, target="/me")


async def remove_factor(request: web.Request) -> web.StreamResponse:
    """No code any more, where the role may go without; a last code proves that it is not somebody at an open screen."""
    login = login_of(request)
    if secondfactor.is_required(request, login.viewer.role):
        raise web.HTTPForbidden
    await _prove(request)
    async with services(request).store.begin() as connection:
        await secondfactors.clear_factor(connection, login.viewer.account_id)
        await audit.add_entry(connection, login.viewer.account_id, audit.SECOND_FACTOR_REMOVED)
    raise web.HTTPSeeOther("/me?done=factor_removed#factor")


async def renew_recovery_codes(request: web.Request) -> web.StreamResponse:
    """Other recovery codes; the earlier ones open nothing."""
    login = login_of(request)
    await _prove(request)
    async with services(request).store.begin() as connection:
        codes = await secondfactor.renew_codes(connection, login.viewer.account_id)
        await audit.add_entry(connection, login.viewer.account_id, audit.RECOVERY_CODES_RENEWED)
    return page(request, "recovery_codes.html", codes=codes, target="/me")


async def _prove(request: web.Request) -> None:
    """A code of the form, which is used up; else back to the page with what was wrong."""
    login = login_of(request)
    if not await may_try(request, CODE_ATTEMPTS, login.login):
        raise web.HTTPTooManyRequests
    async with services(request).store.begin() as connection:
        typed = await _field(request, "code", LONGEST_CODE)
        is_right = await secondfactor.is_right(request, connection, login.viewer.account_id, typed)
    if not is_right:
        raise web.HTTPSeeOther("/me?problem=code_wrong#factor")
    await forget_tries(request, CODE_ATTEMPTS, login.login)


async def end_logins(request: web.Request) -> web.StreamResponse:
    """Log out elsewhere: one login, or all but this one."""
    login, reference = login_of(request), await _field(request, "login", 64)
    token = request.cookies.get(cookie_name(request), "")
    if reference and not _REFERENCE.fullmatch(reference):
        raise web.HTTPBadRequest
    async with services(request).store.begin() as connection:
        account_id = login.viewer.account_id
        ended = await logins.end_logins(connection, account_id, reference=reference, but_token=token)
        subject: dict[str, Any] = {"count": ended}
        await audit.add_entry(connection, account_id, audit.LOGINS_ENDED, subject)
    raise web.HTTPSeeOther("/me?done=login_ended#logins")
