"""Word forms of texts as `to_tsvector` has them, for the index: each word is asked of the server once and remembered.

A mailbox says the same words again and again, and PostgreSQL's parser and stemmer take longer for a mail than all else
that is stored of it. What lies between two blanks means the same wherever it stands, since no token of PostgreSQL's
parser goes across a blank but those of markup, of which `agent.store.folding` leaves nothing. So the server is asked
what it makes of such a piece, and its answers are put together here: the very `tsvector` that it would make of the
whole text (a test holds the two together).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import Text

from agent.store.folding import fold

CONFIG = "russian"  # Latin words go to the English stemmer in it

_MOST = 40_000  # pieces remembered, with their forms about 10 MB
_LONGEST = 40  # characters of a piece that is worth it
_ASKED = 5_000  # pieces a statement
_LAST_PLACE = 16_383  # places behind it count as this one (textsearch limits)
_NUMBERS = tuple(map(str, range(_LAST_PLACE + 1)))
_PLACES_OF_TEXT, _PLACES = 255, 256  # of one form, in one text and in all
_END = "qzendqz"  # stands behind a piece, so that its place tells how many places the piece takes
_FORM = re.compile(r"'((?:[^'\\]|''|\\\\)*)'(?::([\d,]+))?")
# The stemmer takes an ending off words that have none: диван and диванов become дива and диван. So the form of each
# form is there too.
FORMS = f"to_tsvector('{CONFIG}', array_to_string(tsvector_to_array(words), ' '))"
"""SQL: forms of the forms in the vector ``words``."""

_ASK = text(
    f"""
    SELECT CAST(words AS text), CAST({FORMS} AS text)
    FROM (SELECT to_tsvector('{CONFIG}', ' ' || piece || ' {_END}') AS words
          FROM unnest(:pieces) AS piece OFFSET 0) AS asked
    """  # noqa: S608 - our own constants
).bindparams(bindparam("pieces", type_=ARRAY(Text)))


@dataclass(frozen=True, slots=True)
class Piece:
    """What PostgreSQL makes of a piece that is no plain word: forms with their places, how many places it takes, and
    the forms of its forms."""

    forms: tuple[tuple[str, int], ...]
    places: int
    again: dict[str, None]


Known = str | Piece
"""A plain word has one form, itself the form of that, at one place; a stop word is empty."""


class WordForms:
    """Remembers pieces. ``most``: so many, about; the oldest half is forgotten when there are more."""

    def __init__(self, *, most: int = _MOST) -> None:
        self._most = most
        self._known: dict[str, Known] = {}
        self._rare: list[str] = []

    async def learn(self, connection: AsyncConnection, texts: Iterable[Sequence[str]]) -> Mapping[str, Known]:
        """What the server makes of all these pieces; to be used before the next call."""
        self._forget()
        unknown: set[str] = set()
        for pieces in texts:
            unknown |= set(pieces).difference(self._known)  # `-` would walk through all that is known
        asked = sorted(unknown)
        for start in range(0, len(asked), _ASKED):
            some = asked[start : start + _ASKED]
            answer = await connection.execute(_ASK, {"pieces": [fold(one) for one in some]})
            self._known.update((piece, _read(*row)) for piece, row in zip(some, answer, strict=True))
        self._rare = [one for one in asked if len(one) > _LONGEST]
        return self._known

    def _forget(self) -> None:
        for piece in self._rare:
            self._known.pop(piece, None)
        if len(self._known) > self._most:
            for piece in list(islice(self._known, len(self._known) // 2)):
                del self._known[piece]


def vector(texts: Iterable[tuple[str, Sequence[str]]], marks: Iterable[str], known: Mapping[str, Known]) -> str:
    """``setweight(to_tsvector(…), 'A') || … || forms of forms || marks`` as text. ``texts`` are pairs of weight and
    pieces, in order; ``marks`` forms without a place."""
    found: dict[str, list[str]] = {}  # form → its places in each text, as text
    counts: dict[str, int] = {}
    full: set[str] = set()  # forms whose last place is the last there is
    more: dict[str, None] = {}
    begin = 0
    for weight, pieces in texts:
        end = begin
        for form, places in _places(pieces, known, more).items():
            at = places if len(places) <= _PLACES_OF_TEXT and places[-1] < _LAST_PLACE else _cut(places)
            if begin:
                at = [one + begin for one in at]
            if at[-1] >= _LAST_PLACE:
                at = [] if form in full else _cut(at)
                full.add(form)
            if form in found:
                at = at[: _PLACES - counts[form]]
            if at:
                found.setdefault(form, []).append(f"{weight},".join(map(_NUMBERS.__getitem__, at)) + weight)
                counts[form] = counts.get(form, 0) + len(at)
                end = max(end, at[-1])
        begin = end
    lines = [f"{_quoted(form)}:{','.join(at)}" for form, at in found.items()]
    lines += [_quoted(form) for form in dict.fromkeys((*more, *marks)) if form not in found]
    return " ".join(lines)


def _places(pieces: Sequence[str], known: Mapping[str, Known], more: dict[str, None]) -> dict[str, list[int]]:
    """Form → places in a text, ascending. To ``more`` it adds the forms of forms."""
    found: dict[str, list[int]] = defaultdict(list)
    at = 0
    for one in map(known.__getitem__, pieces):
        if isinstance(one, str):
            at += 1
            found[one].append(at)
            continue
        for form, place in one.forms:
            found[form].append(at + place)
        if one.again:
            more |= one.again
        at += one.places
    found.pop("", None)  # stop words
    return found


def _cut(places: Sequence[int]) -> list[int]:
    """As PostgreSQL cuts a list of places."""
    return list(dict.fromkeys(min(one, _LAST_PLACE) for one in places))[:_PLACES_OF_TEXT]


def _quoted(form: str) -> str:
    if form.isalnum():
        return f"'{form}'"
    return "'" + form.replace("\\", "\\\\").replace("'", "''") + "'"


def _read(words: str, again: str) -> Known:
    """The server's answer for a piece and the mark behind it."""
    forms = sorted(((place, form) for form, places in _forms(words) for place in places))
    places = max((place for place, form in forms if form == _END), default=1) - 1
    own = tuple((form, place) for place, form in forms if place <= places)
    had = {form for form, _ in own}
    further = {form: None for form, _ in _forms(again) if form != _END and form not in had}
    if places == 1 and len(own) <= 1 and not further:
        return own[0][0] if own else ""
    return Piece(own, places, further)


def _forms(words: str) -> Iterator[tuple[str, list[int]]]:
    for form, places in _FORM.findall(words):
        plain = form.replace("''", "'").replace("\\\\", "\\") if "'" in form or "\\" in form else form
        yield plain, [int(one) for one in places.split(",")] if places else []
