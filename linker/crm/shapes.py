"""Answers of a CRM are JSON from outside: what is read of them has the type it should have, or is empty; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from agent.errors import Misconfigured
from agent.model import Identity
from agent.settings import Settings
from agent.settings_crm import CrmSettings
from linker.normalize import normalize_address, normalize_phone

_LONGEST_WORDS = 1000
_MOST_IDENTITIES = 50  # of one card; more is no card but somebody's list
_MOST_MONEY = Decimal(10) ** 15


def as_object(value: Any) -> dict[str, Any]:
    """An object; empty where it is none (PHP writes an empty one as a list)."""
    return value if isinstance(value, dict) else {}


def as_list(value: Any) -> list[Any]:
    """A list; the values of an object that stands in its place; else empty."""
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def objects(value: Any) -> list[dict[str, Any]]:
    """The objects of a list."""
    return [one for one in as_list(value) if isinstance(one, dict)]


def words(value: Any) -> str:
    """Text or a number as one line of text without surrounding blanks, bounded; else empty."""
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return ""
    return " ".join(str(value)[:_LONGEST_WORDS].replace("\0", "").split())


def in_its_words(vendor: str, code: str, text: str) -> str:
    """What a CRM has refused, as the pages quote it (`agent.web.reasons_crm`): its code, and its words."""
    return f"{vendor}: {': '.join(one for one in (code, text.rstrip('.')) if one) or 'refused'}."


def id_of(value: Any) -> str:
    """An id as text; empty for 0 and null, by which CRMs say that there is none."""
    found = words(value)
    return "" if found == "0" else found


def whole(value: Any) -> int:
    """A whole number; 0 where it is none."""
    text = words(value)
    return int(text) if text.lstrip("-").isdecimal() and len(text) < 16 else 0


def moment(value: Any) -> datetime | None:
    """An aware time, of ISO 8601 with its zone or of seconds since 1970; None where it is none."""
    try:
        if isinstance(value, int) and not isinstance(value, bool):
            return datetime.fromtimestamp(value, UTC) if value > 0 else None
        found = datetime.fromisoformat(words(value))
    except (ValueError, OverflowError, OSError):
        return None
    return found if found.tzinfo is not None else None


def money(value: Any) -> Decimal | None:
    """An amount; None where it is none or no amount of money."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    try:
        found = Decimal(str(value))
    except InvalidOperation:
        return None
    return found if found.is_finite() and abs(found) < _MOST_MONEY else None


class Identifier:
    """Makes identities of what a card has, by the region of this installation."""

    def __init__(self, settings: Settings) -> None:
        self._region = settings.region
        self._digits = settings.extension_digits

    def __call__(self, phones: Iterable[Any], addresses: Iterable[Any]) -> tuple[Identity, ...]:
        """Each once, in order."""
        found: dict[Identity, None] = {}
        for phone in phones:
            one = normalize_phone(words(phone), region=self._region, extension_digits=self._digits)
            if one is not None:
                found[one] = None
        for address in addresses:
            if (two := normalize_address(words(address))) is not None:
                found[two] = None
        return tuple(found)[:_MOST_IDENTITIES]


def last_digits(phone: str) -> str:
    """The last ten digits, by which CRMs compare numbers; empty where there are fewer than five."""
    digits = "".join(one for one in phone if one in "0123456789")
    return digits[-10:] if len(digits) >= 5 else ""


def options_of(settings: CrmSettings, known: Mapping[str, str]) -> dict[str, str]:
    """The options of a connector with what was not given.

    Raises:
        Misconfigured: an option has a name that this connector does not know.
    """
    if strange := sorted(settings.options.keys() - known.keys()):
        raise Misconfigured(
            f"crm.{settings.name}: options.{strange[0]} is not known.",
            remedy=f"It may be one of: {', '.join(sorted(known)) or 'none'}.",
        )
    return {**known, **settings.options}


def number_of(settings: CrmSettings, options: Mapping[str, str], name: str) -> float:
    """An option that is a positive number.

    Raises:
        Misconfigured: it is none.
    """
    try:
        found = float(options[name])
    except ValueError:
        found = 0.0
    if not 0 < found < 1_000_000:
        raise Misconfigured(f"crm.{settings.name}: options.{name} is no positive number.")
    return found
