"""What the linker alone needs of the database: decisions that do not overtake each other, flags that can be taken back.

Two locks, both to the end of the transaction. *Knowledge* is shared by whoever decides and exclusive to whoever makes
it grow, so that an interaction decided at the moment a card learns its number is either decided with it or found by
the look into the past. An *interaction* is decided by one job at a time, so that an older decision never joins a newer.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.store.schema import interaction

_KNOWLEDGE_LOCK = 0x4C494E4B


async def lock_for_decision(connection: AsyncConnection, interaction_ids: Sequence[int]) -> None:
    """Hold what is known as it is, and these interactions for ourselves."""
    await connection.execute(text("SELECT pg_advisory_xact_lock_shared(:key)"), {"key": _KNOWLEDGE_LOCK})
    rows = select(interaction.c.id).where(interaction.c.id.in_(interaction_ids)).order_by(interaction.c.id)
    await connection.execute(rows.with_for_update(key_share=True))


async def lock_knowledge(connection: AsyncConnection) -> None:
    """Wait until nobody decides by what was known so far; whoever decides next knows what this transaction adds."""
    await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _KNOWLEDGE_LOCK})


async def drop_flags(connection: AsyncConnection, interaction_ids: Sequence[int], pattern: str) -> None:
    """Take back the flags that match a pattern of LIKE as a whole, where there are any."""
    statement = text(
        """
        UPDATE interaction
        SET flags = ARRAY(SELECT flag FROM unnest(flags) WITH ORDINALITY AS f(flag, place)
                          WHERE flag NOT LIKE :pattern ORDER BY place)
        WHERE id = ANY(:ids) AND EXISTS (SELECT 1 FROM unnest(flags) AS f(flag) WHERE flag LIKE :pattern)
        """
    )
    await connection.execute(statement, {"pattern": pattern, "ids": list(interaction_ids)})
