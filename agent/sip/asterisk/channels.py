"""What is known of one channel, of one dialling another, and of a transfer. Pure.

Every fact here is a set of timed things, or the earliest or latest of its kind, so that neither order nor repetition of
events matters.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

# Channels that are nobody's phone: taps (ours and others'), prompts, recorders, moments within a transfer
PSEUDO = frozenset(
    {"Snoop", "UnicastRTP", "MulticastRTP", "AudioSocket", "WebSocket", "Announcer", "CBAnn", "CBRec", "Recorder"}
    | {"Message", "Surrogate", "AsyncGoto", "Parking", "Bucket", "ConfBridgeRecorder"}
)
LOCAL = "Local"

Timed = tuple[datetime, str]


def technology(name: str) -> str:
    """``PJSIP`` of ``PJSIP/101-0000000a``."""
    return name.partition("/")[0]


def endpoint(name: str) -> str:
    """``101`` of ``PJSIP/101-0000000a``."""
    return name.partition("/")[2].rpartition("-")[0]


def natural(channel_id: str) -> tuple[str, int, str]:
    """Sorts unique ids as they were given out: ``1795317594.9`` before ``1795317594.10``."""
    head, _, tail = channel_id.rpartition(".")
    return (head, int(tail), "") if tail.isascii() and tail.isdecimal() and len(tail) < 20 else (channel_id, 0, "")


@dataclass(slots=True, kw_only=True)
class Stay:
    """Comings to and goings from one bridge."""

    entered: set[datetime] = field(default_factory=set)
    left: set[datetime] = field(default_factory=set)

    @property
    def since(self) -> datetime | None:
        """When it came last, if it has not gone since."""
        came, went = max(self.entered, default=None), max(self.left, default=None)
        return came if came is not None and (went is None or went < came) else None

    def intervals(self, end: datetime | None) -> Iterator[tuple[datetime, datetime | None]]:
        """When the channel was in the bridge; None for an end that has not come. ``end``: it was destroyed."""
        since: datetime | None = None
        for at, is_leaving in sorted([(at, False) for at in self.entered] + [(at, True) for at in self.left]):
            if not is_leaving and since is None:
                since = at
            elif is_leaving and since is not None:
                yield since, at
                since = None
        if since is not None:
            yield since, max(end, since) if end is not None else None


@dataclass(slots=True, kw_only=True)
class Channel:
    """Everything known of one channel."""

    id: str
    created: datetime
    names: dict[str, datetime] = field(default_factory=dict)  # to when each was last seen
    states: set[str] = field(default_factory=set)
    number: Timed | None = None  # the earliest that was not empty
    person: Timed | None = None
    exten: Timed | None = None
    apps: dict[str, datetime] = field(default_factory=dict)  # of the dialplan, to when each was first seen
    stays: dict[str, Stay] = field(default_factory=dict)
    holds: set[datetime] = field(default_factory=set)
    unholds: set[datetime] = field(default_factory=set)
    destroyed: datetime | None = None
    cause: int | None = None
    lost: datetime | None = None  # its end was not seen: the last sign of life
    found: datetime | None = None  # its beginning was not seen: when it was found
    linkedid: str = ""
    last: datetime  # sign of life

    @property
    def name(self) -> str:
        """Its newest name; transfers may change it."""
        return max(self.names, key=lambda name: (self.names[name], name), default="")

    @property
    def ended(self) -> datetime | None:
        """When it was destroyed, as far as that is known."""
        return self.destroyed or self.lost

    @property
    def is_real(self) -> bool:
        """Whether it is somebody's phone or a trunk."""
        return technology(self.name) not in (*PSEUDO, LOCAL, "")

    @property
    def is_incoming(self) -> bool:
        """Whether its far end began it; the others were begun by the PBX."""
        return "Ring" in self.states or not self.states & {"Down", "Rsrvd", "OffHook", "Dialing", "Ringing"}

    @property
    def halves(self) -> set[str]:
        """Names of the pairs of local channels it was ever half of."""
        return {name.rpartition(";")[0] for name in self.names if technology(name) == LOCAL and ";" in name}

    def held_since(self) -> datetime | None:
        """Since when its phone has put the other side on hold."""
        last, released = max(self.holds, default=None), max(self.unholds, default=None)
        return last if last is not None and (released is None or released < last) else None


@dataclass(slots=True, kw_only=True)
class Dialling:
    """One channel calling another: what was dialled and what came of it."""

    caller: str
    peer: str
    strings: set[Timed] = field(default_factory=set)
    statuses: set[Timed] = field(default_factory=set)

    @property
    def string(self) -> str:
        """What was dialled."""
        return min((one for one in self.strings if one[1]), default=(None, ""))[1]

    @property
    def status(self) -> str:
        """How it ended: ANSWER, BUSY, NOANSWER, CANCEL …; empty as long as it rings."""
        final = [one for one in self.statuses if one[1] not in ("", "RINGING", "PROGRESS", "PROCEEDING")]
        return max(final, default=(None, ""))[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """That somebody handed a call on: by whom (a channel), and to which extension if that was said."""

    at: datetime
    kind: str
    by: str
    target: str = ""
