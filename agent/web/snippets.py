"""The stretch of a text in which something was found, in pieces: marked, or not. Pure; templates escape each piece."""

from __future__ import annotations

import re
from collections.abc import Callable

Pieces = tuple[tuple[str, bool], ...]
"""Stretches of the text in order, each with whether it is to be marked."""

WORD = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+|\w+")
_SPACE = re.compile(r"\s+")
_BEFORE = 60  # characters shown before the first hit


def words_of(text: str) -> set[str]:
    """Every word of the text once, as it stands there."""
    return set(WORD.findall(text))


def snippet(text: str, is_hit: Callable[[str], bool], *, length: int = 220) -> tuple[Pieces, int]:
    """At most ``length`` characters around the best place, and how many different words were found in them.

    The best place has the most different hits; among equals the first. Without any it is the beginning.
    """
    text = _SPACE.sub(" ", text).strip()
    hits = [(one.start(), one.end(), one[0].casefold()) for one in WORD.finditer(text) if is_hit(one[0])]
    best, score = 0, 0
    for place, (start, _, _) in enumerate(hits):
        near = {word for begin, end, word in hits[place:] if end <= start + length - _BEFORE}
        if len(near) > score:
            best, score = start, len(near)
        if place > 400:  # a text that is nothing but hits
            break
    begin = _boundary(text, best - _BEFORE) if len(text) > length else 0
    end = len(text) if begin + length >= len(text) else text.rfind(" ", begin, begin + length)
    if end <= begin:
        end = begin + length
    return _pieces(text, begin, min(end, len(text)), hits), score


def _boundary(text: str, at: int) -> int:
    if at <= 0:
        return 0
    space = text.find(" ", at, at + _BEFORE)
    return at if space < 0 else space + 1


def _pieces(text: str, begin: int, end: int, hits: list[tuple[int, int, str]]) -> Pieces:
    found: list[tuple[str, bool]] = []
    at = begin
    if begin > 0:
        found.append(("… ", False))
    for start, stop, _ in hits:
        if start < begin or stop > end:
            continue
        found += [(text[at:start], False), (text[start:stop], True)]
        at = stop
    found.append((text[at:end], False))
    if end < len(text):
        found.append((" …", False))
    return tuple((words, is_marked) for words, is_marked in found if words)


def mark(text: str, is_hit: Callable[[str], bool]) -> Pieces:
    """The whole text, marked."""
    hits = [(one.start(), one.end(), one[0]) for one in WORD.finditer(text) if is_hit(one[0])]
    return _pieces(text, 0, len(text), hits)
