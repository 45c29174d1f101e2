"""What of the archive concerns a client or an employee, for handing it out with its proof."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, literal, select, union_all
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import SealedBlob
from agent.store import blobs
from agent.store.rights import is_not_private
from agent.store.schema import blob, chain_link, client_card, employee, evidence, interaction, link, party, recording

MAIL, RECORDING, OTHER = "mail", "recording", "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Handout:
    """One sealed thing of an interaction; ``sequence`` None: it waits for its link."""

    id: int
    kind: str
    interaction_id: int
    started: datetime
    blob: SealedBlob
    source: str
    sequence: int | None


async def find_cards(connection: AsyncConnection, name: str) -> list[int]:
    """Cards of this number or exactly this name."""
    matches: ColumnElement[bool] = client_card.c.name == name
    if name.isdecimal() and len(name) < 19:
        matches |= client_card.c.id == int(name)
    return list(
        (await connection.execute(select(client_card.c.id).where(matches).order_by(client_card.c.id))).scalars()
    )


async def find_employees(connection: AsyncConnection, name: str) -> list[int]:
    """Employees of this number or exactly this name."""
    matches: ColumnElement[bool] = employee.c.name == name
    if name.isdecimal() and len(name) < 19:
        matches |= employee.c.id == int(name)
    return list((await connection.execute(select(employee.c.id).where(matches).order_by(employee.c.id))).scalars())


async def list_interactions(
    connection: AsyncConnection,
    *,
    card_id: int | None = None,
    employee_id: int | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> list[int]:
    """Interactions of a card or of an employee that began in this time, oldest first; private mails are not handed
    out."""
    query = select(interaction.c.id).where(is_not_private(interaction.c.id))
    if card_id is not None:
        query = query.where(interaction.c.id.in_(select(link.c.interaction_id).where(link.c.client_card_id == card_id)))
    if employee_id is not None:
        query = query.where(
            interaction.c.id.in_(select(party.c.interaction_id).where(party.c.employee_id == employee_id))
        )
    if since is not None:
        query = query.where(interaction.c.started_at >= since)
    if until is not None:
        query = query.where(interaction.c.started_at < until)
    rows = await connection.execute(query.order_by(interaction.c.started_at, interaction.c.id))
    return list(rows.scalars())


async def list_handouts(connection: AsyncConnection, interaction_ids: Sequence[int]) -> list[Handout]:
    """What was archived of these interactions and was not erased, in the order of the archive."""
    mails = select(evidence.c.blob_id, evidence.c.interaction_id, literal(MAIL).label("kind"))
    sounds = select(recording.c.blob_id, recording.c.interaction_id, literal(RECORDING).label("kind"))
    both = union_all(
        mails.where(evidence.c.interaction_id.in_(interaction_ids), evidence.c.blob_id.is_not(None)),
        sounds.where(recording.c.interaction_id.in_(interaction_ids)),
    ).subquery()
    query = (
        select(
            blob.c.id,
            both.c.kind,
            both.c.interaction_id,
            interaction.c.started_at,
            blob.c.source,
            chain_link.c.sequence,
            *blobs.COLUMNS,
        )
        .select_from(both)
        .join(blob, blob.c.id == both.c.blob_id)
        .join(interaction, interaction.c.id == both.c.interaction_id)
        .outerjoin(chain_link, chain_link.c.blob_id == blob.c.id)
        .where(blob.c.wrapped_key.is_not(None))
        .order_by(blob.c.id)
    )
    return [
        Handout(
            id=row.id,
            kind=row.kind if row.kind == RECORDING or row.media_type == "message/rfc822" else OTHER,
            interaction_id=row.interaction_id,
            started=row.started_at,
            blob=blobs.sealed(row),
            source=row.source,
            sequence=row.sequence,
        )
        for row in await connection.execute(query)
    ]
