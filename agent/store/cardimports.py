"""Lists of cards that were uploaded: the file waits for a person's word, then a job goes through it in pieces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import Identity
from agent.store import knowing
from agent.store.engine import AnyRow
from agent.store.schema import card_import, client_card, employee

KEPT_PROBLEMS = 200
_FORGOTTEN_DAYS = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class CardImport:
    """An uploaded list. ``plan`` is how it is read; ``report`` how far it has come and what came of it: rows, new,
    filled, left out, problems. ``content`` is None once it was taken in, or forgotten."""

    id: int
    name: str
    by: str
    at: datetime
    plan: Mapping[str, Any]
    report: Mapping[str, Any] = field(default_factory=dict)
    applied: bool = False
    content: bytes | None = None


def _import(row: AnyRow) -> CardImport:
    return CardImport(
        id=row.id,
        name=row.name,
        by=row.by,
        at=row.at,
        plan=row.plan,
        report=row.report,
        applied=row.applied,
        content=bytes(row.content) if row.content is not None else None,
    )


async def keep_import(connection: AsyncConnection, name: str, content: bytes, plan: Mapping[str, Any], by: str) -> int:
    """A new list; what nobody has decided about for a week is forgotten. Returns its id."""
    old = card_import.c.at < func.now() - text(f"interval '{_FORGOTTEN_DAYS} days'")
    await connection.execute(update(card_import).where(old).values(content=None))
    values = {"name": name, "content": content, "plan": dict(plan), "by": by}
    statement = insert(card_import).values(**values).returning(card_import.c.id)
    return int((await connection.execute(statement)).scalar_one())


async def find_import(connection: AsyncConnection, import_id: int, *, lock: bool = False) -> CardImport | None:
    """One of them; ``lock``: for this transaction alone."""
    query = select(card_import).where(card_import.c.id == import_id)
    row = (await connection.execute(query.with_for_update() if lock else query)).first()
    return _import(row) if row else None


async def change_plan(connection: AsyncConnection, import_id: int, plan: Mapping[str, Any]) -> None:
    """Another way to read it, as long as it was not begun."""
    mine = update(card_import).where(card_import.c.id == import_id, ~card_import.c.applied)
    await connection.execute(mine.values(plan=dict(plan)))


async def begin(connection: AsyncConnection, import_id: int) -> bool:
    """A person says yes; False where somebody has said so already, or the file is no more."""
    mine = (card_import.c.id == import_id) & ~card_import.c.applied & card_import.c.content.is_not(None)
    statement = update(card_import).where(mine).values(applied=True).returning(card_import.c.id)
    return (await connection.execute(statement)).first() is not None


async def note(connection: AsyncConnection, import_id: int, report: Mapping[str, Any], *, is_done: bool) -> None:
    """How far it has come; at the end the file goes."""
    values: dict[str, Any] = {"report": dict(report)} | ({"content": None} if is_done else {})
    await connection.execute(update(card_import).where(card_import.c.id == import_id).values(**values))


async def find_cards_of(
    connection: AsyncConnection, identities: Sequence[Identity]
) -> dict[Identity, tuple[tuple[int, str], ...]]:
    """Id and name of the cards that have each of these."""
    found = await knowing.find_known(connection, identities)
    return {
        identity: tuple({one.card_id: one.card_name for one in each}.items())
        for identity, each in found.candidates.items()
    }


async def find_by_name(connection: AsyncConnection, names: Sequence[str], kind: str) -> dict[str, int]:
    """The oldest card of each of these names, exactly as written."""
    query = (
        select(client_card.c.name, func.min(client_card.c.id).label("id"))
        .where(client_card.c.name.in_(names), client_card.c.kind == kind, client_card.c.merged_into_id.is_(None))
        .group_by(client_card.c.name)
    )
    return {row.name: row.id for row in await connection.execute(query)} if names else {}


async def find_employees(connection: AsyncConnection) -> dict[str, int]:
    """Everybody by name, without regard to case."""
    rows = await connection.execute(select(employee.c.id, employee.c.name).order_by(employee.c.id.desc()))
    return {" ".join(row.name.casefold().split()): row.id for row in rows}


_FILL = text(
    """
    UPDATE client_card SET company_id = coalesce(company_id, :company), stage = coalesce(nullif(stage, ''), :stage),
        responsible_id = coalesce(responsible_id, :responsible)
    WHERE id = :id
    """
)


async def fill(
    connection: AsyncConnection, card_id: int, *, company: int | None, responsible: int | None, stage: str
) -> None:
    """What the card does not say yet; what it says stays."""
    values = {"id": card_id, "company": company if company != card_id else None, "stage": stage}
    await connection.execute(_FILL, values | {"responsible": responsible})


_EXPORT = text(
    """
    SELECT c.id, c.kind, c.name, coalesce(o.name, '') AS company, coalesce(e.name, '') AS responsible, c.stage,
        (SELECT jsonb_agg(jsonb_build_array(p.kind, p.value, p.label) ORDER BY p.id) FROM contact_point p
         WHERE p.client_card_id = c.id) AS points,
        (SELECT string_agg(n.text, E'\\n' ORDER BY n.id) FROM card_note n WHERE n.client_card_id = c.id) AS notes
    FROM client_card c LEFT JOIN client_card o ON o.id = c.company_id LEFT JOIN employee e ON e.id = c.responsible_id
    WHERE c.merged_into_id IS NULL AND c.id > :after ORDER BY c.id LIMIT :most
    """
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedCard:
    """A card with all that a list of cards says of it; ``points`` are kind, value and label."""

    id: int
    kind: str
    name: str
    company: str
    responsible: str
    stage: str
    points: tuple[tuple[str, str, str], ...]
    notes: str


async def list_for_export(connection: AsyncConnection, after: int, *, most: int = 1000) -> list[ExportedCard]:
    """The cards after this one, by their ids."""
    return [
        ExportedCard(
            id=row.id,
            kind=row.kind,
            name=row.name,
            company=row.company,
            responsible=row.responsible,
            stage=row.stage,
            points=tuple((kind, value, label) for kind, value, label in row.points or ()),
            notes=row.notes or "",
        )
        for row in await connection.execute(_EXPORT, {"after": after, "most": most})
    ]
