"""Entries of a history in the form in which templates show them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import groupby

from agent.model import Direction, Disposition, IdentityKind, Mark, MarkKind, Role
from agent.store import excerpts
from agent.store.history import CallFacts, Entry
from agent.store.interactions import Party
from agent.store.links import BY_RULE
from agent.store.meetings import Meeting
from agent.store.recordings import ASSEMBLED, LOST, OPEN, Recording
from agent.store.transcripts import Transcript
from agent.web.phones import phone
from agent.web.quotes import pieces_of
from agent.web.shown import (
    CallsView,
    CallView,
    Day,
    Item,
    Line,
    MailView,
    MeetingView,
    Names,
    NoteView,
    Person,
    Reason,
    Sound,
    ThreadView,
    View,
    Voice,
)

# The others are told as gaps, or only concern whoever looks for a fault.
_NEAR_MS = 250
SHOWN_MARKS = (MarkKind.EARLY_MEDIA, MarkKind.HOLD, MarkKind.PAUSE, MarkKind.DTMF)


def view(entry: Entry, names: Names, *, transcribes: bool, brief: bool = False) -> View:
    """One entry; ``transcribes`` says whether transcripts are to be expected at all, ``brief`` whether only their
    beginnings were asked for."""
    if entry.meeting is not None:
        return _meeting(entry, entry.meeting, names)
    return (
        _mail(entry, names) if entry.message is not None else _call(entry, names, transcribes=transcribes, brief=brief)
    )


def by_day(entries: Sequence[View], local_day: Callable[[datetime], date], notes: Sequence[NoteView] = ()) -> list[Day]:
    """Entries newest first, what belongs together folded at the place of its newest, everything under its day."""
    items: list[Item] = [*_folded(entries), *notes]
    items.sort(key=lambda one: one.started, reverse=True)
    days: list[Day] = []
    for _, group in groupby(items, key=lambda item: local_day(item.started)):
        found = tuple(group)
        days.append(Day(moment=found[0].started, items=found))
    return days


def _folded(entries: Sequence[View]) -> Iterator[Item]:
    """Mails of a thread, and calls of one conversation (passed on, dialled anew), as one item each."""
    groups: dict[tuple[str, object], list[View]] = {}
    for one in entries:
        groups.setdefault(_group_of(one), []).append(one)
    for found in groups.values():
        mails = tuple(one for one in found if isinstance(one, MailView))
        calls = tuple(one for one in found if isinstance(one, CallView))
        if len(mails) > 1:
            yield ThreadView(
                subject=mails[0].thread_subject or mails[-1].subject, started=mails[0].started, mails=mails
            )
        elif len(calls) > 1:
            yield CallsView(started=calls[0].started, calls=calls)
        else:
            yield from found


def _group_of(one: View) -> tuple[str, object]:
    if isinstance(one, MailView):
        return "thread", one.thread_id
    if isinstance(one, CallView) and one.conversation:
        return "conversation", one.conversation
    return "entry", one.id


# --- Calls ------------------------------------------------------------------------------------------------------------


def _call(entry: Entry, names: Names, *, transcribes: bool, brief: bool) -> CallView:
    facts = entry.call or CallFacts(answered=None, ended=None, disposition=Disposition.FAILED, truncated=False)
    people = [(_person(one, names), one) for one in entry.parties]
    started, answered, ended = entry.interaction.started, facts.answered, facts.ended
    ring_end = answered or ended
    spoken = {one.recording_id: one for one in entry.transcripts}
    return CallView(
        id=entry.interaction.id,
        started=started,
        ended=ended,
        direction=entry.interaction.direction or "unknown",
        outcome=_outcome(facts.disposition, entry.interaction.direction, entry.parties),
        ring_seconds=(ring_end - started).total_seconds() if ring_end else None,
        talk_seconds=(ended - answered).total_seconds() if answered and ended else None,
        employees=tuple(person for person, _ in people if person.is_employee),
        clients=tuple(person for person, _ in people if not person.is_employee),
        sounds=tuple(
            replace(
                _sound(one, entry.marks[one.id], spoken.get(one.id), entry.parties, names, transcribes=transcribes),
                is_copy=_is_copy(one, entry.recordings[:place]),
                is_excerpt=brief and one.id in spoken and len(spoken[one.id].utterances) >= excerpts.LINES,
            )
            for place, one in enumerate(entry.recordings)
        ),
        silence="" if entry.recordings else _silence(entry.captures),
        truncated=facts.truncated,
        flags=entry.interaction.flags,
        reasons=_reasons(entry),
        copies=entry.evidence_count,
        conversation=entry.interaction.conversation_key or "",
    )


def _outcome(disposition: Disposition, direction: Direction | None, parties: Sequence[Party]) -> str:
    """What a voice menu or an announcement has answered is missed all the same: nobody of ours was there."""
    if disposition is Disposition.NO_ANSWER and direction is not Direction.OUTBOUND:
        return "missed"
    is_alone = parties and not any(one.role is Role.EMPLOYEE for one in parties)
    if disposition is Disposition.ANSWERED and direction is Direction.INBOUND and is_alone:
        return "missed"
    return disposition.value


def _silence(captures: Sequence[str]) -> str:
    if OPEN in captures:
        return "recording_open"
    if LOST in captures:
        return "recording_lost"
    return "recording_waits" if any(state != ASSEMBLED for state in captures) else "recording_none"


def _sound(
    recording: Recording,
    marks: Sequence[Mark],
    spoken: Transcript | None,
    parties: Sequence[Party],
    names: Names,
    *,
    transcribes: bool,
) -> Sound:
    mixed = recording.mixed or (spoken is not None and not spoken.separated)
    channels = {} if mixed else {one.channel: _person(one, names) for one in parties}
    waiting = ""
    if spoken is None:
        waiting = "transcript_waits" if transcribes else "transcript_off"
    elif not spoken.utterances:
        waiting = "transcript_empty"
    return Sound(
        id=recording.id,
        seconds=recording.duration_ms / 1000,
        size=recording.blob.plain_size,
        gaps=_gaps(recording, shown := _shown(marks)),
        marks=shown,
        truncated=recording.truncated,
        mixed=mixed,
        is_copy=False,
        lines=_lines(spoken, channels, mixed=mixed) if spoken else (),
        model=spoken.model if spoken else "",
        language=spoken.language if spoken else "",
        waiting=waiting,
        started=recording.started,
        voices=_voices(recording, channels),
        is_erased=recording.blob.wrapped_key is None,
        transcript_id=spoken.id if spoken else 0,
        understood=spoken.created if spoken else None,
    )


def _voices(recording: Recording, channels: Mapping[int | None, Person]) -> tuple[Voice, ...]:
    """One a channel; where the parties are not told apart, one without a name."""
    if recording.mixed:
        return (Voice(channel=0, name="", is_employee=None),)
    found = []
    for channel in range(recording.channels):
        person = channels.get(channel)
        name = (person.name or person.contact) if person else ""
        found.append(Voice(channel=channel, name=name, is_employee=person.is_employee if person else bool(channel)))
    return tuple(found)


def _is_copy(recording: Recording, fuller: Sequence[Recording]) -> bool:
    """Whether most of it was recorded elsewhere too. What continues a recording that was cut short is no copy."""
    begin, end = recording.started, recording.started + timedelta(milliseconds=recording.duration_ms)
    common = timedelta()
    for one in fuller:
        its_end = one.started + timedelta(milliseconds=one.duration_ms)
        common = max(common, min(end, its_end) - max(begin, one.started))
    return common > (end - begin) / 2


def _shown(marks: Sequence[Mark]) -> tuple[Mark, ...]:
    """What concerns a listener, once where it happened on both channels."""
    once = {(one.kind, one.start_ms, one.end_ms, one.text): one for one in marks if one.kind in SHOWN_MARKS}
    return tuple(once.values())


def _gaps(recording: Recording, marks: Sequence[Mark]) -> tuple[tuple[float, float, str], ...]:
    """Silences that no mark explains, once where they lie on both channels."""
    told = [(one.start_ms, one.end_ms) for one in marks if one.kind is not MarkKind.DTMF]
    once = {
        (gap.start_ms / 1000, gap.end_ms / 1000, gap.reason): None
        for gap in recording.gaps
        if not any(start - _NEAR_MS <= gap.start_ms and gap.end_ms <= end + _NEAR_MS for start, end in told)
    }
    return tuple(once)


def _lines(spoken: Transcript, channels: Mapping[int | None, Person], *, mixed: bool) -> tuple[Line, ...]:
    lines = []
    for said in spoken.utterances:
        person = channels.get(said.channel)
        lines.append(
            Line(
                is_employee=person.is_employee if person else None if mixed else bool(said.channel),
                who=(person.name or person.contact) if person else "",
                start=said.start,
                end=said.end,
                text=said.text,
                channel=said.channel,
                id=said.id,
                machine=said.machine,
                corrected_by=said.corrected_by,
                corrected_at=said.corrected_at,
                interrupts=said.interrupts and not mixed,
            )
        )
    return tuple(lines)


def _person(party: Party, names: Names) -> Person:
    identity = party.identity
    contact = party.value if identity is None else identity.value
    if identity is not None and identity.kind is IdentityKind.PHONE:
        contact = phone(contact)
    name = names.employees.get(party.employee_id or 0, "") or party.name
    if not name or name in (contact, party.value):
        name = names.clients.get(identity, "") if identity is not None else ""
    return Person(
        name=name,
        contact=contact,
        is_employee=party.role is Role.EMPLOYEE,
        is_hidden=identity is None and party.kind is IdentityKind.PHONE and party.role is Role.CLIENT,
    )


def _reasons(entry: Entry) -> tuple[Reason, ...]:
    return tuple(
        Reason(
            card_id=one.card_id,
            state=one.state,
            text=one.reason,
            by_person=one.decided_by != BY_RULE,
            confidence=one.confidence,
            rule_id=one.rule_id,
        )
        for one in entry.links
    )


# --- Mails ------------------------------------------------------------------------------------------------------------

_POSITIONS = ("from", "to", "cc", "bcc", "expanded")


def _mail(entry: Entry, names: Names) -> MailView:
    message = entry.message
    assert message is not None
    protection = message.facts.get("protection") or {}
    return MailView(
        id=entry.interaction.id,
        started=entry.interaction.started,
        direction=entry.interaction.direction or "unknown",
        subject=message.subject,
        thread_id=message.thread_id,
        thread_subject=entry.thread_subject,
        people={
            place: found
            for place in _POSITIONS
            if (found := tuple(_person(one, names) for one in entry.parties if one.position == place))
        },
        pieces=pieces_of(message.text, message.spans),
        protection=protection.get("kind", ""),
        signer=protection.get("signer", ""),
        has_html=message.has_html,
        attachments=entry.attachments,
        category=message.category.value,
        category_reason=message.category_reason,
        flags=entry.interaction.flags,
        reasons=_reasons(entry),
        copies=entry.evidence_count,
        tags=message.tags,
        returned=entry.returned,
    )


# --- Meetings ---------------------------------------------------------------------------------------------------------


def _meeting(entry: Entry, meeting: Meeting, names: Names) -> MeetingView:
    return MeetingView(
        id=entry.interaction.id,
        started=entry.interaction.started,
        ended=meeting.ends,
        direction=entry.interaction.direction or "unknown",
        subject=meeting.summary,
        location=meeting.location,
        state=meeting.state.value,
        reason=meeting.reason,
        confirmed=meeting.confirmed,
        moved_from=meeting.moved_from,
        is_all_day=meeting.is_all_day,
        is_recurring=meeting.is_recurring,
        is_past=meeting.ends is not None and meeting.ends <= datetime.now(UTC),
        said=meeting.said,
        people=tuple((_person(one, names), meeting.answers.get(one.value.lower(), "")) for one in entry.parties),
        flags=entry.interaction.flags,
        reasons=_reasons(entry),
        copies=0,
    )
