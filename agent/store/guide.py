"""What the first-run guide asks of the database: has a call come, has somebody an extension."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import exists, select
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import InteractionKind
from agent.store.schema import client_card, employee_identity, evidence, interaction, seal_copy


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstSteps:
    """What is there already."""

    has_source: bool
    has_call: bool
    has_extensions: bool
    has_cards: bool
    has_seal_outside: bool


async def has_anything_come(connection: AsyncConnection) -> bool:
    """Whether a call or a mail was ever archived."""
    return bool((await connection.execute(select(exists(select(evidence.c.id))))).scalar_one())


async def find_first_steps(connection: AsyncConnection) -> FirstSteps:
    """In one statement."""
    calls = select(interaction.c.id).where(interaction.c.kind == InteractionKind.CALL)
    held = select(employee_identity.c.id).where(employee_identity.c.employee_id.is_not(None))
    delivered = select(seal_copy.c.seal_number).where(seal_copy.c.delivered_at.is_not(None))
    query = select(
        exists(select(evidence.c.id)).label("source"),
        exists(calls).label("call"),
        exists(held).label("held"),
        exists(select(client_card.c.id)).label("cards"),
        exists(delivered).label("sealed"),
    )
    row = (await connection.execute(query)).one()
    return FirstSteps(
        has_source=row.source,
        has_call=row.call,
        has_extensions=row.held,
        has_cards=row.cards,
        has_seal_outside=row.sealed,
    )
