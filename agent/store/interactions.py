"""Interactions with their parties, and the call or message each of them is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, all_, and_, bindparam, case, func, literal, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.dml import ReturningInsert

from agent.model import (
    CapturedCall,
    CapturedParty,
    Direction,
    Disposition,
    Identity,
    IdentityKind,
    InteractionKind,
    Role,
)
from agent.store.engine import AnyRow
from agent.store.schema import call, interaction, party

_PARTIES_A_STATEMENT = 1000  # PostgreSQL takes 65535 parameters; a mail may have thousands of recipients


@dataclass(frozen=True, slots=True, kw_only=True)
class Party:
    """A stored party: what the source said, and what the linker made of it (None until then)."""

    id: int
    interaction_id: int
    position: str
    kind: IdentityKind
    value: str
    name: str
    channel: int | None
    identity: Identity | None
    role: Role | None
    employee_id: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Interaction:
    """The row common to calls and messages."""

    id: int
    kind: InteractionKind
    started: datetime
    direction: Direction | None
    conversation_key: str | None
    flags: tuple[str, ...]


def _party(row: AnyRow) -> Party:
    identity = Identity(kind=IdentityKind(row.identity_kind), value=row.identity_value) if row.identity_kind else None
    return Party(
        id=row.id,
        interaction_id=row.interaction_id,
        position=row.position,
        kind=IdentityKind(row.kind),
        value=row.value,
        name=row.name,
        channel=row.channel,
        identity=identity,
        role=Role(row.role) if row.role else None,
        employee_id=row.employee_id,
    )


def _interaction(row: AnyRow) -> Interaction:
    return Interaction(
        id=row.id,
        kind=InteractionKind(row.kind),
        started=row.started_at,
        direction=Direction(row.direction) if row.direction else None,
        conversation_key=row.conversation_key,
        flags=tuple(row.flags),
    )


async def insert_interaction(
    connection: AsyncConnection, kind: InteractionKind, started: datetime, *, conversation_key: str | None = None
) -> int:
    """A new interaction; the caller adds its call or message in the same transaction."""
    values = {"kind": kind, "started_at": started, "conversation_key": conversation_key}
    return int(
        (await connection.execute(insert(interaction).values(**values).returning(interaction.c.id))).scalar_one()
    )


async def find_interactions(connection: AsyncConnection, ids: Sequence[int]) -> list[Interaction]:
    """These interactions, in the order of their ids."""
    rows = await connection.execute(select(interaction).where(interaction.c.id.in_(ids)).order_by(interaction.c.id))
    return [_interaction(row) for row in rows]


async def list_parties(connection: AsyncConnection, interaction_ids: Sequence[int]) -> dict[int, list[Party]]:
    """Parties by interaction, each list in the order the source gave."""
    query = (
        select(party)
        .where(party.c.interaction_id.in_(interaction_ids))
        .order_by(party.c.interaction_id, party.c.ordinal)
    )
    found: dict[int, list[Party]] = {one: [] for one in interaction_ids}
    for row in await connection.execute(query):
        found[row.interaction_id].append(_party(row))
    return found


async def list_interactions_with(connection: AsyncConnection, identities: Sequence[Identity]) -> list[int]:
    """Interactions in which one of these identities took part; a domain means every address in it."""
    ids: set[int] = set()
    for one in identities:
        matches = party.c.identity_value == one.value
        kind = one.kind
        if kind is IdentityKind.DOMAIN:
            matches = party.c.identity_value.like(f"%@{one.value}")
            kind = IdentityKind.ADDRESS
        query = select(party.c.interaction_id).where(party.c.identity_kind == kind, matches)
        ids.update((await connection.execute(query)).scalars())
    return sorted(ids)


async def merge_call(connection: AsyncConnection, interaction_id: int, snapshot: CapturedCall) -> bool:
    """Lay a snapshot over what is known: facts are added, never taken back, so order does not matter.

    Returns whether the snapshot is overtaken: it tells of a call in progress, and the call is known to have ended.
    """
    statement = insert(call).values(
        interaction_id=interaction_id,
        answered_at=snapshot.answered,
        ended_at=snapshot.ended,
        disposition=snapshot.disposition,
        truncated=snapshot.truncated,
    )
    new = statement.excluded
    is_final = call.c.disposition != Disposition.IN_PROGRESS
    was_answered = and_(call.c.answered_at.is_not(None), new.disposition != Disposition.IN_PROGRESS)
    result = await connection.execute(
        statement.on_conflict_do_update(
            index_elements=[call.c.interaction_id],
            set_={
                "answered_at": func.coalesce(call.c.answered_at, new.answered_at),
                "ended_at": func.greatest(call.c.ended_at, new.ended_at),  # of several recorders the last one
                "disposition": case(
                    (is_final, call.c.disposition), (was_answered, Disposition.ANSWERED), else_=new.disposition
                ),
                "truncated": call.c.truncated | new.truncated,
            },
        ).returning(call.c.disposition)
    )
    disposition = result.scalar_one()
    await connection.execute(
        update(interaction)
        .where(interaction.c.id == interaction_id)
        .values(
            started_at=func.least(interaction.c.started_at, snapshot.started),
            conversation_key=func.coalesce(interaction.c.conversation_key, snapshot.conversation_key),
        )
    )
    await add_flags(connection, interaction_id, snapshot.flags)
    return bool(snapshot.disposition == Disposition.IN_PROGRESS != disposition)


async def merge_parties(
    connection: AsyncConnection, interaction_id: int, parties: Sequence[CapturedParty], *, overtaken: bool = False
) -> bool:
    """Save parties by their place in the list; returns whether anything the linker looks at has changed.

    A later snapshot may name a party differently, but what it does not know is kept; an ``overtaken`` one only fills
    what is missing.
    """
    rows = [_party_values(interaction_id, ordinal, one) for ordinal, one in enumerate(parties)]
    is_news = False
    for start in range(0, len(rows), _PARTIES_A_STATEMENT):
        statement = _party_upsert(rows[start : start + _PARTIES_A_STATEMENT], overtaken=overtaken)
        is_news |= bool((await connection.execute(statement)).all())
    return is_news


def _party_upsert(rows: Sequence[Mapping[str, Any]], *, overtaken: bool) -> ReturningInsert[tuple[int]]:
    statement = insert(party).values(rows)
    first, second = (party.c, statement.excluded) if overtaken else (statement.excluded, party.c)
    merged: dict[str, ColumnElement[Any]] = {
        **{name: getattr(first, name) for name in ("position", "kind", "value")},
        "name": func.coalesce(func.nullif(first.name, ""), second.name),
        **{
            name: func.coalesce(getattr(first, name), getattr(second, name))
            for name in ("channel", "joined_at", "left_at")
        },
    }
    return statement.on_conflict_do_update(
        index_elements=[party.c.interaction_id, party.c.ordinal],
        set_=merged,
        where=or_(*(party.c[name].is_distinct_from(value) for name, value in merged.items())),
    ).returning(party.c.id)


def _party_values(interaction_id: int, ordinal: int, one: CapturedParty) -> Mapping[str, Any]:
    return {
        "interaction_id": interaction_id,
        "ordinal": ordinal,
        "position": one.position,
        "kind": one.kind,
        "value": one.value,
        "name": one.name,
        "channel": one.channel,
        "joined_at": one.joined,
        "left_at": one.left,
    }


async def add_flags(connection: AsyncConnection, interaction_id: int, flags: Sequence[str]) -> None:
    """Add what was noticed, each flag once, in the order it was first noticed."""
    for flag in flags:
        await connection.execute(
            update(interaction)
            .where(interaction.c.id == interaction_id, literal(flag) != all_(interaction.c.flags))
            .values(flags=func.array_append(interaction.c.flags, flag))
        )


async def save_direction(connection: AsyncConnection, directions: Mapping[int, Direction | None]) -> None:
    """Note the direction of each interaction."""
    statement = update(interaction).where(interaction.c.id == bindparam("b_which")).values(direction=bindparam("b_way"))
    rows = [{"b_which": one, "b_way": way} for one, way in directions.items()]
    if rows:
        await connection.execute(statement, rows)


async def save_resolution(connection: AsyncConnection, parties: Sequence[Party]) -> None:
    """Note identity, role and employee of each party as the linker found them."""
    statement = (
        update(party)
        .where(party.c.id == bindparam("b_which"))
        .values(
            identity_kind=bindparam("b_kind"),
            identity_value=bindparam("b_number"),
            role=bindparam("b_side"),
            employee_id=bindparam("b_who"),
        )
    )
    rows = [
        {
            "b_which": one.id,
            "b_kind": one.identity.kind if one.identity else None,
            "b_number": one.identity.value if one.identity else None,
            "b_side": one.role,
            "b_who": one.employee_id,
        }
        for one in parties
    ]
    if rows:
        await connection.execute(statement, rows)


async def list_ids(connection: AsyncConnection, *, limit: int = 1000) -> list[int]:
    """The newest interactions' ids, newest first."""
    query = select(interaction.c.id).order_by(interaction.c.started_at.desc(), interaction.c.id.desc()).limit(limit)
    return list((await connection.execute(query)).scalars())
