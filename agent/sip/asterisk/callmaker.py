"""One call, from the channels of its tree and who talked with whom. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from agent.model import CapturedCall, CapturedParty, Disposition, IdentityKind
from agent.sip.asterisk.channels import Channel, Transfer, natural
from agent.sip.asterisk.numbers import HIDDEN, is_extension
from agent.sip.asterisk.outcome import outcome
from agent.sip.asterisk.scene import Scene
from agent.sip.asterisk.talks import Talk
from agent.sound.flac import MOST_CHANNELS

FOUND = "the call had begun before Cardline was connected to the PBX"
LOST = "the end of the call was not seen; it ends with the last sign of life"
JOINED = "the call went on in another one that had begun before it"
CROWDED = f"more than {MOST_CHANNELS} people took part; those who came later are not recorded"
_MOST_LEGS = 200  # told as details


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """A channel whose sound belongs to a call now. ``seat`` is its party's place, and channel of the recording."""

    channel: str
    seat: int
    who: str
    held_since: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """A call as it is known by now, and the legs to be heard. ``is_over``: no channel of it is left."""

    call: CapturedCall
    legs: tuple[Leg, ...]
    is_internal: bool
    is_over: bool


@dataclass(slots=True, kw_only=True)
class _Seat:
    """A person: all the channels he was on."""

    value: str
    name: str
    channels: list[Channel]
    joined: datetime | None = None
    left: datetime | None = None
    talks: list[Talk] = field(default_factory=list)


def make_conversation(scene: Scene, key: str) -> Conversation | None:
    """The call of this tree; None where there is none: a phone that calls the PBX itself, or half of a wire."""
    tree = scene.trees[key]
    talks, taken = scene.owned[0][key], scene.owned[1].get(key)
    own = [one for one in tree if one.is_real]
    if not own:
        return None
    members = list(own)
    for talk in talks:
        known = {one.id for one in members}
        members += [scene.facts.channels[one] for one in sorted(talk.phones - known, key=natural)]
    gone = [one.ended for one in (*tree, *members)]
    is_over = taken is not None or all(one is not None for one in gone)
    ended = (taken[1] if taken else max(one.ended for one in members if one.ended)) if is_over else None
    seats = _seats(scene, _caller(scene, own), members, talks, ended)
    inside = [is_extension(one.value, scene.digits) for one in seats]
    if len(seats) < 2 and (inside[0] or not own[0].is_incoming):
        return None
    call = _call(scene, key, seats, talks, ended)
    legs = () if is_over else tuple(_legs(scene, key, seats))
    return Conversation(call=call, legs=legs, is_internal=all(inside), is_over=is_over)


def _caller(scene: Scene, own: Sequence[Channel]) -> Channel:
    """Who began: the oldest channel. Where the PBX itself did (click to call, a dialler), our side did."""
    first = own[0]
    if first.is_incoming or scene.is_inside(first):
        return first
    return next((one for one in own if scene.is_inside(one)), first)


def _seats(
    scene: Scene, caller: Channel, members: Sequence[Channel], talks: Sequence[Talk], ended: datetime | None
) -> list[_Seat]:
    """The caller, then whoever talked, in that order. Where nobody has yet: whom it rings at; in the end all of them.

    Who was rung while somebody else answered did not miss the call.
    """
    numbers = {one.id: scene.number(one) for one in members}
    joined: dict[str, datetime] = {}
    for talk in talks:
        joined |= dict.fromkeys(talk.phones - joined.keys(), talk.start)
    talkers = sorted((one for one in members if one.id in joined), key=lambda one: (joined[one.id], natural(one.id)))
    rung = [one for one in members if one is not caller and not one.is_incoming]
    chosen = talkers if talks else rung if ended else rung[:1]
    seats: list[_Seat] = []
    for one in [caller, *(each for each in chosen if each is not caller)]:
        seat = next((known for known in seats if _is_same(known, one, numbers, talks)), None)
        if seat is None:
            seat = _Seat(value=numbers[one.id], name="", channels=[])
            seats.append(seat)
        seat.channels.append(one)
        seat.name = seat.name or (one.person[1] if one.person else "")
    for seat in seats:
        _time(seat, talks, ended)
    return seats


def _is_same(seat: _Seat, channel: Channel, numbers: Mapping[str, str], talks: Sequence[Talk]) -> bool:
    """Whether it is the same person on another line: the same number, never heard at the same time."""
    if seat.value != numbers[channel.id] or seat.value == HIDDEN:
        return False
    ids = {one.id for one in seat.channels}
    return not any(channel.id in talk.phones and ids & talk.phones for talk in talks)


def _time(seat: _Seat, talks: Sequence[Talk], ended: datetime | None) -> None:
    """When he joined and left; whoever may still come back has not left."""
    ids = {one.id for one in seat.channels}
    seat.talks = [talk for talk in talks if talk.phones & ids]
    if not seat.talks:
        return
    seat.joined = seat.talks[0].start
    if ended or all(one.ended for one in seat.channels):
        last = [talk.end for talk in seat.talks]
        seat.left = max((one for one in last if one is not None), default=None)
        if ended is not None:
            seat.left = min(seat.left or ended, ended)


def _call(
    scene: Scene, key: str, seats: Sequence[_Seat], talks: Sequence[Talk], ended: datetime | None
) -> CapturedCall:
    tree = scene.trees[key]
    channels = [one for seat in seats for one in seat.channels]
    taken = scene.owned[1].get(key)
    answered = talks[0].start if talks else taken[1] if taken else None
    conversation = scene.conversation_of(key)
    flags = [FOUND] if tree[0].found else []
    flags += [LOST] if ended and not taken and _is_lost(channels) else []
    flags += [JOINED] if taken and not talks else []
    flags += [CROWDED] if len(seats) > MOST_CHANNELS else []
    is_inbound = not is_extension(seats[0].value, scene.digits)
    return CapturedCall(
        source=scene.source,
        key=key,
        started=min(one.created for one in tree),
        answered=answered,
        ended=ended,
        disposition=Disposition.IN_PROGRESS
        if ended is None
        else outcome(scene.facts, tree, was_answered=answered is not None, is_inbound=is_inbound),
        parties=tuple(_party(seat, number, bool(talks)) for number, seat in enumerate(seats)),
        conversation_key=conversation if ended is not None else None,
        flags=tuple(flags),
        details=_details(scene, key, seats, talks),
    )


def _is_lost(channels: Sequence[Channel]) -> bool:
    """Whether the last of them to go went unseen."""
    gone = [(one.ended, one.destroyed is None) for one in channels if one.ended is not None]
    return bool(gone) and max(gone)[1]


def _party(seat: _Seat, number: int, talked: bool) -> CapturedParty:
    return CapturedParty(
        position=("caller", "callee")[number] if number < 2 else "participant",
        kind=IdentityKind.PHONE,
        value=seat.value,
        name=seat.name,
        channel=number if number < (MOST_CHANNELS if talked else 2) else None,
        joined=seat.joined,
        left=seat.left,
    )


def _legs(scene: Scene, key: str, seats: Sequence[_Seat]) -> list[Leg]:
    """Channels that took part in the talk and are still there, unless they talk in another call now."""
    elsewhere = {
        one
        for owner, talks in scene.owned[0].items()
        if owner != key
        for talk in talks
        if talk.end is None
        for one in talk.phones
    }
    return [
        Leg(channel=one.id, seat=number, who=seat.value, held_since=one.held_since())
        for number, seat in enumerate(seats[:MOST_CHANNELS])
        for one in seat.channels
        if one.ended is None and one.id not in elsewhere and any(one.id in talk.phones for talk in seat.talks)
    ]


def _details(scene: Scene, key: str, seats: Sequence[_Seat], talks: Sequence[Talk]) -> dict[str, object]:
    """What else a person may want to know; ``credited``: of our side, whoever talked last."""
    tree = scene.trees[key]
    inside = [seat for seat in seats if is_extension(seat.value, scene.digits) and seat.talks]
    details: dict[str, object] = {"linkedid": scene.conversation_of(key)}
    if tree[0].exten:
        details["dialled"] = tree[0].exten[1]
    if queues := _queues(tree):
        details["queues"] = queues
    if inside and talks:
        details["credited"] = max(inside, key=lambda seat: (_last(seat), seat.joined or seat.talks[0].start)).value
    rung = {scene.number(one): None for one in tree if one.is_real and not one.is_incoming}
    talked = {seat.value for seat in seats if seat.talks}
    if vain := [number for number in rung if number not in talked]:
        details["rung"] = vain[:_MOST_LEGS]
    if transfers := _transfers(scene, seats):
        details["transfers"] = transfers
    details["legs"] = [_leg(seat, one) for seat in seats for one in seat.channels][:_MOST_LEGS]
    return details


def _last(seat: _Seat) -> tuple[bool, datetime]:
    ends = [talk.end for talk in seat.talks]
    return (None in ends, max((one for one in ends if one is not None), default=seat.talks[-1].start))


def _queues(tree: Sequence[Channel]) -> list[str]:
    apps = {app: at for one in tree for app, at in one.apps.items() if app.startswith("Queue(")}
    names = (app[len("Queue(") : -1].partition(",")[0] for app in sorted(apps, key=lambda app: (apps[app], app)))
    return list(dict.fromkeys(filter(None, names)))


def _transfers(scene: Scene, seats: Sequence[_Seat]) -> list[dict[str, str]]:
    found: list[tuple[Transfer, str]] = [
        (transfer, seat.value)
        for seat in seats
        for one in seat.channels
        for transfer in scene.facts.transfers.get(one.id, ())
    ]
    found.sort(key=lambda one: (one[0].at, one[0].by))
    return [
        {"at": one.at.isoformat(), "kind": one.kind, "by": who, **({"to": one.target} if one.target else {})}
        for one, who in found[:_MOST_LEGS]
    ]


def _leg(seat: _Seat, channel: Channel) -> dict[str, str]:
    return {"channel": channel.id, "name": channel.name, "number": seat.value}
