"""Names that may be said in a call: of the client, his firm, the employees and whoever a source has named."""

from __future__ import annotations

from sqlalchemy import ScalarSelect, select, union_all
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.store.schema import capture, client_card, employee, link, party, recording

_MOST = 50


async def find_call_names(connection: AsyncConnection, recording_id: int) -> list[str]:
    """As they are written on cards and in the facts of the call, hostile as those are; those of cards first."""
    return await _find_names(
        connection, select(recording.c.interaction_id).where(recording.c.id == recording_id).scalar_subquery()
    )


async def find_names_so_far(connection: AsyncConnection, capture_id: str) -> list[str]:
    """The same of a call that still goes on."""
    return await _find_names(
        connection, select(capture.c.interaction_id).where(capture.c.id == capture_id).scalar_subquery()
    )


async def _find_names(connection: AsyncConnection, owner: ScalarSelect[int]) -> list[str]:
    company = client_card.alias("company")
    cards = (
        select(client_card.c.name, company.c.name.label("firm"))
        .join(link, link.c.client_card_id == client_card.c.id)
        .outerjoin(company, company.c.id == client_card.c.company_id)
        .where(link.c.interaction_id == owner)
        .order_by(link.c.id)
        .limit(_MOST)
    )
    named = union_all(
        select(employee.c.name).join(party).where(party.c.interaction_id == owner),
        select(party.c.name).where(party.c.interaction_id == owner, party.c.name != ""),
    ).limit(_MOST)
    names = [name for row in await connection.execute(cards) for name in (row.name, row.firm) if name]
    names += [row.name for row in await connection.execute(named)]
    return list(dict.fromkeys(names))
