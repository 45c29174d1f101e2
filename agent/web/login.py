"""Logging in and out, and choosing the language."""

from __future__ import annotations

import asyncio
import secrets
from ipaddress import ip_address

import structlog
from aiohttp import web

from agent.store import accounts, audit, logins, passwords
from agent.web.attempts import Attempts
from agent.web.frame import THEME_COOKIE, THEMES
from agent.web.guard import cookie_name, is_secure
from agent.web.pages import page
from agent.web.services import LOGIN, login_of, services
from agent.web.texts import LANGUAGE_COOKIE, LANGUAGES

log = structlog.get_logger()

ATTEMPTS: web.AppKey[Attempts] = web.AppKey("attempts", Attempts)
HASHING: web.AppKey[asyncio.Semaphore] = web.AppKey("hashing", asyncio.Semaphore)
HASHES_AT_ONCE = 4  # 64 MiB each

_FORM_COOKIE = "cardline_form"
_YEAR_SECONDS = 365 * 24 * 3600
_LONGEST_NAME = 200
_LONGEST_PASSWORD = 1000


async def home(request: web.Request) -> web.StreamResponse:
    """The list of clients is where everybody begins."""
    raise web.HTTPSeeOther("/cards")


async def show_login(request: web.Request) -> web.StreamResponse:
    """The form; who is logged in already goes on."""
    target = local_target(request.query.get("next", "/"))
    if LOGIN in request:
        raise web.HTTPSeeOther(target)
    return _form(request, target)


async def log_in(request: web.Request) -> web.StreamResponse:
    """Check name and password; a wrong name costs and says the same as a wrong password."""
    form = await request.post()
    target = local_target(str(form.get("next", "/")))
    token, expected = str(form.get("csrf", "")), request.cookies.get(_FORM_COOKIE, "")
    if not expected or not secrets.compare_digest(token.encode(), expected.encode()):
        return _form(request, target, problem="login_stale", status=400)
    name = accounts.normalise_login(str(form.get("login", ""))[:_LONGEST_NAME])
    attempts, address = request.app[ATTEMPTS], client_address(request)
    if not attempts.is_allowed(address, name):
        log.warning("login_refused", login=name, address=address, reason="too many attempts")
        return _form(request, target, name=name, problem="login_too_often", status=429)
    attempts.failed(address, name)
    session = await _open(request, name, str(form.get("password", ""))[:_LONGEST_PASSWORD])
    if session is None:
        log.warning("login_refused", login=name, address=address, reason="wrong name or password")
        return _form(request, target, name=name, problem="login_wrong", status=403)
    attempts.succeeded(address, name)
    answer = web.HTTPSeeOther(target)
    answer.set_cookie(
        cookie_name(request),
        session,
        max_age=int(logins.LONGEST.total_seconds()),
        httponly=True,
        samesite="Lax",
        secure=is_secure(request),
        path="/",
    )
    answer.del_cookie(_FORM_COOKIE, path="/login")
    raise answer


async def _open(request: web.Request, name: str, password: str) -> str | None:
    """The token of a new login, None when name or password is wrong. No connection is held while hashing."""
    store = services(request).store
    async with store.begin() as connection:
        known = await accounts.find_password_hash(connection, name)
    async with request.app[HASHING]:
        is_right = await passwords.matches(known[1] if known else None, password)
        renewed = await passwords.hash_password(password) if is_right and known and _is_old(known[1]) else None
    if known is None or not is_right:
        return None
    async with store.begin() as connection:
        if renewed is not None:
            await accounts.save_password_hash(connection, known[0], renewed)
        await audit.add_entry(connection, known[0], audit.LOGGED_IN, {"address": client_address(request)})
        return await logins.open_login(connection, known[0])


def _is_old(encoded: str) -> bool:
    return passwords.is_outdated(encoded)


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
    answer = page(request, "login.html", status=status, target=target, name=name, problem=problem, form_token=token)
    answer.set_cookie(
        _FORM_COOKIE, token, httponly=True, samesite="Strict", secure=is_secure(request), path="/login", max_age=3600
    )
    return answer


def local_target(wanted: str) -> str:
    """Where to go on: a path of ours, never another site (``//host``, ``/\\host`` and control characters included)."""
    is_local = wanted.startswith("/") and not wanted.startswith("//") and wanted.isprintable() and "\\" not in wanted
    return wanted if is_local and not wanted.startswith(("/login", "/language", "/theme")) else "/"


def client_address(request: web.Request) -> str:
    """Who asks: the peer, or whom the reverse proxy on this machine saw last."""
    peer = request.remote or ""
    if is_loopback(peer) and (seen := request.headers.get("X-Forwarded-For", "").rpartition(",")[2].strip()):
        return seen[:64]
    return peer


def is_loopback(address: str) -> bool:
    """Whether this is our own machine."""
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False
