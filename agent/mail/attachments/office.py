"""Text of office files: ZIP archives of XML (OOXML, OpenDocument). Pure.

The XML is read in pieces by expat and never held as a tree; how much is unpacked is counted while it is unpacked, since
what an archive says of its sizes may be a lie.
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO
from xml.parsers import expat

from agent.errors import Unreadable

_MOST_UNPACKED = 200 * 1024 * 1024  # bytes of one file
_MOST_MEMBERS = 20_000
_PIECE = 256 * 1024
_NUMBER = re.compile(r"(\d+)\.xml$")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Format:
    """Which members hold text, in which elements it stands, and which elements end a line or a cell."""

    members: re.Pattern[str]
    words: frozenset[str]  # empty: all character data is text
    lines: frozenset[str]
    cells: frozenset[str] = frozenset()
    breaks: frozenset[str] = frozenset()


_WORD = _Format(
    members=re.compile(r"word/(?:document|footnotes|endnotes|comments|header\d*|footer\d*)\.xml"),
    words=frozenset(("t",)),
    lines=frozenset(("p",)),
    cells=frozenset(("tab",)),
    breaks=frozenset(("br", "cr")),
)
_SLIDES = _Format(
    members=re.compile(r"ppt/(?:slides/slide|notesSlides/notesSlide)\d+\.xml"),
    words=frozenset(("t",)),
    lines=frozenset(("p",)),
    breaks=frozenset(("br",)),
)
_SHEETS = _Format(
    members=re.compile(r"xl/(?:sharedStrings|worksheets/sheet\d+|comments\d*)\.xml"),
    words=frozenset(("t",)),
    lines=frozenset(("si", "row", "comment")),
)
_OPEN = _Format(
    members=re.compile(r"content\.xml"),
    words=frozenset(),
    lines=frozenset(("p", "h")),
    cells=frozenset(("tab", "s")),
    breaks=frozenset(("line-break",)),
)
FORMATS = {"word": _WORD, "slides": _SLIDES, "sheets": _SHEETS, "open": _OPEN}


def read_office(content: bytes, kind: str, *, limit: int) -> str:
    """At most ``limit`` characters of text; ``kind`` is one of ``FORMATS``.

    Raises:
        Unreadable: it is no such file, it is encrypted, or it unpacks to more than it should.
    """
    layout = FORMATS[kind]
    collector = _Collector(layout, limit)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            budget = _MOST_UNPACKED
            for name in _members(archive, layout):
                with archive.open(name) as member:
                    budget = collector.read(member, budget)
                if collector.is_full:
                    break
    except (
        zipfile.BadZipFile,
        expat.ExpatError,
        EOFError,
        OSError,
        ValueError,
        NotImplementedError,
        zlib.error,
    ) as error:
        if collector.is_empty:
            raise Unreadable(f"it is damaged ({type(error).__name__})") from None
    except RuntimeError:
        raise Unreadable("it is locked with a password") from None
    except KeyError as error:
        raise Unreadable("it is damaged") from error
    return collector.text()


def _members(archive: zipfile.ZipFile, layout: _Format) -> Iterator[str]:
    names = archive.namelist()
    if len(names) > _MOST_MEMBERS:
        raise Unreadable(f"it has more than {_MOST_MEMBERS} parts")
    return iter(sorted((name for name in names if layout.members.fullmatch(name)), key=_order))


def _order(name: str) -> tuple[str, int]:
    number = _NUMBER.search(name)
    return (name.rpartition("/")[0], int(number[1][:9]) if number else 0)


class _Collector:
    """Gathers the words while expat reads."""

    def __init__(self, layout: _Format, limit: int) -> None:
        self._layout = layout
        self._left = limit
        self._pieces: list[str] = []
        self._depth = 0

    @property
    def is_full(self) -> bool:
        return self._left <= 0

    @property
    def is_empty(self) -> bool:
        return not any(map(str.strip, self._pieces))

    def text(self) -> str:
        return "".join(self._pieces)

    def read(self, member: IO[bytes], budget: int) -> int:
        """Read one member; returns how many bytes may still be unpacked."""
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._say
        parser.StartDoctypeDeclHandler = _refuse_doctype
        self._depth = 0
        while not self.is_full and (piece := member.read(_PIECE)):
            budget -= len(piece)
            if budget < 0:
                raise Unreadable(f"it unpacks to more than {_MOST_UNPACKED // 1024 // 1024} MB")
            parser.Parse(piece)
        if not self.is_full:
            parser.Parse(b"", True)
        self._add("\n")
        return budget

    def _start(self, name: str, _: dict[str, str]) -> None:
        local = name.rpartition(" ")[2]
        if local in self._layout.words:
            self._depth += 1
        elif local in self._layout.cells:
            self._add("\t")
        elif local in self._layout.breaks:
            self._add("\n")

    def _end(self, name: str) -> None:
        local = name.rpartition(" ")[2]
        if local in self._layout.words:
            self._depth -= 1
        elif local in self._layout.lines:
            self._add("\n")

    def _say(self, words: str) -> None:
        if self._depth > 0 or not self._layout.words:
            self._add(words)

    def _add(self, words: str) -> None:
        self._pieces.append(words[: max(0, self._left)])
        self._left -= len(words)


def _refuse_doctype(*_: object) -> None:
    raise Unreadable("it declares entities, as no office program does")
