"""Who talked with whom, and when: from stays in bridges to stretches of talk. Pure.

Two halves of a local channel are one wire, so bridges joined by such a wire are one room. In a room with two phones
there is talk.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
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


def list_talks(facts: Facts, channels: Sequence[str]) -> list[Talk]:
    """All talk among these channels, in order of time. Stays without any length are none."""
    known = {one: facts.channels[one] for one in channels}
    wires = {one.id: halves for one in known.values() if (halves := one.halves)}
    real = {one.id for one in known.values() if one.is_real}
    talks: list[Talk] = []
    last: dict[frozenset[str], Talk] = {}
    for start, end, present in _moments(_stretches(facts, known)):
        for phones in _rooms(present, wires, real):
            before = last.get(phones)
            if before is not None and before.end == start:  # nothing has changed for these
                talks.remove(before)
                last[phones] = Talk(start=before.start, end=end, phones=phones)
            else:
                last[phones] = Talk(start=start, end=end, phones=phones)
            talks.append(last[phones])
    return sorted(talks, key=lambda one: (one.start, sorted(one.phones)))


def _stretches(facts: Facts, known: Mapping[str, Channel]) -> list[_Stretch]:
    return [
        _Stretch(channel=one.id, bridge=bridge, start=start, end=end)
        for one in known.values()
        for bridge, stay in one.stays.items()
        if bridge not in facts.holding
        for start, end in stay.intervals(one.ended)
        if end is None or end > start
    ]


def _moments(stretches: Sequence[_Stretch]) -> Iterator[tuple[datetime, datetime | None, Collection[_Stretch]]]:
    """The times between any two changes, each with who was where; the last one has no end."""
    changes: dict[datetime, tuple[list[_Stretch], list[_Stretch]]] = {}
    for one in stretches:
        changes.setdefault(one.start, ([], []))[0].append(one)
        if one.end is not None:
            changes.setdefault(one.end, ([], []))[1].append(one)
    moments = sorted(changes)
    present: dict[_Stretch, None] = {}
    for at, until in zip(moments, [*moments[1:], None], strict=False):
        came, went = changes[at]
        for one in went:
            present.pop(one, None)
        present |= dict.fromkeys(came)
        yield at, until, present


def _rooms(
    present: Collection[_Stretch], wires: Mapping[str, Collection[str]], real: Collection[str]
) -> Iterator[frozenset[str]]:
    """The phones in each room; rooms with fewer than two are silent."""
    phones: dict[str, set[str]] = {}
    joints: dict[str, set[str]] = {}  # pair of local channels to the bridges that its halves are in
    for one in present:
        phones.setdefault(one.bridge, set()).update([one.channel] if one.channel in real else [])
        for pair in wires.get(one.channel, ()):
            joints.setdefault(pair, set()).add(one.bridge)
    rooms = [{bridge} for bridge in phones]
    for joint in joints.values():
        touching = [room for room in rooms if room & joint]
        rooms = [room for room in rooms if not room & joint] + [set[str]().union(*touching)]
    for room in rooms:
        inside = frozenset(phone for bridge in room for phone in phones[bridge])
        if len(inside) > 1:
            yield inside
