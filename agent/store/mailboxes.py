"""How far each folder of each mailbox is archived."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import MailboxPosition
from agent.store.schema import mailbox_folder


async def find_position(connection: AsyncConnection, mailbox: str, folder: str) -> MailboxPosition | None:
    """The marks of a folder, or None before its first batch."""
    query = select(mailbox_folder).where(mailbox_folder.c.mailbox == mailbox, mailbox_folder.c.folder == folder)
    row = (await connection.execute(query)).first()
    return MailboxPosition(**row._mapping) if row else None


async def save_position(connection: AsyncConnection, position: MailboxPosition) -> None:
    """Move the marks of a folder, in the same transaction as the evidence they stand for."""
    values = {column.name: getattr(position, column.name) for column in mailbox_folder.c}
    statement = insert(mailbox_folder).values(**values)
    await connection.execute(
        statement.on_conflict_do_update(index_elements=[mailbox_folder.c.mailbox, mailbox_folder.c.folder], set_=values)
    )
