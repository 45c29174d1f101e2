"""Word error rate: how far what was heard is from what was said.

The demo's check and the tests judge a transcript with it, so that "transcribed" means the words and not just a row.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

_NO_WORD = re.compile(r"[^\w]+|_+")


@dataclass(frozen=True, slots=True, kw_only=True)
class WordErrors:
    """Words wrongly heard, missed or invented (``errors``), out of the ``words`` that were said."""

    errors: int
    words: int

    @property
    def rate(self) -> float:
        """0 is perfect; invented words can lift it above 1. Nothing said and nothing heard is 0."""
        return self.errors / self.words if self.words else float(self.errors > 0)


def fold(text: str) -> list[str]:
    """The words of a text without what nobody hears: case, punctuation and the dots of ё."""
    folded = unicodedata.normalize("NFC", text).casefold().replace("ё", "е")
    return _NO_WORD.sub(" ", folded).split()


def word_errors(said: str, heard: str) -> WordErrors:
    """Least number of substitutions, deletions and insertions of words that turn one text into the other."""
    expected = fold(said)
    return WordErrors(errors=_distance(expected, fold(heard)), words=len(expected))


def _distance(left: Sequence[str], right: Sequence[str]) -> int:
    """Levenshtein's distance between two lists of words, one row of the table at a time."""
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, start=1):
        corner, row[0] = row[0], i
        for j, b in enumerate(right, start=1):
            corner, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, corner + (a != b))
    return row[-1]
