"""Outlook's winmail.dat (TNEF, MS-OXTNEF) as the mail it stands for. The one file that knows tnefparse. Pure."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from agent.mail.text import decode_bytes

_MOST_FILES = 200
_MOST_OBJECTS = 5000
_LONGEST = 64 * 1024 * 1024  # bytes
_SIGNATURE = b"\x78\x9f\x3e\x22"

logging.getLogger("tnefparse").disabled = True  # it tells of what was in the mail


@dataclass(frozen=True, slots=True, kw_only=True)
class TnefFile:
    """A file with the name its sender gave it."""

    name: str
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Tnef:
    """What was inside; ``html`` is bytes as they came, ``text`` is empty where there is none."""

    text: str
    html: bytes
    files: tuple[TnefFile, ...]


def read_tnef(data: bytes) -> Tnef | None:
    """What winmail.dat holds, None where it cannot be read."""
    if not data.startswith(_SIGNATURE) or len(data) > _LONGEST or _objects(data) > _MOST_OBJECTS:
        return None
    try:
        import tnefparse  # here, so that only the processes that read mail carry it

        found = tnefparse.TNEF(data, do_checksum=False)
        files = [TnefFile(name=_name(one), content=bytes(one.data)) for one in found.attachments]
    except Exception:  # the library raises whatever comes; a winmail.dat that is broken stays an attachment
        return None
    html = found.htmlbody
    return Tnef(
        text=_words(found.body),
        html=html.encode("utf-8", "replace") if isinstance(html, str) else bytes(html or b""),
        files=tuple(files[:_MOST_FILES]),
    )


def _objects(data: bytes) -> int:
    """How many objects it has: each of them costs the library a copy of the rest."""
    at, count = 6, 0
    while at + 11 <= len(data) and count <= _MOST_OBJECTS:
        at += int.from_bytes(data[at + 5 : at + 9], "little") + 11
        count += 1
    return count


def _name(file: Any) -> str:
    try:
        return _words(file.long_filename())
    except UnicodeDecodeError:  # the library takes the short name for UTF-8
        return _words(file._name)


def _words(value: object) -> str:
    if isinstance(value, bytes):
        return decode_bytes(value.rstrip(b"\0"), None)[0]
    return str(value or "").rstrip("\0")
