"""What a recorder is asked to do with a call in progress, from whichever page or program, on whichever host.

A command is a row, so none is lost; a notice to the host whose recorder holds the call makes it quick.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import func, insert, null, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.store import notices
from agent.store.engine import AnyRow
from agent.store.schema import call_command, capture


class CommandKind(StrEnum):
    """Pause: nothing of the sound is kept, for card data. Resume: record again."""

    PAUSE = "pause"
    RESUME = "resume"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallCommand:
    """A command; ``done`` None while it waits, ``problem`` says in words why it came to nothing."""

    id: int
    capture_id: str
    host: str
    kind: CommandKind
    by: str
    asked: datetime
    done: datetime | None
    problem: str


def _command(row: AnyRow) -> CallCommand:
    return CallCommand(
        id=row.id,
        capture_id=row.capture_id,
        host=row.host,
        kind=CommandKind(row.kind),
        by=row.by,
        asked=row.asked_at,
        done=row.done_at,
        problem=row.problem,
    )


async def insert_command(connection: AsyncConnection, capture_id: str, host: str, kind: CommandKind, by: str) -> int:
    """Ask the recorder on ``host``; ``by`` is who asks, for the mark on the recording. Returns the command's id."""
    values = {"capture_id": capture_id, "host": host, "kind": kind, "by": by}
    statement = insert(call_command).values(**values).returning(call_command.c.id)
    number = int((await connection.execute(statement)).scalar_one())
    await notices.notify(connection, notices.COMMANDS, host)
    return number


async def list_waiting(connection: AsyncConnection, host: str) -> list[CallCommand]:
    """The commands this host has not done yet, in the order in which they were given."""
    query = select(call_command).where(call_command.c.host == host, call_command.c.done_at.is_(None))
    return [_command(row) for row in await connection.execute(query.order_by(call_command.c.id))]


async def find_commands(connection: AsyncConnection, ids: Sequence[int]) -> list[CallCommand]:
    """These commands, by id."""
    query = select(call_command).where(call_command.c.id.in_(ids)).order_by(call_command.c.id)
    return [_command(row) for row in await connection.execute(query)]


async def mark_done(connection: AsyncConnection, command: CallCommand, *, problem: str = "") -> None:
    """Note that the command was carried out, or why not; once. Pages hear of it."""
    statement = (
        update(call_command)
        .where(call_command.c.id == command.id, call_command.c.done_at.is_(None))
        .values(done_at=func.now(), problem=problem)
        .returning(call_command.c.id)
    )
    if (await connection.execute(statement)).first() is None:
        return
    query = select(capture.c.interaction_id).where(capture.c.id == command.capture_id)
    if not problem:
        paused = func.coalesce(capture.c.paused_at, func.now()) if command.kind is CommandKind.PAUSE else null()
        await connection.execute(update(capture).where(capture.c.id == command.capture_id).values(paused_at=paused))
    await notices.notify(connection, notices.INTERACTIONS, (await connection.execute(query)).scalar_one())


async def save_pause(connection: AsyncConnection, capture_id: str, paused: datetime | None) -> bool:
    """Note since when a capture is paused (None: it is not), where nobody asked for it through a command; pages hear
    of it. False: there is no such capture (yet)."""
    statement = update(capture).where(capture.c.id == capture_id).values(paused_at=paused)
    found = (await connection.execute(statement.returning(capture.c.interaction_id))).scalar_one_or_none()
    if found is not None:
        await notices.notify(connection, notices.INTERACTIONS, found)
    return found is not None
