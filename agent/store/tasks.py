"""Tasks: what is to be done for a client, by whom and until when; also what was promised in a call or mail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, false, func, insert, or_, select, true, update
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.store.engine import AnyRow, is_any
from agent.store.rights import Viewer, is_visible_card
from agent.store.schema import client_card, employee, task


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A task of a card. ``employee`` is empty where it is nobody's; ``interaction_id`` is the entry in which it was
    promised; ``done`` is None while it is open. ``card_name`` is empty where the viewer may not see the card."""

    id: int
    card_id: int
    card_name: str
    interaction_id: int | None
    employee_id: int | None
    employee: str
    text: str
    due: date | None
    made_by: str
    made: datetime
    done_by: str
    done: datetime | None

    def is_overdue(self, today: date) -> bool:
        """Whether its day has gone by and nobody has done it."""
        return self.done is None and self.due is not None and self.due < today


def _select(seen: ColumnElement[bool]) -> Select[*tuple[Any, ...]]:
    return (
        select(
            task,
            func.coalesce(employee.c.name, "").label("employee"),
            client_card.c.name.label("card_name"),
            seen.label("seen"),
        )
        .join(client_card, client_card.c.id == task.c.client_card_id)
        .outerjoin(employee, employee.c.id == task.c.employee_id)
    )


def _task(row: AnyRow) -> Task:
    return Task(
        id=row.id,
        card_id=row.client_card_id,
        card_name=row.card_name if row.seen else "",
        interaction_id=row.interaction_id,
        employee_id=row.employee_id,
        employee=row.employee,
        text=row.text,
        due=row.due_on,
        made_by=row.made_by,
        made=row.made_at,
        done_by=row.done_by or "",
        done=row.done_at,
    )


async def add_task(
    connection: AsyncConnection,
    card_id: int,
    text: str,
    *,
    by: str,
    employee_id: int | None = None,
    due: date | None = None,
    interaction_id: int | None = None,
) -> int:
    """A new task; returns its id."""
    values = {
        "client_card_id": card_id,
        "text": text,
        "made_by": by,
        "employee_id": employee_id,
        "due_on": due,
        "interaction_id": interaction_id,
    }
    return int((await connection.execute(insert(task).values(**values).returning(task.c.id))).scalar_one())


async def find_task(connection: AsyncConnection, task_id: int, viewer: Viewer) -> Task | None:
    """One task, for whoever has it or sees its card."""
    seen = is_visible_card(viewer, task.c.client_card_id)
    row = (await connection.execute(_select(seen).where(task.c.id == task_id, or_(seen, _is_own(viewer))))).first()
    return _task(row) if row else None


async def change_task(connection: AsyncConnection, task_id: int, values: Mapping[str, Any]) -> None:
    """Other words (``text``), another day (``due_on``), another employee (``employee_id``)."""
    await connection.execute(update(task).where(task.c.id == task_id).values(**values))


async def finish_task(connection: AsyncConnection, task_id: int, *, by: str) -> bool:
    """It is done; False where it was already."""
    statement = update(task).where(task.c.id == task_id, task.c.done_at.is_(None))
    return (await connection.execute(statement.values(done_at=func.now(), done_by=by))).rowcount > 0


async def reopen_task(connection: AsyncConnection, task_id: int) -> bool:
    """It is not done after all; False where it is open."""
    statement = update(task).where(task.c.id == task_id, task.c.done_at.is_not(None))
    return (await connection.execute(statement.values(done_at=None, done_by=None))).rowcount > 0


async def list_of_cards(
    connection: AsyncConnection, card_ids: Sequence[int], *, is_done: bool = False, limit: int = 50
) -> list[Task]:
    """Tasks of cards that the caller may see: open ones by their day, done ones the newest first."""
    query = _select(true()).where(is_any(task.c.client_card_id, card_ids))
    return [_task(row) for row in await connection.execute(_in_state(query, is_done=is_done).limit(limit))]


async def list_tasks(
    connection: AsyncConnection,
    viewer: Viewer,
    *,
    whose: str,
    login: str,
    is_done: bool = False,
    overdue_on: date | None = None,
    limit: int = 100,
    offset: int = 0,
) -> list[Task]:
    """``whose`` is ``mine`` (the viewer's own, and what he has noted for nobody) or ``all`` (of every card he sees);
    with ``overdue_on`` only what should have been done before that day."""
    seen = is_visible_card(viewer, task.c.client_card_id)
    mine = or_(_is_own(viewer), and_(task.c.employee_id.is_(None), task.c.made_by == login))
    query = _select(seen).where(mine if whose == "mine" else seen)
    if overdue_on is not None:
        query = query.where(task.c.due_on < overdue_on)
    rows = await connection.execute(_in_state(query, is_done=is_done).limit(limit).offset(offset))
    return [_task(row) for row in rows]


def _is_own(viewer: Viewer) -> ColumnElement[bool]:
    return task.c.employee_id == viewer.employee_id if viewer.employee_id is not None else false()


def _in_state(query: Select[*tuple[Any, ...]], *, is_done: bool) -> Select[*tuple[Any, ...]]:
    if is_done:
        return query.where(task.c.done_at.is_not(None)).order_by(task.c.done_at.desc(), task.c.id.desc())
    return query.where(task.c.done_at.is_(None)).order_by(task.c.due_on.asc().nulls_last(), task.c.id)
