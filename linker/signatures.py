"""Numbers and addresses in the signature of a mail. Pure. They are offered for a card and never assumed: a signature
may be that of a colleague, or quote a tax number that looks like a telephone."""

from __future__ import annotations

import re
from dataclasses import dataclass

import phonenumbers

_LONGEST = 3000  # characters of a signature that are looked at
_MOST = 6
_NO_PHONE = re.compile(
    r"(?:инн|огрн(?:ип)?|кпп|бик|окпо|снилс|р/с|к/с|р/сч|сч[её]т|inn|vat|tax|iban|bic|факс|fax)[^\n\d+]{0,12}$",
    re.IGNORECASE,
)
_KINDS = (
    ("mobile", re.compile(r"моб|сот|mob|cell|whatsapp|viber|(?<![a-z])m\W*$", re.IGNORECASE)),
    ("work", re.compile(r"тел|раб|офис|tel|phone|office|work|(?<![a-z])t\W*$", re.IGNORECASE)),
)
_EXTENSION = re.compile(r"[\s,;(]*(?:доб|вн|ext|x)[.:\s№#]*(\d{1,6})", re.IGNORECASE)
_ADDRESS = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,5}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedContact:
    """A number or an address as it is written, with what it is said to be: mobile, work, and what is dialled then."""

    raw: str
    label: str = ""


def contacts_in(signature: str, *, region: str) -> list[SignedContact]:
    """What a signature offers, numbers first, in its order, each once."""
    text = signature[:_LONGEST]
    found: dict[str, SignedContact] = {}
    end = 0
    for match in phonenumbers.PhoneNumberMatcher(text, region, max_tries=50):
        before = text[max(end, match.start - 30) : match.start].rpartition("\n")[2]
        end = match.end
        if not _NO_PHONE.search(before):
            label = next((name for name, words in _KINDS if words.search(before)), "")
            if extension := match.number.extension or _extension(text[match.end :]):
                label = f"{label} ext. {extension}".strip()
            raw = phonenumbers.format_number(match.number, phonenumbers.PhoneNumberFormat.E164)
            found.setdefault(raw, SignedContact(raw=raw, label=label))
    for address in _ADDRESS.finditer(text):
        raw = address[0].rstrip(".-").lower()
        found.setdefault(raw, SignedContact(raw=raw))
    return list(found.values())[:_MOST]


def _extension(after: str) -> str:
    found = _EXTENSION.match(after[:30])
    return found[1] if found else ""
