"""Files that stand uuencoded within the text of a mail, as programs of before MIME put them. Pure."""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass

_BEGIN = re.compile(rb"^begin [0-7]{3,4} ([^\r\n]{1,200})\r?\n(?=[!-`][^\r\n]{0,90}\r?\n)", re.MULTILINE)
_END = re.compile(rb"^end[ \t]*\r?$", re.MULTILINE)
_MOST_FILES = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class UuencodedFile:
    """A file with the name its sender gave it."""

    name: bytes
    content: bytes


def take_out(data: bytes) -> tuple[bytes, list[UuencodedFile]]:
    """The text without the files in it, and these; at most fifty. A file without its end is left as text."""
    files: list[UuencodedFile] = []
    rest: list[bytes] = []
    at = 0
    while len(files) < _MOST_FILES and (begin := _BEGIN.search(data, at)) and (end := _END.search(data, begin.end())):
        rest.append(data[at : begin.start()])
        files.append(UuencodedFile(name=begin[1].strip(), content=_decoded(data[begin.end() : end.start()])))
        at = end.end()
    return b"".join([*rest, data[at:]]), files


def _decoded(body: bytes) -> bytes:
    return b"".join(map(_line, body.splitlines()))


def _line(line: bytes) -> bytes:
    if not line:
        return b""
    try:
        return binascii.a2b_uu(line)
    except binascii.Error:  # some write more letters than they announce
        letters = ((line[0] - 32 & 63) * 4 + 5) // 3
        try:
            return binascii.a2b_uu(line[:letters])
        except binascii.Error:
            return b""
