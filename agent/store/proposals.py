"""Extensions that a PBX, a provider or a pasted list names: proposed to the administrator, who types none of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import IdentityKind
from agent.store.schema import employee, employee_identity, extension_proposal

MOST = 5000  # of one source
_LONGEST_NAME = 200
_EXTENSION = re.compile(r"[0-9*#]{1,8}")


class ProposalState(StrEnum):
    """What became of a proposal."""

    OPEN = "open"
    TAKEN = "taken"  # somebody holds it


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """An extension with the names that sources give it; ``holders`` have it now, where a source has renamed it."""

    extension: str
    names: tuple[str, ...]
    sources: tuple[str, ...]
    first_seen: datetime
    last_seen: datetime
    holders: tuple[str, ...]


async def offer(connection: AsyncConnection, source: str, offered: Iterable[tuple[str, str]]) -> int:
    """What a source has now, as pairs of extension and name; returns how many wait for a decision.

    An extension that is somebody's is not proposed, unless the source has given it another name since: then somebody
    else may sit there. What is no extension (a trunk, a login) is left out.
    """
    names = _cleaned(offered)
    holders = await _holders(connection, list(names))
    query = select(extension_proposal.c.extension, extension_proposal.c.name, extension_proposal.c.state)
    known = {row.extension: row for row in await connection.execute(query.where(extension_proposal.c.source == source))}
    rows = []
    for extension, name in names.items():
        held = holders.get(extension)
        before = known.get(extension)
        renamed = bool(before and before.name and name and _plain(name) != _plain(before.name))
        news = renamed and _plain(name) not in map(_plain, held or ())
        is_open = held is None or news or (before is not None and before.state == ProposalState.OPEN)
        state = ProposalState.OPEN if is_open else ProposalState.TAKEN
        rows.append({"source": source, "extension": extension, "name": name, "state": state})
    await _save(connection, rows)
    return sum(row["state"] == ProposalState.OPEN for row in rows)


def _cleaned(offered: Iterable[tuple[str, str]]) -> dict[str, str]:
    names: dict[str, str] = {}
    for extension, name in offered:
        short = extension.strip()
        if len(names) < MOST and _EXTENSION.fullmatch(short):
            names[short] = " ".join(name.split())[:_LONGEST_NAME] or names.get(short, "")
    return names


def _plain(name: str) -> str:
    return " ".join(name.casefold().split())


async def _save(connection: AsyncConnection, rows: Sequence[Mapping[str, object]]) -> None:
    if not rows:
        return
    statement = insert(extension_proposal).values(list(rows))
    new = statement.excluded
    name = func.coalesce(func.nullif(new.name, ""), extension_proposal.c.name)
    await connection.execute(
        statement.on_conflict_do_update(
            index_elements=[extension_proposal.c.source, extension_proposal.c.extension],
            set_={"name": name, "state": new.state, "last_seen": func.now()},
        )
    )


async def settle(connection: AsyncConnection, extension: str) -> None:
    """Somebody, or nobody on purpose, has this extension now: no source proposes it any more."""
    mine = extension_proposal.c.extension == extension
    await connection.execute(update(extension_proposal).where(mine).values(state=ProposalState.TAKEN))


async def list_open(connection: AsyncConnection, *, limit: int = 500) -> list[Proposal]:
    """What waits for the administrator, by extension, each once with what all sources say of it."""
    table = extension_proposal.c
    query = (
        select(
            table.extension,
            func.array_agg(table.name.distinct()).label("names"),
            func.array_agg(table.source.distinct()).label("sources"),
            func.min(table.first_seen).label("first"),
            func.max(table.last_seen).label("last"),
        )
        .where(table.state == ProposalState.OPEN)
        .group_by(table.extension)
        .order_by(func.length(table.extension), table.extension)
        .limit(limit)
    )
    rows = (await connection.execute(query)).all()
    holders = await _holders(connection, [row.extension for row in rows])
    return [
        Proposal(
            extension=row.extension,
            names=tuple(one for one in row.names if one),
            sources=tuple(row.sources),
            first_seen=row.first,
            last_seen=row.last,
            holders=tuple(holders.get(row.extension, ())),
        )
        for row in rows
    ]


async def list_names(connection: AsyncConnection, extensions: Sequence[str]) -> dict[str, str]:
    """The name by which a source knows each of these, the newest one."""
    table = extension_proposal.c
    query = select(table.extension, table.name).where(table.extension.in_(extensions), table.name != "")
    return {row.extension: row.name for row in await connection.execute(query.order_by(table.last_seen))}


async def _holders(connection: AsyncConnection, extensions: Sequence[str]) -> dict[str, list[str]]:
    """Names of those who have each of these now; an empty list where it is nobody's on purpose."""
    table = employee_identity.c
    query = (
        select(table.value, employee.c.name)
        .outerjoin(employee, employee.c.id == table.employee_id)
        .where(table.kind == IdentityKind.EXTENSION, table.value.in_(extensions))
        .where(or_(table.valid_from.is_(None), table.valid_from <= func.now()))
        .where(or_(table.valid_to.is_(None), table.valid_to > func.now()))
    )
    found: dict[str, list[str]] = {}
    for row in await connection.execute(query):
        found.setdefault(row.value, []).extend([row.name] if row.name else [])
    return found
