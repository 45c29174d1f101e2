"""From what Asterisk says to the calls that there are. Pure.

A call begins with a channel that nobody of the PBX dialled, and has every channel dialled from it: a blind transfer
and a queue's members belong to it. Where phones of two such trees hear each other (an attended transfer, a
conference), the older call goes on with all of them and the younger ends there, under the same conversation. What is
told is worked out anew from the facts each time, so that neither order nor repetition of events matters.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime

from agent.sip.asterisk.callmaker import Conversation, make_conversation
from agent.sip.asterisk.channels import Channel, endpoint, natural
from agent.sip.asterisk.events import BridgeView, ChannelView, Event
from agent.sip.asterisk.facts import Facts
from agent.sip.asterisk.numbers import split_dialled
from agent.sip.asterisk.scene import Scene
from agent.sip.asterisk.talks import list_talks

_MOST_TRUNKS = 1000
_ASIDE = frozenset(  # most of what is said, and none of it makes a call another one
    {"ChannelVarset", "DeviceStateChanged", "ChannelConnectedLine", "ChannelHangupRequest", "BridgeCreated"}
    | {"ChannelUserevent", "ChannelTalkingStarted", "ChannelTalkingFinished", "ChannelDtmfReceived", "PeerStatusChange"}
    | {"EndpointStateChange", "ContactStatusChange", "StasisStart", "StasisEnd", "ChannelToneDetected"}
)


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
        return [] if event.kind in _ASIDE else self._conversations(touched)

    def find(
        self,
        channels: Sequence[ChannelView],
        bridges: Sequence[BridgeView],
        linkedids: Mapping[str, str],
        *,
        at: datetime,
    ) -> None:
        """Take in lists of everything that is there, asked for at ``at``; ``linkedids``: what Asterisk calls the
        conversations of channels that were not known (``CHANNEL(linkedid)``)."""
        self._facts.find(channels, bridges, at)
        for channel_id, linkedid in linkedids.items():
            self._facts.link(channel_id, linkedid)

    def lose(self, channel_ids: Iterable[str], *, heard: datetime, left: Iterable[tuple[str, str]] = ()) -> None:
        """These channels are not there any more, and those that ``left`` (channel, bridge) not in that bridge. Nobody
        saw it, as would have been until ``heard``."""
        for channel_id, bridge_id in left:
            self._facts.miss(channel_id, bridge_id, heard)
        for channel_id in channel_ids:
            self._facts.lose(channel_id, heard)

    def inside(self) -> frozenset[tuple[str, str]]:
        """Who is believed to be in which bridge: channel and bridge."""
        return self._facts.inside()

    def known(self) -> frozenset[str]:
        """Ids of all channels anything is known of."""
        return frozenset(self._facts.channels)

    def alive(self) -> frozenset[str]:
        """Ids of the channels that are believed to be there."""
        return frozenset(one.id for one in self._facts.channels.values() if one.ended is None)

    def clusters(self) -> list[str]:
        """A channel of each group of calls that have to do with each other."""
        left, found = set(self._facts.channels), list[str]()
        while left:
            found.append(min(left))
            left -= self._cluster({found[-1]})
        return found

    def around(self, channel_id: str) -> list[Conversation]:
        """The calls that have to do with a channel, as they are now."""
        return self._conversations({channel_id})

    def everything(self) -> list[Conversation]:
        """All calls as they are now."""
        return [conversation for one in self.clusters() for conversation in self.around(one)]

    def forget(self, key: str) -> frozenset[str]:
        """Let go of what has to do with this call, once all of it is over; the names of the calls that are forgotten.

        Stray events of them are ignored from now on.
        """
        channels = self._cluster({key})
        if any(self._facts.channels[one].ended is None for one in channels):
            return frozenset()
        keys = frozenset(self._trees(channels)) | {key}
        self._facts.drop(channels)
        return keys

    def sweep(self, *, before: datetime, keep: Collection[str]) -> None:
        """Let go of what was over before then and is no call, or none of those to keep."""
        ended = {one.id for one in self._facts.channels.values() if one.ended is not None and one.last < before}
        while ended:
            cluster = self._cluster({min(ended)})
            ended -= cluster
            if not any(one.call.key in keep for one in self._conversations(cluster)):
                self.forget(min(cluster))

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
