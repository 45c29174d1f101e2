"""All channels and bridges that are of interest, gathered from events. Pure.

Asterisk's websocket is fed by several threads, so two events may come in either order; their times say which was
first.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import TypeVar

from agent.sip.asterisk.channels import PSEUDO, Channel, Dialling, Stay, Timed, Transfer, technology
from agent.sip.asterisk.events import BridgeView, ChannelView, Event

HOLDING = "holding"  # the kind of bridge in which nobody hears anybody: parking, waiting
_MOST_TIMES = 2000  # of one kind a channel: beyond this nobody reads it
_MOST_CHANNELS = 20_000
_AFTER = timedelta(milliseconds=1)  # what began at the very last moment did begin


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

    def inside(self) -> frozenset[tuple[str, str]]:
        """Who is believed to be in which bridge: channel and bridge."""
        return frozenset(
            (channel.id, bridge_id)
            for channel in self.channels.values()
            for bridge_id, stay in channel.stays.items()
            if channel.ended is None and stay.since is not None
        )

    def find(self, views: Iterable[ChannelView], bridges: Iterable[BridgeView], at: datetime) -> None:
        """Add what lists of everything say that were asked for at ``at``; what was not known had begun before."""
        for view in views:
            is_new = view.id not in self.channels
            self._see(view, at)
            if is_new and view.id in self.channels:
                self.channels[view.id].found = at
        for bridge in bridges:
            self.holding |= {bridge.id} if bridge.kind == HOLDING else set()
            for channel_id in bridge.members:
                if channel_id in self.channels:
                    self._stay(self.channels[channel_id], bridge.id).entered.add(at)

    def miss(self, channel_id: str, bridge_id: str, heard: datetime) -> None:
        """A channel is not in a bridge any more, and nobody saw it leave; until ``heard`` it would have been seen."""
        channel = self.channels.get(channel_id)
        if channel is not None and bridge_id in channel.stays:
            stay = channel.stays[bridge_id]
            if stay.since is not None:
                stay.left.add(max(stay.since, heard) + _AFTER)

    def link(self, channel_id: str, linkedid: str) -> None:
        """What Asterisk calls the conversation of a channel that was found."""
        if channel_id in self.channels and linkedid:
            self.channels[channel_id].linkedid = linkedid
            self.linked.setdefault(linkedid, set()).add(channel_id)

    def lose(self, channel_id: str, heard: datetime) -> None:
        """A channel is not there any more, and its end was not seen; until ``heard`` it would have been."""
        channel = self.channels.get(channel_id)
        if channel is not None and channel.destroyed is None:
            channel.lost = max(channel.last, heard) + _AFTER

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
