"""What waits for a person: interactions of nobody known, or of too many, grouped by who it was."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Select, Subquery, and_, exists, func, or_, select, true, union_all
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import Identity, IdentityKind, LinkState, Role
from agent.store.links import BY_RULE
from agent.store.rights import Viewer, took_part
from agent.store.schema import employee_identity, evidence, interaction, link, party

_SHOWN_OF_A_GROUP = 5
_WINDOW = 1000  # waiting entries, the newest, that are looked at for groups: what is older comes up as they are sorted
_OWN_WINDOW = 20_000  # of everybody's, among which a manager's own are looked for
MOST_COUNTED = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsortedGroup:
    """Interactions with one identity; ``identity`` is None for hidden numbers. ``reason`` is the newest one's."""

    state: LinkState
    identity: Identity | None
    name: str
    count: int
    newest: datetime
    reason: str
    interaction_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NobodysExtension:
    """Calls of an extension that nobody holds: an administrator says whose it is. ``name`` is what a source calls it;
    ``interaction_ids`` are the newest."""

    extension: str
    name: str
    count: int
    since: datetime
    newest: datetime
    interaction_ids: tuple[int, ...]


def _waiting(viewer: Viewer) -> ColumnElement[bool]:
    """What rules could not place; what people took off a card is listed by itself (`agent.store.waiting`)."""
    waiting = and_(
        link.c.client_card_id.is_(None),
        link.c.state.in_((LinkState.UNKNOWN.value, LinkState.AMBIGUOUS.value)),
        link.c.decided_by == BY_RULE,
    )
    return waiting if viewer.sees_all else and_(waiting, took_part(viewer, link.c.interaction_id))


def newest_waiting(viewer: Viewer, state: LinkState, limit: int) -> Subquery:
    """The newest waiting entries of one state that are the viewer's, by an index however many wait."""
    newest = (
        select(link.c.interaction_id, link.c.state, link.c.reason, link.c.started_at)
        .where(link.c.client_card_id.is_(None), link.c.state == state, link.c.decided_by == BY_RULE)
        .order_by(link.c.started_at.desc())
    )
    if viewer.sees_all:
        return newest.limit(limit).subquery("newest")
    bounded = newest.limit(_OWN_WINDOW).subquery("bounded")
    own = select(bounded).where(took_part(viewer, bounded.c.interaction_id))
    return own.order_by(bounded.c.started_at.desc()).limit(limit).subquery("newest")


def _with_client(viewer: Viewer, state: LinkState) -> Select[*tuple[object, ...]]:
    """Each of the newest waiting entries with the first party that is not ours."""
    newest = newest_waiting(viewer, state, _WINDOW)
    client = (
        select(party.c.identity_kind, party.c.identity_value, party.c.name)
        .where(party.c.interaction_id == newest.c.interaction_id, party.c.role == Role.CLIENT)
        .order_by(party.c.identity_value.is_(None), party.c.ordinal)
        .limit(1)
        .lateral("client")
    )
    return select(
        newest.c.interaction_id,
        newest.c.state,
        newest.c.reason,
        newest.c.started_at,
        client.c.identity_kind,
        client.c.identity_value,
        client.c.name,
    ).select_from(newest.outerjoin(client, true()))


async def list_unsorted(
    connection: AsyncConnection, viewer: Viewer, *, state: LinkState | None = None, limit: int = 100, offset: int = 0
) -> list[UnsortedGroup]:
    """Groups with the newest contact first; a manager sees those he himself took part in."""
    states = (LinkState.UNKNOWN, LinkState.AMBIGUOUS) if state is None else (state,)
    one = union_all(*(_with_client(viewer, each) for each in states)).subquery()
    newest_first = one.c.started_at.desc()
    query = (
        select(
            one.c.state,
            one.c.identity_kind,
            one.c.identity_value,
            func.count().label("waiting"),
            func.max(one.c.started_at).label("newest"),
            func.max(one.c.name).label("name"),
            func.array_agg(aggregate_order_by(one.c.reason, newest_first)).label("reasons"),
            func.array_agg(aggregate_order_by(one.c.interaction_id, newest_first)).label("ids"),
        )
        .group_by(one.c.state, one.c.identity_kind, one.c.identity_value)
        .order_by(func.max(one.c.started_at).desc(), one.c.identity_value)
        .limit(limit)
        .offset(offset)
    )
    return [
        UnsortedGroup(
            state=LinkState(row.state),
            identity=_identity(row.identity_kind, row.identity_value),
            name=row.name or "",
            count=row.waiting,
            newest=row.newest,
            reason=row.reasons[0],
            interaction_ids=tuple(row.ids[:_SHOWN_OF_A_GROUP]),
        )
        for row in await connection.execute(query)
    ]


def _nobodys() -> Select[*tuple[object, ...]]:
    """Parties of ours at an extension that nobody held then, and that nobody had marked as shared."""
    held, at = employee_identity.c, interaction.c.started_at
    is_held = exists(
        select(held.id).where(
            held.kind == IdentityKind.EXTENSION,
            held.value == party.c.identity_value,
            or_(held.valid_from.is_(None), held.valid_from <= at),
            or_(held.valid_to.is_(None), at < held.valid_to),
        )
    )
    is_nobodys = and_(
        party.c.identity_kind == "extension", party.c.employee_id.is_(None), party.c.role == Role.EMPLOYEE, ~is_held
    )
    columns = (party.c.identity_value, party.c.interaction_id, party.c.name, interaction.c.started_at)
    return select(*columns).join(interaction, interaction.c.id == party.c.interaction_id).where(is_nobodys)


async def list_nobodys(connection: AsyncConnection, *, limit: int = 100) -> list[NobodysExtension]:
    """Extensions with calls that nobody is credited with, the one with the newest call first."""
    one = _nobodys().subquery()
    newest_first = one.c.started_at.desc()
    query = (
        select(
            one.c.identity_value,
            func.count(one.c.interaction_id.distinct()).label("calls"),
            func.min(one.c.started_at).label("since"),
            func.max(one.c.started_at).label("newest"),
            func.max(one.c.name).label("name"),
            func.array_agg(aggregate_order_by(one.c.interaction_id, newest_first)).label("ids"),
        )
        .group_by(one.c.identity_value)
        .order_by(func.max(one.c.started_at).desc())
        .limit(limit)
    )
    return [
        NobodysExtension(
            extension=row.identity_value,
            name=row.name or "",
            count=row.calls,
            since=row.since,
            newest=row.newest,
            interaction_ids=tuple(dict.fromkeys(row.ids))[:_SHOWN_OF_A_GROUP],
        )
        for row in await connection.execute(query)
    ]


async def list_waiting_of(
    connection: AsyncConnection, viewer: Viewer, identity: Identity
) -> list[tuple[int, datetime, LinkState]]:
    """The waiting interactions of one identity that the viewer may sort: id, start, state."""
    query = (
        select(link.c.interaction_id, link.c.started_at, link.c.state)
        .join(party, party.c.interaction_id == link.c.interaction_id)
        .where(
            party.c.identity_kind == identity.kind,
            party.c.identity_value == identity.value,
            party.c.role == Role.CLIENT,
            _waiting(viewer),
        )
        .distinct()
        .order_by(link.c.interaction_id)
        .limit(_WINDOW)
    )
    return [(row.interaction_id, row.started_at, LinkState(row.state)) for row in await connection.execute(query)]


async def count_unsorted(connection: AsyncConnection, viewer: Viewer) -> int:
    """How many wait, and for those who see all also unreadable evidence and extensions that are nobody's."""
    waiting = int(
        (await connection.execute(select(func.count()).select_from(link).where(_waiting(viewer)))).scalar_one()
    )
    if not viewer.sees_all:
        return waiting
    unreadable = select(func.count()).select_from(evidence).where(evidence.c.state == "unreadable")
    nobodys = select(func.count(_nobodys().subquery().c.identity_value.distinct()))
    for query in (unreadable, nobodys):
        waiting += int((await connection.execute(query)).scalar_one())
    return waiting


def _identity(kind: str | None, value: str | None) -> Identity | None:
    return Identity(kind=IdentityKind(kind), value=value) if kind and value else None
