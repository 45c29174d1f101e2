"""What people write on a call, at a second of its recording or on the whole of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.store import changes, notices, search
from agent.store.schema import account, comment, recording


@dataclass(frozen=True, slots=True, kw_only=True)
class Comment:
    """A comment. ``at_ms`` is within the recording; both are None where it is about the whole call."""

    id: int
    interaction_id: int
    recording_id: int | None
    at_ms: int | None
    text: str
    account_id: int
    author: str
    created: datetime


async def list_comments(connection: AsyncConnection, interaction_id: int, *, limit: int = 500) -> list[Comment]:
    """The newest so many, those of the whole call first and then by their second."""
    newest = (
        select(comment, func.coalesce(func.nullif(account.c.name, ""), account.c.login).label("author"))
        .join(account, account.c.id == comment.c.account_id)
        .where(comment.c.interaction_id == interaction_id, comment.c.removed_at.is_(None))
        .order_by(comment.c.id.desc())
        .limit(limit)
    )
    found = [
        Comment(
            id=row.id,
            interaction_id=row.interaction_id,
            recording_id=row.recording_id,
            at_ms=row.at_ms,
            text=row.text,
            account_id=row.account_id,
            author=row.author,
            created=row.created_at,
        )
        for row in await connection.execute(newest)
    ]
    return sorted(found, key=lambda one: (one.recording_id or 0, -1 if one.at_ms is None else one.at_ms, one.id))


async def add_comment(
    connection: AsyncConnection,
    interaction_id: int,
    words: str,
    *,
    account_id: int,
    recording_id: int | None = None,
    at_ms: int | None = None,
) -> int | None:
    """A new comment; returns its id. None where the recording is another call's. A second behind the end is the end."""
    if recording_id is not None:
        query = select(recording.c.duration_ms).where(
            recording.c.id == recording_id, recording.c.interaction_id == interaction_id
        )
        length = (await connection.execute(query)).scalar_one_or_none()
        if length is None:
            return None
        at_ms = None if at_ms is None else min(max(at_ms, 0), length)
    values = {
        "interaction_id": interaction_id,
        "recording_id": recording_id if at_ms is not None else None,
        "at_ms": at_ms if recording_id is not None else None,
        "text": words,
        "account_id": account_id,
    }
    number = int((await connection.execute(insert(comment).values(**values).returning(comment.c.id))).scalar_one())
    await _told(connection, interaction_id)
    return number


async def _told(connection: AsyncConnection, interaction_id: int) -> None:
    """Pages that are open, programs that copy what is new and the index of words hear of it."""
    await changes.touch(connection, [interaction_id])
    await search.changed(connection, [interaction_id])
    await notices.notify(connection, notices.INTERACTIONS, interaction_id)


async def find_comment(connection: AsyncConnection, comment_id: int) -> tuple[int, int] | None:
    """Interaction and author of a comment that is still there."""
    query = select(comment.c.interaction_id, comment.c.account_id).where(
        comment.c.id == comment_id, comment.c.removed_at.is_(None)
    )
    row = (await connection.execute(query)).first()
    return (row.interaction_id, row.account_id) if row else None


async def remove_comment(connection: AsyncConnection, comment_id: int) -> bool:
    """Take it away; that there was one stays. False where it is gone already."""
    statement = (
        update(comment)
        .where(comment.c.id == comment_id, comment.c.removed_at.is_(None))
        .values(removed_at=func.now(), text="")
        .returning(comment.c.interaction_id)
    )
    interaction_id = (await connection.execute(statement)).scalar_one_or_none()
    if interaction_id is not None:
        await _told(connection, interaction_id)
    return interaction_id is not None
