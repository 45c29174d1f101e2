"""A history as pages show it: interactions with all that belongs to them, in a fixed number of queries a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import ARRAY, Select, Text, func, literal, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import Disposition, InteractionKind, Mark
from agent.store import excerpts, interactions, links, meetings, messages, recordings, transcripts
from agent.store.clients import Position
from agent.store.engine import AnyRow, is_any
from agent.store.interactions import Interaction, Party
from agent.store.links import Link
from agent.store.meetings import Meeting
from agent.store.messages import Attachment, Message, Returned
from agent.store.recordings import Recording
from agent.store.rights import is_not_private
from agent.store.schema import (
    blob,
    call,
    capture,
    chain_link,
    employee,
    evidence,
    interaction,
    link,
    message,
    thread,
)
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


async def load_entries(
    connection: AsyncConnection, ids: Sequence[int], *, brief: bool = False, transcript: int = 0
) -> list[Entry]:
    """These interactions in the order asked for; ``brief``: of what was said and written only what a history shows at
    first, that is, the beginnings of transcripts and no HTML. ``transcript`` is one that is looked at in place of that
    shown."""
    if not ids:
        return []
    heads = {row.id: row for row in await connection.execute(_heads().where(is_any(interaction.c.id, ids)))}
    of_kind = {kind: [one.id for one in heads.values() if one.kind == kind] for kind in InteractionKind}
    talks, written = of_kind[InteractionKind.CALL], of_kind[InteractionKind.MESSAGE]
    parties = await interactions.list_parties(connection, ids)
    mails = await messages.list_messages(connection, written, html=not brief) if written else []
    linked = await links.list_links(connection, ids)
    sounds = await recordings.list_recordings(connection, talks) if talks else []
    marks = await recordings.list_marks(connection, [one.id for one in sounds]) if sounds else {}
    heard = await _heard(connection, talks, brief=brief, transcript=transcript) if sounds else []
    spoken = {one.recording_id: one for one in heard}
    parts = await messages.list_attachments(connection, written) if mails else []
    returned = await messages.list_returned(connection, mails) if mails else []
    meant = of_kind[InteractionKind.MEETING]
    arranged = {one.interaction_id: one for one in await meetings.list_meetings(connection, meant)} if meant else {}
    letters = {one.interaction_id: one for one in mails}
    return [
        Entry(
            interaction=interactions.interaction_of(head),
            parties=tuple(parties[one]),
            links=tuple(each for each in linked if each.interaction_id == one),
            evidence_count=head.copies,
            call=_facts(head) if head.disposition is not None else None,
            recordings=(own := tuple(each for each in sounds if each.interaction_id == one)),
            marks={each.id: marks[each.id] for each in own},
            captures=tuple(head.captures),
            transcripts=tuple(spoken[each.id] for each in own if each.id in spoken),
            message=letters.get(one),
            thread_subject=head.thread_subject or "",
            attachments=tuple(each for each in parts if each.interaction_id == one),
            returned=tuple(each for each in returned if each.about == one),
            meeting=arranged.get(one),
        )
        for one in ids
        if (head := heads.get(one)) is not None
    ]


async def _heard(
    connection: AsyncConnection, talks: Sequence[int], *, brief: bool, transcript: int
) -> list[Transcript]:
    if brief:
        return await excerpts.list_excerpts(connection, talks)
    return await transcripts.list_transcripts(connection, talks, chosen=transcript)


@cache
def _heads() -> Select[*tuple[Any, ...]]:
    """Interactions with what there is once of each: facts of the call, subject of the thread, states of captures, and
    how many copies came."""
    number = interaction.c.id
    copies = select(func.count()).where(evidence.c.interaction_id == number, ~evidence.c.details.has_key("sound_file"))
    states = select(func.array_agg(capture.c.state)).where(capture.c.interaction_id == number)
    subject = select(thread.c.subject).join(message, message.c.thread_id == thread.c.id)
    return select(
        interaction,
        call.c.answered_at,
        call.c.ended_at,
        call.c.disposition,
        call.c.truncated,
        copies.scalar_subquery().label("copies"),
        func.coalesce(states.scalar_subquery(), literal([], ARRAY(Text))).label("captures"),
        subject.where(message.c.interaction_id == number).scalar_subquery().label("thread_subject"),
    ).outerjoin_from(interaction, call, call.c.interaction_id == number)


def _facts(head: AnyRow) -> CallFacts:
    return CallFacts(
        answered=head.answered_at,
        ended=head.ended_at,
        disposition=Disposition(head.disposition),
        truncated=head.truncated,
    )


async def list_employee_names(connection: AsyncConnection, ids: Sequence[int]) -> dict[int, str]:
    """Names by id."""
    if not ids:
        return {}
    rows = await connection.execute(select(employee.c.id, employee.c.name).where(is_any(employee.c.id, ids)))
    return {row.id: row.name for row in rows}


async def list_chain_sequences(connection: AsyncConnection, blob_names: Sequence[str]) -> dict[str, int]:
    """Where these blobs stand in the chain; those that wait for their link are not in the answer."""
    query = select(blob.c.name, chain_link.c.sequence).join(chain_link).where(is_any(blob.c.name, blob_names))
    return {row.name: row.sequence for row in await connection.execute(query)}
