"""The specification for programs, and the page that is built from it for people."""

from __future__ import annotations

import asyncio
import re
from http import HTTPStatus

from aiohttp import web
from markupsafe import Markup, escape

from agent.web.api import spec
from agent.web.api.answers import answer_bytes
from agent.web.pages import page
from agent.web.problems import kind_of
from agent.web.services import services

KINDS = ("cursor", "changed", "merged", "idempotency-key")  # beside those that are named as their status
_STATUSES = (400, 401, 403, 404, 405, 409, 410, 412, 413, 415, 422, 429, 500, 503)
_CODE = re.compile(r"`([^`]+)`")
_STRONG = re.compile(r"\*\*([^*]+)\*\*")


async def send_yaml(request: web.Request) -> web.StreamResponse:
    """As it was written."""
    return await answer_bytes(request, await asyncio.to_thread(spec.raw), "application/yaml")


async def send_json(request: web.Request) -> web.StreamResponse:
    """The same as JSON."""
    return await answer_bytes(request, await asyncio.to_thread(spec.as_json), "application/json")


async def show_docs(request: web.Request) -> web.StreamResponse:
    """A reference of every call, with an example each."""
    operations = await asyncio.to_thread(spec.operations)
    told = spec.load()
    groups = [
        (tag["name"], words(tag["description"]), [one for one in operations if one.tag == tag["name"]])
        for tag in told["tags"]
    ]
    return page(
        request,
        "api.html",
        groups=groups,
        lead=[words(one) for one in told["info"]["description"].strip().split("\n\n")],
        words=words,
        address=services(request).settings.web.public_url or f"{request.scheme}://{request.host}",
        problems=[(kind_of(one), str(one)) for one in _STATUSES] + [(one, "") for one in KINDS],
        phrases={kind_of(one): HTTPStatus(one).description for one in _STATUSES},
    )


def words(text: str) -> Markup:
    """A paragraph of the specification: code and emphasis are marked, everything else is escaped."""
    safe = str(escape(" ".join(text.split())))
    return Markup(_STRONG.sub(r"<strong>\1</strong>", _CODE.sub(r"<code>\1</code>", safe)))  # noqa: S704 - escaped
