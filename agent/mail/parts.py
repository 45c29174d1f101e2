"""The parts of a mail: its tree, the bytes and the name of each. Pure.

A part's number is its place in walking order, counted from 0 for the whole mail; an attached mail is one part. What
lies inside of wrappings (`agent.mail.wrappings`) is numbered after all of these.
"""

from __future__ import annotations

import contextlib
import io
import mimetypes
import re
from dataclasses import dataclass, field
from email._policybase import Compat32
from email.errors import MessageError
from email.generator import BytesGenerator
from email.message import Message
from email.policy import Policy
from typing import Any

from agent.mail.stretches import StretchParser
from agent.mail.text import decode_base64, decode_raw_header, decode_words, one_line

MOST_PARTS = 1000
BROKEN = (MessageError, ValueError, LookupError, TypeError, AttributeError, RecursionError, AssertionError)
"""What the standard library raises on broken mail."""

_DEEPEST = 50
_BOUNDARY = re.compile(r"boundary=(?:\"([^\"]{1,200})\"|([^\s;\"]{1,200}))", re.IGNORECASE)
_TURNS_DIRECTION = re.compile(r"[\u200e\u200f\u202a-\u202e\u2066-\u2069]")


class _TolerantPolicy(Compat32):
    """compat32, which does not raise on real mail, with raw 8-bit headers read as text instead of question marks."""

    def header_fetch_parse(self, name: str, value: str) -> str:
        return decode_raw_header(value)


POLICY = _TolerantPolicy()


class _TolerantMessage(Message):
    """A message whose boundary is found also where another parameter is broken, at which the library raises."""

    def get_boundary(self, failobj: Any = None) -> Any:
        try:
            return super().get_boundary(failobj)
        except BROKEN:
            found = _BOUNDARY.search(str(self.get("content-type", "")))
            return found[1] or found[2] if found else failobj


class _TooManyParts(Exception):
    pass


class _Factory:
    """Makes the parser's messages, counts them, and keeps the outermost for when the parser gives up."""

    def __init__(self) -> None:
        self.made: list[Message] = []

    def __call__(self, policy: Policy | None = None) -> Message:
        if len(self.made) > MOST_PARTS:
            raise _TooManyParts
        self.made.append(_TolerantMessage(policy=POLICY))
        return self.made[-1]


def read_message(raw: bytes) -> tuple[Message, str | None]:
    """The tree of parts, as far as it could be read, and what ended the reading early."""
    factory = _Factory()
    parser = StretchParser(raw, factory=factory, policy=POLICY)
    factory.made.clear()  # the parser tries the factory out once
    problem = None
    try:
        return parser.close(), None
    except _TooManyParts:
        problem = f"it has more than {MOST_PARTS} parts; only these were read"
    except RecursionError:
        problem = "its parts are nested too deeply; only the outer ones were read"
    except BROKEN:
        problem = "its parts are broken; only the first were read"
    return factory.made[0], problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part with its number. ``is_text``: it is to be read, not to be saved.

    ``is_opened``: what it wraps is among the parts too, so that it is a mere container. ``raw_name`` is that of
    `raw_name`, of what is no multipart. ``decoded`` keeps the bytes of text, and ``parameters`` those of Content-Type,
    which several readers want.
    """

    number: int
    message: Message
    depth: int
    media_type: str
    is_text: bool
    is_opened: bool = False
    raw_name: str = ""
    parameters: dict[str, str] = field(default_factory=dict, compare=False, repr=False)
    decoded: list[bytes] = field(default_factory=list, compare=False, repr=False)

    @property
    def is_container(self) -> bool:
        return self.is_opened or (self.message.is_multipart() and not self.media_type.startswith("message/"))

    @property
    def is_body(self) -> bool:
        return self.is_text and not self.is_opened

    def parameter(self, name: str) -> str:
        """A parameter of Content-Type, empty where there is none that can be read."""
        if not self.parameters:
            self.parameters.update(_parameters(self.message))
        value = self.parameters.get(name, "")
        return one_line(value, 100) if value else ""


def _parameters(message: Message) -> dict[str, str]:
    """By lower-case name; of a name that is there twice the first counts. The type itself is among them."""
    pairs: list[tuple[str, Any]] = []
    with contextlib.suppress(*BROKEN):
        pairs += message.get_params() or ()
    found = {"": ""}
    for name, value in pairs:
        found.setdefault(name.lower(), str(value[2] if isinstance(value, tuple) else value))
    return found


def walk(root: Message, *, start: int = 0) -> list[Part]:
    """All parts in order, outer before inner, numbered from ``start``; what lies deeper than 50 or behind the
    thousandth is left out.
    """
    parts: list[Part] = []
    waiting = [(root, 0)]
    while waiting and start + len(parts) < MOST_PARTS:
        message, depth = waiting.pop()
        part = _part(message, start + len(parts), depth)
        parts.append(part)
        if depth < _DEEPEST and part.is_container:
            waiting.extend((child, depth + 1) for child in reversed(children(message)))
    return parts


def _part(message: Message, number: int, depth: int) -> Part:
    media_type = message.get_content_type()
    name = "" if message.is_multipart() else raw_name(message)
    is_text = not message.is_multipart() and _is_text(message, media_type, number, name)
    return Part(number=number, message=message, depth=depth, media_type=media_type, is_text=is_text, raw_name=name)


def _is_text(message: Message, media_type: str, number: int, name: str) -> bool:
    if media_type.startswith("multipart/"):
        return True  # its boundary never came: what there is, is read as text
    if media_type not in ("text/plain", "text/html"):
        return False
    try:
        disposition = message.get_content_disposition()
    except BROKEN:
        disposition = None
    return disposition != "attachment" and (number == 0 or not name)


def children(message: Message) -> list[Message]:
    """The messages of a multipart, or the one attached."""
    payload = message.get_payload()
    return [child for child in payload if isinstance(child, Message)] if isinstance(payload, list) else []


def part_bytes(part: Part) -> bytes:
    """What a person gets who saves the part: transfer encoding undone."""
    if part.is_text:
        if not part.decoded:
            part.decoded.append(_decoded(part.message))
        return part.decoded[0]
    return _decoded(part.message)


def _decoded(message: Message) -> bytes:
    try:
        if message.is_multipart():
            return _flattened(message)
        if str(message.get("content-transfer-encoding", "")).strip().lower() == "base64":
            return decode_base64(str(message.get_payload() or "").encode("ascii", "replace"))
        payload = message.get_payload(decode=True)
    except BROKEN:
        payload = None
    if isinstance(payload, bytes):
        return payload
    text = message.get_payload()
    return text.encode("utf-8", "surrogateescape") if isinstance(text, str) else b""


def _flattened(message: Message) -> bytes:
    target = io.BytesIO()
    generator = BytesGenerator(target, mangle_from_=False, maxheaderlen=0, policy=Compat32(linesep="\r\n"))
    for child in children(message):
        generator.flatten(child)
    return target.getvalue()


def part_name(part: Part) -> str:
    """A file name for the part that is safe to offer: no folders, no control or bidirectional characters."""
    given = raw_name(part.message) if part.message.is_multipart() else part.raw_name
    name = decode_words(given).replace("\\", "/").rpartition("/")[2]
    name = one_line(_TURNS_DIRECTION.sub("", name), 200).strip(". ")
    if name:
        return name
    ending = ".eml" if part.media_type == "message/rfc822" else mimetypes.guess_extension(part.media_type) or ".bin"
    return f"part-{part.number}{ending}"


def raw_name(message: Message) -> str:
    """The name in Content-Disposition or Content-Type; RFC 2231 is undone, RFC 2047 not yet."""
    try:
        name = message.get_filename("")
    except BROKEN:
        found = re.search(r"name\*?\d*\*?=\s*\"?([^\";\r\n]+)", str(message.get("content-disposition", "")))
        name = found[1] if found else ""
    return str(name or "")
