"""Everything that was told of a call, to the call it was; pure.

The call is made anew from all its notifications each time one comes. They are put into an order of their own first,
so it does not matter in which order they came, nor how often.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

from agent.model import CapturedCall, CapturedParty, Direction, Disposition, IdentityKind
from agent.sip.providers.notification import FINAL, EventKind, Notification, RecordingReference

T = TypeVar("T")

_NO_DIRECTION = "the provider did not tell the direction"
_ODD_TIMES = "the provider's times contradict each other"
_ABANDONED = "the provider never told of the end of this call"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Times:
    started: datetime
    answered: datetime | None
    ended: datetime | None
    is_odd: bool


def build_call(
    source: str, told: Iterable[Notification], *, swap_channels: bool = False, abandoned_at: datetime | None = None
) -> CapturedCall | None:
    """The call as all of these together tell it; None as long as nobody has said who and when.

    ``swap_channels``: the provider's stereo recordings have the callee first. ``abandoned_at``: nothing more is
    expected; a call without an end ends with what was told last, and says so.
    """
    ordered = _in_order(told)
    is_final = any(one.kind in FINAL for one in ordered)
    started = _decided(ordered, "started", min) or (_decided(ordered, "at", min) if not is_final else None)
    parties = _parties(ordered, swap_channels=swap_channels)
    if not ordered or started is None or not any(one.value for one in parties):
        return None
    disposition = _disposition(ordered) if is_final else Disposition.IN_PROGRESS
    flags = [] if _last(ordered, "direction") else [_NO_DIRECTION]
    times = _times(ordered, started, disposition)
    if abandoned_at is not None and not is_final:
        disposition = Disposition.ANSWERED if times.answered else Disposition.NO_ANSWER
        times = _Times(started=started, answered=times.answered, ended=max(abandoned_at, started), is_odd=times.is_odd)
        flags.append(_ABANDONED)
    if times.is_odd:
        flags.append(_ODD_TIMES)
    return CapturedCall(
        source=source,
        key=ordered[0].call_key,
        started=times.started,
        answered=times.answered,
        ended=times.ended if disposition is not Disposition.IN_PROGRESS else None,
        disposition=disposition,
        parties=parties,
        conversation_key=f"{source}/{parent}" if (parent := _last(ordered, "parent_key")) else None,
        flags=tuple(flags),
        details=_details(ordered),
    )


def recordings_of(told: Iterable[Notification]) -> tuple[RecordingReference, ...]:
    """Each recording once, an address preferred to none."""
    found: dict[str, RecordingReference] = {}
    for notification in _in_order(told):
        for one in notification.recordings:
            if one.url or one.reference not in found:
                found[one.reference] = one
    return tuple(found[name] for name in sorted(found))


def _in_order(told: Iterable[Notification]) -> list[Notification]:
    """By kind, then whoever talked after who did not, then by time: the last one knows best. Equal ones once."""
    return sorted(set(told), key=lambda one: (one.kind, _talked(one), _moment(one), one.sequence, repr(one)))


def _talked(one: Notification) -> bool:
    return one.status is Disposition.ANSWERED or one.answered is not None


def _moment(one: Notification) -> float:
    moment = one.at or one.answered or one.started
    return moment.timestamp() if moment else 0.0


def _last(ordered: Sequence[Notification], name: str) -> Any:
    """The last word on a field."""
    return next((value for one in reversed(ordered) if (value := getattr(one, name)) not in (None, "")), None)


def _decided(ordered: Sequence[Notification], name: str, choose: Callable[..., T]) -> T | None:
    """The word of the kind that knows best; of several legs of the same kind the first start, the last end."""
    for kind in sorted(EventKind, reverse=True):
        values = [value for one in ordered if one.kind is kind and (value := getattr(one, name)) is not None]
        if values:
            return choose(values)
    return None


def _disposition(ordered: Sequence[Notification]) -> Disposition:
    best = max(one.kind for one in ordered)
    states = [one.status for one in ordered if one.kind is best and one.status is not None]
    if Disposition.ANSWERED in states:
        return Disposition.ANSWERED
    talk = _last(ordered, "talk")
    return states[-1] if states else Disposition.ANSWERED if talk else Disposition.NO_ANSWER


def _times(ordered: Sequence[Notification], started: datetime, disposition: Disposition) -> _Times:
    """What is missing is computed from what is there; where the ring time was not told it counts as none."""
    answered, ended = _decided(ordered, "answered", min), _decided(ordered, "ended", max)
    talk = timedelta(seconds=_last(ordered, "talk") or 0)
    if disposition is Disposition.IN_PROGRESS:
        return _Times(started=started, answered=answered, ended=None, is_odd=False)
    if disposition is not Disposition.ANSWERED:
        answered = None
    if ended is None:
        ended = (answered or started) + talk
    if disposition is Disposition.ANSWERED and answered is None:
        answered = max(started, ended - talk) if talk else started
    is_odd = ended < started or (answered is not None and not started <= answered <= ended)
    ended = max(ended, started)
    if answered is not None:
        answered = min(max(answered, started), ended)
    return _Times(started=started, answered=answered, ended=ended, is_odd=is_odd)


def _parties(ordered: Sequence[Notification], *, swap_channels: bool) -> tuple[CapturedParty, ...]:
    """Ours is the extension, or the company's number as long as nobody's telephone is known."""
    last = {name: _last(ordered, name) or "" for name in ("outside", "outside_name", "ours", "extension", "employee")}
    their = (last["outside"], last["outside_name"])
    our = (last["extension"] or last["ours"], last["employee"])
    direction = _last(ordered, "direction")
    caller, callee = (our, their) if direction in (Direction.OUTBOUND, Direction.INTERNAL) else (their, our)
    first, second = (1, 0) if swap_channels else (0, 1)
    return (
        CapturedParty(position="caller", kind=IdentityKind.PHONE, value=caller[0], name=caller[1], channel=first),
        CapturedParty(position="callee", kind=IdentityKind.PHONE, value=callee[0], name=callee[1], channel=second),
    )


def _details(ordered: Sequence[Notification]) -> dict[str, Any]:
    """What the call's own columns have no place for: the number that was reached, and who talked, leg by leg."""
    legs: dict[str, dict[str, str]] = {}
    for one in ordered:
        if one.leg_key and one.extension and (moment := one.answered or one.at):
            leg = legs.setdefault(one.leg_key, {})
            leg["extension"] = one.extension
            leg[one.kind.name.lower()] = moment.isoformat()
    found: dict[str, Any] = {"ours": _last(ordered, "ours"), "talk_seconds": _last(ordered, "talk")}
    if legs:
        found["legs"] = [legs[key] for key in sorted(legs)]
    return {name: value for name, value in found.items() if value is not None}
