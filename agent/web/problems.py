"""Errors for programs: problem details as JSON (RFC 9457). Pages have `error.html`; the API under /api has this."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus

from aiohttp import web

API = "/api/"
MEDIA_TYPE = "application/problem+json"
_PASSED_ON = ("Allow", "Retry-After")


class Refused(Exception):
    """An answer of the API that says what was wrong with the request.

    ``kind`` names the sort of problem on the page /api, where it differs from the status; ``faults`` are pairs of a
    JSON pointer (RFC 6901) or a parameter's name, and what is wrong there.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        kind: str = "",
        faults: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.kind = status, detail, kind
        self.faults, self.headers = faults, headers or {}


def is_api(request: web.Request) -> bool:
    """Whether a program asks, which wants its errors as JSON."""
    return request.path.startswith(API)


def kind_of(status: int) -> str:
    """The name of a sort of problem that needs no other than its status: ``not-found``."""
    return HTTPStatus(status).phrase.lower().replace(" ", "-").replace("'", "")


def problem(
    request: web.Request,
    status: int,
    detail: str = "",
    *,
    kind: str = "",
    faults: Sequence[tuple[str, str]] = (),
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """The answer to a request that failed; ``detail`` is a sentence for the person who wrote the program."""
    content: dict[str, object] = {
        "type": f"/api#{kind or kind_of(status)}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail or HTTPStatus(status).description or HTTPStatus(status).phrase,
        "instance": request.path,
    }
    if faults:
        content["errors"] = [{"at": at, "detail": what} for at, what in faults]
    body = b"" if request.method == "HEAD" else json.dumps(content, ensure_ascii=False).encode("utf-8", "replace")
    answer = web.Response(body=body, status=status, content_type=MEDIA_TYPE)
    answer.headers["Cache-Control"] = "no-store"
    answer.headers.update(headers or {})
    if status == HTTPStatus.UNAUTHORIZED:
        answer.headers["WWW-Authenticate"] = "Bearer"
    return answer


def problem_of(request: web.Request, error: web.HTTPException) -> web.Response:
    """What a handler or the framework has refused, in this form."""
    headers = {name: error.headers[name] for name in _PASSED_ON if name in error.headers}
    return problem(request, error.status, detail_of(error), headers=headers)


def detail_of(error: web.HTTPException) -> str:
    """The sentence a handler gave with its exception; aiohttp's own default says nothing new."""
    text = error.text or ""
    return "" if text == f"{error.status}: {error.reason}" else text
