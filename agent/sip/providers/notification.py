"""The one shape that what any virtual PBX tells is brought into; pure.

A preset turns a provider's own words into `Notification`; from there on nothing knows which provider it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum

from agent.errors import Unreadable
from agent.model import Direction, Disposition


class UnreadableNotification(Unreadable):
    """A provider told something that makes no sense; it is kept as it came and shown to a person."""


class EventKind(IntEnum):
    """What an event tells, in the order in which later ones know better.

    ``REPORTED`` is a line of the provider's statistics: it is asked for after the fact, tells the whole call, and
    comes also where notifications were lost, so it has the last word.
    """

    RINGING = 1
    ANSWERED = 2
    LEG_ENDED = 3
    RECORDED = 4
    ENDED = 5
    REPORTED = 6


FINAL = frozenset({EventKind.ENDED, EventKind.REPORTED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """A request as it came: what is stored, and what presets read.

    ``tail`` is the path behind the provider's own part of the address, without a token. ``signature`` is what the
    header said, used at the door only.
    """

    tail: str = ""
    query: str = ""
    content_type: str = ""
    body: bytes = b""
    signature: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingReference:
    """A recording at the provider: its name there, and the address where it told one."""

    reference: str
    url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """What one event or one line of statistics tells of a call; whatever it does not tell is empty or None.

    ``call_key`` is the provider's name of the call for good, ``leg_key`` that of a part of it, ``parent_key`` joins
    the calls of one conversation. ``outside`` is the number of the other side (of an internal call: whoever was
    called), ``ours`` the company's number it was reached by, ``extension`` whoever of ours took part. ``talk`` is in
    seconds. ``at`` and ``sequence`` say when the event was, for events of the same kind.
    """

    kind: EventKind
    call_key: str
    leg_key: str = ""
    parent_key: str = ""
    direction: Direction | None = None
    outside: str = ""
    outside_name: str = ""
    ours: str = ""
    extension: str = ""
    employee: str = ""
    started: datetime | None = None
    answered: datetime | None = None
    ended: datetime | None = None
    talk: float | None = None
    status: Disposition | None = None
    at: datetime | None = None
    sequence: int = 0
    recordings: tuple[RecordingReference, ...] = ()
