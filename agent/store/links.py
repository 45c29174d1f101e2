"""Links: which card an interaction belongs to, in which state, for which reason, and who decided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import LinkState
from agent.store import outbox
from agent.store.linking import lock_for_decision
from agent.store.schema import link

BY_RULE = "rule"


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """The decision about one interaction. ``card_id`` is None in every state but LINKED."""

    interaction_id: int
    card_id: int | None
    started: datetime
    state: LinkState
    reason: str
    decided_by: str = BY_RULE


async def list_links(connection: AsyncConnection, interaction_ids: Sequence[int]) -> list[Link]:
    """The links of these interactions."""
    rows = await connection.execute(select(link).where(link.c.interaction_id.in_(interaction_ids)).order_by(link.c.id))
    return [
        Link(
            interaction_id=row.interaction_id,
            card_id=row.client_card_id,
            started=row.started_at,
            state=LinkState(row.state),
            reason=row.reason,
            decided_by=row.decided_by,
        )
        for row in rows
    ]


async def replace_links(connection: AsyncConnection, interaction_ids: Sequence[int], links: Sequence[Link]) -> None:
    """Lay down what the rules decide now; an interaction about which a person has decided keeps that decision."""
    by_person = select(link.c.interaction_id).where(link.c.interaction_id.in_(interaction_ids))
    decided = set((await connection.execute(by_person.where(link.c.decided_by != BY_RULE))).scalars())
    await connection.execute(
        delete(link).where(link.c.interaction_id.in_(interaction_ids), link.c.decided_by == BY_RULE)
    )
    rows = [_values(one) for one in links if one.interaction_id not in decided]
    if rows:
        await connection.execute(insert(link).on_conflict_do_nothing(), rows)
    await outbox.want(connection, interaction_ids)


async def decide_link(connection: AsyncConnection, decision: Link) -> None:
    """A person's decision replaces all others of this interaction, also those of a job that decides just now."""
    await lock_for_decision(connection, [decision.interaction_id])
    await connection.execute(delete(link).where(link.c.interaction_id == decision.interaction_id))
    await connection.execute(insert(link).values(_values(decision)))
    await outbox.want(connection, [decision.interaction_id])


def _values(one: Link) -> dict[str, object]:
    return {
        "interaction_id": one.interaction_id,
        "client_card_id": one.card_id,
        "started_at": one.started,
        "state": one.state,
        "reason": one.reason,
        "decided_by": one.decided_by,
    }
