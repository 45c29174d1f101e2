"""Numbers in what was said: figures as a model writes them, and words of numbers in Russian and English. Pure.

Whoever dictates a number says it digit by digit, in pairs, in threes or with thousands, and the model writes figures,
words or both. All of it becomes groups of digits, each with the place where it stands.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

_TOKEN = re.compile(r"\d+|[^\W\d_]+")

_ONES = {
    "ноль": 0, "нуль": 0, "один": 1, "одна": 1, "одно": 1, "два": 2, "две": 2, "три": 3, "четыре": 4, "пять": 5,
    "шесть": 6, "семь": 7, "восемь": 8, "девять": 9,
    "zero": 0, "oh": 0, "o": 0, "nought": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7,
    "eight": 8, "nine": 9,
}  # fmt: skip
_TEENS = {
    "десять": 10, "одиннадцать": 11, "двенадцать": 12, "тринадцать": 13, "четырнадцать": 14, "пятнадцать": 15,
    "шестнадцать": 16, "семнадцать": 17, "восемнадцать": 18, "девятнадцать": 19,
    "ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16,
    "seventeen": 17, "eighteen": 18, "nineteen": 19,
}  # fmt: skip
_TENS = {
    "двадцать": 20, "тридцать": 30, "сорок": 40, "пятьдесят": 50, "шестьдесят": 60, "семьдесят": 70,
    "восемьдесят": 80, "девяносто": 90,
    "twenty": 20, "thirty": 30, "forty": 40, "fourty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80,
    "ninety": 90,
}  # fmt: skip
_HUNDREDS = {
    "сто": 100, "двести": 200, "триста": 300, "четыреста": 400, "пятьсот": 500, "шестьсот": 600, "семьсот": 700,
    "восемьсот": 800, "девятьсот": 900,
}  # fmt: skip
_TIMES = {"hundred": 100, "thousand": 1000, "тысяча": 1000, "тысячи": 1000, "тысяч": 1000}
_REPEATED = {"double": 2, "triple": 3, "treble": 3}
# After a part of a number only smaller ones belong to it: after tens ones, after hundreds all below.
_PARTS = (
    {word: (value, 1) for word, value in (_ONES | _TEENS).items()}
    | {word: (value, 10) for word, value in _TENS.items()}
    | {word: (value, 100) for word, value in _HUNDREDS.items()}
)
# Said between two groups of a number that goes on
_FILLERS = frozenset({
    "так", "дальше", "далее", "потом", "затем", "и", "э", "ээ", "эээ", "эм", "ммм", "мм", "ну", "да", "угу", "ага",
    "вот", "ещё", "еще", "пробел", "тире", "дефис", "and", "then", "next", "uh", "um", "er", "yes", "yeah", "ok",
    "okay", "so", "space", "dash", "hyphen",
})  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Digits said together, from character ``start`` to ``end``; not ``follows``: something else was said before."""

    digits: str
    start: int
    end: int
    follows: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """The groups of a text; ``goes_on``: nothing else was said after the last one."""

    groups: tuple[Group, ...]
    goes_on: bool


def read_numbers(text: str) -> Numbers:
    """All groups of digits of a text, in order."""
    reader = _Reader()
    for found in _TOKEN.finditer(text):
        reader.take(found[0], found.start(), found.end())
    reader.end_number()
    return Numbers(groups=tuple(reader.groups), goes_on=reader.follows)


class _Reader:
    """Goes over the words of a text; ``value`` is of the number that is being said in words."""

    def __init__(self) -> None:
        self.groups: list[Group] = []
        self.follows = True
        self._value: int | None = None
        self._room = 0
        self._times = 1
        self._start = self._end = 0

    def take(self, token: str, start: int, end: int) -> None:
        """The next word, or figures."""
        if token.isdecimal():
            self.end_number()
            digits = "".join(str(unicodedata.decimal(one)) for one in token)
            self._add(digits * self._times, self._start if self._times > 1 else start, end)
            return
        word = token.casefold()
        if word in _REPEATED:
            self.end_number()
            self._times, self._start = _REPEATED[word], start
        elif word in _PARTS:
            self._part(*_PARTS[word], start, end)
        elif word in _TIMES and self._value and self._value < 1000:
            self._value, self._room, self._end = self._value * _TIMES[word], _TIMES[word], end
        elif word == "тысяча":
            self._part(1000, 1000, start, end)
        else:
            self.end_number()
            self._times = 1
            if word in _TIMES or word not in _FILLERS:
                self.follows = False

    def _part(self, value: int, room: int, start: int, end: int) -> None:
        if self._value is not None and 0 < value < self._room:
            self._value, self._room, self._end = self._value + value, room, end
            return
        self.end_number()
        self._start = self._start if self._times > 1 else start
        self._value, self._room, self._end = value, room, end

    def end_number(self) -> None:
        """What was said in words until here is a number."""
        if self._value is not None:
            self._add(str(self._value) * self._times, self._start, self._end)
        self._value, self._room = None, 0

    def _add(self, digits: str, start: int, end: int) -> None:
        self.groups.append(Group(digits=digits, start=start, end=end, follows=self.follows))
        self._value, self._room, self._times, self.follows = None, 0, 1, True


def words_in(text: str) -> Iterator[tuple[str, int, int]]:
    """Words of a text as they are compared, ё as е, each with its place."""
    for found in _TOKEN.finditer(text):
        yield found[0].casefold().replace("ё", "е"), found.start(), found.end()
