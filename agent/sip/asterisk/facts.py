"""What is known of each channel and bridge, gathered so that neither order nor repetition of events matters. Pure.

Asterisk's websocket is fed by several threads, so two events may come in either order; their times say which was
first. Every fact here is a set of timed things, or the earliest or latest of its kind.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from agent.sip.asterisk.events import BridgeView, ChannelView, Event

# Channels that are nobody's phone: taps (ours and others'), prompts, recorders, moments within a transfer
PSEUDO = frozenset(
    "Snoop UnicastRTP MulticastRTP AudioSocket WebSocket Announcer CBAnn CBRec Recorder Message Surrogate "
    "AsyncGoto Parking Bucket ConfBridgeRecorder".split()
)
LOCAL = "Local"
HOLDING = "holding"  # the kind of bridge in which nobody hears anybody: parking, waiting
_MOST_TIMES = 2000  # of one kind a channel: beyond this nobody reads it
_MOST_CHANNELS = 20_000

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


class Facts:
    """All channels and bridges that are of interest now."""

    def __init__(self) -> None:
        self.channels: dict[str, Channel] = {}
        self.diallings: dict[tuple[str, str], Dialling] = {}
        self.dialled_by: dict[str, set[str]] = {}  # peer to callers
        self.dialled: dict[str, set[str]] = {}  # caller to peers
        self.bridges: dict[str, set[str]] = {}  # ever in there
        self.holding: set[str] = set()
        self.halves: dict[str, set[str]] = {}
        self.linked: dict[str, set[str]] = {}
        self.transfers: dict[str, set[Transfer]] = {}  # by the channel that transferred
        self._gone: dict[str, None] = {}  # of which stray events may still come

    def take(self, event: Event) -> set[str]:
        """Add what an event says; the channels it concerns."""
        for view in event.views:
            self._see(view, event.at)
        channel = self.channels.get(event.channel)
        if event.kind == "Dial" and event.peer:
            self._dial(event)
        elif event.kind.startswith("Bridge") and event.kind.endswith("Transfer"):
            self._transfer(event)
        elif channel is not None:
            self._about(channel, event)
        if event.bridge is not None and event.bridge.kind == HOLDING:
            self.holding.add(event.bridge.id)
        return {view.id for view in event.views if view.id in self.channels}

    def find(self, views: Iterable[ChannelView], bridges: Iterable[BridgeView], at: datetime) -> set[str]:
        """Add what a list of everything says, as of ``at``; the channels whose beginning nobody had seen."""
        new = set()
        for view in views:
            is_new = view.id not in self.channels
            self._see(view, at)
            if is_new and view.id in self.channels:
                self.channels[view.id].found = at
                new.add(view.id)
        for bridge in bridges:
            if bridge.kind == HOLDING:
                self.holding.add(bridge.id)
            for member in bridge.members:
                if member in self.channels:
                    self._stay(self.channels[member], bridge.id).entered.add(at)
        return new

    def link(self, channel_id: str, linkedid: str) -> None:
        """What Asterisk calls the conversation of a channel that was found."""
        if channel_id in self.channels and linkedid:
            self.channels[channel_id].linkedid = linkedid
            self.linked.setdefault(linkedid, set()).add(channel_id)

    def lose(self, channel_id: str) -> None:
        """A channel is not there any more, and its end was not seen."""
        channel = self.channels.get(channel_id)
        if channel is not None and channel.destroyed is None:
            channel.lost = channel.last

    def drop(self, channel_ids: Iterable[str]) -> None:
        """Forget channels that are over, and what only they were part of."""
        for channel_id in channel_ids:
            channel = self.channels.pop(channel_id, None)
            if channel is None:
                continue
            for bridge_id in channel.stays:
                _discard(self.bridges, bridge_id, channel_id)
                if bridge_id not in self.bridges:
                    self.holding.discard(bridge_id)
            for half in channel.halves:
                _discard(self.halves, half, channel_id)
            _discard(self.linked, channel.linkedid, channel_id)
            for peer in self.dialled.pop(channel_id, ()):
                self.diallings.pop((channel_id, peer), None)
                _discard(self.dialled_by, peer, channel_id)
            for caller in self.dialled_by.pop(channel_id, ()):
                self.diallings.pop((caller, channel_id), None)
                _discard(self.dialled, caller, channel_id)
            self.transfers.pop(channel_id, None)
            self._gone[channel_id] = None
        while len(self._gone) > _MOST_CHANNELS:
            del self._gone[next(iter(self._gone))]

    def _see(self, view: ChannelView, at: datetime) -> None:
        channel = self.channels.get(view.id)
        if channel is None:
            if view.id in self._gone or technology(view.name) in PSEUDO or len(self.channels) >= _MOST_CHANNELS:
                return
            channel = self.channels[view.id] = Channel(id=view.id, created=view.created, last=at)
        channel.created = min(channel.created, view.created)
        channel.last = max(channel.last, at)
        if view.name not in channel.names:
            channel.names[view.name] = at
            for half in channel.halves:
                self.halves.setdefault(half, set()).add(view.id)
        channel.names[view.name] = max(channel.names[view.name], at)
        channel.states.add(view.state)
        channel.number = _earlier(channel.number, at, view.number)
        channel.person = _earlier(channel.person, at, view.person)
        channel.exten = _earlier(channel.exten, at, view.exten)
        if view.app and len(channel.apps) < _MOST_TIMES:
            app = f"{view.app}({view.app_data})"
            channel.apps[app] = min(channel.apps.get(app, at), at)

    def _about(self, channel: Channel, event: Event) -> None:
        if event.kind == "ChannelDestroyed":
            channel.destroyed = min(channel.destroyed or event.at, event.at)
            channel.cause = event.cause if channel.cause is None else channel.cause
        elif event.kind == "ChannelHold":
            _keep(channel.holds, event.at)
        elif event.kind == "ChannelUnhold":
            _keep(channel.unholds, event.at)
        elif event.kind == "ChannelEnteredBridge" and event.bridge:
            _keep(self._stay(channel, event.bridge.id).entered, event.at)
        elif event.kind == "ChannelLeftBridge" and event.bridge:
            _keep(self._stay(channel, event.bridge.id).left, event.at)

    def _stay(self, channel: Channel, bridge_id: str) -> Stay:
        self.bridges.setdefault(bridge_id, set()).add(channel.id)
        return channel.stays.setdefault(bridge_id, Stay())

    def _dial(self, event: Event) -> None:
        for peer in (event.peer, event.forwarded):
            if event.caller == peer or not {event.caller, peer} <= self.channels.keys():
                continue
            dialling = self.diallings.setdefault((event.caller, peer), Dialling(caller=event.caller, peer=peer))
            self.dialled.setdefault(event.caller, set()).add(peer)
            self.dialled_by.setdefault(peer, set()).add(event.caller)
            if peer == event.peer:
                _keep(dialling.strings, (event.at, event.dialstring))
                _keep(dialling.statuses, (event.at, event.status))

    def _transfer(self, event: Event) -> None:
        if event.by in self.channels:
            kind = "blind" if "Blind" in event.kind else "attended"
            _keep(
                self.transfers.setdefault(event.by, set()),
                Transfer(at=event.at, kind=kind, by=event.by, target=event.target),
            )


T = TypeVar("T")


def _keep(known: set[T], one: T) -> None:
    if len(known) < _MOST_TIMES:
        known.add(one)


def _earlier(known: Timed | None, at: datetime, value: str) -> Timed | None:
    if not value:
        return known
    return (at, value) if known is None else min(known, (at, value))


def _discard(groups: dict[str, set[str]], name: str, member: str) -> None:
    if (group := groups.get(name)) is not None:
        group.discard(member)
        if not group:
            del groups[name]
