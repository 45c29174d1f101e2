"""Meetings and what mails have told of each; how a meeting comes out of that is worked out by `linker.meetings`."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import bindparam, select, text, update
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import BigInteger, Text

from agent.model import InteractionKind, MeetingState
from agent.model_mail import ParsedInvitation
from agent.store import changes, search
from agent.store.engine import AnyRow, is_any
from agent.store.interactions import insert_interaction
from agent.store.schema import interaction, invitation, meeting

EARLY, LATE = timedelta(minutes=15), timedelta(minutes=30)
"""A call may begin so much before a meeting, or end so much after it, and still be what was arranged."""

_INVITATION: TypeAdapter[ParsedInvitation] = TypeAdapter(ParsedInvitation)
_TOLD = frozenset(("REQUEST", "ADD", "CANCEL", "REPLY", "COUNTER"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Arranged:
    """The invitations of a new mail, with the time it was sent."""

    message_id: int
    sent: datetime
    invitations: tuple[ParsedInvitation, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What one mail says of a meeting. ``senders`` are its addresses in From and Sender."""

    message_id: int
    sent: datetime
    senders: tuple[str, ...]
    invitation: ParsedInvitation
    is_private: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Meeting:
    """A meeting as it is known by now. ``answers`` are words of calendars by address; ``said`` is a person's word."""

    interaction_id: int
    ends: datetime | None
    state: MeetingState
    reason: str = ""
    confirmed: str = ""
    moved_from: datetime | None = None
    is_all_day: bool = False
    is_recurring: bool = False
    summary: str = ""
    location: str = ""
    answers: Mapping[str, str] = field(default_factory=dict)
    hidden: bool = False
    said: str = ""
    said_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallBeside:
    """An answered call at the time of a meeting, with a client whose card the meeting stands on."""

    meeting_id: int
    call_id: int
    employee_ids: frozenset[int]


_FIELDS = tuple(name for name in Meeting.__slots__ if name not in ("interaction_id", "ends"))


def _meeting(row: AnyRow) -> Meeting:
    values = {name: getattr(row, name) for name in _FIELDS}
    return Meeting(interaction_id=row.interaction_id, ends=row.ends_at, **values | {"state": MeetingState(row.state)})


def _is_told(one: ParsedInvitation) -> bool:
    """A calendar that is merely published, such as a ticket, arranges nothing; nor does one without a name."""
    if not one.uid or "\0" in one.uid:
        return False
    return one.method in _TOLD or (one.method == "PUBLISH" and one.organizer is not None and len(one.attendees) > 1)


def _organizer(one: ParsedInvitation) -> str:
    """Two people's calendars may use one id, by mistake or to harm: each has its meeting."""
    address = one.organizer.address if one.organizer is not None else ""
    return hashlib.sha256(address.lower().encode()).hexdigest()[:32]


def _occurrence(one: ParsedInvitation) -> str:
    return one.recurrence_id.isoformat() if one.recurrence_id is not None else ""


_LOCK = text("SELECT count(pg_advisory_xact_lock(hashtextextended(key, 11))) FROM unnest(:keys) AS key").bindparams(
    bindparam("keys", type_=ARRAY(Text))
)


async def note_invitations(connection: AsyncConnection, arranged: Sequence[Arranged]) -> list[int]:
    """Keep what new mails say of meetings; returns all meetings that are to be worked out anew for it."""
    told = [(mail, place, one) for mail in arranged for place, one in enumerate(mail.invitations) if _is_told(one)]
    if not told:
        return []
    keys = sorted({f"{one.uid} {_organizer(one)}" for _, _, one in told})
    await connection.execute(_LOCK, {"keys": keys})
    ids: set[int] = set()
    for mail, place, one in told:
        meeting_id = await _find_or_insert(connection, one, mail.sent)
        if meeting_id is None:
            continue
        values = {
            "message_id": mail.message_id,
            "meeting_id": meeting_id,
            "place": place,
            "sent_at": mail.sent,
            "told": _INVITATION.dump_python(one, mode="json"),
        }
        await connection.execute(insert(invitation).values(**values).on_conflict_do_nothing())
        same_series = select(meeting.c.interaction_id).where(
            meeting.c.uid == one.uid, meeting.c.organizer == _organizer(one)
        )
        ids.update((await connection.execute(same_series)).scalars())
    return sorted(ids)


async def _find_or_insert(connection: AsyncConnection, one: ParsedInvitation, sent: datetime) -> int | None:
    """The meeting's interaction; None where it was erased, for it is not to come back."""
    key = {"uid": one.uid, "organizer": _organizer(one), "occurrence": _occurrence(one)}
    query = select(meeting.c.interaction_id, interaction.c.erasure_id).join(interaction)
    known = (await connection.execute(query.where(*(meeting.c[name] == each for name, each in key.items())))).first()
    if known is not None:
        return int(known.interaction_id) if known.erasure_id is None else None
    number = await insert_interaction(connection, InteractionKind.MEETING, one.start or sent)
    await connection.execute(insert(meeting).values(interaction_id=number, state=MeetingState.PLANNED, **key))
    return number


async def list_meetings(connection: AsyncConnection, ids: Sequence[int]) -> list[Meeting]:
    """Those among the interactions that are meetings."""
    rows = await connection.execute(select(meeting).where(is_any(meeting.c.interaction_id, ids)))
    return [_meeting(row) for row in rows]


async def list_mails_about(connection: AsyncConnection, meeting_id: int) -> list[int]:
    """Mails that tell of a meeting, oldest first."""
    query = select(invitation.c.message_id).where(invitation.c.meeting_id == meeting_id)
    rows = await connection.execute(query.order_by(invitation.c.sent_at, invitation.c.id))
    return list(dict.fromkeys(rows.scalars()))


_LIST_TOLD = text(
    """
    SELECT mine.interaction_id AS meeting_id, i.message_id, i.sent_at, i.told,
           message.category = 'private' AS is_private,
           ARRAY(SELECT lower(p.value) FROM party p WHERE p.interaction_id = i.message_id AND p.position = 'from')
               AS senders
    FROM meeting mine
         JOIN meeting told_of ON told_of.uid = mine.uid AND told_of.organizer = mine.organizer
         JOIN invitation i ON i.meeting_id = told_of.interaction_id
         JOIN message ON message.interaction_id = i.message_id
    WHERE mine.interaction_id = ANY(:ids)
          AND (told_of.interaction_id = mine.interaction_id
               OR (told_of.occurrence = '' AND i.told ->> 'method' = 'CANCEL'))
    ORDER BY i.sent_at, i.id
    """
).bindparams(bindparam("ids", type_=ARRAY(BigInteger)))


async def list_told(connection: AsyncConnection, meeting_ids: Sequence[int]) -> dict[int, list[Told]]:
    """What was told of each meeting; of one occurrence also that the whole series was cancelled."""
    found: dict[int, list[Told]] = defaultdict(list)
    for row in await connection.execute(_LIST_TOLD, {"ids": list(meeting_ids)}):
        found[row.meeting_id].append(
            Told(
                message_id=row.message_id,
                sent=row.sent_at,
                senders=tuple(row.senders),
                invitation=_INVITATION.validate_python(row.told),
                is_private=row.is_private,
            )
        )
    return found


_CALLS = text(
    """
    SELECT m.interaction_id AS meeting_id, c.interaction_id AS call_id,
           ARRAY(SELECT DISTINCT p.employee_id FROM party p
                 WHERE p.interaction_id = c.interaction_id AND p.employee_id IS NOT NULL) AS employees
    FROM meeting m
         JOIN interaction mi ON mi.id = m.interaction_id
         JOIN link ml ON ml.interaction_id = m.interaction_id AND ml.client_card_id IS NOT NULL
         JOIN link cl ON cl.client_card_id = ml.client_card_id
              AND cl.started_at BETWEEN mi.started_at - interval '1 day' AND m.ends_at + :late
         JOIN call c ON c.interaction_id = cl.interaction_id
    WHERE m.interaction_id = ANY(:ids) AND c.answered_at IS NOT NULL AND NOT m.is_all_day
          AND cl.started_at <= m.ends_at + :late AND coalesce(c.ended_at, now()) >= mi.started_at - :early
    ORDER BY c.answered_at, c.interaction_id
    """
).bindparams(bindparam("ids", type_=ARRAY(BigInteger)))


async def list_calls_beside(connection: AsyncConnection, meeting_ids: Sequence[int]) -> dict[int, list[CallBeside]]:
    """Answered calls at the time of each meeting with the clients it is with, by what is linked now."""
    found: dict[int, list[CallBeside]] = defaultdict(list)
    rows = await connection.execute(_CALLS, {"ids": list(meeting_ids), "early": EARLY, "late": LATE})
    for row in rows:
        employees = frozenset(row.employees)
        found[row.meeting_id].append(CallBeside(meeting_id=row.meeting_id, call_id=row.call_id, employee_ids=employees))
    return found


_BESIDE = text(
    """
    SELECT DISTINCT m.interaction_id
    FROM link cl JOIN call c ON c.interaction_id = cl.interaction_id
         JOIN link ml ON ml.client_card_id = cl.client_card_id
         JOIN meeting m ON m.interaction_id = ml.interaction_id
         JOIN interaction mi ON mi.id = m.interaction_id
    WHERE cl.interaction_id = ANY(:ids) AND c.answered_at IS NOT NULL
          AND m.ends_at >= cl.started_at - :late AND m.ends_at <= cl.started_at + interval '2 days'
          AND coalesce(c.ended_at, now()) >= mi.started_at - :early
    """
).bindparams(bindparam("ids", type_=ARRAY(BigInteger)))


async def list_meetings_beside(connection: AsyncConnection, call_ids: Sequence[int]) -> list[int]:
    """Meetings that these calls may confirm."""
    if not call_ids:
        return []
    rows = await connection.execute(_BESIDE, {"ids": list(call_ids), "early": EARLY, "late": LATE})
    return sorted(rows.scalars())


async def save_meeting(connection: AsyncConnection, one: Meeting, *, started: datetime) -> None:
    """What was worked out replaces what was known before; a person's word is his own to change (`say`)."""
    values: dict[str, Any] = {name: getattr(one, name) for name in _FIELDS if name not in ("said", "said_by")}
    values |= {"answers": dict(one.answers), "ends_at": one.ends}
    await connection.execute(update(meeting).where(meeting.c.interaction_id == one.interaction_id).values(**values))
    own = update(interaction).where(interaction.c.id == one.interaction_id, interaction.c.erasure_id.is_(None))
    await connection.execute(own.values(started_at=started))
    await search.changed(connection, [one.interaction_id])
    await changes.touch(connection, [one.interaction_id])


async def say(connection: AsyncConnection, meeting_id: int, said: str, by: str) -> bool:
    """A person says that a meeting was held, or was not; empty takes it back. False where there is no such meeting."""
    statement = update(meeting).where(meeting.c.interaction_id == meeting_id)
    row = await connection.execute(
        statement.values(said=said, said_by=by if said else "").returning(meeting.c.interaction_id)
    )
    is_known = row.first() is not None
    await changes.touch(connection, [meeting_id] if is_known else [])
    return is_known
