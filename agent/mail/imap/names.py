"""Names of folders, from an answer to LIST to what a person reads, and back to the very bytes the server has. Pure.

IMAPClient takes ``01`` for a number, breaks at a name that is no modified UTF-7 (RFC 3501, 5.1.3), and asks for another
name than it was given where a server writes plain UTF-8. A folder that cannot be asked for is mail not archived.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from imapclient import imap_utf7

from agent.mail.imap.folders import Folder

_LINE = re.compile(rb"\(([^()]*)\) (?:NIL|\"((?:[^\"\\]|\\.)*)\") (.*)", re.DOTALL | re.IGNORECASE)
_QUOTED = re.compile(rb"\"((?:[^\"\\]|\\.)*)\"(?: .*)?", re.DOTALL)
_LITERAL = re.compile(rb"\{\d+\+?\}")
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_NOT_TO_BE_SAID = re.compile(rb"[\x00\r\n]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What a server lists: folders, for each the bytes of its name, and lines that nobody understands."""

    folders: tuple[Folder, ...]
    raw: Mapping[str, bytes]
    odd: tuple[bytes, ...] = ()


def read_list(said: Sequence[Any]) -> Listing:
    """What `imaplib` gives of an answer to LIST: lines, or the line before a literal with the literal."""
    found: list[tuple[bytes, tuple[str, ...], str]] = []
    odd: list[bytes] = []
    for piece in said:
        line, literal = piece if isinstance(piece, tuple) else (piece, None)
        if not line:
            continue  # behind a literal, or there is no folder at all
        parts = _LINE.fullmatch(line)
        name = _name(parts[3], literal) if parts is not None else b""
        if parts is None or not name or _NOT_TO_BE_SAID.search(name):
            odd.append(line)
            continue
        flags = tuple(one.decode("ascii", "replace") for one in parts[1].split())
        found.append((name, flags, _ESCAPED.sub(rb"\1", parts[2] or b"").decode("ascii", "replace")))
    raw = _told_apart([name for name, _, _ in found])
    names = {one: name for name, one in raw.items()}
    folders = {
        names[name]: Folder(name=names[name], flags=flags, delimiter=delimiter) for name, flags, delimiter in found
    }
    return Listing(folders=tuple(folders.values()), raw=raw, odd=tuple(odd))


def quoted(name: bytes) -> bytes:
    """As it stands in a command (RFC 9051, 4.3)."""
    return b'"' + re.sub(rb'(["\\])', rb"\\\1", name) + b'"'


def unquoted(name: bytes) -> bytes:
    """The very name of one that stands in an answer, with quotes or without."""
    found = _QUOTED.fullmatch(name)
    return _ESCAPED.sub(rb"\1", found[1]) if found is not None else name


def usual(name: str) -> bytes:
    """The bytes of a name on a server that writes names as the standard has it."""
    encoded: bytes = imap_utf7.encode(name.encode("utf-16", "replace").decode("utf-16"))
    return encoded


def _name(rest: bytes, literal: bytes | None) -> bytes:
    if literal is not None:
        return literal if _LITERAL.fullmatch(rest) else b""
    found = _QUOTED.fullmatch(rest)
    if found is not None:
        return _ESCAPED.sub(rb"\1", found[1])
    return b"" if rest.startswith(b'"') else rest  # some servers do not quote names with blanks


def _told_apart(names: Sequence[bytes]) -> dict[str, bytes]:
    """What a person reads → bytes; names of the usual form first, so that no other takes their place."""
    found: dict[str, bytes] = {}
    for name in sorted(dict.fromkeys(names), key=lambda one: _usual_name(one) is None):
        words = [_usual_name(name), _plain(name), name.decode("ascii", "backslashreplace"), f"{name!r}"]
        found.setdefault(next(one for one in words if one and found.get(one, name) == name), name)
    return found


def _usual_name(name: bytes) -> str | None:
    try:
        decoded = imap_utf7.decode(name)
        return decoded if name.isascii() and imap_utf7.encode(decoded) == name else None
    except (ValueError, UnicodeError):
        return None


def _plain(name: bytes) -> str | None:
    """UTF-8, as some servers write it."""
    try:
        return name.decode() if not name.isascii() else None
    except UnicodeError:
        return None
