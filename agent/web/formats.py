"""Times, lengths, sizes and numbers as people read them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, tzinfo
from zoneinfo import ZoneInfo

from agent.model import Identity, IdentityKind
from agent.web.phones import phone
from agent.web.texts import MONTHS, Texts

ZONE_COOKIE = "cardline_zone"
Day = date  # within the class that name is its method
_SIZE_UNITS = {"ru": ("Б", "КБ", "МБ", "ГБ"), "en": ("B", "KB", "MB", "GB")}


def zone_of(cookies: Mapping[str, str]) -> tzinfo | None:
    """The time zone that the browser named; None means the server's own."""
    name = cookies.get(ZONE_COOKIE, "")
    if not name or len(name) > 64:
        return None
    try:
        return ZoneInfo(name)
    except (ValueError, OSError):  # ZoneInfoNotFoundError is a KeyError, see below
        return None
    except KeyError:
        return None


class Formats:
    """How one page shows values: its language and its reader's time zone."""

    def __init__(self, texts: Texts, zone: tzinfo | None, *, now: datetime | None = None) -> None:
        self._texts = texts
        self._zone = zone
        self._now = now or datetime.now(UTC)

    def local(self, moment: datetime) -> datetime:
        """In the reader's zone."""
        return moment.astimezone(self._zone)

    def day(self, moment: datetime) -> str:
        """Today, yesterday, or the day in words; the year only when it is another one."""
        day, today = self.local(moment).date(), self.local(self._now).date()
        if day == today:
            return self._texts("today")
        if (today - day).days == 1:
            return self._texts("yesterday")
        return self.date(day, with_year=day.year != today.year)

    def date(self, day: date, *, with_year: bool = True) -> str:
        """12 November 2026."""
        month = MONTHS[self._texts.language][day.month - 1]
        return f"{day.day}\u00a0{month}" + (f" {day.year}" if with_year else "")

    @property
    def today(self) -> Day:
        """By the reader's calendar."""
        return self.local(self._now).date()

    def calendar(self, day: Day) -> str:
        """A day near today by its word, else in words; the year only when it is another one."""
        near = {0: "today", 1: "tomorrow", -1: "yesterday"}.get((day - self.today).days)
        return self._texts(near) if near else self.date(day, with_year=day.year != self.today.year)

    def time(self, moment: datetime) -> str:
        """Hours and minutes."""
        return f"{self.local(moment):%H:%M}"

    def seconds_time(self, moment: datetime) -> str:
        """Hours, minutes and seconds."""
        return f"{self.local(moment):%H:%M:%S}"

    def moment(self, moment: datetime) -> str:
        """Day and time."""
        return f"{self.day(moment)}, {self.time(moment)}"

    def exact(self, moment: datetime) -> str:
        """For the tooltip: everything, with the zone."""
        return f"{self.local(moment):%d.%m.%Y %H:%M:%S %Z}"

    def length(self, seconds: float) -> str:
        """4:05, or 1:02:03."""
        whole = max(0, round(seconds))
        minutes, rest = divmod(whole, 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"

    def seconds(self, seconds: float) -> str:
        """0.8 s, or 4:05 from a minute on."""
        if seconds >= 60:
            return self.length(seconds)
        number = f"{seconds:.1f}"
        return f"{number.replace('.', ',')} с" if self._texts.language == "ru" else f"{number} s"

    def size(self, number: int) -> str:
        """Bytes in the largest unit that leaves at least one."""
        units = _SIZE_UNITS[self._texts.language]
        value, unit = float(number), 0
        while value >= 1000 and unit < len(units) - 1:
            value, unit = value / 1024, unit + 1
        text = f"{value:.0f}" if unit == 0 or value >= 10 else f"{value:.1f}"
        return f"{text.replace('.', ',') if self._texts.language == 'ru' else text}\u00a0{units[unit]}"

    def identity(self, identity: Identity) -> str:
        """A phone in groups; everything else as it is."""
        return phone(identity.value) if identity.kind is IdentityKind.PHONE else identity.value
