"""What administrators decide on pages and not in cardline.toml: small values under a name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.store.schema import company_setting


async def find_value(connection: AsyncConnection, name: str) -> dict[str, Any]:
    """What was saved, empty where nothing was."""
    query = select(company_setting.c.value).where(company_setting.c.name == name)
    found = (await connection.execute(query)).scalar_one_or_none()
    return found if isinstance(found, dict) else {}


async def save_value(connection: AsyncConnection, name: str, value: Mapping[str, Any]) -> None:
    """From now on it is this."""
    statement = insert(company_setting).values(name=name, value=dict(value))
    new = {"value": statement.excluded.value, "changed_at": func.now()}
    await connection.execute(statement.on_conflict_do_update(index_elements=[company_setting.c.name], set_=new))
