"""The words of safe HTML in lines, with what is quoted marked. Pure.

It reads what nh3 writes, which is well-formed and plain, so one pass over the tags is enough: no tree, no recursion,
the time grows with the length only.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass

QUOTE_BEGINS = "\ue4a1"
"""Stands in the words where everything that follows is quoted; private use, taken out of what senders write."""

_TAG = re.compile(r'<(/?)([a-z][a-z0-9]*)(?:\s+[a-z:-]+(?:="[^"]*")?)*\s*/?>')
_BLOCKS = frozenset(
    {
        "address", "article", "aside", "blockquote", "caption", "center", "dd", "details", "div", "dl", "dt",
        "figcaption", "figure", "footer", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hgroup", "hr", "li", "ol",
        "p", "pre", "section", "summary", "table", "tbody", "tfoot", "thead", "tr", "ul",
    }
)  # fmt: skip
_SPACED = frozenset(
    {
        "p", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "dl", "blockquote", "pre", "table",
    }
)  # fmt: skip
_CELLS = frozenset(("td", "th"))


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a mail's text; ``is_quoted`` where its markup says so."""

    text: str
    is_quoted: bool = False


def plain_lines(text: str) -> list[Line]:
    """The lines of plain text."""
    return [Line(line) for line in text.splitlines()]


def lay_out(safe: str) -> list[Line]:
    """The lines of safe HTML (`agent.mail.safe_html`)."""
    page = _Page()
    at = 0
    for tag in _TAG.finditer(safe):
        page.say(safe[at : tag.start()])
        page.tag(tag[2], is_end=bool(tag[1]))
        at = tag.end()
    page.say(safe[at:])
    return list(page.lines())


class _Page:
    def __init__(self) -> None:
        self._lines: list[Line] = []
        self._words: list[str] = []
        self._quotes = 0
        self._kept = 0  # depth of <pre>
        self._all_quoted = False

    def say(self, source: str) -> None:
        if not source:
            return
        words = html.unescape(source) if "&" in source else source
        if QUOTE_BEGINS in words:
            before, _, words = words.partition(QUOTE_BEGINS)
            self.say(before)
            self._end_line()
            self._all_quoted = True
            words = words.replace(QUOTE_BEGINS, "")
        if self._kept:
            first, *more = words.split("\n")
            self._words.append(first)
            for line in more:
                self._end_line(keep_empty=True)
                self._words.append(line)
        else:
            self._words.append(words)

    def tag(self, name: str, *, is_end: bool) -> None:
        if name == "br":
            self._end_line(keep_empty=True)
        elif name in _CELLS:
            if is_end:
                self._words.append(" ")
        elif name in _BLOCKS:
            self._block(name, is_end=is_end)

    def _block(self, name: str, *, is_end: bool) -> None:
        self._end_line()
        if name in _SPACED and self._lines and self._lines[-1].text:
            self._lines.append(Line("", self._is_quoted))
        if name == "blockquote":
            self._quotes = max(0, self._quotes + (-1 if is_end else 1))
        elif name == "pre":
            self._kept = max(0, self._kept + (-1 if is_end else 1))
        elif name == "li" and not is_end:
            self._words.append("• ")

    @property
    def _is_quoted(self) -> bool:
        return self._all_quoted or self._quotes > 0

    def _end_line(self, *, keep_empty: bool = False) -> None:
        if not self._words and not keep_empty:
            return
        words = "".join(self._words)
        text = words.rstrip() if self._kept else " ".join(words.split())
        self._words.clear()
        if text or keep_empty:
            self._lines.append(Line(text, self._is_quoted))

    def lines(self) -> Iterator[Line]:
        self._end_line()
        yield from self._lines
