"""Names of people and companies, compared however they are written: in any order, script or legal dress. Pure."""

from __future__ import annotations

import re
import unicodedata

_WORD = re.compile(r"[^\W\d_]+|\d+")
_LEGAL = frozenset(
    {"ооо", "оао", "зао", "пао", "ао", "нао", "ип", "чп", "тоо", "фгуп", "гуп", "муп", "нко", "ано", "фирма", "группа"}
    | {"llc", "ltd", "inc", "corp", "co", "gmbh", "ag", "sa", "sro", "oy", "ab", "plc", "kg", "bv", "limited"}
    | {"company", "компания", "ooo", "oao", "zao", "pao"}
)
_TITLES = frozenset(["г", "гн", "г-н", "госпожа", "господин", "mr", "mrs", "ms", "dr", "prof", "herr", "frau"])
_LONGEST = 300
# One Latin spelling for what passports, mail programs and people write (GOST, ICAO, habit), coarse on purpose.
_LATIN = {
    "а": "a", "б": "b", "в": "v", "г": "g", "д": "d", "е": "e", "ё": "e", "ж": "zh", "з": "z", "и": "i", "й": "i",
    "к": "k", "л": "l", "м": "m", "н": "n", "о": "o", "п": "p", "р": "r", "с": "s", "т": "t", "у": "u", "ф": "f",
    "х": "h", "ц": "c", "ч": "ch", "ш": "sh", "щ": "sh", "ъ": "", "ы": "i", "ь": "", "э": "e", "ю": "iu", "я": "ia",
    "і": "i", "ї": "i", "є": "e", "ґ": "g", "ў": "u",
}  # fmt: skip
_SAME = (("shch", "sh"), ("sch", "sh"), ("kh", "h"), ("ts", "c"), ("tz", "c"), ("ph", "f"), ("x", "ks"), ("w", "v"),
         ("yo", "e"), ("jo", "e"), ("ye", "e"), ("je", "e"), ("y", "i"), ("j", "i"), ("ii", "i"))  # fmt: skip


def name_key(name: str) -> frozenset[str]:
    """The words that make a name, comparable: «ООО “Ромашка”» and “romashka” are one; empty where there is none."""
    plain = unicodedata.normalize("NFKD", name[:_LONGEST].casefold().replace("й", "и").replace("ё", "е"))
    plain = "".join(one for one in plain if not unicodedata.combining(one))
    words = [one for one in _WORD.findall(plain) if one not in _TITLES]
    return frozenset(_latin(one) for one in words if one not in _LEGAL) or frozenset(_latin(one) for one in words)


def is_same_name(one: str, other: str) -> bool:
    """Whether two names are of one person or company: all words of the shorter are in the longer, and they are two at
    least, or one long one that is all of both. Initials stand for the name they begin."""
    first, second = sorted((name_key(one), name_key(other)), key=len)
    if not first:
        return False
    if len(first) == 1:
        return first == second and len(next(iter(first))) > 2
    return all(_is_in(word, second) for word in first) and any(len(word) > 2 for word in first & second)


def _is_in(word: str, words: frozenset[str]) -> bool:
    return word in words or any(
        one.startswith(word) if len(word) == 1 else len(one) == 1 and word.startswith(one) for one in words
    )


def _latin(word: str) -> str:
    text = "".join(_LATIN.get(one, one) for one in word)
    for written, same in _SAME:
        text = text.replace(written, same)
    return text
