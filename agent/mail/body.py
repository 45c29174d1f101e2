"""What of a mail is to be read: its lines and its safe HTML, and what is attached. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from agent.mail.flowed import unflow
from agent.mail.layout import Line, lay_out, plain_lines
from agent.mail.parts import BROKEN, Part, part_bytes, part_name
from agent.mail.safe_html import is_too_deep, mark_quotes, safe_html, strip_tags, text_to_html, unmarked
from agent.mail.sniffing import sniff
from agent.mail.text import decode_bytes, one_line
from agent.mail.uuencoded import take_out
from agent.model_mail import ParsedAttachment

LONGEST_TEXT = 1_000_000
"""Characters of a mail's text that are kept."""

_META_CHARSET = re.compile(rb"<meta[^>]{0,200}charset\s*=\s*[\"']?([A-Za-z0-9_.:-]{1,40})", re.IGNORECASE)


def read_attachments(parts: Iterable[Part]) -> tuple[ParsedAttachment, ...]:
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
        sniffed_type=sniff(content),
        content_id=_content_id(part),
    )


def _content_id(part: Part) -> str:
    try:
        return one_line(str(part.message.get("content-id", "")), 300).strip("<> ")
    except BROKEN:
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """What is to be read: lines always, safe HTML where the sender wrote some."""

    lines: tuple[Line, ...]
    html: str


@dataclass(frozen=True, slots=True)
class _Block:
    lines: tuple[Line, ...]
    html: str


_NOTHING = _Block((), "")


def read_lines(parts: Sequence[Part], problems: dict[str, None], *, with_html: bool = True) -> Body:
    """Lines and HTML of all parts that are to be read; of alternatives (RFC 2046, 5.1.4) plain and HTML count as one.

    ``problems`` takes, in words, what was wrong.
    """
    blocks = list(_blocks(parts, problems, with_html=with_html))
    lines: list[Line] = []
    for block in blocks:
        lines += [Line(""), *(block.lines or lay_out(block.html))]
    html = ""
    if any(block.html for block in blocks):
        html = "<hr>".join(unmarked(block.html) or text_to_html(_words(block.lines)) for block in blocks)
    return Body(lines=tuple(tidy(lines)), html=html)


def tidy(lines: Iterable[Line]) -> Iterator[Line]:
    """Lines without blanks at their ends, at most one empty line in a row and none around, a million characters."""
    room = LONGEST_TEXT
    empty: Line | None = None
    is_first = True
    for line in lines:
        text = line.text.rstrip()
        if not text:
            empty = empty or Line("", line.is_quoted)
            continue
        if empty is not None and not is_first:
            yield empty
            room -= 1
        empty, is_first = None, False
        yield line if len(text) == len(line.text) <= room else Line(text[:room], line.is_quoted)
        room -= len(text) + 1
        if room <= 0:
            return


def _words(lines: Iterable[Line]) -> str:
    return "\n".join(line.text for line in lines)


def _blocks(parts: Sequence[Part], problems: dict[str, None], *, with_html: bool) -> Iterator[_Block]:
    groups: dict[int, int] = {}  # number of a part -> number of the outermost multipart/alternative around it
    for at, container in enumerate(parts):
        for inner in _alternatives(container, parts[at + 1 :]):
            groups.setdefault(inner.number, container.number)
    bodies = [part for part in parts if part.is_body]
    with_plain = {groups[one.number] for one in bodies if one.number in groups and one.media_type != "text/html"}
    blocks: dict[int, _Block] = {}
    for part in bodies:
        place = groups.get(part.number, part.number)
        block = _block(part, problems, with_html=with_html, with_lines=place not in with_plain)
        before = blocks.get(place, _NOTHING)
        apart = (Line(""),) if before.lines and block.lines else ()
        blocks[place] = _Block((*before.lines, *apart, *block.lines), before.html + block.html)
    yield from blocks.values()


def _alternatives(container: Part, following: Sequence[Part]) -> list[Part]:
    """All parts below a multipart/alternative, at any depth: an HTML part often lies in a multipart/related."""
    if container.media_type != "multipart/alternative":
        return []
    below = []
    for part in following:
        if part.depth <= container.depth:
            break
        below.append(part)
    return below


def _block(part: Part, problems: dict[str, None], *, with_html: bool, with_lines: bool) -> _Block:
    data = part_bytes(part)
    charset = part.parameter("charset") or None
    if part.media_type != "text/html":
        return _plain(part, data, charset, problems)
    if charset is None and (said := _META_CHARSET.search(data[:4096])):
        charset = said[1].decode("ascii")
    source = _text(data, charset, problems)
    if with_html and is_too_deep(source):
        problems["its HTML is nested too deeply, so only its words were kept"] = None
        with_html = False
    if not with_html:
        return _Block(tuple(plain_lines(strip_tags(source))), "")
    return _Block((), safe_html(mark_quotes(source) if with_lines else source))


def _plain(part: Part, data: bytes, charset: str | None, problems: dict[str, None]) -> _Block:
    if b"begin " in data:
        data, _ = take_out(data)
    text = _text(data, charset, problems)
    if part.parameter("format").lower() == "flowed":
        text = unflow(text, delsp=part.parameter("delsp").lower() == "yes")
    return _Block(tuple(plain_lines(text)) if text.strip() else (), "")


def _text(data: bytes, charset: str | None, problems: dict[str, None]) -> str:
    text, problem = decode_bytes(data, charset)
    if problem is not None:
        problems[problem] = None
    return text
