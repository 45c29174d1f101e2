"""A history as pages show it: interactions with all that belongs to them, in a fixed number of queries a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, literal, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import Disposition, InteractionKind, Mark
from agent.store import interactions, links, meetings, messages, recordings, transcripts
from agent.store.clients import Position
from agent.store.engine import is_any
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


async def load_entries(connection: AsyncConnection, ids: Sequence[int], *, transcript: int = 0) -> list[Entry]:
    """These interactions in the order asked for; ``transcript`` is one that is looked at in place of that shown."""
    if not ids:
        return []
    found = {one.id: one for one in await interactions.find_interactions(connection, ids)}
    of_kind = {kind: [one.id for one in found.values() if one.kind is kind] for kind in InteractionKind}
    talks, written = of_kind[InteractionKind.CALL], of_kind[InteractionKind.MESSAGE]
    parties = await interactions.list_parties(connection, ids)
    calls = await _calls(connection, talks) if talks else {}
    mails = {one.interaction_id: one for one in await messages.list_messages(connection, written)} if written else {}
    subjects = await _thread_subjects(connection, [one.thread_id for one in mails.values()]) if mails else {}
    evidences = await _evidence_counts(connection, ids)
    linked = await links.list_links(connection, ids)
    sounds = await recordings.list_recordings(connection, talks) if talks else []
    marks = await recordings.list_marks(connection, [one.id for one in sounds]) if sounds else {}
    captures = await _captures(connection, talks) if talks else []
    heard = await transcripts.list_transcripts(connection, talks, chosen=transcript) if sounds else []
    spoken = {one.recording_id: one for one in heard}
    parts = await messages.list_attachments(connection, written) if mails else []
    returned = await messages.list_returned(connection, list(mails.values())) if mails else []
    meant = of_kind[InteractionKind.MEETING]
    arranged = {one.interaction_id: one for one in await meetings.list_meetings(connection, meant)} if meant else {}
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
    rows = await connection.execute(select(employee.c.id, employee.c.name).where(is_any(employee.c.id, ids)))
    return {row.id: row.name for row in rows}


async def _calls(connection: AsyncConnection, ids: Sequence[int]) -> dict[int, CallFacts]:
    rows = await connection.execute(select(call).where(is_any(call.c.interaction_id, ids)))
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
    rows = await connection.execute(select(thread.c.id, thread.c.subject).where(is_any(thread.c.id, ids)))
    return {row.id: row.subject for row in rows}


async def _evidence_counts(connection: AsyncConnection, ids: Sequence[int]) -> dict[int, int]:
    query = (
        select(evidence.c.interaction_id, func.count().label("copies"))
        .where(is_any(evidence.c.interaction_id, ids), ~evidence.c.details.has_key("sound_file"))
        .group_by(evidence.c.interaction_id)
    )
    return {row.interaction_id: row.copies for row in await connection.execute(query)}


async def _captures(connection: AsyncConnection, ids: Sequence[int]) -> list[tuple[int, str]]:
    query = select(capture.c.interaction_id, capture.c.state).where(is_any(capture.c.interaction_id, ids))
    return [(row.interaction_id, row.state) for row in await connection.execute(query)]


async def list_chain_sequences(connection: AsyncConnection, blob_names: Sequence[str]) -> dict[str, int]:
    """Where these blobs stand in the chain; those that wait for their link are not in the answer."""
    query = select(blob.c.name, chain_link.c.sequence).join(chain_link).where(is_any(blob.c.name, blob_names))
    return {row.name: row.sequence for row in await connection.execute(query)}
