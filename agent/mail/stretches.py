"""The standard library's parser of mails, given the text of a body in stretches instead of line by line. Pure.

What it makes is the same to the letter; most of its time went into looking at each line of a body, of which only those
that begin with two hyphens can be a boundary (RFC 2046, 5.1.1). Headers, and blocks that an empty line ends
(message/delivery-status), are still read by lines. A test holds the two readings together.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from email import feedparser
from email.feedparser import BytesFeedParser
from email.message import Message
from email.policy import Policy
from types import FunctionType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    _Base = BytesFeedParser[Message]
else:
    _Base = BytesFeedParser

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)?")
_HYPHENS = "--"
_END = re.compile(r"(\r\n|\r|\n)\Z")

_Predicate = Callable[[str], object]


class _LineEnd:
    """In the place of `email.feedparser.NLCRE_eol`, which tries each line break of a text for the last one."""

    def search(self, text: str) -> re.Match[str] | None:
        return _END.search(text, max(0, len(text) - 2))


_library: Any = feedparser.FeedParser
_reading = FunctionType(_library._parsegen.__code__, {**vars(feedparser), "NLCRE_eol": _LineEnd()})


class StretchParser(_Base):
    """Made with the whole of a mail; `close` gives the message, and raises what the library's own parser raises."""

    _input: _Source

    def __init__(self, raw: bytes, *, factory: Callable[[Policy | None], Message], policy: Policy) -> None:
        super().__init__(_factory=factory, policy=policy)  # type: ignore[arg-type]
        self._input = _Source(raw.decode("ascii", "surrogateescape"))

    _parsegen = _reading
    """The library's own, with another way to find the break at the end of a text."""

    def _new_message(self) -> None:
        """The library calls it where a header begins …"""
        super()._new_message()  # type: ignore[misc]
        self._input.by_lines = True

    def _parse_headers(self, lines: list[str]) -> None:
        """… and this where it has ended."""
        super()._parse_headers(lines)  # type: ignore[misc]
        self._input.by_lines = False


class _Source:
    """In the place of `email.feedparser.BufferedSubFile`. ``by_lines``: what comes next is read line by line."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._read = ""  # what was read last, if it came from the text
        self._back: list[str] = []
        self._ends: list[tuple[_Predicate, bool]] = []
        self._blocks = 0  # how many of the ends are empty lines
        self._breaks = {"\n": -1, "\r": -1}  # the next one of each before two hyphens
        self.by_lines = True

    def close(self) -> None:
        """Everything is there from the beginning."""

    def push_eof_matcher(self, predicate: _Predicate) -> None:
        is_empty_line = bool(predicate("\n"))
        self._ends.append((predicate, is_empty_line))
        self._blocks += is_empty_line

    def pop_eof_matcher(self) -> _Predicate:
        predicate, is_empty_line = self._ends.pop()
        self._blocks -= is_empty_line
        self.by_lines = self.by_lines or is_empty_line  # the line that ended the block is still to come
        return predicate

    def readline(self) -> str:
        """A line, or several that cannot end what is read; empty at its end."""
        if self._back:
            piece, self._read = self._back.pop(), ""
        else:
            end = self._end()
            piece = self._read = self._text[self._at : end]
            self._at = end
        is_told = self.by_lines or self._blocks or piece.startswith(_HYPHENS)
        if is_told and any(predicate(piece) for predicate, _ in reversed(self._ends)):
            self.unreadline(piece)
            return ""
        return piece

    def unreadline(self, piece: str) -> None:
        if piece is self._read:
            self._at -= len(piece)
            self._read = ""
        else:
            self._back.append(piece)

    def __iter__(self) -> Iterator[str]:
        return iter(self.readline, "")

    def _end(self) -> int:
        if self.by_lines or self._blocks or self._text.startswith(_HYPHENS, self._at):
            found = _LINE.match(self._text, self._at)
            return found.end() if found else self._at
        return min(self._next("\n"), self._next("\r"))

    def _next(self, line_break: str) -> int:
        """Where the next line that begins with hyphens begins, behind this sort of line break."""
        known = self._breaks[line_break]
        if known <= self._at:
            found = self._text.find(line_break + _HYPHENS, self._at)
            known = self._breaks[line_break] = found + 1 if found >= 0 else len(self._text)
        return known
