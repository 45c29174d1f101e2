"""What follows once it is known who somebody is: a login, or one that waits for its second factor."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any
from urllib.parse import quote

import structlog
from aiohttp import web

from agent.store import accounts, audit, logins
from agent.store.attempts import Attempts
from agent.web.guard import cookie_name, is_secure
from agent.web.secondfactor import is_required
from agent.web.services import services

log = structlog.get_logger()

ATTEMPTS: web.AppKey[Attempts] = web.AppKey("attempts", Attempts)
CODE_ATTEMPTS: web.AppKey[Attempts] = web.AppKey("code_attempts", Attempts)
FORM_COOKIE = "cardline_form"


async def may_try(request: web.Request, attempts: web.AppKey[Attempts], name: str) -> bool:
    """Note a try at a password or a code, in a transaction of its own: it counts whatever becomes of the request."""
    address = client_address(request)
    async with services(request).store.begin() as connection:
        allowed = await request.app[attempts].begin(connection, address, name)
    if not allowed:
        log.warning("login_refused", login=name, address=address, reason="too many attempts")
    return allowed


async def forget_tries(request: web.Request, attempts: web.AppKey[Attempts], name: str) -> None:
    """It was right."""
    async with services(request).store.begin() as connection:
        await request.app[attempts].succeeded(connection, client_address(request), name)


async def enter(
    request: web.Request,
    answer: web.StreamResponse,
    account_id: int,
    *,
    is_proved: bool = False,
    how: str = "password",
) -> str:
    """Open a login and give its token to the browser; returns what it still waits for, empty for nothing.

    ``is_proved``: the second factor was shown, or another login vouches for the person. A login that waited is closed:
    the token that was known before the last step opens nothing (session fixation).
    """
    address = client_address(request)
    async with services(request).store.begin() as connection:
        await logins.close_login(connection, request.cookies.get(cookie_name(request), ""))
        account = await accounts.find_by_id(connection, account_id)
        if account is None or account.disabled:
            raise web.HTTPForbidden
        waits = ""
        if not is_proved:
            required = logins.ENROLMENT if is_required(request, account.role) else ""
            waits = logins.CODE if account.has_totp else required
        browser = request.headers.get("User-Agent", "")
        token = await logins.open_login(connection, account_id, address=address, browser=browser, waits_for=waits)
        if not waits:
            subject: dict[str, Any] = {"address": address, "how": how}
            await audit.add_entry(connection, account_id, audit.LOGGED_IN, subject)
    longest = logins.WAITING if waits else logins.LONGEST
    answer.set_cookie(
        cookie_name(request),
        token,
        max_age=int(longest.total_seconds()),
        httponly=True,
        samesite="Lax",
        secure=is_secure(request),
        path="/",
    )
    answer.del_cookie(FORM_COOKIE, path="/login")
    return waits


_STEPS = {logins.CODE: "/login/code", logins.ENROLMENT: "/login/second-factor"}


def next_step(waits: str, target: str) -> str:
    """Where to go on."""
    return f"{_STEPS[waits]}?next={quote(target, safe='')}" if waits else target


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
