"""Logging in and out, and choosing language and theme."""

from __future__ import annotations

import asyncio
import secrets

import structlog
from aiohttp import web

from agent.model import UserRole
from agent.store import accounts, audit, guide, logins, passwords
from agent.web.entering import (
    ATTEMPTS,
    FORM_COOKIE,
    client_address,
    enter,
    forget_tries,
    local_target,
    may_try,
    next_step,
)
from agent.web.frame import THEME_COOKIE, THEMES
from agent.web.guard import cookie_name, is_secure
from agent.web.pages import page
from agent.web.services import LOGIN, login_of, services
from agent.web.texts import LANGUAGE_COOKIE, LANGUAGES

log = structlog.get_logger()

HASHING: web.AppKey[asyncio.Semaphore] = web.AppKey("hashing", asyncio.Semaphore)
HASHES_AT_ONCE = 4  # 64 MiB each

_YEAR_SECONDS = 365 * 24 * 3600
_LONGEST_NAME = 200
LONGEST_PASSWORD = 1000
_PROBLEMS = ("login_other_failed", "login_other_unknown")


async def home(request: web.Request) -> web.StreamResponse:
    """The list of clients is where everybody begins; an administrator of an installation into which nothing has come
    yet begins with the guide."""
    viewer = login_of(request).viewer
    if viewer.role is UserRole.ADMINISTRATOR:
        async with services(request).store.begin() as connection:
            if not await guide.has_anything_come(connection):
                raise web.HTTPSeeOther("/settings")
    raise web.HTTPSeeOther("/cards")


async def show_login(request: web.Request) -> web.StreamResponse:
    """The form; who is logged in already goes on."""
    target = local_target(request.query.get("next", "/"))
    if LOGIN in request:
        raise web.HTTPSeeOther(target)
    problem = request.query.get("problem", "")
    return _form(request, target, problem=problem if problem in _PROBLEMS else "")


async def log_in(request: web.Request) -> web.StreamResponse:
    """Check name and password; a wrong name costs and says the same as a wrong password."""
    form = await request.post()
    target = local_target(str(form.get("next", "/")))
    if not is_own_form(request, str(form.get("csrf", ""))):
        return _form(request, target, problem="login_stale", status=400)
    name = accounts.normalise_login(str(form.get("login", ""))[:_LONGEST_NAME])
    if not await may_try(request, ATTEMPTS, name):
        return _form(request, target, name=name, problem="login_too_often", status=429)
    account_id = await _check(request, name, str(form.get("password", ""))[:LONGEST_PASSWORD])
    if account_id is None:
        log.warning("login_refused", login=name, address=client_address(request), reason="wrong name or password")
        return _form(request, target, name=name, problem="login_wrong", status=403)
    await forget_tries(request, ATTEMPTS, name)
    answer = web.HTTPSeeOther(target)
    waits = await enter(request, answer, account_id)
    answer.headers["Location"] = next_step(waits, target)
    raise answer


def is_own_form(request: web.Request, token: str) -> bool:
    """Whether the form is one of ours that this browser was given, where nobody is logged in yet."""
    expected = request.cookies.get(FORM_COOKIE, "")
    return bool(expected) and secrets.compare_digest(token.encode(), expected.encode())


async def _check(request: web.Request, name: str, password: str) -> int | None:
    """Whose name and password these are, None when one is wrong. No connection is held while hashing."""
    store = services(request).store
    async with store.begin() as connection:
        known = await accounts.find_password_hash(connection, name)
    if not await is_password(request, known[1] if known else None, password) or known is None:
        return None
    if passwords.is_outdated(known[1]):
        async with request.app[HASHING]:
            renewed = await passwords.hash_password(password)
        async with store.begin() as connection:
            await accounts.save_password_hash(connection, known[0], renewed)
    return known[0]


async def is_password(request: web.Request, encoded: str | None, password: str) -> bool:
    """Whether it is the right one; costs the same where there is none to compare with."""
    async with request.app[HASHING]:
        return await passwords.matches(encoded, password)


async def log_out(request: web.Request) -> web.StreamResponse:
    """Close the login on the server; the cookie alone would not be enough."""
    name = cookie_name(request)
    async with services(request).store.begin() as connection:
        await logins.close_login(connection, request.cookies.get(name, ""))
        await audit.add_entry(connection, login_of(request).viewer.account_id, audit.LOGGED_OUT)
    answer = web.HTTPSeeOther("/login")
    answer.del_cookie(name, path="/", secure=is_secure(request), httponly=True, samesite="Lax")
    raise answer


async def choose_language(request: web.Request) -> web.StreamResponse:
    """Remember the language and go back."""
    language = request.match_info["language"]
    if language not in LANGUAGES:
        raise web.HTTPNotFound
    answer = web.HTTPSeeOther(local_target(request.query.get("next", "/")))
    answer.set_cookie(LANGUAGE_COOKIE, language, max_age=_YEAR_SECONDS, samesite="Lax", httponly=True, path="/")
    raise answer


async def choose_theme(request: web.Request) -> web.StreamResponse:
    """Remember how light the pages are to be and go back."""
    theme = request.match_info["theme"]
    if theme not in THEMES:
        raise web.HTTPNotFound
    answer = web.HTTPSeeOther(local_target(request.query.get("next", "/")))
    answer.set_cookie(THEME_COOKIE, theme, max_age=_YEAR_SECONDS, samesite="Lax", httponly=True, path="/")
    raise answer


def _form(
    request: web.Request, target: str, *, name: str = "", problem: str = "", status: int = 200
) -> web.StreamResponse:
    token = secrets.token_urlsafe(32)
    oidc = services(request).settings.web.oidc
    answer = page(
        request,
        "login.html",
        status=status,
        target=target,
        name=name,
        problem=problem,
        form_token=token,
        oidc=bool(oidc.issuer),
        oidc_label=oidc.label,
    )
    answer.set_cookie(
        FORM_COOKIE, token, httponly=True, samesite="Strict", secure=is_secure(request), path="/login", max_age=3600
    )
    return answer
