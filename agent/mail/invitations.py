"""What the calendar parts of a mail say (RFC 5545, 5546). The one file that knows icalendar. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from agent.mail.parts import Part, part_bytes
from agent.mail.text import clean, decode_bytes, one_line
from agent.model_mail import ParsedAttendee, ParsedInvitation

CALENDAR_TYPES = frozenset(("text/calendar", "application/ics"))
_LONGEST = 512 * 1024  # bytes
_MOST_EVENTS = 20
_MOST_ATTENDEES = 200
_METHODS = frozenset(("PUBLISH", "REQUEST", "REPLY", "ADD", "CANCEL", "REFRESH", "COUNTER", "DECLINECOUNTER"))


def read_invitations(parts: Sequence[Part]) -> tuple[tuple[ParsedInvitation, ...], str | None]:
    """The events of all calendar parts, each once, and what was wrong."""
    found: dict[tuple[Any, ...], ParsedInvitation] = {}
    problem = None
    for part in parts:
        if part.media_type not in CALENDAR_TYPES or part.message.is_multipart():
            continue
        events, trouble = _read_part(part)
        problem = problem or trouble
        for one in events:  # the same calendar often comes twice: to be shown, and as a file
            found.setdefault((one.method, one.uid, one.recurrence_id, one.sequence), one)
    return tuple(found.values())[:_MOST_EVENTS], problem


def _read_part(part: Part) -> tuple[list[ParsedInvitation], str | None]:
    data = part_bytes(part)
    if len(data) > _LONGEST:
        return [], "its calendar is too large to be read"
    try:
        from icalendar import Calendar  # here, so that only the processes that read mail carry it

        source, _ = decode_bytes(data, part.parameter("charset") or "utf-8")
        calendar = Calendar.from_ical(source)
        method = _method(part, calendar)
        return [_event(part, method, event) for event in calendar.walk("VEVENT")[:_MOST_EVENTS]], None
    except Exception:  # the library raises whatever comes; the mail is read all the same
        return [], "its calendar cannot be read"


def _method(part: Part, calendar: Any) -> str:
    for said in (calendar.get("METHOD"), part.parameter("method")):
        if str(said or "").upper() in _METHODS:
            return str(said).upper()
    return "PUBLISH"


def _event(part: Part, method: str, event: Any) -> ParsedInvitation:
    start, is_all_day = _moment(event.get("DTSTART"))
    end, _ = _moment(event.get("DTEND"))
    duration = getattr(event.get("DURATION"), "dt", None)
    if end is None and start is not None and isinstance(duration, timedelta):
        end = start + duration
    elif end is None and start is not None and is_all_day:
        end = start + timedelta(days=1)
    people = _list(event.get("ATTENDEE"))[:_MOST_ATTENDEES]
    organizer = event.get("ORGANIZER")
    return ParsedInvitation(
        part=part.number,
        method=method,
        uid=_line(event.get("UID"), 500),
        sequence=_number(event.get("SEQUENCE")),
        recurrence_id=_moment(event.get("RECURRENCE-ID"))[0],
        start=start,
        end=end,
        is_all_day=is_all_day,
        is_recurring=event.get("RRULE") is not None or event.get("RDATE") is not None,
        status=_line(event.get("STATUS"), 40).lower(),
        organizer=_attendee(organizer) if organizer is not None else None,
        attendees=tuple(_attendee(one) for one in people),
        summary=_line(event.get("SUMMARY"), 1000),
        location=_line(event.get("LOCATION"), 1000),
    )


def _attendee(value: Any) -> ParsedAttendee:
    address = str(value)
    parameters = getattr(value, "params", {})
    if not address.lower().startswith("mailto:"):
        address = str(parameters.get("EMAIL", address))
    return ParsedAttendee(
        address=one_line(clean(address[7:] if address.lower().startswith("mailto:") else address), 320).lower(),
        name=_line(parameters.get("CN"), 200),
        status=_line(parameters.get("PARTSTAT"), 40).lower() or "needs-action",
    )


def _moment(value: Any) -> tuple[datetime | None, bool]:
    """A time in UTC and whether it is a whole day. A time without a zone counts as UTC: nobody says where it floats."""
    moment = getattr(value, "dt", None)
    if isinstance(moment, datetime):
        try:
            moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        except (ValueError, OverflowError):
            return None, False
        return (moment if 1980 <= moment.year <= 2200 else None), False
    if isinstance(moment, date) and 1980 <= moment.year <= 2200:
        return datetime.combine(moment, time(), UTC), True
    return None, False


def _list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, Iterable) and not isinstance(value, str) else [value]


def _number(value: Any) -> int:
    try:
        return max(0, min(int(value), 2**31 - 1))
    except (TypeError, ValueError):
        return 0


def _line(value: Any, limit: int) -> str:
    return one_line(clean(str(value)), limit) if value is not None else ""
