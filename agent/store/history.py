"""A history as pages show it: interactions with all that belongs to them, in one statement a page, or a few."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, bindparam, literal, select, text, tuple_
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import Disposition, InteractionKind, Mark
from agent.store import entryrows, interactions, meetings, transcripts
from agent.store.asking import Query, ask
from agent.store.clients import Position
from agent.store.engine import is_any
from agent.store.interactions import Interaction, Party
from agent.store.links import Link
from agent.store.meetings import Meeting
from agent.store.messages import Attachment, Message, Returned
from agent.store.recordings import Recording
from agent.store.rights import is_not_private
from agent.store.schema import blob, chain_link, link
from agent.store.transcripts import Transcript


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFacts:
    """The times of a call and how it ended."""

    answered: datetime | None
    ended: datetime | None
    disposition: Disposition
    truncated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One interaction with everything a page says of it; ``marks`` are by recording, ``employees`` names of those of us
    who took part."""

    interaction: Interaction
    parties: tuple[Party, ...]
    links: tuple[Link, ...]
    evidence_count: int
    call: CallFacts | None
    recordings: tuple[Recording, ...]
    marks: Mapping[int, tuple[Mark, ...]]
    captures: tuple[str, ...]
    transcripts: tuple[Transcript, ...]
    message: Message | None
    thread_subject: str
    attachments: tuple[Attachment, ...]
    employees: Mapping[int, str] = field(default_factory=dict)
    returned: tuple[Returned, ...] = ()
    meeting: Meeting | None = None


async def list_history(
    connection: AsyncConnection, card_id: int, *, after: Position | None = None, limit: int = 50
) -> list[Position]:
    """Times and ids of a card's interactions, newest first, from the one after ``after``."""
    query = select(link.c.started_at, link.c.interaction_id).where(
        link.c.client_card_id == card_id, is_not_private(link.c.interaction_id)
    )
    if after is not None:
        query = query.where(
            tuple_(link.c.started_at, link.c.interaction_id) < tuple_(literal(after.moment), literal(after.id))
        )
    query = query.order_by(link.c.started_at.desc(), link.c.interaction_id.desc()).limit(limit)
    return [Position(moment=row.started_at, id=row.interaction_id) for row in await connection.execute(query)]


async def load_entries(
    connection: AsyncConnection, ids: Sequence[int], *, brief: bool = False, transcript: int = 0
) -> list[Entry]:
    """These interactions in the order asked for; ``brief``: of what was said and written only what a history shows at
    first, that is, the beginnings of transcripts and no HTML. ``transcript`` is one that is looked at in place of that
    shown."""
    if not ids:
        return []
    (rows,) = await ask(connection, entryrows.rows_of(ids, brief=brief))
    talks = [row.id for row in rows.values() if row.sounds and not brief]
    heard = await transcripts.list_transcripts(connection, talks, chosen=transcript) if talks else []
    meant = [row.id for row in rows.values() if row.kind == InteractionKind.MEETING]
    arranged = {one.interaction_id: one for one in await meetings.list_meetings(connection, meant)} if meant else {}
    spoken = {one.recording_id: one for one in heard}
    return [_entry(rows[one], spoken, arranged.get(one), brief=brief) for one in ids if one in rows]


def _entry(row: Any, spoken: Mapping[int, Transcript], arranged: Meeting | None, *, brief: bool) -> Entry:
    sounds = entryrows.recordings_of(row)
    heard = tuple(spoken[one.id] for one in sounds if one.id in spoken)
    return Entry(
        interaction=interactions.interaction_of(row),
        parties=entryrows.parties_of(row),
        employees=entryrows.employees_of(row),
        links=entryrows.links_of(row),
        evidence_count=row.copies,
        call=_facts(row) if row.disposition is not None else None,
        recordings=sounds,
        marks=entryrows.marks_of(row),
        captures=tuple(row.captures),
        transcripts=entryrows.excerpts_of(row) if brief else heard,
        message=entryrows.message_of(row),
        thread_subject=row.thread_subject or "",
        attachments=entryrows.attachments_of(row),
        returned=entryrows.returned_of(row),
        meeting=arranged,
    )


def _facts(head: Any) -> CallFacts:
    return CallFacts(
        answered=head.answered_at,
        ended=head.ended_at,
        disposition=Disposition(head.disposition),
        truncated=head.truncated,
    )


_EMPLOYEES = text("SELECT id, name FROM employee WHERE id = ANY(:ids)").bindparams(
    bindparam("ids", type_=ARRAY(BigInteger))
)


def employee_names(ids: Sequence[int]) -> Query[dict[int, str]]:
    """Names by id."""
    return Query(statement=_EMPLOYEES, values={"ids": list(ids)}, read=lambda rows: {row.id: row.name for row in rows})


async def list_employee_names(connection: AsyncConnection, ids: Sequence[int]) -> dict[int, str]:
    """The same by itself."""
    if not ids:
        return {}
    (found,) = await ask(connection, employee_names(ids))
    return found


async def list_chain_sequences(connection: AsyncConnection, blob_names: Sequence[str]) -> dict[str, int]:
    """Where these blobs stand in the chain; those that wait for their link are not in the answer."""
    query = select(blob.c.name, chain_link.c.sequence).join(chain_link).where(is_any(blob.c.name, blob_names))
    return {row.name: row.sequence for row in await connection.execute(query)}
