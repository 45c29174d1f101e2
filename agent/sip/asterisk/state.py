"""From what Asterisk says to the calls that there are. Pure.

A call begins with a channel that nobody of the PBX dialled, and has every channel dialled from it: a blind transfer
and a queue's members belong to it. Where phones of two such trees hear each other (an attended transfer, a
conference), the older call goes on with all of them and the younger ends there, under the same conversation. What is
told is worked out anew from the facts each time, so that neither order nor repetition of events matters.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from agent.sip.asterisk.callmaker import Conversation, Scene, make_conversation
from agent.sip.asterisk.events import BridgeView, ChannelView, Event
from agent.sip.asterisk.facts import Channel, Facts, endpoint, natural
from agent.sip.asterisk.numbers import split_dialled
from agent.sip.asterisk.talks import list_talks

_MOST_TRUNKS = 1000


class CallState:
    """The calls of one PBX. ``digits``: numbers up to this long are extensions."""

    def __init__(self, source: str, *, digits: int) -> None:
        self._source, self._digits = source, digits
        self._facts = Facts()
        self._trunks: set[str] = set()

    def take(self, event: Event) -> list[Conversation]:
        """Take in an event; the calls that it concerns, as they are now."""
        touched = self._facts.take(event)
        if event.kind == "Dial":
            self._learn_trunk(event)
        return self._conversations(touched)

    def find(
        self, channels: Sequence[ChannelView], bridges: Sequence[BridgeView], *, at: datetime
    ) -> tuple[list[Conversation], set[str]]:
        """Take in lists of everything that is there; the calls, and the channels whose beginning nobody had seen."""
        new = self._facts.find(channels, bridges, at)
        return self._conversations(new | {one.id for one in channels}), new

    def link(self, linkedids: Iterable[tuple[str, str]]) -> list[Conversation]:
        """Take in what Asterisk calls the conversations of channels that were found (``CHANNEL(linkedid)``)."""
        told = list(linkedids)
        for channel_id, linkedid in told:
            self._facts.link(channel_id, linkedid)
        return self._conversations({channel_id for channel_id, _ in told})

    def lose(self, channel_ids: Iterable[str]) -> list[Conversation]:
        """These channels are not there any more, and nobody saw them end; the calls that it concerns."""
        lost = set(channel_ids)
        for channel_id in lost:
            self._facts.lose(channel_id)
        return self._conversations(lost)

    def alive(self) -> frozenset[str]:
        """Ids of the channels that are believed to be there."""
        return frozenset(one.id for one in self._facts.channels.values() if one.ended is None)

    def forget(self, key: str) -> None:
        """Let go of what is over around this call; stray events of it are ignored from now on."""
        channels = self._cluster({key})
        if all(self._facts.channels[one].ended is not None for one in channels):
            self._facts.drop(channels)

    def current(self, key: str) -> Conversation | None:
        """One call as it is now."""
        return next((one for one in self._conversations({key}) if one.call.key == key), None)

    def _learn_trunk(self, event: Event) -> None:
        name, number = split_dialled(event.dialstring)
        peer = self._facts.channels.get(event.peer)
        if number and peer is not None and endpoint(peer.name) == name and len(self._trunks) < _MOST_TRUNKS:
            self._trunks.add(name)

    def _conversations(self, touched: Iterable[str]) -> list[Conversation]:
        cluster = self._cluster(touched)
        if not cluster:
            return []
        trees = self._trees(cluster)
        scene = Scene(
            source=self._source,
            facts=self._facts,
            trees=trees,
            talks=list_talks(self._facts, sorted(cluster)),
            trunks=frozenset(self._trunks),
            digits=self._digits,
        )
        made = (make_conversation(scene, key) for key in trees)
        return [one for one in made if one is not None]

    def _cluster(self, touched: Iterable[str]) -> set[str]:
        """All channels that have to do with these, however far."""
        waiting = [one for one in touched if one in self._facts.channels or one in self._facts.linked]
        found: set[str] = set()
        while waiting:
            one = waiting.pop()
            if one in found:
                continue
            if one in self._facts.channels:
                found.add(one)
                channel = self._facts.channels[one]
                waiting.extend(self._kin(channel))
                waiting.extend(member for bridge in channel.stays for member in self._facts.bridges.get(bridge, ()))
            waiting.extend(other for other in self._facts.linked.get(one, ()) if other not in found)
        return found

    def _kin(self, channel: Channel) -> set[str]:
        """Channels of the same call, whoever talked with whom."""
        facts = self._facts
        kin = facts.dialled.get(channel.id, set()) | facts.dialled_by.get(channel.id, set())
        for half in channel.halves:
            kin |= facts.halves.get(half, set())
        if channel.linkedid:
            kin |= facts.linked.get(channel.linkedid, set()) | {channel.linkedid}
        kin |= facts.linked.get(channel.id, set())
        return {one for one in kin if one in facts.channels}

    def _trees(self, cluster: set[str]) -> dict[str, list[Channel]]:
        """Channels by the call they began in, oldest call first; its name is its oldest channel's, as linkedid is."""
        trees: dict[str, list[Channel]] = {}
        left = set(cluster)
        while left:
            found: set[str] = set()
            waiting = [min(left)]
            while waiting:
                one = waiting.pop()
                if one not in found:
                    found.add(one)
                    waiting.extend(self._kin(self._facts.channels[one]))
            left -= found
            members = sorted((self._facts.channels[one] for one in found), key=_age)
            key = min([members[0].id, *(one.linkedid for one in members if one.linkedid)], key=natural)
            trees[key] = members
        return dict(sorted(trees.items(), key=lambda tree: _age(tree[1][0])))


def _age(channel: Channel) -> tuple[datetime, tuple[str, int, str]]:
    return channel.created, natural(channel.id)
