"""A search as it stands in the address: read, checked, and written back. What cannot be read is as if it were not
there; nothing here breaks a page."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from urllib.parse import urlencode

from aiohttp import web

from agent.model import Direction
from agent.store.clients import Position
from agent.store.searching import FILE, NOTE, Filters
from agent.store.searchquery import LONGEST
from agent.web.formats import zone_of

KINDS = {"call": "call", "mail": "message", "meeting": "meeting", "file": FILE, "note": NOTE}
DIRECTIONS = tuple(one.value for one in Direction)
BEST, NEWEST = "best", "new"
_LONGEST_TAG = 60
_MOST_MINUTES = 24 * 60
_NUMBERS = ("who", "card", "min", "max")
_CURSOR = re.compile(r"(-?[0-9]{1,18})\.([0-9]{1,19})\.([0-9]{1,4})")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class FindQuery:
    """What was asked for. Days are as typed (YYYY-MM-DD), both included; minutes are whole."""

    q: str = ""
    kind: str = ""
    way: str = ""
    who: int | None = None
    card: int | None = None
    since: str = ""
    until: str = ""
    least: int | None = None
    most: int | None = None
    tag: str = ""
    order: str = BEST

    @property
    def has_filters(self) -> bool:
        """Whether anything but words was asked for."""
        return replace(self, q="", order=BEST) != FindQuery()

    @property
    def is_empty(self) -> bool:
        """Whether nothing was asked for."""
        return not self.q and not self.has_filters

    def parts(self) -> dict[str, str]:
        """Names and values of the address, in order, without empty ones."""
        values = {
            "q": self.q,
            "kind": self.kind,
            "way": self.way,
            "who": self.who,
            "card": self.card,
            "from": self.since,
            "to": self.until,
            "min": self.least,
            "max": self.most,
            "tag": self.tag,
            "order": self.order if self.order != BEST else "",
        }
        return {name: str(value) for name, value in values.items() if value not in ("", None)}

    def url(self, *, without: str = "", **more: str) -> str:
        """The page, with one part left out, or others besides."""
        parts = {name: value for name, value in self.parts().items() if name != without} | more
        return "/find" + (f"?{urlencode(parts)}" if parts else "")

    def filters(self, zone: tzinfo | None) -> Filters:
        """For the store; days are the reader's."""
        return Filters(
            kind=KINDS.get(self.kind, ""),
            direction=self.way,
            employee_id=self.who,
            card_id=self.card,
            since=_midnight(self.since, zone),
            until=_midnight(self.until, zone, after=1),
            at_least=self.least * 60 if self.least is not None else None,
            at_most=self.most * 60 if self.most is not None else None,
            tag=self.tag,
        )


def read_query(request: web.Request) -> FindQuery:
    """From the address."""
    return query_of({name: request.query.get(name, "") for name in request.query}, zone_of(request.cookies))


def query_of(given: dict[str, str], zone: tzinfo | None = None) -> FindQuery:
    """From names and values."""
    text = {name: " ".join(value.replace("\0", "").split()) for name, value in given.items()}
    numbers = {name: _number(text.get(name, "")) for name in _NUMBERS}
    return FindQuery(
        q=text.get("q", "")[:LONGEST],
        kind=kind if (kind := text.get("kind", "")) in KINDS else "",
        way=way if (way := text.get("way", "")) in DIRECTIONS else "",
        who=numbers["who"],
        card=numbers["card"],
        since=_day(text.get("from", ""), zone),
        until=_day(text.get("to", ""), zone),
        least=_minutes(numbers["min"]),
        most=_minutes(numbers["max"]),
        tag=text.get("tag", "")[:_LONGEST_TAG],
        order=NEWEST if text.get("order") == NEWEST else BEST,
    )


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None


def _minutes(number: int | None) -> int | None:
    return None if number is None else min(number, _MOST_MINUTES)


def _day(text: str, zone: tzinfo | None) -> str:
    try:
        day = date.fromisoformat(text)
        _midnight(day.isoformat(), zone, after=1)
    except (ValueError, OverflowError, OSError):
        return ""
    return day.isoformat() if 1970 < day.year < 2200 else ""


def _midnight(day: str, zone: tzinfo | None, *, after: int = 0) -> datetime | None:
    if not day:
        return None
    midnight = datetime.combine(date.fromisoformat(day) + timedelta(days=after), time.min)
    return (midnight.replace(tzinfo=zone) if zone else midnight.astimezone()).astimezone(UTC)


# --- Cursors ----------------------------------------------------------------------------------------------------------


def write_cursor(start: Position, offset: int = 0) -> str:
    """For an address: the newest hit that counts (microseconds and id), and how many of the best ones were shown."""
    return f"{(start.moment - _EPOCH) // timedelta(microseconds=1)}.{start.id}.{offset}"


def read_cursor(text: str) -> tuple[Position, int] | None:
    """The other way round; None for the first page, also where it was not made by `write_cursor`."""
    found = _CURSOR.fullmatch(text)
    if found is None:
        return None
    try:
        moment = _EPOCH + timedelta(microseconds=int(found[1]))
    except OverflowError:
        return None
    number, offset = int(found[2]), int(found[3])
    return (Position(moment=moment, id=number), offset) if 0 <= number < 2**63 and 0 <= offset <= 1000 else None
