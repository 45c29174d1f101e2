"""Where the next page of a list begins, as an opaque text. It opens nothing: rights are asked anew on each page."""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
from datetime import UTC, datetime, timedelta

from pydantic import BaseModel

from agent.store.clients import Position
from agent.web.problems import Refused

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FORM = struct.Struct(">B8sqq")
_VERSION = 1


def _list_of(path: str, asked: BaseModel) -> bytes:
    """Which list it is, by its address and filters."""
    words = asked.model_dump_json(exclude={"cursor", "limit"})
    return hashlib.sha256(f"{path}?{words}".encode()).digest()[:8]


def write_cursor(path: str, asked: BaseModel, position: Position) -> str:
    """For the next page of this list."""
    micros = (position.moment - _EPOCH) // timedelta(microseconds=1)
    packed = _FORM.pack(_VERSION, _list_of(path, asked), micros, position.id)
    return base64.urlsafe_b64encode(packed).rstrip(b"=").decode()


def read_cursor(path: str, asked: BaseModel, text: str) -> Position | None:
    """The other way round; None for the first page.

    Raises:
        Refused: it was not made for this list with these filters.
    """
    if not text:
        return None
    try:
        padded = text.encode("ascii") + b"=" * (-len(text) % 4)
        version, belongs, micros, number = _FORM.unpack(base64.b64decode(padded, altchars=b"-_", validate=True))
        moment = _EPOCH + timedelta(microseconds=micros)
    except (UnicodeEncodeError, binascii.Error, struct.error, OverflowError):
        version, belongs = 0, b""
    if version != _VERSION or belongs != _list_of(path, asked):
        detail = "The cursor is not one of this list with these filters. Begin without one."
        raise Refused(400, detail, kind="cursor", faults=[("cursor", "not of this list")])
    return Position(moment=moment, id=number)
