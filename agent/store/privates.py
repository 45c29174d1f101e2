"""Entries that a person has called private: shown to nobody, and only he can take that back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import literal, select
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import InteractionKind, LinkState
from agent.store import rights
from agent.store.rights import Viewer
from agent.store.schema import interaction, link


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivateEntry:
    """All that is told of it."""

    id: int
    kind: InteractionKind
    started: datetime
    decided: datetime


async def is_own(connection: AsyncConnection, viewer: Viewer, interaction_id: int) -> bool:
    """Whether the viewer's own employee took part in it."""
    query = select(interaction.c.id).where(interaction.c.id == interaction_id, rights.is_own(viewer, interaction.c.id))
    return (await connection.execute(query)).first() is not None


async def list_private(connection: AsyncConnection, login: str, *, limit: int = 200) -> list[PrivateEntry]:
    """Those this person has made private, the newest first."""
    query = (
        select(interaction.c.id, interaction.c.kind, interaction.c.started_at, link.c.decided_at)
        .join(link, link.c.interaction_id == interaction.c.id)
        .where(
            link.c.client_card_id.is_(None),
            link.c.decided_by != literal("rule"),
            link.c.decided_by == login,
            link.c.state == LinkState.PRIVATE,
        )
        .order_by(link.c.started_at.desc())
        .limit(limit)
    )
    return [
        PrivateEntry(id=row.id, kind=InteractionKind(row.kind), started=row.started_at, decided=row.decided_at)
        for row in await connection.execute(query)
    ]


async def was_made_private_by(connection: AsyncConnection, interaction_id: int, login: str) -> bool:
    """Whether this person made it private."""
    query = select(link.c.id).where(
        link.c.interaction_id == interaction_id, link.c.state == LinkState.PRIVATE, link.c.decided_by == login
    )
    return (await connection.execute(query)).first() is not None
