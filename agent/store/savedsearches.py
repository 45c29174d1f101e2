"""Searches that people keep: each account has its own, by name."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.store.schema import saved_search

MOST = 50  # an account


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedSearch:
    """``query`` is the part of the address behind the question mark."""

    id: int
    name: str
    query: str


async def save_search(connection: AsyncConnection, account_id: int, name: str, query: str) -> bool:
    """Keep it; under a name that there is already, instead of that one. False where there are too many."""
    count = select(func.count()).select_from(saved_search)
    mine = count.where(saved_search.c.account_id == account_id, saved_search.c.name != name)
    if int((await connection.execute(mine)).scalar_one()) >= MOST:
        return False
    statement = insert(saved_search).values(account_id=account_id, name=name, query=query)
    statement = statement.on_conflict_do_update(index_elements=["account_id", "name"], set_={"query": query})
    await connection.execute(statement)
    return True


async def list_searches(connection: AsyncConnection, account_id: int) -> list[SavedSearch]:
    """Those of an account, by name."""
    query = select(saved_search).where(saved_search.c.account_id == account_id)
    rows = await connection.execute(query.order_by(saved_search.c.name, saved_search.c.id))
    return [SavedSearch(id=row.id, name=row.name, query=row.query) for row in rows]


async def remove_search(connection: AsyncConnection, account_id: int, number: int) -> bool:
    """Forget it; False where the account has none such."""
    mine = (saved_search.c.id == number) & (saved_search.c.account_id == account_id)
    return (await connection.execute(delete(saved_search).where(mine).returning(saved_search.c.id))).first() is not None
