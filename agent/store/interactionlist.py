"""Interactions as a program lists them: filtered, by time or by what changed, in a fixed number of statements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import ColumnElement, Select, and_, exists, literal, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import Direction, Disposition, InteractionKind, LinkState
from agent.store import interactions, links
from agent.store.clients import Position
from agent.store.engine import is_any
from agent.store.history import CallFacts, list_employee_names
from agent.store.interactions import Interaction, Party
from agent.store.links import Link
from agent.store.rights import Viewer, is_not_private, is_visible_card, is_visible_interaction
from agent.store.schema import (
    attachment,
    call,
    client_card,
    interaction,
    interaction_change,
    link,
    meeting,
    message,
    party,
    recording,
)

CHANGES_A_PAGE = 1000  # looked at for one page of what changed, whether or not they are the viewer's


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which interactions; None and empty ask for all. Times are of the start, ``started_to`` is exclusive."""

    card_id: int | None = None
    employee_id: int | None = None
    thread_id: int | None = None
    kind: InteractionKind | None = None
    direction: Direction | None = None
    state: LinkState | None = None
    started_from: datetime | None = None
    started_to: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """A page of what changed, oldest change first. ``gone`` are those that nobody can see any more; ``last`` is where
    the next page begins, None at the end."""

    positions: tuple[Position, ...]
    gone: tuple[int, ...]
    last: Position | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What a list says of a mail or a meeting."""

    subject: str
    thread_id: int | None = None
    category: str = ""
    state: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """An interaction without the words in it. ``cards`` are the names of those the viewer may see, by id."""

    interaction: Interaction
    changed: datetime | None
    parties: tuple[Party, ...]
    links: tuple[Link, ...]
    call: CallFacts | None
    head: Head | None
    recordings: tuple[tuple[int, int], ...] = ()  # id and milliseconds, the first one made first
    attachments: int = 0
    cards: dict[int, str] = field(default_factory=dict)
    employees: dict[int, str] = field(default_factory=dict)


async def list_positions(
    connection: AsyncConnection, viewer: Viewer, wanted: Wanted, *, after: Position | None, limit: int
) -> list[Position]:
    """Newest first, from the one after ``after``."""
    number, started = interaction.c.id, interaction.c.started_at
    query = select(number.label("id"), started.label("moment"))
    if wanted.card_id is not None:  # the history of a card lies in one index
        number, started = link.c.interaction_id, link.c.started_at
        query = select(number.label("id"), started.label("moment")).join(interaction, interaction.c.id == number)
        query = query.where(link.c.client_card_id == wanted.card_id)
    query = query.where(*_conditions(wanted, started), is_visible_interaction(viewer, number))
    if after is not None:
        query = query.where(tuple_(started, number) < tuple_(literal(after.moment), literal(after.id)))
    query = query.order_by(started.desc(), number.desc()).limit(limit)
    return [Position(moment=row.moment, id=row.id) for row in await connection.execute(query)]


async def list_changed(
    connection: AsyncConnection, viewer: Viewer, wanted: Wanted, *, since: datetime, after: Position | None, limit: int
) -> Changed:
    """What changed since then. A page may be short, or empty, and not the last one."""
    at, number = interaction_change.c.changed_at, interaction_change.c.interaction_id
    query = select(number, at).where(at >= since)
    if after is not None:
        query = query.where(tuple_(at, number) > tuple_(literal(after.moment), literal(after.id)))
    rows = (await connection.execute(query.order_by(at, number).limit(CHANGES_A_PAGE))).all()
    seen = [Position(moment=row.changed_at, id=row.interaction_id) for row in rows]
    ids = [one.id for one in seen]
    visible, gone = await _visible(connection, viewer, wanted, ids), await _gone(connection, viewer, ids)
    told = [one for one in seen if one.id in visible or one.id in gone]
    page = told[:limit]
    is_cut = len(told) > limit
    last = page[-1] if is_cut else seen[-1] if len(seen) == CHANGES_A_PAGE else None
    return Changed(
        positions=tuple(one for one in page if one.id in visible),
        gone=tuple(one.id for one in page if one.id in gone),
        last=last,
    )


async def _visible(connection: AsyncConnection, viewer: Viewer, wanted: Wanted, ids: Sequence[int]) -> set[int]:
    query = select(interaction.c.id).where(is_any(interaction.c.id, ids))
    if wanted.card_id is not None:
        query = query.where(_is_on(wanted.card_id))
    query = query.where(
        *_conditions(wanted, interaction.c.started_at), is_visible_interaction(viewer, interaction.c.id)
    )
    return set((await connection.execute(query)).scalars())


async def _gone(connection: AsyncConnection, viewer: Viewer, ids: Sequence[int]) -> set[int]:
    """What became part of another one, and, for those who would see it, what has become private."""
    query = select(interaction.c.id).where(is_any(interaction.c.id, ids))
    if viewer.sees_all:
        query = query.where(is_not_private(interaction.c.id))
    return set(ids) - set((await connection.execute(query)).scalars())


def _is_on(card_id: int) -> ColumnElement[bool]:
    own = link.alias()
    return exists(select(own.c.id).where(own.c.interaction_id == interaction.c.id, own.c.client_card_id == card_id))


def _conditions(wanted: Wanted, started: ColumnElement[datetime]) -> list[ColumnElement[bool]]:
    """All but the card."""
    found: list[ColumnElement[bool]] = []
    if wanted.started_from is not None:
        found.append(started >= wanted.started_from)
    if wanted.started_to is not None:
        found.append(started < wanted.started_to)
    if wanted.kind is not None:
        found.append(interaction.c.kind == wanted.kind)
    if wanted.direction is not None:
        found.append(interaction.c.direction == wanted.direction)
    if wanted.employee_id is not None:
        own = party.alias()
        took_part = select(own.c.interaction_id).where(own.c.employee_id == wanted.employee_id)
        found.append(interaction.c.id.in_(took_part))
    if wanted.thread_id is not None:
        mails = select(message.c.interaction_id).where(message.c.thread_id == wanted.thread_id)
        found.append(interaction.c.id.in_(mails))
    if wanted.state is not None:
        decided = link.alias()
        is_so = and_(decided.c.interaction_id == interaction.c.id, decided.c.state == wanted.state)
        found.append(exists(select(decided.c.id).where(is_so)))
    return found


async def load_outlines(connection: AsyncConnection, viewer: Viewer, ids: Sequence[int]) -> list[Outline]:
    """These in the order asked for; the caller has asked whether the viewer may see them."""
    if not ids:
        return []
    found = {one.id: one for one in await interactions.find_interactions(connection, ids)}
    parties = await interactions.list_parties(connection, ids)
    linked = await links.list_links(connection, ids)
    calls = await _calls(connection, ids)
    heads = await _heads(connection, ids)
    sounds, files = await _sounds(connection, ids), await _files(connection, ids)
    changed = await list_changes(connection, ids)
    cards = await list_card_names(connection, viewer, cards_of(linked))
    employees = await list_employee_names(
        connection, sorted({one.employee_id for own in parties.values() for one in own if one.employee_id})
    )
    return [
        Outline(
            interaction=found[one],
            changed=changed.get(one),
            parties=tuple(parties[one]),
            links=tuple(each for each in linked if each.interaction_id == one),
            call=calls.get(one),
            head=heads.get(one),
            recordings=tuple(sounds.get(one, ())),
            attachments=files.count(one),
            cards=cards,
            employees=employees,
        )
        for one in ids
        if one in found
    ]


def cards_of(linked: Sequence[Link]) -> list[int]:
    """Every card that these links name, candidates too."""
    named = {one.card_id for one in linked if one.card_id is not None}
    return sorted(named | {card_id for one in linked for card_id, _, _ in one.candidates})


async def list_card_names(connection: AsyncConnection, viewer: Viewer, ids: Sequence[int]) -> dict[int, str]:
    """Names of those cards that the viewer may see."""
    if not ids:
        return {}
    query = select(client_card.c.id, client_card.c.name).where(
        is_any(client_card.c.id, ids), is_visible_card(viewer, client_card.c.id)
    )
    return {row.id: row.name for row in await connection.execute(query)}


async def is_merged(connection: AsyncConnection, card_id: int) -> bool:
    """Whether a card became another one."""
    query = select(client_card.c.id).where(client_card.c.id == card_id, client_card.c.merged_into_id.is_not(None))
    return (await connection.execute(query)).first() is not None


async def list_changes(connection: AsyncConnection, ids: Sequence[int]) -> dict[int, datetime]:
    """When each of these last changed."""
    query = select(interaction_change).where(is_any(interaction_change.c.interaction_id, ids))
    return {row.interaction_id: row.changed_at for row in await connection.execute(query)}


async def _calls(connection: AsyncConnection, ids: Sequence[int]) -> dict[int, CallFacts]:
    return {
        row.interaction_id: CallFacts(
            answered=row.answered_at,
            ended=row.ended_at,
            disposition=Disposition(row.disposition),
            truncated=row.truncated,
        )
        for row in await connection.execute(select(call).where(is_any(call.c.interaction_id, ids)))
    }


async def _heads(connection: AsyncConnection, ids: Sequence[int]) -> dict[int, Head]:
    mails: Select[*tuple[object, ...]] = select(
        message.c.interaction_id, message.c.subject, message.c.thread_id, message.c.category
    ).where(is_any(message.c.interaction_id, ids))
    found = {
        row.interaction_id: Head(subject=row.subject, thread_id=row.thread_id, category=row.category)
        for row in await connection.execute(mails)
    }
    arranged: Select[*tuple[object, ...]] = select(meeting.c.interaction_id, meeting.c.summary, meeting.c.state).where(
        is_any(meeting.c.interaction_id, ids)
    )
    for row in await connection.execute(arranged):
        found[row.interaction_id] = Head(subject=row.summary, state=row.state)
    return found


async def _sounds(connection: AsyncConnection, ids: Sequence[int]) -> dict[int, list[tuple[int, int]]]:
    query = select(recording.c.interaction_id, recording.c.id, recording.c.duration_ms).where(
        is_any(recording.c.interaction_id, ids)
    )
    found: dict[int, list[tuple[int, int]]] = {}
    for row in await connection.execute(query.order_by(recording.c.started_at, recording.c.id)):
        found.setdefault(row.interaction_id, []).append((row.id, row.duration_ms))
    return found


async def _files(connection: AsyncConnection, ids: Sequence[int]) -> list[int]:
    query = select(attachment.c.interaction_id).where(is_any(attachment.c.interaction_id, ids))
    return list((await connection.execute(query)).scalars())
