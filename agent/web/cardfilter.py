"""What of a card's history a reader wants to see: read from the address, written back into it. Nothing here breaks a
page: what cannot be read is as if it were not there."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from urllib.parse import urlencode

from aiohttp import web

from agent.model import Direction, InteractionKind
from agent.store.cardhistory import KINDS, HistoryFilter
from agent.web.employees import day_in

NOTES = "note"
_NAMES = {"mail": InteractionKind.MESSAGE.value}
_SHOWN_KINDS = ("call", "missed", "mail", "meeting", NOTES)
_LONGEST = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class CardFilter:
    """As it stands in the address. ``since`` and ``until`` are days, both included."""

    kind: str = ""
    employee_id: int | None = None
    direction: str = ""
    since: str = ""
    until: str = ""
    words: str = ""

    kinds = _SHOWN_KINDS

    @property
    def is_empty(self) -> bool:
        """Whether everything is wanted."""
        return not self.query()

    @property
    def is_detailed(self) -> bool:
        """Whether more than the kind is chosen."""
        return bool(self.employee_id or self.direction or self.since or self.until or self.words)

    @property
    def has_notes(self) -> bool:
        """Whether notes are among what is wanted: they have no employee and no direction."""
        return self.kind in ("", NOTES) and self.employee_id is None and not self.direction

    @property
    def has_entries(self) -> bool:
        """Whether anything but notes is wanted."""
        return self.kind != NOTES

    def query(self, **other: str) -> str:
        """For an address, with parts replaced; empty ones are left out."""
        parts = {
            "kind": self.kind,
            "who": str(self.employee_id or ""),
            "way": self.direction,
            "from": self.since,
            "to": self.until,
            "q": self.words,
        }
        return urlencode({name: value for name, value in (parts | other).items() if value})

    def days(self, request: web.Request) -> tuple[datetime | None, datetime | None]:
        """From when (inclusive) to when (exclusive), by the reader's calendar."""
        since = day_in(request, self.since) if self.since else None
        until = day_in(request, self.until) if self.until else None
        return since, until + timedelta(days=1) if until else None


def filter_in(request: web.Request) -> CardFilter:
    """From the address."""
    asked = request.query
    kind, who, way = asked.get("kind", ""), asked.get("who", ""), asked.get("way", "")
    return CardFilter(
        kind=kind if kind in _SHOWN_KINDS else "",
        employee_id=int(who) if who.isascii() and who.isdigit() and len(who) <= 18 else None,
        direction=way if way in list(Direction) else "",
        since=_day(asked.get("from", "")),
        until=_day(asked.get("to", "")),
        words=" ".join(asked.get("q", "").replace("\0", "").split())[:_LONGEST],
    )


def history_filter(chosen: CardFilter, request: web.Request, among: list[int] | None) -> HistoryFilter:
    """The same for the store."""
    since, until = chosen.days(request)
    kind = _NAMES.get(chosen.kind, chosen.kind)
    return HistoryFilter(
        kind=kind if kind in KINDS else "",
        employee_id=chosen.employee_id,
        direction=chosen.direction,
        since=since,
        until=until,
        among=among,
    )


def _day(text: str) -> str:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return ""
    return day.isoformat() if 1970 <= day.year <= 2200 else ""
