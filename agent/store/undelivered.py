"""Deliveries as people see them: how many are told, what was given up and why, and what they decide about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.store.deliveries import AFRESH, DROPPED, FAILED
from agent.store.schema import connector, delivery


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedDelivery:
    """What was given up, with what to do about it."""

    id: int
    connector: str
    interaction_id: int | None
    card_id: int | None
    started: datetime
    failure: str
    problem: str
    remedy: str
    tried: datetime | None


async def list_failed(connection: AsyncConnection, *, limit: int = 200) -> list[FailedDelivery]:
    """What was given up, the newest first."""
    columns = delivery.c
    query = (
        select(delivery, connector.c.name)
        .join(connector)
        .where(columns.state == FAILED)
        .order_by(columns.tried_at.desc(), columns.id.desc())
        .limit(limit)
    )
    return [
        FailedDelivery(
            id=row.id,
            connector=row.name,
            interaction_id=row.interaction_id,
            card_id=row.client_card_id,
            started=row.started_at,
            failure=row.failure or "",
            problem=row.problem,
            remedy=row.remedy,
            tried=row.tried_at,
        )
        for row in await connection.execute(query)
    ]


async def count_failed(connection: AsyncConnection) -> int:
    """How many were given up."""
    query = select(func.count()).select_from(delivery).where(delivery.c.state == FAILED)
    return int((await connection.execute(query)).scalar_one())


async def count_states(connection: AsyncConnection, connector_id: int) -> dict[str, int]:
    """How many are in which state."""
    query = select(delivery.c.state, func.count().label("rows")).where(delivery.c.connector_id == connector_id)
    return {row.state: row.rows for row in await connection.execute(query.group_by(delivery.c.state))}


async def retry(
    connection: AsyncConnection, *, ids: Sequence[int] | None = None, connector_id: int | None = None
) -> int:
    """Try again what was given up: these, or all of a connector, or all. Returns how many."""
    which = delivery.c.state == FAILED
    if ids is not None:
        which &= delivery.c.id.in_(ids)
    if connector_id is not None:
        which &= delivery.c.connector_id == connector_id
    return (await connection.execute(update(delivery).where(which).values(**AFRESH))).rowcount


async def drop(connection: AsyncConnection, delivery_id: int) -> bool:
    """A person says that the CRM need not know: it is not told of this on this card, whatever changes of it. What it
    has from before is taken back as ever, once that stands here no more. False where it was not given up."""
    which = (delivery.c.id == delivery_id) & (delivery.c.state == FAILED)
    return (await connection.execute(update(delivery).where(which).values(state=DROPPED))).rowcount > 0


async def retry_card(connection: AsyncConnection, card_id: int) -> None:
    """A card has got its place over there: what was given up for want of one is tried again."""
    which = (delivery.c.client_card_id == card_id) & (delivery.c.state == FAILED)
    await connection.execute(update(delivery).where(which).values(**AFRESH))
