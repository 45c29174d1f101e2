"""Mail within wrappings that are no MIME parts: winmail.dat, opaque S/MIME, files uuencoded in the text. Pure.

What lies inside becomes parts like all others, numbered after those of MIME, so that it is shown, listed and saved in
the same ways. Opening is bounded in depth and count, and done again the same way whenever a part is asked for.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import replace
from email.message import Message

from agent.mail.cms import CmsKind, read_cms
from agent.mail.parts import MOST_PARTS, POLICY, Part, part_bytes, read_message, walk
from agent.mail.text import decode_bytes, one_line
from agent.mail.tnef import read_tnef
from agent.mail.uuencoded import take_out

_DEEPEST = 4
_MOST_BYTES = 128 * 1024 * 1024  # of all that is opened
_TNEF = frozenset(("application/ms-tnef", "application/vnd.ms-tnef"))
PKCS7 = frozenset(("application/pkcs7-mime", "application/x-pkcs7-mime"))


def open_wrappings(parts: Sequence[Part]) -> list[Part]:
    """The parts, and after them those that lie inside of some of them."""
    found = list(parts)
    depths = dict.fromkeys(range(len(found)), 0)
    has_words = any(part.is_body and _has_words(part) for part in found)
    budget = _MOST_BYTES
    for at in range(MOST_PARTS):
        if at >= len(found):
            break
        if depths[at] >= _DEEPEST or budget <= 0:
            continue
        inner, cost = _inside(found[at], with_words=not has_words)
        budget -= cost
        if not inner:
            continue
        found[at] = replace(found[at], is_opened=not found[at].is_body)
        for message in inner:
            new = walk(message, start=len(found))
            depths |= {part.number: depths[at] + 1 for part in new}
            found += new
    return found


def _has_words(part: Part) -> bool:
    return bool(part_bytes(part).strip())


def _inside(part: Part, *, with_words: bool) -> tuple[list[Message], int]:
    """The messages inside of a part, and what it cost in bytes."""
    if part.is_body:
        data = part_bytes(part)
        if b"begin " not in data:
            return [], 0
        return [_file(decode_bytes(one.name, None)[0], one.content) for one in take_out(data)[1]], len(data)
    if part.message.is_multipart():
        return [], 0
    media_type, name = part.media_type, part.raw_name.lower()
    if media_type in _TNEF or name == "winmail.dat":
        data = part_bytes(part)
        return list(_of_tnef(data, with_words=with_words)), len(data)
    if media_type in PKCS7 or name.endswith(".p7m"):
        data = part_bytes(part)
        cms = read_cms(data)
        if cms is not None and cms.kind is CmsKind.SIGNED and cms.content:
            return [read_message(cms.content)[0]], len(data)
    return [], 0


def _of_tnef(data: bytes, *, with_words: bool) -> Iterator[Message]:
    found = read_tnef(data)
    if found is None:
        return
    if with_words and found.html.strip():
        yield _words("text/html", found.html)
    elif with_words and found.text.strip():
        yield _words("text/plain", found.text.encode("utf-8", "replace"))
    for one in found.files:
        yield _file(one.name, one.content)


def _words(media_type: str, content: bytes) -> Message:
    message = _part(content)
    message["Content-Type"] = media_type
    return message


def _file(name: str, content: bytes) -> Message:
    message = _part(content)
    message["Content-Type"] = "application/octet-stream"
    message.add_header("Content-Disposition", "attachment", filename=("utf-8", "", one_line(name, 200)))
    return message


def _part(content: bytes) -> Message:
    message = Message(policy=POLICY)
    message["Content-Transfer-Encoding"] = "base64"
    message.set_payload(base64.b64encode(content).decode("ascii"))
    return message
