"""What stands before every handler: the table of routes, the login, the role, the form's token, and the headers."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from urllib.parse import quote

import structlog
from aiohttp import web

from agent.errors import BlobErased, CardlineError, Unavailable
from agent.model import UserRole
from agent.store import logins, tokens
from agent.store.logins import Login
from agent.store.rights import Viewer
from agent.web.pages import page
from agent.web.problems import is_api, problem, problem_of
from agent.web.services import LOGIN, TOKEN, WAITING, services

log = structlog.get_logger()

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

EVERYBODY = frozenset(UserRole)
SUPERVISORS = frozenset({UserRole.ADMINISTRATOR, UserRole.SUPERVISOR})
ADMINISTRATORS = frozenset({UserRole.ADMINISTRATOR})

# A page runs our scripts and styles only; the iframe of a mail is the one thing it may frame.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self'; "
    "connect-src 'self'; frame-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


@dataclass(frozen=True, slots=True)
class Route:
    """One line of the table: who may call it.

    ``roles`` None means public, no login needed. ``recognises`` False spares the look-up of the login where nothing
    depends on it, so that such an answer needs no database. ``scope`` is what an API token needs to call it instead of
    a login; routes without one take no tokens. ``largest`` is the most bytes of a form that brings a file. ``whole``:
    it shows or changes what is the whole company's, so a supervisor of some teams may not call it.
    """

    method: str
    path: str
    handler: Handler
    roles: frozenset[UserRole] | None
    recognises: bool = True
    scope: str = ""
    largest: int = 0
    whole: bool = False

    def admits(self, viewer: Viewer) -> bool:
        """Whether he may call it."""
        return self.roles is None or (viewer.role in self.roles and (viewer.sees_all or not self.whole))


ROUTES: web.AppKey[Mapping[tuple[str, str], Route]] = web.AppKey("routes", Mapping)


def cookie_name(request: web.Request) -> str:
    """Over HTTPS the browser itself guarantees that nobody else set it (RFC 6265bis section 4.1.3.2)."""
    return "__Host-cardline_session" if is_secure(request) else "cardline_session"


def is_secure(request: web.Request) -> bool:
    """Whether people reach the pages over HTTPS."""
    return services(request).settings.web.public_url.startswith("https://")


async def set_headers(request: web.Request, response: web.StreamResponse) -> None:
    """The headers of every answer, streamed ones too; a handler may have set a policy of its own."""
    response.headers.setdefault("Content-Security-Policy", PAGE_POLICY)
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    if is_secure(request):
        response.headers.setdefault("Strict-Transport-Security", "max-age=31536000")


@web.middleware
async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Whatever goes wrong becomes a page that says what to do, without inner details."""
    try:
        return await handler(request)
    except web.HTTPRedirection:
        raise
    except web.HTTPException as error:
        return problem_of(request, error) if is_api(request) else _error_page(request, error.status)
    except Unavailable as error:
        log.warning("page_unavailable", path=_where(request), reason=str(error))
        answer = _error_page(request, 503)
        answer.headers["Retry-After"] = "30"
        return answer
    except BlobErased as error:
        return _error_page(request, 410, lead=str(error))
    except CardlineError as error:
        log.error("page_failed", path=_where(request), error=str(error))  # noqa: TRY400 - the text says what to do
        return _error_page(request, 500, lead=error.remedy)
    except ConnectionResetError:
        raise
    except Exception:
        log.exception("page_failed", path=_where(request))
        return _error_page(request, 500)


def _where(request: web.Request) -> str:
    """The route without what fills it in: the address of a shared recording, or of a hook, is a secret."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else request.path[:200]


def _error_page(request: web.Request, status: int, *, lead: str = "") -> web.Response:
    if is_api(request):
        return problem(request, status, lead)
    known = status if status in (403, 404, 409, 410, 503, 500) else 400
    return page(request, "error.html", status=status, known=known, lead=lead)


@web.middleware
async def check_rights(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Nothing runs that is not in the table, and nothing of the table without its role."""
    resource = request.match_info.route.resource
    route = request.app[ROUTES].get((request.method, resource.canonical if resource is not None else ""))
    if route is None:
        raise request.match_info.http_exception or web.HTTPNotFound
    if route.scope and (token := _bearer(request)) is not None:
        await _admit_token(request, token, route)
        return await handler(request.clone(client_max_size=route.largest) if route.largest else request)
    if route.recognises:
        await _recognise(request)
    if route.roles is not None:
        login = request.get(LOGIN)
        if login is None:
            return _ask_to_log_in(request)
        if not route.admits(login.viewer):
            raise web.HTTPForbidden
        if route.largest:
            request = request.clone(client_max_size=route.largest)
        if request.method not in ("GET", "HEAD"):
            await _check_token(request, login.csrf_token)
    return await handler(request)


async def login_stands(request: web.Request) -> bool:
    """For answers that go on for long: whether the login they began under still stands, with the rights of then. An
    answer that ends because a team has changed is asked for again by the page, and begins with those of now.

    Asking does not prolong it. Where the database is away nobody knows, and the answer goes on.
    """
    bearer, in_team = _bearer(request) if TOKEN in request else None, managers_see_team(request)
    try:
        async with services(request).store.begin() as connection:
            if bearer is not None:
                token = await tokens.find_token(connection, bearer, managers_see_team=in_team)
                return token is not None and token.viewer == request[TOKEN].viewer
            cookie = request.cookies.get(cookie_name(request), "")
            login = await logins.find_login(connection, cookie, managers_see_team=in_team, prolong=False)
            return login is not None and not login.waits_for and login.viewer == request[LOGIN].viewer
    except Unavailable:
        return True


def _bearer(request: web.Request) -> str | None:
    """The token that a program shows (RFC 6750 section 2.1)."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


async def _admit_token(request: web.Request, text: str, route: Route) -> None:
    """A token needs no form's token: no browser sends it along by itself. It has the role of its account."""
    async with services(request).store.begin() as connection:
        token = await tokens.find_token(connection, text, managers_see_team=managers_see_team(request))
    if token is None:
        raise web.HTTPUnauthorized(text="The token is unknown or revoked.")
    if route.scope not in token.scopes:
        raise web.HTTPForbidden(text=f"The token lacks the scope {route.scope}.")
    if not route.admits(token.viewer):
        raise web.HTTPForbidden(text=f"The token has the rights of a {token.viewer.role.value}.")
    request[TOKEN] = token
    name = f"token {token.name}"
    request[LOGIN] = Login(viewer=token.viewer, login=name, name=name, csrf_token="")


async def _recognise(request: web.Request) -> None:
    token = request.cookies.get(cookie_name(request), "")
    if token:
        async with services(request).store.begin() as connection:
            in_team = managers_see_team(request)
            login = await logins.find_login(connection, token, managers_see_team=in_team, commit=True)
        if login is not None:
            request[WAITING if login.waits_for else LOGIN] = login


def managers_see_team(request: web.Request) -> bool:
    """Whether a manager sees what his colleagues of the team see."""
    return services(request).settings.web.managers_see == "team"


def _ask_to_log_in(request: web.Request) -> web.Response:
    """A person is sent to the login and back; a player or a script is told plainly."""
    if is_api(request):
        return problem(request, 401, "Send a token: Authorization: Bearer …")
    if request.method == "GET" and "text/html" in request.headers.get("Accept", ""):
        raise web.HTTPSeeOther(f"/login?next={quote(request.path_qs, safe='')}")
    return web.Response(status=401, text="log in first\n")


async def _check_token(request: web.Request, expected: str) -> None:
    given: object = request.headers.get("X-CSRF-Token", "")
    if not given:
        given = (await request.post()).get("csrf", "")
    if not isinstance(given, str) or not secrets.compare_digest(given.encode(), expected.encode()):
        raise web.HTTPForbidden(text="Send the page's token in the header X-CSRF-Token.")
