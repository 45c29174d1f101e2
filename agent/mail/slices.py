"""Where a mail lies, byte for byte, within the mail it is attached to. Pure.

The standard library's parser knows no offsets and writes parts anew; a journal's original must stay as it was.
"""

from __future__ import annotations

import quopri
import re
from collections.abc import Iterator
from dataclasses import dataclass

from agent.mail.parts import BROKEN, read_message
from agent.mail.text import decode_base64, one_line

_HEADER_END = re.compile(rb"\r?\n\r?\n")
_HEADER_BYTES = 512 * 1024
_MOST_PARTS = 1000
_DEEPEST = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """A part of a mail: from ``begin``, where its header begins, over ``body`` to ``end``."""

    media_type: str
    encoding: str
    begin: int
    body: int
    end: int

    @property
    def is_verbatim(self) -> bool:
        """Whether the bytes are those of what lies in the part, as they must be of a mail (RFC 2046, 5.2.1)."""
        return self.encoding not in ("base64", "quoted-printable")

    def content(self, raw: bytes) -> bytes:
        """What lies in the part; an encoding that somebody used all the same is undone."""
        found = raw[self.body : self.end]
        if self.encoding == "base64":
            return decode_base64(found)
        return found if self.is_verbatim else quopri.decodestring(found)


def whole(raw: bytes) -> Slice:
    """The mail itself."""
    return _slice(raw, 0, len(raw))


def attached_mails(raw: bytes, inside: Slice) -> list[Slice]:
    """The mails attached to a mail, in order, however deep among its parts; not those attached to them."""
    found: list[Slice] = []
    waiting = [(part, 1) for part in reversed(parts_of(raw, inside))]
    looked = 0
    while waiting and looked < _MOST_PARTS:
        part, depth = waiting.pop()
        looked += 1
        if part.media_type == "message/rfc822":
            found.append(part)
        elif part.media_type.startswith("multipart/") and depth < _DEEPEST:
            waiting.extend((one, depth + 1) for one in reversed(parts_of(raw, part)))
    return found


def parts_of(raw: bytes, inside: Slice) -> list[Slice]:
    """The parts of a multipart, not those within them; none where it is no multipart."""
    if not inside.media_type.startswith("multipart/"):
        return []
    try:
        boundary = read_message(raw[inside.begin : inside.body])[0].get_boundary()
    except BROKEN:
        return []
    if not boundary:
        return []
    return list(_between(raw, inside, boundary.encode("utf-8", "surrogateescape")))


def _between(raw: bytes, inside: Slice, boundary: bytes) -> Iterator[Slice]:
    """The line break before a line of the boundary belongs to that line (RFC 2046, 5.1.1)."""
    pattern = re.compile(rb"^--" + re.escape(boundary) + rb"(--)?[ \t]*(?:\r?\n|\Z)", re.MULTILINE)
    begin: int | None = None
    for count, line in enumerate(pattern.finditer(raw, inside.body, inside.end)):
        if begin is not None:
            yield _slice(raw, begin, _before(raw, begin, line.start()))
        if line[1] or count >= _MOST_PARTS:
            return
        begin = line.end()
    if begin is not None:
        yield _slice(raw, begin, inside.end)  # the closing line never came


def _before(raw: bytes, begin: int, line: int) -> int:
    for ending in (b"\r\n", b"\n"):
        if raw.endswith(ending, begin, line):
            return line - len(ending)
    return line


def _slice(raw: bytes, begin: int, end: int) -> Slice:
    body = _body(raw, begin, end)
    message, _ = read_message(raw[begin:body])
    try:
        encoding = str(message.get("content-transfer-encoding", "")).strip().lower()
        media_type = one_line(message.get_content_type(), 100)
    except BROKEN:
        encoding, media_type = "", "text/plain"
    return Slice(media_type=media_type, encoding=encoding, begin=begin, body=body, end=end)


def _body(raw: bytes, begin: int, end: int) -> int:
    """Where the body begins: after the first empty line."""
    for empty in (b"\r\n", b"\n"):
        if raw.startswith(empty, begin, end):
            return begin + len(empty)
    found = _HEADER_END.search(raw, begin, min(end, begin + _HEADER_BYTES))
    return found.end() if found else min(end, begin + _HEADER_BYTES)
