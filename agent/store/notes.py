"""What people write on a card: notes, and the stages it has come through."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.store.schema import card_note, card_stage, client_card
from agent.store.searchindex import index_notes


@dataclass(frozen=True, slots=True, kw_only=True)
class CardNote:
    """A note; ``by`` is the login of whoever wrote it."""

    id: int
    text: str
    by: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CardStage:
    """When a card came to a stage; an empty one is none."""

    stage: str
    by: str
    at: datetime


async def add_note(connection: AsyncConnection, card_id: int, words: str, *, by: str) -> int:
    """A new note; returns its id."""
    statement = insert(card_note).values(client_card_id=card_id, text=words, by=by).returning(card_note.c.id)
    note_id = int((await connection.execute(statement)).scalar_one())
    await index_notes(connection, [note_id])
    return note_id


async def remove_note(connection: AsyncConnection, card_id: int, note_id: int, *, by: str | None) -> bool:
    """Take a note away, with ``by`` only one of that person's."""
    mine = (card_note.c.id == note_id) & (card_note.c.client_card_id == card_id)
    if by is not None:
        mine &= card_note.c.by == by
    return (await connection.execute(delete(card_note).where(mine).returning(card_note.c.id))).first() is not None


async def list_notes(connection: AsyncConnection, card_id: int, *, limit: int = 100) -> list[CardNote]:
    """The newest first."""
    query = select(card_note).where(card_note.c.client_card_id == card_id).order_by(card_note.c.id.desc()).limit(limit)
    return [CardNote(id=row.id, text=row.text, by=row.by, at=row.at) for row in await connection.execute(query)]


async def set_stage(connection: AsyncConnection, card_id: int, stage: str, *, by: str) -> bool:
    """The card comes to a stage; False where it is there already."""
    other = (client_card.c.id == card_id) & (client_card.c.stage != stage)
    statement = update(client_card).where(other).values(stage=stage).returning(client_card.c.id)
    if (await connection.execute(statement)).first() is None:
        return False
    await connection.execute(insert(card_stage).values(client_card_id=card_id, stage=stage, by=by))
    return True


async def list_stages(connection: AsyncConnection, card_id: int, *, limit: int = 100) -> list[CardStage]:
    """The way of a card, the newest first."""
    query = select(card_stage).where(card_stage.c.client_card_id == card_id)
    rows = await connection.execute(query.order_by(card_stage.c.at.desc(), card_stage.c.id.desc()).limit(limit))
    return [CardStage(stage=row.stage, by=row.by, at=row.at) for row in rows]
