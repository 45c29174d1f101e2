"""What each source has told of a call by now, and the one call that several of them told. Pure.

Facts are added, never taken back, so the order in which snapshots and sources come does not matter. What every source
said stays apart, so that two calls taken for one can be told apart again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from pydantic import TypeAdapter

from agent.model import CapturedCall, CapturedParty, Disposition
from agent.store.numbers import Kind, Number, read_number

_PRECISION = {"asterisk": 0, "line": 1, "siprec": 2, "provider": 4, "recordings": 5, "import": 5}
_PRECISION_OF_OTHERS = 3
_DISAGREE = "the sources do not agree whether this call was answered"
LOST_FLAG = "its recorder was not heard for a day; the call ends with the last sign of that"
DERIVED_FLAGS = (_DISAGREE, LOST_FLAG)
"""Flags that follow from what is told, and go when it does not say so any more."""

SAW_NO_RINGING = timedelta(seconds=1)  # of a source whose call is answered as soon as it begins


@dataclass(frozen=True, slots=True, kw_only=True)
class Take:
    """One capture of a call: whether it has ended, and whether it was cut short. ``lost`` is when its host was heard
    last, where that was given up; when it tells of the call again, that counts no more."""

    ended: bool = False
    cut: bool = False
    lost: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A call as one source has told it, all its snapshots laid over each other. ``takes`` are its captures by name."""

    started: datetime
    answered: datetime | None = None
    ended: datetime | None = None
    disposition: Disposition = Disposition.IN_PROGRESS
    truncated: bool = False
    parties: tuple[CapturedParty, ...] = ()
    conversation_key: str | None = None
    flags: tuple[str, ...] = ()
    takes: Mapping[str, Take] = field(default_factory=dict)

    @property
    def is_over(self) -> bool:
        """Whether it is known how the call ended."""
        return self.disposition is not Disposition.IN_PROGRESS

    @property
    def saw_ringing(self) -> bool:
        """Some sources, most SIPREC clients among them, hear of a call only when it is answered."""
        return self.answered is None or self.answered - self.started > SAW_NO_RINGING


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What one source (``asterisk:office``) has told of a call."""

    source: str
    told: Told


_JSON: TypeAdapter[Told] = TypeAdapter(Told)


def as_json(told: Told) -> Any:
    """For the database. Whatever letters the source sent: it is the database's door that makes them storable."""
    return _plain(asdict(told))


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, (list, tuple)) else value


def from_json(data: Any) -> Told:
    """The other way round."""
    return _JSON.validate_python(data)


# --- One source -------------------------------------------------------------------------------------------------------


def overlay(known: Told | None, call: CapturedCall) -> Told:
    """Lay a snapshot over what its source has told before."""
    known = known or Told(started=call.started)
    disposition = _disposition(known, call)
    overtaken = call.disposition is Disposition.IN_PROGRESS is not disposition
    return _settled(
        Told(
            started=min(known.started, call.started),
            answered=known.answered or call.answered,
            ended=max(filter(None, (known.ended, call.ended)), default=None),  # of several recorders the last one
            disposition=disposition,
            truncated=known.truncated or call.truncated,
            parties=_overlaid(known.parties, call.parties, overtaken=overtaken),
            conversation_key=known.conversation_key or call.conversation_key,
            flags=tuple(dict.fromkeys((*known.flags, *call.flags))),
            takes=_takes(known.takes, call),
        )
    )


def _disposition(known: Told, call: CapturedCall) -> Disposition:
    if known.is_over:
        return known.disposition
    is_end = call.disposition is not Disposition.IN_PROGRESS
    return Disposition.ANSWERED if known.answered is not None and is_end else call.disposition


def _takes(known: Mapping[str, Take], call: CapturedCall) -> Mapping[str, Take]:
    if call.capture_id is None:
        return known
    before = known.get(call.capture_id, Take())
    is_end = call.disposition is not Disposition.IN_PROGRESS
    return {**known, call.capture_id: Take(ended=before.ended or is_end, cut=before.cut or call.truncated)}


def _settled(told: Told) -> Told:
    """A call that several recorders were offered is whole when one of them has it whole, and goes on as long as the one
    that was asked last records. Names of captures begin with their time, so they say which that is."""
    if len(told.takes) < 2:
        return told
    over = [one.cut for one in told.takes.values() if one.ended]
    told = replace(told, truncated=all(over) if over else told.truncated)
    if told.takes[max(told.takes)].ended:
        return told
    return replace(told, disposition=Disposition.IN_PROGRESS, ended=None)


def _overlaid(
    known: Sequence[CapturedParty], new: Sequence[CapturedParty], *, overtaken: bool
) -> tuple[CapturedParty, ...]:
    """Party by party in the order of the source. It may come to name one differently, but what it does not know any
    more is kept; an overtaken snapshot only fills what is missing."""
    both = zip(known, new, strict=False)
    merged = [_filled(one, other) if overtaken else _filled(other, one) for one, other in both]
    return (*merged, *known[len(merged) :], *new[len(merged) :])


def _filled(party: CapturedParty, other: CapturedParty) -> CapturedParty:
    return replace(
        party,
        name=party.name or other.name,
        channel=other.channel if party.channel is None else party.channel,
        joined=party.joined or other.joined,
        left=party.left or other.left,
    )


# --- Several sources --------------------------------------------------------------------------------------------------


def precision(source: str) -> int:
    """The smaller, the better it knows the times: who follows the call itself, then who only hears its sound, then who
    is told of it over the internet in whole seconds, then what was written down long ago."""
    return _PRECISION.get(source.partition(":")[0], _PRECISION_OF_OTHERS)


def combine(views: Sequence[View]) -> Told:
    """The call that these sources told, in the order in which they first did.

    Times are those of the most precise one that has them, parties those of the first one, completed by the others.
    """
    views = [replace(one, told=_given_up(one.told)) for one in views]
    if len(views) == 1:
        return views[0].told
    best = [one.told for one in sorted(views, key=lambda one: precision(one.source))]  # sorted is stable
    answered = next((one.answered for one in best if one.answered), None)
    disposition = _agreed(best)
    disagree = (_DISAGREE,) if disposition is Disposition.ANSWERED and not _all_answered(best) else ()
    recorded = [one for one in best if one.takes]
    return Told(
        started=_start(best),
        answered=answered,
        ended=next((one.ended for one in best if one.ended), None) if disposition != Disposition.IN_PROGRESS else None,
        disposition=disposition,
        truncated=all(one.truncated for one in recorded or best),
        parties=_completed([one.told.parties for one in views]),
        conversation_key=next((one.conversation_key for one in best if one.conversation_key), None),
        flags=tuple(dict.fromkeys((*(flag for one in views for flag in one.told.flags), *disagree))),
        takes={name: take for one in best for name, take in one.takes.items()},
    )


def _given_up(told: Told) -> Told:
    """A call that only hosts that are gone recorded has ended with their last sign."""
    lost = [one.lost for one in told.takes.values() if not one.ended]
    if told.is_over or not lost or None in lost:
        return told
    return replace(
        told,
        ended=max(filter(None, lost)),
        disposition=Disposition.NO_ANSWER if told.answered is None else Disposition.ANSWERED,
        truncated=True,
        flags=(*told.flags, LOST_FLAG),
    )


def lose(told: Told, lost: Mapping[str, datetime]) -> Told:
    """These captures lie on hosts that were given up; each with when that was heard last."""
    takes = {name: replace(one, lost=lost[name]) if name in lost else one for name, one in told.takes.items()}
    return replace(told, takes=takes)


def _start(best: Sequence[Told]) -> datetime:
    """Of those that saw it ring, the most precise one's."""
    return next((one.started for one in best if one.saw_ringing), best[0].started)


def _agreed(best: Sequence[Told]) -> Disposition:
    """The most precise source says whether the call goes on and how it ended; but answered is answered."""
    if best[0].is_over and any(one.disposition is Disposition.ANSWERED for one in best):
        return Disposition.ANSWERED
    return best[0].disposition


def _all_answered(best: Sequence[Told]) -> bool:
    return all(one.disposition in (Disposition.ANSWERED, Disposition.IN_PROGRESS) for one in best)


def _completed(lists: Sequence[Sequence[CapturedParty]]) -> tuple[CapturedParty, ...]:
    """The first list, whose order and channels stay, with what the others know besides."""
    whole = list(lists[0])
    for others in lists[1:]:
        matched = _matched(whole, others)
        for place, other in matched.items():
            whole[place] = _completed_by(whole[place], other, _channels(whole))
        known = {id(other) for other in matched.values()}
        for other in others:
            if id(other) not in known and not _is_empty(other):
                whole.append(replace(other, channel=_free(other.channel, _channels(whole))))
    return tuple(whole)


def _matched(whole: Sequence[CapturedParty], others: Iterable[CapturedParty]) -> dict[int, CapturedParty]:
    """Who is whom: by number, then whoever alone is left of a position where one of the two knows no better."""
    found: dict[int, CapturedParty] = {}
    rest = []
    for other in others:
        same = [place for place, one in enumerate(whole) if place not in found and _agree(one, other)]
        same.sort(key=lambda place: whole[place].position != other.position)
        if same:
            found[same[0]] = other
        else:
            rest.append(other)
    for other in rest:
        open_ = [place for place, one in enumerate(whole) if place not in found and one.position == other.position]
        alone = len(open_) == 1 == sum(one.position == other.position for one in rest)
        if alone and _may_be_one(read_number(whole[open_[0]].value), read_number(other.value)):
            found[open_[0]] = other
    return found


def _agree(one: CapturedParty, other: CapturedParty) -> bool:
    first, second = read_number(one.value), read_number(other.value)
    return first is not None and second is not None and first.agrees(second)


def _may_be_one(first: Number | None, second: Number | None) -> bool:
    return first is None or second is None or first.kind is not second.kind


def _completed_by(party: CapturedParty, other: CapturedParty, taken: set[int]) -> CapturedParty:
    """An extension says more of one of ours than the number of the company by which he was reached."""
    mine, theirs = read_number(party.value), read_number(other.value)
    if theirs is not None and (mine is None or (mine.kind is not theirs.kind and theirs.kind is Kind.EXTENSION)):
        party = replace(party, value=other.value, kind=other.kind)
    channel = other.channel if party.channel is None and other.channel not in taken else party.channel
    return replace(_filled(party, other), channel=channel)


def _channels(parties: Iterable[CapturedParty]) -> set[int]:
    return {one.channel for one in parties if one.channel is not None}


def _free(channel: int | None, taken: set[int]) -> int | None:
    return None if channel in taken else channel


def _is_empty(party: CapturedParty) -> bool:
    return not party.value and not party.name
