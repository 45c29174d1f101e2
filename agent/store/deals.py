"""The mirror of a CRM: pipelines with their stages, and deals in them; rows only, no decisions (`linker.mirror`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.store.engine import AnyRow
from agent.store.mirror import find_cards
from agent.store.schema import crm_card, crm_stage, deal, deal_stage


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRow:
    """A step of a pipeline."""

    pipeline: str
    external_id: str
    name: str
    pipeline_name: str
    place: int
    state: str


async def save_stages(connection: AsyncConnection, connector_id: int, stages: Sequence[StageRow]) -> None:
    """Those there are; others stay, since deals of before name them."""
    for one in stages:
        values = {"name": one.name, "pipeline_name": one.pipeline_name, "place": one.place, "state": one.state}
        key = {"connector_id": connector_id, "pipeline": one.pipeline, "external_id": one.external_id}
        statement = insert(crm_stage).values(**key, **values)
        await connection.execute(statement.on_conflict_do_update(index_elements=list(key), set_=values))


@dataclass(frozen=True, slots=True, kw_only=True)
class DealRow:
    """A sale; ``card`` is (kind, external id) of the card it belongs to, ``history`` is (stage, since when)."""

    kind: str
    external_id: str
    card: tuple[str, str] | None
    title: str
    pipeline: str
    stage: str
    state: str
    amount: Decimal | None
    currency: str
    source: str
    loss_reason: str
    responsible: str
    created: datetime | None
    closed: datetime | None
    history: tuple[tuple[str, datetime], ...] = ()


async def save_deals(connection: AsyncConnection, connector_id: int, deals: Sequence[DealRow]) -> None:
    """What they are now. A stage of which the CRM does not tell since when is noted as of now."""
    cards = await find_cards(connection, connector_id, [one.card for one in deals if one.card is not None])
    for one in deals:
        card = cards.get(one.card) if one.card is not None else None
        deal_id, stage_before = await _save_deal(connection, connector_id, one, card.id if card else None)
        history: list[Mapping[str, Any]] = [{"deal_id": deal_id, "stage": stage, "at": at} for stage, at in one.history]
        if not one.history and stage_before != one.stage:
            history = [{"deal_id": deal_id, "stage": one.stage, "at": func.now()}]
        for row in history:
            await connection.execute(insert(deal_stage).values(**row).on_conflict_do_nothing())


async def _save_deal(
    connection: AsyncConnection, connector_id: int, one: DealRow, card_id: int | None
) -> tuple[int, str | None]:
    mine = (deal.c.connector_id == connector_id) & (deal.c.kind == one.kind) & (deal.c.external_id == one.external_id)
    before: str | None = (await connection.execute(select(deal.c.stage).where(mine))).scalar_one_or_none()
    values: dict[str, Any] = {
        "crm_card_id": card_id,
        "title": one.title,
        "pipeline": one.pipeline,
        "stage": one.stage,
        "state": one.state,
        "amount": one.amount,
        "currency": one.currency,
        "source": one.source,
        "loss_reason": one.loss_reason,
        "responsible": one.responsible,
        "created_at": one.created,
        "closed_at": one.closed,
        "gone_at": None,
        "seen_at": func.now(),
    }
    key = {"connector_id": connector_id, "kind": one.kind, "external_id": one.external_id}
    statement = insert(deal).values(**key, **values).on_conflict_do_update(index_elements=list(key), set_=values)
    return int((await connection.execute(statement.returning(deal.c.id))).scalar_one()), before


async def list_deals(connection: AsyncConnection, client_card_id: int) -> list[AnyRow]:
    """Sales of one of our cards, the newest first."""
    query = (
        select(deal)
        .join(crm_card, crm_card.c.id == deal.c.crm_card_id)
        .where(crm_card.c.client_card_id == client_card_id, deal.c.gone_at.is_(None))
        .order_by(deal.c.created_at.desc().nulls_last(), deal.c.id.desc())
    )
    return list(await connection.execute(query))


async def list_stage_history(connection: AsyncConnection, deal_id: int) -> list[tuple[str, datetime]]:
    """Stages of a sale, in order."""
    query = select(deal_stage.c.stage, deal_stage.c.at).where(deal_stage.c.deal_id == deal_id).order_by(deal_stage.c.at)
    return [(row.stage, row.at) for row in await connection.execute(query)]
