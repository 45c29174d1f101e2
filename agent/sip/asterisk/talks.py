"""Who talked with whom, and when: from stays in bridges to stretches of talk. Pure.

Two halves of a local channel are one wire, so bridges joined by such a wire are one room. In a room with two phones
there is talk.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from agent.sip.asterisk.channels import Channel
from agent.sip.asterisk.facts import Facts


@dataclass(frozen=True, slots=True, kw_only=True)
class Talk:
    """A stretch in which the same phones (ids of channels) heard each other; ``end`` is None while it goes on."""

    start: datetime
    end: datetime | None
    phones: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stretch:
    """One stay of one channel in one bridge."""

    channel: str
    bridge: str
    start: datetime
    end: datetime | None

    def covers(self, start: datetime, end: datetime | None) -> bool:
        return self.start <= start and (self.end is None or (end is not None and end <= self.end))


def list_talks(facts: Facts, channels: Sequence[str]) -> list[Talk]:
    """All talk among these channels, in order of time. Stays without any length are none."""
    known = {one: facts.channels[one] for one in channels}
    stretches = [
        _Stretch(channel=one.id, bridge=bridge, start=start, end=end)
        for one in known.values()
        for bridge, stay in one.stays.items()
        if bridge not in facts.holding
        for start, end in stay.intervals(one.ended)
        if end is None or end > start
    ]
    moments = sorted({one.start for one in stretches} | {one.end for one in stretches if one.end is not None})
    ends: list[datetime | None] = [*moments[1:], None] if moments else []
    found: list[Talk] = []
    for start, end in zip(moments, ends, strict=True):
        present = [one for one in stretches if one.covers(start, end)]
        for room in _rooms(present, known):
            found.append(Talk(start=start, end=end, phones=room))
    return _joined(found)


def _rooms(present: Sequence[_Stretch], known: Mapping[str, Channel]) -> Iterator[frozenset[str]]:
    """The phones in each room; rooms with fewer than two are silent."""
    wires = [{one.bridge, f";{half}"} for one in present for half in known[one.channel].halves]
    rooms: list[set[str]] = []
    for group in [*({one.bridge} for one in present), *wires]:
        touching = [room for room in rooms if room & group]
        rooms = [room for room in rooms if not room & group] + [set(group).union(*touching)]
    for room in rooms:
        phones = frozenset(one.channel for one in present if one.bridge in room and known[one.channel].is_real)
        if len(phones) > 1:
            yield phones


def _joined(talks: Sequence[Talk]) -> list[Talk]:
    """Stretches with the same phones that follow each other are one."""
    found: list[Talk] = []
    for talk in talks:
        before = next((one for one in found if one.end == talk.start and one.phones == talk.phones), None)
        if before is None:
            found.append(talk)
        else:
            found[found.index(before)] = Talk(start=before.start, end=talk.end, phones=talk.phones)
    return sorted(found, key=lambda one: (one.start, sorted(one.phones)))
