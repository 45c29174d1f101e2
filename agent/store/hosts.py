"""Hosts that record, as far as the database hears of them: a machine that is gone for good must not leave its calls in
progress for ever.

Its packet logs may still come back with it. So what is decided here is taken back when they do, and the journal has
the last word. All times are the database's: the clocks of hosts need not agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, case, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.store import conversations, joining, notices, told
from agent.store.recordings import LOST, OPEN
from agent.store.schema import capture, host, interaction

SILENT = timedelta(minutes=2)  # without a sign, after which pages say so
FORGOTTEN = timedelta(days=60)  # without a sign, after which the list of machines leaves it out
GIVEN_UP = timedelta(days=1)  # without a sign, after which its calls have ended
LOST_FLAG = told.LOST_FLAG


def last_heard() -> ColumnElement[datetime]:
    """Of the host of a capture; one that never said a word counts from when its call was first told. For queries that
    have `capture` and `interaction` joined."""
    heard = select(host.c.heard_at).where(host.c.name == capture.c.host).correlate(capture).scalar_subquery()
    return func.coalesce(heard, interaction.c.created_at)


def silent_since() -> ColumnElement[datetime | None]:
    """When the host of a capture was last heard, where that is too long ago; else NULL."""
    return case((last_heard() < func.now() - SILENT, last_heard()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A machine that records; ``is_silent``: too long without a sign."""

    name: str
    heard: datetime
    is_silent: bool


async def list_hosts(connection: AsyncConnection) -> list[Host]:
    """All that ever gave a sign, by name; those given up long ago are left out."""
    query = select(host, (host.c.heard_at < func.now() - SILENT).label("is_silent")).where(
        host.c.heard_at > func.now() - FORGOTTEN
    )
    return [
        Host(name=row.name, heard=row.heard_at, is_silent=row.is_silent)
        for row in await connection.execute(query.order_by(host.c.name))
    ]


async def beat(connection: AsyncConnection, name: str) -> None:
    """This host lives."""
    statement = insert(host).values(name=name)
    new = {"heard_at": func.now()}
    await connection.execute(statement.on_conflict_do_update(index_elements=[host.c.name], set_=new))


async def tell_silent(connection: AsyncConnection, within: timedelta) -> None:
    """Have pages show the calls whose host became silent within that time."""
    became = and_(last_heard() < func.now() - SILENT, last_heard() >= func.now() - SILENT - within)
    for number in await _interactions(connection, became):
        await notices.notify(connection, notices.INTERACTIONS, number)


async def give_up(connection: AsyncConnection) -> list[int]:
    """End the calls whose hosts were not heard for too long, as far as no other recorder has them; those ended now.

    Whoever does it first has done it; the others find nothing left.
    """
    gone = await _interactions(connection, last_heard() < func.now() - GIVEN_UP)
    ended = []
    for number in gone:
        await joining.lock_evidence(connection, [number])
        lost = await _lose(connection, number)
        if lost and await conversations.lose(connection, number, lost):
            ended.append(number)
        await notices.notify(connection, notices.INTERACTIONS, number)
    return ended


async def _interactions(connection: AsyncConnection, which: ColumnElement[bool]) -> list[int]:
    query = (
        select(interaction.c.id)
        .distinct()
        .join(capture, capture.c.interaction_id == interaction.c.id)
        .where(capture.c.state == OPEN, which)
        .order_by(interaction.c.id)
    )
    return list((await connection.execute(query)).scalars())


async def _lose(connection: AsyncConnection, number: int) -> dict[str, datetime]:
    """Mark the captures of a call whose hosts are gone, if there still are any; each with when its host was heard."""
    gone = and_(interaction.c.id == number, capture.c.interaction_id == interaction.c.id, capture.c.state == OPEN)
    statement = update(capture).where(gone, last_heard() < func.now() - GIVEN_UP)
    statement = statement.values(state=LOST, truncated=True, paused_at=None)
    rows = await connection.execute(statement.returning(capture.c.id, last_heard().label("heard")))
    return {row.id: row.heard for row in rows}
