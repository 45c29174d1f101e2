"""After the password: the code of a second factor, or setting one up where the role must have one."""

from __future__ import annotations

import secrets

import structlog
from aiohttp import web

from agent.store import audit, logins
from agent.store.logins import Login
from agent.web import secondfactor, totp
from agent.web.entering import CODE_ATTEMPTS, client_address, enter, forget_tries, local_target, may_try
from agent.web.pages import page
from agent.web.services import LOGIN, WAITING, services

log = structlog.get_logger()

LONGEST_CODE = 40


def _waiting(request: web.Request, waits_for: str) -> Login:
    """The login that waits for this step; whoever has none begins anew."""
    login: Login | None = request.get(WAITING)
    if login is None or login.waits_for != waits_for:
        raise web.HTTPSeeOther("/" if LOGIN in request else "/login")
    return login


async def _typed(request: web.Request, login: Login) -> str:
    form = await request.post()
    if not secrets.compare_digest(str(form.get("csrf", "")).encode(), login.csrf_token.encode()):
        raise web.HTTPForbidden
    return str(form.get("code", ""))[:LONGEST_CODE]


async def show_code(request: web.Request) -> web.StreamResponse:
    """The form for the code."""
    return _code_form(request, _waiting(request, logins.CODE))


async def check_code(request: web.Request) -> web.StreamResponse:
    """A code of the authenticator, or one for the day on which that is lost."""
    login = _waiting(request, logins.CODE)
    typed, account_id = await _typed(request, login), login.viewer.account_id
    if not await may_try(request, CODE_ATTEMPTS, login.login):
        return _code_form(request, login, problem="login_too_often", status=429)
    async with services(request).store.begin() as connection:
        is_right = await secondfactor.is_right(request, connection, account_id, typed)
    if not is_right:
        log.warning("login_refused", login=login.login, address=client_address(request), reason="wrong code")
        return _code_form(request, login, problem="code_wrong", status=403)
    await forget_tries(request, CODE_ATTEMPTS, login.login)
    answer = web.HTTPSeeOther(_target(request))
    await enter(request, answer, account_id, is_proved=True, how="password and code")
    raise answer


async def show_enrolment(request: web.Request) -> web.StreamResponse:
    """The secret for the authenticator."""
    return await _enrolment_form(request, _waiting(request, logins.ENROLMENT))


async def confirm_enrolment(request: web.Request) -> web.StreamResponse:
    """A code shows that the authenticator has it; the recovery codes are shown once, and the login is open."""
    login = _waiting(request, logins.ENROLMENT)
    typed, account_id = await _typed(request, login), login.viewer.account_id
    if not await may_try(request, CODE_ATTEMPTS, login.login):
        return await _enrolment_form(request, login, problem="login_too_often", status=429)
    async with services(request).store.begin() as connection:
        codes = await secondfactor.confirm(request, connection, account_id, typed)
        if codes is not None:
            await audit.add_entry(connection, account_id, audit.SECOND_FACTOR_ADDED)
    if codes is None:
        return await _enrolment_form(request, login, problem="code_wrong", status=403)
    await forget_tries(request, CODE_ATTEMPTS, login.login)
    answer = page(request, "recovery_codes.html", codes=codes, target=_target(request))
    await enter(request, answer, account_id, is_proved=True, how="password and code")
    return answer


def _target(request: web.Request) -> str:
    return local_target(request.query.get("next", "/"))


def _code_form(request: web.Request, login: Login, *, problem: str = "", status: int = 200) -> web.StreamResponse:
    here = request.path_qs
    return page(request, "login_code.html", status=status, form_token=login.csrf_token, problem=problem, action=here)


async def _enrolment_form(
    request: web.Request, login: Login, *, problem: str = "", status: int = 200
) -> web.StreamResponse:
    async with services(request).store.begin() as connection:
        secret = await secondfactor.begin(request, connection, login.viewer.account_id)
    if secret is None:  # confirmed in another window meanwhile: log in with it
        raise web.HTTPSeeOther("/login")
    return page(
        request,
        "login_enrolment.html",
        status=status,
        form_token=login.csrf_token,
        problem=problem,
        action=request.path_qs,
        secret=totp.written(secret),
        address=totp.address(secret, login.login),
    )
