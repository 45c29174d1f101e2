"""What the name of a recording tells: Asterisk's Monitor and MixMonitor, FreePBX old and new, anything alike. Pure.

FreePBX names a file ``<kind>-<to>-<from>-<date>-<time>-<uniqueid>`` (``out-74950000001-101-20260302-120000-…``), older
ones ``OUT101-<date>-<time>-<uniqueid>``; Asterisk by itself names it as the dialplan says, most often by the unique id
of the channel. That id is the second, in UTC, in which the channel was made, a point and a counter (Asterisk's
``UNIQUEID``), so it needs no time zone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

_FREEPBX = re.compile(
    r"(?P<kind>[a-z]+)-(?P<to>.*)-(?P<caller>[^-]*)-(?P<date>\d{8})-(?P<time>\d{6})-(?P<id>(?:.*-)?\d{9,11}\.\d+)",
    re.IGNORECASE,
)
_UNIQUE_ID = re.compile(r"(?<![\d.])(\d{9,11}\.\d{1,9})(?![\d.])")
_MOMENT = re.compile(
    r"(?<!\d)((?:19|20)\d\d)[-_.]?(\d\d)[-_.]?(\d\d)[-_ T.]{0,3}(\d\d)[-_:.h]?(\d\d)[-_:.m]?(\d\d)(?!\d)", re.IGNORECASE
)
_NUMBER = re.compile(r"(?<![\d.])\+?\d{2,15}(?![\d.])")
_OLD_FREEPBX = re.compile(r"(?P<kind>out|in|q|g|rg)-?(?P<number>\d{2,15})(?=[-_]|$)", re.IGNORECASE)
_SIDE = re.compile(r"(?P<rest>.+)[-_.](?P<side>in|out|rx|tx)", re.IGNORECASE)
_SIDES = {"in": 0, "rx": 0, "out": 1, "tx": 1}
_OLDEST, _NEWEST = 700_000_000, 4_000_000_000  # seconds since the epoch that a unique id may be of: 1992 to 2096


@dataclass(frozen=True, slots=True, kw_only=True)
class Name:
    """What a file's name tells; empty where it does not.

    ``local`` is a wall time without a zone. ``caller`` and ``callee`` are numbers as they stand; ``is_guess`` where
    their order is not certain.
    """

    unique_id: str = ""
    local: datetime | None = None
    caller: str = ""
    callee: str = ""
    is_guess: bool = False

    @property
    def began(self) -> datetime | None:
        """When the channel was made, by its unique id."""
        return moment_of(self.unique_id)


def moment_of(unique_id: str) -> datetime | None:
    """The second in which Asterisk made the channel with this id."""
    seconds = unique_id.partition(".")[0]
    if not seconds.isdecimal() or not _OLDEST <= int(seconds) <= _NEWEST:
        return None
    return datetime.fromtimestamp(int(seconds), UTC)


def plain_id(text: str) -> str:
    """A unique id without the system's name in front of it (``systemname`` of asterisk.conf); empty if it is none."""
    found = _UNIQUE_ID.search(text)
    return found[1] if found and moment_of(found[1]) is not None else ""


def split_side(stem: str) -> tuple[str, int | None]:
    """A name without the ending by which Monitor tells what the recorded channel said (``-in``, channel 0) from what
    it heard (``-out``, channel 1); None where it has neither."""
    found = _SIDE.fullmatch(stem)
    return (found["rest"], _SIDES[found["side"].lower()]) if found else (stem, None)


def read_name(stem: str) -> Name:
    """Read a file's name, given without its ending and without its side."""
    if found := _FREEPBX.fullmatch(stem):
        return Name(
            unique_id=plain_id(found["id"]),
            local=_moment(found["date"] + found["time"]),
            caller=_number(found["caller"]),
            callee=_number(found["to"]),
        )
    unique_id = plain_id(stem)
    rest = stem.replace(unique_id, " ") if unique_id else stem
    local = _moment(rest)
    rest = _MOMENT.sub(" ", rest, count=1) if local is not None else rest
    if found := _OLD_FREEPBX.match(rest):
        number, is_out = found["number"], found["kind"].lower() == "out"
        return Name(unique_id=unique_id, local=local, caller=number if is_out else "", callee="" if is_out else number)
    numbers = _NUMBER.findall(rest)
    caller, callee = [*numbers, "", ""][:2]
    return Name(unique_id=unique_id, local=local, caller=caller, callee=callee, is_guess=bool(caller))


def _moment(text: str) -> datetime | None:
    found = _MOMENT.search(text)
    try:
        return datetime(*(int(part) for part in found.groups())) if found else None  # type: ignore[arg-type]  # noqa: DTZ001
    except ValueError:
        return None


def _number(text: str) -> str:
    """What stands in the place of a number: one, or a word such as ``anonymous``, or nothing."""
    return text.strip() if any(one.isalnum() for one in text) else ""
