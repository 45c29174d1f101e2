"""What a person types into the box, understood. Pure; PostgreSQL makes word forms of it (`agent.store.searching`).

Words all have to be there; "in quotes" one after another; -word must not be; word* begins so. What looks like a number
is looked for as part of a number in any notation, and as it stands among the words.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

LONGEST = 300
_MOST_TERMS = 24
_FEWEST_DIGITS = 4
_LONGEST_NUMBER = 15  # digits (E.164)
_QUOTES = '"«»“”„'
_TOKEN = re.compile(
    rf"(?P<not>(?<!\S)[-−–])?(?:[{_QUOTES}](?P<phrase>[^{_QUOTES}]*)[{_QUOTES}]?"
    r"|(?P<number>\+?[(]?\d(?:[\d\s().-]*\d)?(?![\w]))"
    rf"|(?P<word>[^\s{_QUOTES}]+))"
)


class TermKind(StrEnum):
    """How a term is looked for."""

    WORD = "word"
    PHRASE = "phrase"
    PREFIX = "prefix"
    NUMBER = "number"


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One thing to look for. ``digits`` are the ways a number may stand in E.164; ``text`` is always what was typed."""

    kind: TermKind
    text: str
    is_not: bool = False
    digits: tuple[str, ...] = ()


def parse_query(typed: str) -> tuple[Term, ...]:
    """The terms in order; nothing that can be typed is an error."""
    found: list[Term] = []
    for token in _TOKEN.finditer(typed.replace("\0", " ")[:LONGEST]):
        found += _terms(token)
        if len(found) >= _MOST_TERMS:
            break
    return tuple(found[:_MOST_TERMS])


def _terms(token: re.Match[str]) -> list[Term]:
    is_not = token["not"] is not None
    if (phrase := token["phrase"]) is not None:
        return [Term(kind=TermKind.PHRASE, text=phrase.strip(), is_not=is_not)] if phrase.strip() else []
    if (number := token["number"]) is not None:
        return _number(number, is_not=is_not)
    word = token["word"]
    stem = word.rstrip("*")
    if not re.search(r"\w", stem):
        return []
    if word.endswith("*") and re.fullmatch(r"\w{2,}", stem):
        return [Term(kind=TermKind.PREFIX, text=stem, is_not=is_not)]
    return [Term(kind=TermKind.WORD, text=stem, is_not=is_not)]


def _number(typed: str, *, is_not: bool) -> list[Term]:
    """Groups with spaces between may be one number or several: both are meant, unless each is long by itself."""
    groups = re.findall(r"\d+", typed)
    is_one = typed.startswith(("+", "(")) or len(groups) == 1 or min(map(len, groups)) < _FEWEST_DIGITS
    parts = [typed] if is_one else typed.split()
    return [
        Term(kind=TermKind.NUMBER, text=one, is_not=is_not, digits=digits)
        if (digits := number_digits(one))
        else Term(kind=TermKind.WORD, text=one, is_not=is_not)
        for one in parts
    ]


def number_digits(typed: str) -> tuple[str, ...]:
    """The digits of (a part of) a number as they may stand in E.164; none where they are too few, or too many.

    Who types 8 916 … in Russia, or 00 49 … anywhere, means +7 916 and +49; what follows a trunk prefix is the same
    everywhere. It may also be the middle of a number, so both are looked for.
    """
    if not re.fullmatch(r"[\d\s()+./\-–]+", typed):
        return ()
    digits = re.sub(r"\D", "", typed)
    ways = [digits]
    if not typed.lstrip("( ").startswith("+"):
        ways += [digits[2:]] if digits.startswith("00") else [digits[1:]] if digits.startswith(("8", "0")) else []
    return tuple(dict.fromkeys(one for one in ways if _FEWEST_DIGITS <= len(one) <= _LONGEST_NUMBER))
