"""The parts of a SIPREC body: SDP and recording metadata (RFC 7866, 9; RFC 2046, 5.1). Pure and tolerant.

Bodies are never normalised. Real clients end lines with a bare LF, write ``Content-Type:application/sdp`` without a
space, leave ``+xml`` away or send one bare part without any multipart around it; all of it is understood.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

SDP = "application/sdp"
METADATA = "application/rs-metadata"
MAX_PARTS = 32
_BOUNDARY = re.compile(r"boundary\s*=\s*(?:\"([^\"]+)\"|([^\s;,]+))", re.IGNORECASE)
_TYPE = re.compile(rb"^content-type[ \t]*:[ \t]*([^;\s]+)", re.IGNORECASE | re.MULTILINE)
_BLANK = re.compile(rb"\r?\n\r?\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """What a recording client sent: either part may be missing; ``flags`` say in words what was odd."""

    sdp: bytes | None = None
    metadata: bytes | None = None
    flags: tuple[str, ...] = ()


def read_body(content_type: str, body: bytes) -> Body:
    """Find SDP and metadata in a body of any of the forms seen; never raises."""
    if not body.strip():
        return Body()
    kind = content_type.split(";")[0].strip().lower()
    if not kind.startswith("multipart/"):
        return _gather([(kind, body)])
    boundary = _BOUNDARY.search(content_type)
    mark = (boundary[1] or boundary[2]).encode("latin-1", "replace") if boundary else _guessed(body)
    if not mark:
        return Body(flags=("the multipart body has no boundary",))
    flags = () if boundary else ("the multipart body's boundary is not in its Content-Type",)
    pieces = re.split(rb"(?:^|\r?\n)--" + re.escape(mark), body, maxsplit=MAX_PARTS)[1:]
    parts = [_part(piece) for piece in pieces if not piece.startswith(b"--")]
    return _gather(parts, flags)


def _guessed(body: bytes) -> bytes:
    first = body.lstrip().split(b"\n", 1)[0].strip()
    return first[2:] if first.startswith(b"--") else b""


def _part(piece: bytes) -> tuple[str, bytes]:
    piece = re.sub(rb"^[ \t]*\r?\n", b"", piece, count=1)
    if piece.startswith((b"\r\n", b"\n")):  # no headers at all
        return "", piece.lstrip(b"\r\n")
    blank = _BLANK.search(piece)
    if not blank:
        return "", piece
    kind = _TYPE.search(piece, 0, blank.start())
    return (kind[1].decode("latin-1").lower() if kind else ""), piece[blank.end() :]


def _gather(parts: list[tuple[str, bytes]], flags: tuple[str, ...] = ()) -> Body:
    sdp = metadata = None
    for kind, content in parts:
        start = content.lstrip(b"\xef\xbb\xbf \t\r\n")[:64]
        if sdp is None and (kind == SDP or (kind != METADATA and start.startswith(b"v=0"))):
            sdp = content
        elif metadata is None and (kind.startswith(METADATA) or start.startswith((b"<?xml", b"<recording"))):
            metadata = content
    return Body(sdp=sdp, metadata=metadata, flags=flags)
