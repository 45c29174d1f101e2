"""States of sources as a person sees them: the recording server, the SMTP door, each mailbox."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import SourceState
from agent.store.schema import source_status


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceStatus:
    """How a source is, since when, and in words why."""

    source: str
    state: SourceState
    detail: str
    changed: datetime


async def save_status(connection: AsyncConnection, source: str, state: SourceState, detail: str = "") -> None:
    """Note the state of a source; its time moves only when the state changes."""
    statement = insert(source_status).values(source=source, state=state, detail=detail)
    new = statement.excluded
    await connection.execute(
        statement.on_conflict_do_update(
            index_elements=[source_status.c.source],
            set_={"state": new.state, "detail": new.detail, "changed_at": func.now()},
            where=source_status.c.state.is_distinct_from(new.state) | (source_status.c.detail != new.detail),
        )
    )


async def list_statuses(connection: AsyncConnection) -> list[SourceStatus]:
    """All sources by name."""
    rows = await connection.execute(select(source_status).order_by(source_status.c.source))
    return [
        SourceStatus(source=row.source, state=SourceState(row.state), detail=row.detail, changed=row.changed_at)
        for row in rows
    ]
