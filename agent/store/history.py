"""A history as pages show it: interactions with all that belongs to them, in a fixed number of queries a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, literal, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import Disposition, Mark
from agent.store import interactions, links, meetings, messages, recordings, transcripts
from agent.store.clients import Position
from agent.store.interactions import Interaction, Party
from agent.store.links import Link
from agent.store.meetings import Meeting
from agent.store.messages import Attachment, Message, Returned
from agent.store.recordings import Recording
from agent.store.rights import is_not_private
from agent.store.schema import blob, call, capture, chain_link, employee, evidence, link, thread
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
    """One interaction with everything a page says of it; ``marks`` are by recording."""

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


async def count_history(connection: AsyncConnection, card_id: int) -> int:
    """How many entries a card has."""
    query = select(func.count()).where(link.c.client_card_id == card_id, is_not_private(link.c.interaction_id))
    return int((await connection.execute(query)).scalar_one())


async def load_entries(connection: AsyncConnection, ids: Sequence[int]) -> list[Entry]:
    """These interactions in the order asked for."""
    if not ids:
        return []
    found = {one.id: one for one in await interactions.find_interactions(connection, ids)}
    parties = await interactions.list_parties(connection, ids)
    calls = await _calls(connection, ids)
    mails = {one.interaction_id: one for one in await messages.list_messages(connection, ids)}
    subjects = await _thread_subjects(connection, [one.thread_id for one in mails.values()])
    evidences = await _evidence_counts(connection, ids)
    linked = await links.list_links(connection, ids)
    sounds = await recordings.list_recordings(connection, ids)
    marks = await recordings.list_marks(connection, [one.id for one in sounds])
    captures = await _captures(connection, ids)
    spoken = {one.recording_id: one for one in await transcripts.list_transcripts(connection, ids)}
    parts = await messages.list_attachments(connection, ids)
    returned = await messages.list_returned(connection, list(mails.values()))
    arranged = {one.interaction_id: one for one in await meetings.list_meetings(connection, ids)}
    return [
        Entry(
            interaction=found[one],
            parties=tuple(parties[one]),
            links=tuple(each for each in linked if each.interaction_id == one),
            evidence_count=evidences.get(one, 0),
            call=calls.get(one),
            recordings=(own := tuple(each for each in sounds if each.interaction_id == one)),
            marks={each.id: marks[each.id] for each in own},
            captures=tuple(state for owner, state in captures if owner == one),
            transcripts=tuple(spoken[each.id] for each in own if each.id in spoken),
            message=mails.get(one),
            thread_subject=subjects.get(mails[one].thread_id, "") if one in mails else "",
            attachments=tuple(each for each in parts if each.interaction_id == one),
            returned=tuple(each for each in returned if each.about == one),
            meeting=arranged.get(one),
        )
        for one in ids
        if one in found
    ]


async def list_employee_names(connection: AsyncConnection, ids: Sequence[int]) -> dict[int, str]:
    """Names by id."""
    if not ids:
        return {}
    rows = await connection.execute(select(employee.c.id, employee.c.name).where(employee.c.id.in_(ids)))
    return {row.id: row.name for row in rows}


async def _calls(connection: AsyncConnection, ids: Sequence[int]) -> dict[int, CallFacts]:
    rows = await connection.execute(select(call).where(call.c.interaction_id.in_(ids)))
    return {
        row.interaction_id: CallFacts(
            answered=row.answered_at,
            ended=row.ended_at,
            disposition=Disposition(row.disposition),
            truncated=row.truncated,
        )
        for row in rows
    }


async def _thread_subjects(connection: AsyncConnection, ids: Sequence[int]) -> dict[int, str]:
    rows = await connection.execute(select(thread.c.id, thread.c.subject).where(thread.c.id.in_(ids)))
    return {row.id: row.subject for row in rows}


async def _evidence_counts(connection: AsyncConnection, ids: Sequence[int]) -> dict[int, int]:
    query = (
        select(evidence.c.interaction_id, func.count().label("copies"))
        .where(evidence.c.interaction_id.in_(ids), ~evidence.c.details.has_key("sound_file"))
        .group_by(evidence.c.interaction_id)
    )
    return {row.interaction_id: row.copies for row in await connection.execute(query)}


async def _captures(connection: AsyncConnection, ids: Sequence[int]) -> list[tuple[int, str]]:
    query = select(capture.c.interaction_id, capture.c.state).where(capture.c.interaction_id.in_(ids))
    return [(row.interaction_id, row.state) for row in await connection.execute(query)]


async def list_chain_sequences(connection: AsyncConnection, blob_names: Sequence[str]) -> dict[str, int]:
    """Where these blobs stand in the chain; those that wait for their link are not in the answer."""
    query = select(blob.c.name, chain_link.c.sequence).join(chain_link).where(blob.c.name.in_(blob_names))
    return {row.name: row.sequence for row in await connection.execute(query)}
