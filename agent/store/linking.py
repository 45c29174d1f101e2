"""What the linker needs of the database for a batch, in a handful of statements however large the batch is, and locks
so that decisions do not overtake each other.

Two locks, both to the end of the transaction. *Knowledge* is shared by whoever decides and exclusive to whoever makes
it grow, so that an interaction decided at the moment a card learns its number is either decided with it or found by
the look into the past. An *interaction* is decided by one job at a time, so that an older decision never joins a newer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import Direction, Disposition, Identity, IdentityKind, InteractionKind, Role
from agent.store.asking import Query, ask
from agent.store.engine import AnyRow
from agent.store.interactions import Interaction, Party

_KNOWLEDGE_LOCK = 0x4C494E4B
_FEW = 20  # interactions that are decided sooner than PostgreSQL plans how to find them
# So for few each statement is planned once a connection, row by row over indexes, whatever the tables hold by then: a
# table that was almost empty when it was planned would be read through as a whole when it has grown.
_BY_INDEX = """
    ('plan_cache_mode', 'force_generic_plan'), ('enable_seqscan', 'off'), ('enable_hashjoin', 'off'),
    ('enable_mergejoin', 'off')"""
_IDS = bindparam("ids", type_=ARRAY(BigInteger))
_THESE = """
    SELECT unnest(:ids) UNION SELECT meeting_id FROM invitation WHERE :with_meetings AND message_id = ANY(:ids)"""
_LOCK = text(
    f"""
    WITH held AS MATERIALIZED (
        SELECT pg_advisory_xact_lock_shared(:key),
               (SELECT count(set_config(name, value, true)) FROM (VALUES {_BY_INDEX}) AS each(name, value) WHERE :few),
               CASE WHEN :redoable THEN set_config('synchronous_commit', 'off', true) END)
    SELECT interaction.id FROM interaction, held
    WHERE interaction.id = ANY(ARRAY({_THESE}))
    ORDER BY interaction.id FOR NO KEY UPDATE OF interaction
    """  # noqa: S608 - our own constants
).bindparams(_IDS)


def lock(
    interaction_ids: Sequence[int], *, with_meetings: bool = False, redoable: bool = False
) -> Query[frozenset[int]]:
    """Hold what is known as it is, and these interactions for ourselves; ``with_meetings``: also those that these mails
    tell of. Gives the ids of all that exist. ``redoable``: as in `Store.begin`, without a statement more."""
    values = {
        "key": _KNOWLEDGE_LOCK,
        "ids": list(interaction_ids),
        "with_meetings": with_meetings,
        "redoable": redoable,
        "few": len(interaction_ids) <= _FEW,
    }
    return Query(statement=_LOCK, values=values, read=lambda rows: frozenset(row.id for row in rows))


async def lock_for_decision(connection: AsyncConnection, interaction_ids: Sequence[int]) -> None:
    """The same for a person's decision."""
    await ask(connection, lock(interaction_ids))


async def lock_knowledge(connection: AsyncConnection) -> None:
    """Wait until nobody decides by what was known so far; whoever decides next knows what this transaction adds."""
    await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _KNOWLEDGE_LOCK})


# --- What is to be decided --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Undecided:
    """An interaction with its parties in order, and what holds it together with others. ``near_meeting``: there may be
    a meeting that it confirms. ``has_crm``: there is somebody to be told of it."""

    interaction: Interaction
    parties: tuple[Party, ...]
    thread_id: int | None
    disposition: Disposition | None
    near_meeting: bool = False
    has_crm: bool = True

    @property
    def is_going_on(self) -> bool:
        """Whether it is a call that has not ended."""
        return self.disposition is Disposition.IN_PROGRESS


_LOAD = text(
    f"""
    SELECT i.id, i.kind, i.started_at, i.direction, i.conversation_key, i.flags, m.thread_id, c.disposition,
        (SELECT jsonb_agg(jsonb_build_array(p.id, p.position, p.kind, p.value, p.name, p.channel, p.identity_kind,
                                            p.identity_value, p.role, p.employee_id, p.credited_by) ORDER BY p.ordinal)
         FROM party p WHERE p.interaction_id = i.id) AS parties,
        EXISTS (SELECT FROM meeting WHERE c.answered_at IS NOT NULL AND meeting.ends_at
                BETWEEN i.started_at - interval '2 days' AND i.started_at + interval '3 days') AS near_meeting,
        EXISTS (SELECT FROM connector) AS has_crm
    FROM interaction i
        LEFT JOIN message m ON m.interaction_id = i.id
        LEFT JOIN call c ON c.interaction_id = i.id
    WHERE i.id = ANY(ARRAY({_THESE})) AND i.erasure_id IS NULL ORDER BY i.id
    """  # noqa: S608 - our own constants
).bindparams(_IDS)


def load(interaction_ids: Sequence[int], *, with_meetings: bool = False) -> Query[list[Undecided]]:
    """Those of the interactions that exist, by their ids. What was erased is decided no more: a tombstone stays where
    it stands."""
    values = {"ids": list(interaction_ids), "with_meetings": with_meetings}
    return Query(statement=_LOAD, values=values, read=lambda rows: [_undecided(row) for row in rows])


def _undecided(row: AnyRow) -> Undecided:
    return Undecided(
        interaction=Interaction(
            id=row.id,
            kind=InteractionKind(row.kind),
            started=row.started_at,
            direction=Direction(row.direction) if row.direction else None,
            conversation_key=row.conversation_key,
            flags=tuple(row.flags),
        ),
        parties=tuple(_party(row.id, *one) for one in row.parties or ()),
        thread_id=row.thread_id,
        disposition=Disposition(row.disposition) if row.disposition else None,
        near_meeting=row.near_meeting,
        has_crm=row.has_crm,
    )


def _party(
    interaction_id: int,
    party_id: int,
    position: str,
    kind: str,
    value: str,
    name: str,
    channel: int | None,
    identity_kind: str | None,
    identity_value: str | None,
    role: str | None,
    employee_id: int | None,
    credited_by: str | None,
) -> Party:
    return Party(
        id=party_id,
        interaction_id=interaction_id,
        position=position,
        kind=IdentityKind(kind),
        value=value,
        name=name,
        channel=channel,
        identity=Identity(kind=IdentityKind(identity_kind), value=identity_value or "") if identity_kind else None,
        role=Role(role) if role else None,
        employee_id=employee_id,
        credited_by=credited_by or "",
    )


# --- What was decided -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """What an interaction becomes by a decision."""

    interaction_id: int
    direction: Direction | None
    flags: tuple[str, ...]


def rows_of_parties(parties: Sequence[Party]) -> list[dict[str, Any]]:
    """What was decided of parties, for a statement (`agent.store.links`)."""
    return [
        {
            "id": one.id,
            "kind": one.identity.kind if one.identity else None,
            "value": one.identity.value if one.identity else None,
            "role": one.role,
            "employee": one.employee_id,
        }
        for one in parties
    ]
