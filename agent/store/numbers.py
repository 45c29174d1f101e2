"""Numbers as sources write them, made comparable: one PBX says ``+7 495 …``, another ``8495…``, a third ``sip:101@…``.

Pure, and coarser than the linker's identities on purpose: it needs neither country nor settings, since both sides of
every comparison are told by telephone systems of the same company.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import unquote

SHORTEST_PHONE = 7  # digits; what is shorter is dialled inside
_COMPARED = 10  # last digits by which phones are equal, whatever stands before them: +7, 8, 007
_LONGEST = 32
_LONGEST_TEXT = 1000
_IN_BRACKETS = re.compile(r"<([^<>]*)>")
_SCHEME = re.compile(r"^(?:sips?|tel):", re.IGNORECASE)
_DIALLED_AFTER = re.compile(r"(?<=\d)[\s().]*(?:[,;#].*|(?:доб|вн|ext|[xpw])\D*\d{1,8}\D*)$", re.IGNORECASE)
_HIDDEN = re.compile(r"|anonymous|restricted|unavailable|unknown|private|withheld|hidden|0+|266696687", re.IGNORECASE)


class Kind(StrEnum):
    """Only numbers of one kind can contradict each other: an extension says nothing about a phone."""

    PHONE = "phone"
    EXTENSION = "extension"
    NAME = "name"  # a login: sip:anna@pbx


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """A number in the form in which it is compared: digits, or a login in lower case."""

    kind: Kind
    text: str

    @property
    def tail(self) -> str:
        """What two numbers that agree have in common for certain, to look them up by."""
        return self.text[-SHORTEST_PHONE:]

    def agrees(self, other: Number) -> bool:
        """Phones by their last ten digits, shorter ones as the end of the longer; everything else as a whole."""
        if self.kind is not other.kind:
            return False
        if self.kind is not Kind.PHONE:
            return self.text == other.text
        shorter, longer = sorted((self.text, other.text), key=len)
        return longer.endswith(shorter[-_COMPARED:])


def read_number(raw: str) -> Number | None:
    """None where the caller withheld it, or where nothing is said."""
    text = "".join(_plain(one) for one in unquote(raw[:_LONGEST_TEXT])).strip()
    if found := _IN_BRACKETS.search(text):
        text = found[1].strip()
    is_uri = _SCHEME.match(text) is not None
    text = re.split(r"[@;?]", _SCHEME.sub("", text), maxsplit=1)[0]
    text = text.split(":", 1)[0].strip() if is_uri else text.strip()
    if _HIDDEN.fullmatch(text):
        return None
    text = _DIALLED_AFTER.sub("", text)
    if any(one.isalpha() for one in text):
        return Number(kind=Kind.NAME, text=text.lower()[:_LONGEST_TEXT])
    digits = re.sub(r"[^0-9]", "", text)
    if not digits or len(digits) > _LONGEST:
        return None
    bare = digits.lstrip("0")  # 00 and 0 before a number are prefixes; 8 is told by the last ten digits
    if len(bare) >= SHORTEST_PHONE:
        return Number(kind=Kind.PHONE, text=bare)
    return Number(kind=Kind.EXTENSION, text=digits)


def _plain(one: str) -> str:
    """ASCII digits; no invisible characters."""
    category = unicodedata.category(one)
    if category == "Nd":
        return str(unicodedata.decimal(one))
    return "" if category in ("Cc", "Cf", "Cs", "Co", "Cn") else one
