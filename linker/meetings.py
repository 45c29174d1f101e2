"""How a meeting comes out of everything mails have told of it, in whatever order that came. Pure.

The organizer's newest word counts (RFC 5546: the highest SEQUENCE, then the latest mail), and only the organizer's: a
request or cancellation that somebody else sends under the same id is what he forwards, not what was arranged. Each
attendee answers for himself. A meeting is unconfirmed until an answer from the other side, a call at its time, or a
person confirms it, and held once its time has passed as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from agent.model import CapturedParty, IdentityKind, MeetingState, Role
from agent.model_mail import ParsedAttendee, ParsedInvitation
from agent.store.interactions import Party
from agent.store.meetings import CallBeside, Told
from linker.normalize import PUBLIC_DOMAINS

ANSWERS = ("accepted", "declined", "tentative")
HELD, NOT_HELD = "held", "not_held"
_ARRANGING = ("REQUEST", "PUBLISH", "ADD")
_UNTOLD_LENGTH = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What was arranged by now. ``answers`` are by address; ``proposed`` is who wants another time."""

    start: datetime
    end: datetime
    is_all_day: bool
    is_recurring: bool
    summary: str
    location: str
    moved_from: datetime | None
    cancelled: bool
    organizer: ParsedAttendee | None
    attendees: tuple[ParsedAttendee, ...]
    answers: Mapping[str, str]


def plan_of(told: Sequence[Told]) -> Plan | None:
    """The plan by everything that was told; None where nobody has said when."""
    ordered = sorted(told, key=lambda one: (one.invitation.sequence, one.sent, one.message_id))
    arranging = _trusted([one for one in ordered if one.invitation.method in _ARRANGING])
    cancelling = [one for one in ordered if one.invitation.method == "CANCEL" and _is_organizers(one)]
    base = (
        arranging or cancelling or [one for one in ordered if one.invitation.method in ("REPLY", "COUNTER", "CANCEL")]
    )
    timed = [one.invitation for one in base if one.invitation.start is not None]
    if not timed:
        return None
    last = timed[-1]
    assert last.start is not None
    answers = _answers(ordered, last)
    return Plan(
        start=last.start,
        end=max(last.end or last.start + _UNTOLD_LENGTH, last.start),
        is_all_day=last.is_all_day,
        is_recurring=last.is_recurring,
        summary=next((one.summary for one in reversed(timed) if one.summary), ""),
        location=last.location,
        moved_from=_moved_from(timed) if arranging else None,
        cancelled=_is_cancelled(arranging, cancelling),
        organizer=last.organizer,
        attendees=_attendees(base, last),
        answers=answers,
    )


def _trusted(arranging: Sequence[Told]) -> list[Told]:
    """The organizer's own words; where there are none, those of whoever forwarded them."""
    return [one for one in arranging if _is_organizers(one)] or list(arranging)


def _is_organizers(one: Told) -> bool:
    """Whether the organizer sent it, or a colleague or calendar at his company that acts for him."""
    organizer = one.invitation.organizer
    return organizer is None or _is_from(one, organizer.address)


def _is_from(one: Told, address: str) -> bool:
    domain = address.lower().rpartition("@")[2]
    same_company = {domain} - PUBLIC_DOMAINS
    return any(each == address.lower() or each.rpartition("@")[2] in same_company for each in one.senders)


def _is_cancelled(arranging: Sequence[Told], cancelling: Sequence[Told]) -> bool:
    if arranging and arranging[-1].invitation.status == "cancelled":
        return True
    if not cancelling or not arranging:
        return bool(cancelling)
    last, end = arranging[-1], cancelling[-1]
    return (end.invitation.sequence, end.sent) >= (last.invitation.sequence, last.sent)


def _moved_from(timed: Sequence[ParsedInvitation]) -> datetime | None:
    """The time before the present one, if there was another."""
    starts = [one.start for one in timed]
    return next((one for one in reversed(starts) if one != starts[-1]), None)


def _attendees(base: Sequence[Told], last: ParsedInvitation) -> tuple[ParsedAttendee, ...]:
    """Everybody of the newest request; an answer alone names only who gave it, so answers are taken together."""
    people = {one.address: one for one in last.attendees}
    if last.method in ("REPLY", "COUNTER"):
        people = {one.address: one for told in base for one in told.invitation.attendees}
    return tuple(one for one in people.values() if "@" in one.address)


def _answers(ordered: Sequence[Told], last: ParsedInvitation) -> dict[str, str]:
    """The newest word of each attendee: from the organizer's list, then from his own mails to the present plan."""
    found = {one.address: one.status for one in last.attendees if one.status in ANSWERS}
    for told in ordered:
        one = told.invitation
        if one.method not in ("REPLY", "COUNTER") or one.sequence < last.sequence:
            continue
        for attendee in one.attendees:
            if _is_from(told, attendee.address):
                found[attendee.address] = "proposed" if one.method == "COUNTER" else attendee.status
    return {address: word for address, word in found.items() if word in (*ANSWERS, "proposed")}


def parties_of(plan: Plan) -> tuple[CapturedParty, ...]:
    """Organizer and attendees as parties of the interaction."""
    organizer = plan.organizer
    people: list[tuple[str, ParsedAttendee]] = []
    if organizer is not None and "@" in organizer.address:
        people.append(("organizer", organizer))
    people += [("attendee", one) for one in plan.attendees if organizer is None or one.address != organizer.address]
    return tuple(
        CapturedParty(position=position, kind=IdentityKind.ADDRESS, value=one.address, name=one.name)
        for position, one in people
    )


def confirmation(plan: Plan, parties: Sequence[Party], calls: Sequence[CallBeside], said: str, said_by: str) -> str:
    """What says that the meeting takes or took place; empty where nothing does."""
    if said == HELD:
        return f"said by {said_by}"
    employees = {one.employee_id for one in parties if one.employee_id is not None}
    for call in calls:
        if call.employee_ids & employees or not call.employee_ids:
            return f"call No. {call.call_id} was at that time"
    organizer = next((one.role for one in parties if one.position == "organizer"), Role.CLIENT)
    for one in parties:
        if one.role is not None and one.role is not organizer and plan.answers.get(one.value.lower()) == "accepted":
            return f"{one.value} has accepted"
    return ""


def state_of(plan: Plan, confirmed: str, said: str, said_by: str, *, now: datetime) -> tuple[MeetingState, str]:
    """The state, and why it is so."""
    if said == NOT_HELD:
        return MeetingState.CANCELLED, f"did not take place, said by {said_by}"
    if said == HELD:
        return MeetingState.HELD, confirmed
    if plan.cancelled:
        return MeetingState.CANCELLED, "the organizer has cancelled it"
    if plan.end <= now and confirmed and not plan.is_recurring:
        return MeetingState.HELD, confirmed
    if plan.moved_from is not None:
        return MeetingState.MOVED, "the organizer has moved it"
    return MeetingState.PLANNED, ""
