"""Errors for programs: problem details as JSON (RFC 9457). Pages have `error.html`; the API under /api has this."""

from __future__ import annotations

import json
from http import HTTPStatus

from aiohttp import web

API = "/api/"


def is_api(request: web.Request) -> bool:
    """Whether a program asks, which wants its errors as JSON."""
    return request.path.startswith(API)


def problem(status: int, detail: str = "") -> web.Response:
    """The answer to a request that failed; ``detail`` is a sentence for the person who wrote the program."""
    content = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status}
    if detail:
        content["detail"] = detail
    answer = web.Response(body=json.dumps(content).encode(), status=status, content_type="application/problem+json")
    answer.headers["Cache-Control"] = "no-store"
    if status == HTTPStatus.UNAUTHORIZED:
        answer.headers["WWW-Authenticate"] = "Bearer"
    return answer


def detail_of(error: web.HTTPException) -> str:
    """The sentence a handler gave with its exception; aiohttp's own default says nothing new."""
    text = error.text or ""
    return "" if text == f"{error.status}: {error.reason}" else text
