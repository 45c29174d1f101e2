"""What a request asks, checked before anything is done: its query, its JSON, its preconditions."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar

from aiohttp import web
from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from agent.web.problems import Refused
from agent.web.retention import LONGEST_MONTHS

LARGEST_LIMIT = 200
_JSON_TYPES = ("application/json", "application/merge-patch+json")
_DEEPEST = "The body is nested too deeply."
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)")
_SHOWN_FAULTS = 20


class Asked(BaseModel):
    """The base of every query and body: nothing that is not known, no guessing of types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


AskedT = TypeVar("AskedT", bound=Asked)


def _whole(value: object) -> object:
    """JSON knows one sort of number: 1.0 is whole."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _number(value: object) -> object:
    """Of a query, where everything is text."""
    return int(value) if isinstance(value, str) and value.isascii() and value.isdecimal() else value


def _moment(value: object) -> object:
    if not isinstance(value, str) or not _RFC3339.fullmatch(value):
        raise ValueError("write a time as RFC 3339 does, such as 2026-11-22T10:00:00+03:00")
    return datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", value.upper()))


def _flag(value: object) -> object:
    return {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value


def _line(text: str) -> str:
    """Without what no database keeps, its spaces as one."""
    plain = " ".join(text.replace("\0", " ").split())
    if not plain:
        raise ValueError("it is empty")
    return plain


def _words(text: str) -> str:
    plain = text.replace("\0", " ").strip()
    if not plain:
        raise ValueError("it is empty")
    return plain


_LARGEST_ID = 10**18 - 1
Id = Annotated[int, BeforeValidator(_whole), Field(ge=1, le=_LARGEST_ID)]
QueryId = Annotated[int, BeforeValidator(_number), Field(ge=1, le=_LARGEST_ID)]
QueryAccount = Annotated[int, BeforeValidator(_number), Field(ge=0, le=_LARGEST_ID)]
Limit = Annotated[int, BeforeValidator(_number), Field(ge=1, le=LARGEST_LIMIT)]
Months = Annotated[int, BeforeValidator(_whole), Field(ge=1, le=LONGEST_MONTHS)]
QueryMonths = Annotated[int, BeforeValidator(_number), Field(ge=1, le=LONGEST_MONTHS)]
Moment = Annotated[AwareDatetime, BeforeValidator(_moment)]
Flag = Annotated[bool, BeforeValidator(_flag)]
Line = Annotated[str, Field(max_length=200), AfterValidator(_line)]
Contact = Annotated[str, Field(max_length=320), AfterValidator(_line)]
Short = Annotated[str, Field(max_length=100)]
Words = Annotated[str, Field(max_length=5000), AfterValidator(_words)]
Cursor = Annotated[str, Field(max_length=100)]
CardKind = Literal["person", "company"]


class Page(Asked):
    """The query of a list without filters."""

    cursor: Cursor = ""
    limit: Limit = 50


def read_query(request: web.Request, model: type[AskedT]) -> AskedT:
    """The query as ``model`` has it.

    Raises:
        Refused: a parameter is unknown, given twice or wrong (400).
    """
    given: dict[str, Any] = {}
    for name, value in request.query.items():
        if name in given:
            raise Refused(400, f"The parameter {name[:50]} is given twice.", faults=[(name[:50], "given twice")])
        given[name] = value.replace("\0", "")
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise Refused(400, "The query is wrong.", faults=_faults(error, lambda place: place)) from None


async def read_body(request: web.Request, model: type[AskedT]) -> AskedT:
    """The JSON of the body as ``model`` has it.

    Raises:
        Refused: it is not JSON (400, 415), or not what is wanted here (422).
    """
    content = await read_json(request)
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise Refused(422, "The body is not what is wanted here.", faults=_faults(error, _pointer)) from None
    except (ValueError, OverflowError):  # a number beyond all sense
        raise Refused(422, "The body is not what is wanted here.") from None


async def read_json(request: web.Request) -> object:
    """Whatever JSON there is.

    Raises:
        Refused: there is none.
    """
    if request.content_type not in _JSON_TYPES:
        raise Refused(415, "Send JSON, with Content-Type: application/json.")
    raw = await request.read()
    try:
        return json.loads(raw.decode("utf-8"), parse_constant=_refuse_constant)
    except RecursionError:
        raise Refused(400, _DEEPEST) from None
    except (UnicodeDecodeError, ValueError):
        raise Refused(400, "The body is not JSON in UTF-8.") from None


def _refuse_constant(name: str) -> float:
    raise ValueError(name)


def _pointer(place: str) -> str:
    return f"/{place}" if place else ""


def _faults(error: ValidationError, named: Callable[[str], str]) -> list[tuple[str, str]]:
    found = []
    for one in error.errors(include_url=False, include_context=False, include_input=False)[:_SHOWN_FAULTS]:
        place = "/".join(str(part)[:50].replace("~", "~0").replace("/", "~1") for part in one["loc"])
        found.append((named(place), one["msg"]))
    return found
