"""Deliveries on their way: claimed, begun, kept, and how each attempt ended. Who decides is `linker.deliver`.

A claim is a *lease*: what was claimed and not finished is for the next one when it runs out. One process at a time
tells a CRM (`agent.store.turns`); whoever takes that turn next cuts the leases of the one before short, so that one
that was killed holds up nothing for longer than a CRM may still be busy with what it was asked last.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.store import connectors
from agent.store.engine import AnyRow
from agent.store.schema import delivery
from agent.store.turns import DELIVER, IS_TAKEN

WAITING, UNREADY, DONE, FAILED, DROPPED = "waiting", "unready", "done", "failed", "dropped"
AFRESH: Mapping[str, Any] = {
    "state": WAITING,
    "due_at": func.now(),
    "attempts": 0,
    "failure": None,
    "problem": "",
    "remedy": "",
}
"""It is to be told now, whatever became of attempts before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A row that somebody tells now. ``wanted`` is the version he has seen."""

    id: int
    connector_id: int
    interaction_id: int | None
    card_id: int | None
    started: datetime
    key: str
    wanted: int
    withdrawn: bool
    begun: bool
    attempts: int
    logged: Mapping[str, Any]
    parts: Mapping[str, Any]
    leased: datetime


def _delivery(row: AnyRow) -> Delivery:
    return Delivery(
        id=row.id,
        connector_id=row.connector_id,
        interaction_id=row.interaction_id,
        card_id=row.client_card_id,
        started=row.started_at,
        key=row.key,
        wanted=row.wanted,
        withdrawn=row.withdrawn,
        begun=row.begun,
        attempts=row.attempts,
        logged=row.logged,
        parts=row.parts,
        leased=row.leased_until,
    )


_IS_NEXT = """
    d.state = 'waiting' AND d.due_at <= now() AND (d.client_card_id IS NULL OR d.id = (
        SELECT e.id FROM delivery AS e
        WHERE e.connector_id = d.connector_id AND e.client_card_id = d.client_card_id AND e.state = 'waiting'
        ORDER BY e.started_at, e.id LIMIT 1))"""
_DUE = text(
    f"""
    SELECT connector.name FROM connector
    WHERE delivers AND coalesce(paused_until <= now(), true)
          AND EXISTS (SELECT FROM delivery AS d WHERE d.connector_id = connector.id AND {_IS_NEXT}
                      AND coalesce(d.leased_until NOT BETWEEN now() AND now() + make_interval(secs => :settle), true))
          AND NOT {IS_TAKEN.format(what=DELIVER, number="connector.id")}
    """  # noqa: S608 - our own constants
)


async def list_due(connection: AsyncConnection, *, settle: float) -> list[str]:
    """Names of connectors that have something to claim, are not left alone, and that nobody is telling just now: what
    is leased for longer than ``settle`` seconds all the same was left behind (`cut_short`)."""
    return list((await connection.execute(_DUE, {"settle": settle})).scalars())


_CLAIM = text(
    f"""
    WITH next AS (
        SELECT d.id FROM delivery AS d
        WHERE d.connector_id = :connector AND {_IS_NEXT} AND (d.leased_until IS NULL OR d.leased_until < now())
        ORDER BY d.due_at, d.started_at, d.id LIMIT :most
        FOR UPDATE SKIP LOCKED)
    UPDATE delivery SET leased_until = now() + make_interval(secs => :lease)
    FROM next WHERE delivery.id = next.id
    RETURNING delivery.*
    """  # noqa: S608 - our own constants
)


async def claim(connection: AsyncConnection, connector_id: int, *, most: int, lease: float) -> list[Delivery]:
    """Rows that are due, for this caller alone for ``lease`` seconds: of each card the oldest only, so that it is told
    in order."""
    rows = await connection.execute(_CLAIM, {"connector": connector_id, "most": most, "lease": lease})
    return sorted(map(_delivery, rows), key=lambda one: (one.started, one.id))


_CUT_SHORT = text(
    """
    UPDATE delivery SET leased_until = now() + make_interval(secs => :settle)
    WHERE connector_id = :connector AND state = 'waiting' AND leased_until > now() + make_interval(secs => :settle)
    """
)


async def cut_short(connection: AsyncConnection, connector_id: int, *, settle: float) -> int:
    """For who has the turn and has claimed nothing yet: whoever claimed these is gone, and they are free in ``settle``
    seconds, the time for which a CRM may still be busy with the last thing it was asked. Should he only seem to be
    gone, he begins nothing more: his leases are others now. Returns how many."""
    return (await connection.execute(_CUT_SHORT, {"connector": connector_id, "settle": settle})).rowcount


_BEGIN = text(
    """
    UPDATE delivery SET begun = true, parts = parts || jsonb_build_object('sought', CAST(:sought AS jsonb))
    WHERE id = :id AND leased_until = :leased AND leased_until > now() + make_interval(secs => :within)
          AND NOT withdrawn
    RETURNING *
    """
)


async def begin(
    connection: AsyncConnection, one: Delivery, sought: Mapping[str, Any], *, within: float
) -> Delivery | None:
    """An attempt to make something over there begins: until its answer is kept, it may have been made. None where the
    lease is somebody else's by now or ends ``within`` so many seconds, or it is to be withdrawn: then none may be."""
    values = {"id": one.id, "sought": json.dumps(dict(sought)), "within": within, "leased": one.leased}
    row = (await connection.execute(_BEGIN, values)).first()
    return _delivery(row) if row is not None else None


_IS_HELD = text(
    """
    SELECT FROM delivery WHERE id = :id AND withdrawn = :withdrawn
        AND leased_until = :leased AND leased_until > now() + make_interval(secs => :within)
    """
)


async def is_held(connection: AsyncConnection, one: Delivery, *, within: float) -> bool:
    """Whether something that may be repeated may begin: as in `begin`, and it was not withdrawn meanwhile."""
    values = {"id": one.id, "withdrawn": one.withdrawn, "leased": one.leased, "within": within}
    return (await connection.execute(_IS_HELD, values)).first() is not None


async def keep(
    connection: AsyncConnection, delivery_id: int, *, logged: Mapping[str, Any], parts: Mapping[str, Any]
) -> None:
    """What a CRM has answered: what it made, and what it was told by that."""
    values = {"begun": False, "logged": dict(logged), "parts": dict(parts)}
    await connection.execute(update(delivery).where(delivery.c.id == delivery_id).values(**values))


_FINISH = text(
    """
    UPDATE delivery SET told = :version, leased_until = NULL, attempts = 0, tried_at = now(), done_at = now(),
           problem = '', remedy = '', failure = NULL, state = CASE WHEN wanted > :version THEN 'waiting' ELSE :state END
    WHERE id = :id AND leased_until = :leased
    """
)


async def finish(connection: AsyncConnection, one: Delivery, *, state: str = DONE, answered: bool = True) -> None:
    """All of the version that was seen is told; what came meanwhile waits already. ``answered``: the CRM did answer,
    so it is not away."""
    values = {"id": one.id, "version": one.wanted, "state": state, "leased": one.leased}
    await connection.execute(_FINISH, values)
    if answered:
        await connectors.note_success(connection, one.connector_id)


_POSTPONE = text(
    """
    UPDATE delivery SET leased_until = NULL, tried_at = now(), problem = :problem, remedy = :remedy,
           due_at = now() + make_interval(secs => greatest(:pause, CASE WHEN begun THEN :settle ELSE 0 END)),
           attempts = attempts + CASE WHEN :counts OR connector.succeeded_at > delivery.tried_at THEN 1 ELSE 0 END
    FROM connector WHERE delivery.id = :id AND leased_until = :leased AND connector.id = delivery.connector_id
    RETURNING delivery.attempts
    """
)


async def postpone(
    connection: AsyncConnection,
    one: Delivery,
    *,
    pause: float,
    problem: str,
    remedy: str,
    settle: float = 0.0,
    counts: bool = False,
) -> int:
    """It is tried again in ``pause`` seconds; in ``settle`` at the earliest where an attempt to make something was not
    answered, which the CRM may still be at. An attempt counts if others got through since the one before, so that a CRM
    that is away costs none; ``counts``: it does in any case. Returns how many count by now; 0 where it is somebody
    else's."""
    values = {"id": one.id, "pause": pause, "problem": problem, "remedy": remedy, "counts": counts}
    row = (await connection.execute(_POSTPONE, values | {"settle": settle, "leased": one.leased})).first()
    return int(row.attempts) if row is not None else 0


_GIVE_UP = text(
    """
    UPDATE delivery SET leased_until = NULL, tried_at = now(),
           state = CASE WHEN wanted = :wanted THEN 'failed' ELSE state END,
           failure = CASE WHEN wanted = :wanted THEN :failure END,
           problem = CASE WHEN wanted = :wanted THEN :problem ELSE '' END,
           remedy = CASE WHEN wanted = :wanted THEN :remedy ELSE '' END
    WHERE id = :id AND (leased_until = :leased OR leased_until IS NULL)
    """
)


async def give_up(connection: AsyncConnection, one: Delivery, *, failure: str, problem: str, remedy: str) -> None:
    """A person must look; unless something has changed meanwhile, which is a reason to try again."""
    values = {"id": one.id, "wanted": one.wanted, "leased": one.leased}
    await connection.execute(_GIVE_UP, values | {"failure": failure, "problem": problem, "remedy": remedy})


async def release(connection: AsyncConnection, one: Delivery) -> None:
    """It was not tried after all; a lease that is somebody else's by now stays his."""
    mine = (delivery.c.id == one.id) & (delivery.c.leased_until == one.leased)
    await connection.execute(update(delivery).where(mine).values(leased_until=None))
