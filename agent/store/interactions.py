"""Interactions with their parties, and the call or message each of them is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import all_, delete, func, literal, or_, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import (
    CapturedParty,
    Direction,
    Identity,
    IdentityKind,
    InteractionKind,
    Role,
)
from agent.store import outbox
from agent.store.engine import is_any
from agent.store.schema import call, interaction, party
from agent.store.told import Told

_IDENTITIES_A_STATEMENT = 1000
_PARTIES_A_STATEMENT = 1000  # PostgreSQL takes 65535 parameters; a mail may have thousands of recipients


@dataclass(frozen=True, slots=True, kw_only=True)
class Party:
    """A stored party: what the source said, and what the linker made of it (None until then).

    ``credited_by`` is the login of whoever gave it to its employee by hand.
    """

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
    credited_by: str = ""
    joined: datetime | None = None
    left: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Interaction:
    """The row common to calls and messages."""

    id: int
    kind: InteractionKind
    started: datetime
    direction: Direction | None
    conversation_key: str | None
    flags: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOutline:
    """What of an interaction follows from the call it is. ``answered`` is the call's, beside it."""

    started: datetime
    conversation_key: str | None
    flags: tuple[str, ...]
    answered: datetime | None = field(default=None, compare=False)


def party_of(row: Any) -> Party:
    """From a row with the columns of a party."""
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
        credited_by=row.credited_by or "",
        joined=row.joined_at,
        left=row.left_at,
    )


def interaction_of(row: Any) -> Interaction:
    """From a row with its columns."""
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
    rows = await connection.execute(select(interaction).where(is_any(interaction.c.id, ids)).order_by(interaction.c.id))
    return [interaction_of(row) for row in rows]


async def list_parties(connection: AsyncConnection, interaction_ids: Sequence[int]) -> dict[int, list[Party]]:
    """Parties by interaction, each list in the order the source gave."""
    query = (
        select(party)
        .where(is_any(party.c.interaction_id, interaction_ids))
        .order_by(party.c.interaction_id, party.c.ordinal)
    )
    found: dict[int, list[Party]] = {one: [] for one in interaction_ids}
    for row in await connection.execute(query):
        found[row.interaction_id].append(party_of(row))
    return found


async def list_interactions_with(connection: AsyncConnection, identities: Sequence[Identity]) -> list[int]:
    """Interactions in which one of these identities took part; a domain means every address in it, and an address also
    itself with a tag (``anna+shop@…``)."""
    patterned = (IdentityKind.DOMAIN, IdentityKind.ADDRESS)
    exact = [(one.kind.value, one.value) for one in identities if one.kind not in patterned]
    ids: set[int] = set()
    for at in range(0, len(exact), _IDENTITIES_A_STATEMENT):
        pairs = tuple_(party.c.identity_kind, party.c.identity_value).in_(exact[at : at + _IDENTITIES_A_STATEMENT])
        ids.update((await connection.execute(select(party.c.interaction_id).where(pairs))).scalars())
    for one in identities:
        if one.kind not in patterned:
            continue
        matches = party.c.identity_value == one.value
        kind = one.kind
        if kind is IdentityKind.DOMAIN:
            matches = party.c.identity_value.like(f"%@{one.value}")
            kind = IdentityKind.ADDRESS
        elif kind is IdentityKind.ADDRESS:
            local, _, domain = one.value.rpartition("@")
            matches = or_(
                matches,
                party.c.identity_value.startswith(f"{local}+", autoescape=True)
                & party.c.identity_value.endswith(f"@{domain}", autoescape=True),
            )
        query = select(party.c.interaction_id).where(party.c.identity_kind == kind, matches)
        ids.update((await connection.execute(query)).scalars())
    return sorted(ids)


async def insert_call(connection: AsyncConnection, outline: CallOutline, told: Told) -> int:
    """A new call; returns the interaction's id."""
    values = {
        "kind": InteractionKind.CALL,
        "started_at": outline.started,
        "conversation_key": outline.conversation_key,
        "flags": list(outline.flags),
    }
    made = await connection.execute(insert(interaction).values(**values).returning(interaction.c.id))
    interaction_id = int(made.scalar_one())
    await save_call(connection, interaction_id, told)
    await save_parties(connection, interaction_id, told.parties, is_new=True)
    return interaction_id


async def lock_interaction(connection: AsyncConnection, interaction_id: int) -> CallOutline:
    """As it is now, to the end of the transaction."""
    answered = select(call.c.answered_at).where(call.c.interaction_id == interaction_id).scalar_subquery()
    columns = (
        interaction.c.started_at,
        interaction.c.conversation_key,
        interaction.c.flags,
        answered.label("answered"),
    )
    query = select(*columns).where(interaction.c.id == interaction_id).with_for_update(key_share=True)
    row = (await connection.execute(query)).one()
    return CallOutline(
        started=row.started_at,
        conversation_key=row.conversation_key,
        flags=tuple(row.flags),
        answered=row.answered,
    )


async def save_interaction(connection: AsyncConnection, interaction_id: int, outline: CallOutline) -> None:
    """Replace what is there."""
    values = {
        "started_at": outline.started,
        "conversation_key": outline.conversation_key,
        "flags": list(outline.flags),
    }
    await connection.execute(update(interaction).where(interaction.c.id == interaction_id).values(**values))


async def save_call(connection: AsyncConnection, interaction_id: int, told: Told) -> None:
    """The call as it is known by now (`agent.store.told`) replaces what was known before."""
    values = {
        "answered_at": told.answered,
        "ended_at": told.ended,
        "disposition": told.disposition,
        "truncated": told.truncated,
    }
    statement = insert(call).values(interaction_id=interaction_id, **values)
    await connection.execute(statement.on_conflict_do_update(index_elements=[call.c.interaction_id], set_=values))


async def list_captured(connection: AsyncConnection, interaction_id: int) -> tuple[CapturedParty, ...]:
    """The parties as the sources named them."""
    query = select(party).where(party.c.interaction_id == interaction_id).order_by(party.c.ordinal)
    return tuple(
        CapturedParty(
            position=row.position,
            kind=IdentityKind(row.kind),
            value=row.value,
            name=row.name,
            channel=row.channel,
            joined=row.joined_at,
            left=row.left_at,
        )
        for row in await connection.execute(query)
    )


async def save_parties(
    connection: AsyncConnection, interaction_id: int, parties: Sequence[CapturedParty], *, is_new: bool = False
) -> bool:
    """Save parties by their place in the list, and no others; returns whether the linker must look again.

    What the linker and people made of a party stays.
    """
    rows = [_party_values(interaction_id, ordinal, one) for ordinal, one in enumerate(parties)]
    is_news = is_new
    if not is_new:
        beyond = delete(party).where(party.c.interaction_id == interaction_id, party.c.ordinal >= len(rows))
        is_news = bool((await connection.execute(beyond.returning(party.c.id))).all())
    for start in range(0, len(rows), _PARTIES_A_STATEMENT):
        statement = insert(party).values(rows[start : start + _PARTIES_A_STATEMENT])
        names = [name for name in rows[start] if name not in ("interaction_id", "ordinal")]
        upsert = statement.on_conflict_do_update(
            index_elements=[party.c.interaction_id, party.c.ordinal],
            set_={name: statement.excluded[name] for name in names},
            where=or_(*(party.c[name].is_distinct_from(statement.excluded[name]) for name in names)),
        )
        is_news |= bool((await connection.execute(upsert.returning(party.c.id))).all())
    return is_news


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


async def credit_party(connection: AsyncConnection, party_id: int, employee_id: int | None, by: str) -> int | None:
    """A person says whose call on a shared phone it was, or takes that back (None). Returns the interaction's id; None
    where the party is not one of ours, or no person's to decide about."""
    statement = (
        update(party)
        .where(
            party.c.id == party_id,
            party.c.role == Role.EMPLOYEE,
            or_(party.c.employee_id.is_(None), party.c.credited_by.is_not(None)),
        )
        .values(employee_id=employee_id, credited_by=by if employee_id is not None else None)
    )
    found: int | None = (await connection.execute(statement.returning(party.c.interaction_id))).scalar_one_or_none()
    if found is not None:
        await outbox.stir(connection, [found])
    return found


async def list_ids(connection: AsyncConnection, *, limit: int = 1000) -> list[int]:
    """The newest interactions' ids, newest first."""
    query = select(interaction.c.id).order_by(interaction.c.started_at.desc(), interaction.c.id.desc()).limit(limit)
    return list((await connection.execute(query)).scalars())
