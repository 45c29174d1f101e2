"""Searches that people keep: each account has its own, by name."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import BigInteger, bindparam, delete, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.store.asking import Query, ask
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


_OF_ACCOUNT = text("SELECT id, name, query FROM saved_search WHERE account_id = :account ORDER BY name, id").bindparams(
    bindparam("account", type_=BigInteger)
)


def searches_of(account_id: int) -> Query[list[SavedSearch]]:
    """Those of an account, by name."""
    return Query(
        statement=_OF_ACCOUNT,
        values={"account": account_id},
        read=lambda rows: [SavedSearch(id=row.id, name=row.name, query=row.query) for row in rows],
    )


async def list_searches(connection: AsyncConnection, account_id: int) -> list[SavedSearch]:
    """The same by itself."""
    (found,) = await ask(connection, searches_of(account_id))
    return found


async def remove_search(connection: AsyncConnection, account_id: int, number: int) -> bool:
    """Forget it; False where the account has none such."""
    mine = (saved_search.c.id == number) & (saved_search.c.account_id == account_id)
    return (await connection.execute(delete(saved_search).where(mine).returning(saved_search.c.id))).first() is not None
