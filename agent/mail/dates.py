"""Dates as mail programs write them into the words of a forward, in Russian, English, German and French. Pure."""

from __future__ import annotations

import email.utils
import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo

_LONGEST = 120
_MONTHS = {
    "jan": 1, "янв": 1, "feb": 2, "фев": 2, "fév": 2, "mar": 3, "мар": 3, "mär": 3, "mrz": 3, "apr": 4, "апр": 4,
    "avr": 4, "may": 5, "мая": 5, "май": 5, "mai": 5, "jun": 6, "июн": 6, "juin": 6, "jul": 7, "июл": 7, "juil": 7,
    "aug": 8, "авг": 8, "aoû": 8, "sep": 9, "сен": 9, "oct": 10, "окт": 10, "okt": 10, "nov": 11, "ноя": 11,
    "dec": 12, "дек": 12, "dez": 12, "déc": 12,
}  # fmt: skip
_ISO = re.compile(r"(?<!\d)((?:19|20)\d\d)-(\d{1,2})-(\d{1,2})(?!\d)")
_NUMERIC = re.compile(r"(?<!\d)(\d{1,2})([./])(\d{1,2})\2((?:19|20)\d\d)(?!\d)")
_DAY_FIRST = re.compile(r"(?<!\d)(\d{1,2})\.?\s+([^\W\d_]{3,9})\.?,?\s+((?:19|20)\d\d)(?!\d)")
_MONTH_FIRST = re.compile(r"([^\W\d_]{3,9})\.?\s+(\d{1,2}),?\s+((?:19|20)\d\d)(?!\d)")
_TIME = re.compile(r"(?<!\d)(\d{1,2}):(\d\d)(?::(\d\d))?(?:\s*([AaPp])\.?[Mm])?")
_ZONE = re.compile(r"(?:(?:GMT|UTC)\s*)?([+-])(\d{1,2}):?(\d\d)?(?!\d)|\b(?:GMT|UTC)\b")


def read_written_date(words: str, *, zone: tzinfo = UTC) -> datetime | None:
    """The moment the words name, in UTC, None where none can be read; ``zone`` is the writer's, if they say none."""
    words = words[:_LONGEST]
    time = _TIME.search(words)
    day = _day(words, has_half=time is not None and time[4] is not None)
    if day is None or time is None:
        return None
    hour = int(time[1])
    if time[4] is not None:
        hour = hour % 12 + (12 if time[4] in "Pp" else 0)
    return _moment(day, (hour, int(time[2]), int(time[3] or 0)), _offset(words[time.end() :]) or zone)


def zone_of(date_header: str) -> tzinfo:
    """The zone of a Date header, UTC where it has none: that of whoever forwards is that of what he quotes."""
    found = email.utils.parsedate_tz(date_header[:_LONGEST])
    seconds = found[9] if found is not None else None
    return timezone(timedelta(seconds=seconds)) if seconds is not None and abs(seconds) < 86_400 else UTC


def _day(words: str, *, has_half: bool) -> tuple[int, int, int] | None:
    """Year, month, day. With slashes, who writes AM or PM puts the month first."""
    if (found := _ISO.search(words)) is not None:
        return int(found[1]), int(found[2]), int(found[3])
    if (found := _NUMERIC.search(words)) is not None:
        one, two = int(found[1]), int(found[3])
        is_month_first = two > 12 or (found[2] == "/" and has_half and one <= 12)
        return (int(found[4]), one, two) if is_month_first else (int(found[4]), two, one)
    if (found := _DAY_FIRST.search(words)) is not None and (month := _month(found[2])):
        return int(found[3]), month, int(found[1])
    if (found := _MONTH_FIRST.search(words)) is not None and (month := _month(found[1])):
        return int(found[3]), month, int(found[2])
    return None


def _month(word: str) -> int | None:
    lower = word.lower()
    return _MONTHS.get(lower[:4]) or _MONTHS.get(lower[:3])


def _offset(after_time: str) -> tzinfo | None:
    found = _ZONE.search(after_time)
    if found is None:
        return None
    minutes = int(found[2] or 0) * 60 + int(found[3] or 0)
    return timezone(timedelta(minutes=-minutes if found[1] == "-" else minutes)) if minutes < 24 * 60 else None


def _moment(day: tuple[int, int, int], time: tuple[int, int, int], zone: tzinfo) -> datetime | None:
    try:
        moment = datetime(*day, *time, tzinfo=zone).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return moment if 1980 <= moment.year <= 2100 else None
