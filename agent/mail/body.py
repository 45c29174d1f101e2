"""The body of a mail: its parts, what of them is to be read, and what is attached. Pure.

A part's number is its place in walking order, counted from 0 for the whole mail; an attached mail is one part.
"""

from __future__ import annotations

import hashlib
import io
import mimetypes
import re
from collections.abc import Iterator
from dataclasses import dataclass
from email._policybase import Compat32
from email.errors import MessageError
from email.feedparser import BytesFeedParser
from email.generator import BytesGenerator
from email.message import Message
from email.policy import Policy

from agent.mail.safe_html import html_to_text, safe_html, strip_tags, text_to_html, tidy_text
from agent.mail.text import decode_base64, decode_bytes, decode_raw_header, decode_words, one_line
from agent.model import ParsedAttachment

MOST_PARTS = 1000
_DEEPEST = 50
_FEED_BYTES = 256 * 1024
_META_CHARSET = re.compile(rb"<meta[^>]{0,200}charset\s*=\s*[\"']?([A-Za-z0-9_.:-]{1,40})", re.IGNORECASE)
_BROKEN = (MessageError, ValueError, LookupError, TypeError, AttributeError, RecursionError, AssertionError)


class _TolerantPolicy(Compat32):
    """compat32, which does not raise on real mail, with raw 8-bit headers read as text instead of question marks."""

    def header_fetch_parse(self, name: str, value: str) -> str:
        return decode_raw_header(value)


_POLICY = _TolerantPolicy()


class _TooManyParts(Exception):
    pass


class _Factory:
    """Makes the parser's messages, counts them, and keeps the outermost for when the parser gives up."""

    def __init__(self) -> None:
        self.made: list[Message] = []

    def __call__(self, policy: Policy | None = None) -> Message:
        if len(self.made) > MOST_PARTS:
            raise _TooManyParts
        self.made.append(Message(policy=_POLICY))
        return self.made[-1]


def read_message(raw: bytes) -> tuple[Message, str | None]:
    """The tree of parts, as far as it could be read, and what ended the reading early."""
    factory = _Factory()
    parser = BytesFeedParser(_factory=factory, policy=_POLICY)
    factory.made.clear()  # the parser tries the factory out once
    problem = None
    try:
        for start in range(0, len(raw), _FEED_BYTES):
            parser.feed(raw[start : start + _FEED_BYTES])
        return parser.close(), None
    except _TooManyParts:
        problem = f"it has more than {MOST_PARTS} parts; only these were read"
    except RecursionError:
        problem = "its parts are nested too deeply; only the outer ones were read"
    return factory.made[0], problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part with its number; ``leaf`` is false for a container of other parts."""

    number: int
    message: Message
    depth: int

    @property
    def media_type(self) -> str:
        return self.message.get_content_type()

    @property
    def is_container(self) -> bool:
        return self.message.is_multipart() and self.message.get_content_maintype() != "message"

    @property
    def is_body(self) -> bool:
        """It is to be read, not to be saved."""
        if self.message.is_multipart():
            return False
        if self.message.get_content_maintype() == "multipart":
            return True  # its boundary never came: what there is, is read as text
        is_text = self.media_type in ("text/plain", "text/html")
        return is_text and self.disposition != "attachment" and (self.number == 0 or not _raw_name(self.message))

    @property
    def disposition(self) -> str:
        try:
            return self.message.get_content_disposition() or ""
        except _BROKEN:
            return ""


def walk(root: Message) -> list[Part]:
    """All parts in order, outer before inner; what lies deeper than 50 or behind the thousandth is left out."""
    parts: list[Part] = []
    waiting = [(root, 0)]
    while waiting and len(parts) < MOST_PARTS:
        message, depth = waiting.pop()
        part = Part(number=len(parts), message=message, depth=depth)
        parts.append(part)
        if part.is_container and depth < _DEEPEST:
            waiting.extend((child, depth + 1) for child in reversed(_children(message)))
    return parts


def _children(message: Message) -> list[Message]:
    payload = message.get_payload()
    return [child for child in payload if isinstance(child, Message)] if isinstance(payload, list) else []


def part_bytes(part: Part) -> bytes:
    """What a person gets who saves the part: transfer encoding undone."""
    message = part.message
    try:
        if message.is_multipart():
            return _flattened(message)
        if str(message.get("content-transfer-encoding", "")).strip().lower() == "base64":
            return decode_base64(str(message.get_payload() or "").encode("ascii", "replace"))
        payload = message.get_payload(decode=True)
    except _BROKEN:
        payload = None
    if isinstance(payload, bytes):
        return payload
    text = message.get_payload()
    return text.encode("utf-8", "surrogateescape") if isinstance(text, str) else b""


def _flattened(message: Message) -> bytes:
    target = io.BytesIO()
    generator = BytesGenerator(target, mangle_from_=False, maxheaderlen=0, policy=Compat32(linesep="\r\n"))
    for child in _children(message):
        generator.flatten(child)
    return target.getvalue()


def part_name(part: Part) -> str:
    """A file name for the part that is safe to offer: no folders, no control or bidirectional characters."""
    name = decode_words(_raw_name(part.message)).replace("\\", "/").rpartition("/")[2]
    name = one_line(re.sub(r"[\u200e\u200f\u202a-\u202e\u2066-\u2069]", "", name), 200).strip(". ")
    if name:
        return name
    ending = ".eml" if part.media_type == "message/rfc822" else mimetypes.guess_extension(part.media_type) or ".bin"
    return f"part-{part.number}{ending}"


def _raw_name(message: Message) -> str:
    """The name in Content-Disposition or Content-Type; RFC 2231 is undone, RFC 2047 not yet."""
    try:
        name = message.get_filename("")
    except _BROKEN:
        found = re.search(r"name\*?\d*\*?=\s*\"?([^\";\r\n]+)", str(message.get("content-disposition", "")))
        name = found[1] if found else ""
    return str(name or "")


def read_attachments(parts: list[Part]) -> tuple[ParsedAttachment, ...]:
    """Every part that is not text to be read and not a mere container."""
    return tuple(_attachment(part) for part in parts if not part.is_container and not part.is_body)


def _attachment(part: Part) -> ParsedAttachment:
    content = part_bytes(part)
    return ParsedAttachment(
        part=part.number,
        name=part_name(part),
        media_type=one_line(part.media_type, 100),
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """What is to be read: plain text always, safe HTML where the sender wrote some."""

    text: str
    html: str
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Block:
    plain: str
    html: str


def read_body(parts: list[Part], *, with_html: bool = True) -> Body:
    """Text and HTML of all parts that are to be read; of alternatives (RFC 2046, 5.1.4) plain and HTML count as one."""
    problems: dict[str, None] = {}
    blocks = list(_blocks(parts, problems, with_html=with_html))
    text = "\n\n".join(filter(None, (block.plain or html_to_text(block.html) for block in blocks)))
    html = ""
    if any(block.html for block in blocks):
        html = "<hr>".join(block.html or text_to_html(block.plain) for block in blocks)
    return Body(text=tidy_text(text), html=html, problems=tuple(problems))


def _blocks(parts: list[Part], problems: dict[str, None], *, with_html: bool) -> Iterator[_Block]:
    groups: dict[int, int] = {}  # number of a part -> number of the outermost multipart/alternative around it
    for container in parts:
        for inner in _alternatives(container, parts):
            groups.setdefault(inner.number, container.number)
    blocks: dict[int, _Block] = {}
    for part in parts:
        if part.is_body:
            block = _block(part, problems, with_html=with_html)
            place = groups.get(part.number, part.number)
            before = blocks.get(place, _Block("", ""))
            blocks[place] = _Block("\n\n".join(filter(None, (before.plain, block.plain))), before.html + block.html)
    yield from blocks.values()


def _alternatives(container: Part, parts: list[Part]) -> list[Part]:
    """All parts below a multipart/alternative, at any depth: an HTML part often lies in a multipart/related."""
    if container.media_type != "multipart/alternative":
        return []
    below = []
    for part in parts[container.number + 1 :]:
        if part.depth <= container.depth:
            break
        below.append(part)
    return below


def _block(part: Part, problems: dict[str, None], *, with_html: bool) -> _Block:
    data = part_bytes(part)
    charset = _charset(part.message)
    if part.media_type != "text/html":
        text = _text(data, charset, problems)
        return _Block(text if text.strip() else "", "")
    if charset is None and (said := _META_CHARSET.search(data[:4096])):
        charset = said[1].decode("ascii")
    source = _text(data, charset, problems)
    return _Block("", safe_html(source)) if with_html else _Block(strip_tags(source), "")


def _text(data: bytes, charset: str | None, problems: dict[str, None]) -> str:
    text, problem = decode_bytes(data, charset)
    if problem is not None:
        problems[problem] = None
    return text


def _charset(message: Message) -> str | None:
    try:
        charset = message.get_param("charset")
    except _BROKEN:
        return None
    value = charset[2] if isinstance(charset, tuple) else charset
    return one_line(str(value), 40) if value else None
