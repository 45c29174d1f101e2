"""The outbox: what each CRM should hold of an interaction, as rows made in the transaction that decides it.

A row is the wish for one interaction on one card in one CRM. `want` brings the wishes in line with the links, `stir`
says that what is to be told has changed; both only raise a version, and `linker.deliver` tells whatever is newer than
what it told. So a hundred changes while a CRM is away cost one delivery.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import bindparam, false, func, insert, or_, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import LinkState
from agent.store import changes
from agent.store.engine import AnyRow
from agent.store.rights import is_not_private
from agent.store.schema import connector, delivery, interaction, link, party
from agent.store.wishplan import Standing, Wish, plan

WAITING, UNREADY, DONE, FAILED, DROPPED = "waiting", "unready", "done", "failed", "dropped"
_AGAIN: Mapping[str, Any] = {
    "wanted": delivery.c.wanted + 1,
    "state": WAITING,
    "due_at": func.now(),
    "attempts": 0,
    "failure": None,
    "problem": "",
    "remedy": "",
}
_ONCE_MORE = {name: value for name, value in _AGAIN.items() if name != "wanted"}


async def want(connection: AsyncConnection, interaction_ids: Sequence[int], *, whatever_age: bool = False) -> int:
    """Bring the wishes for these in line with their links as they are now; part of whoever decides about links.

    ``whatever_age``: also what began before a connector was switched on (`cardline crm deliver`). Returns how many
    wishes are new. Costs one query where there is no CRM.
    """
    query = select(connector.c.id, connector.c.since, connector.c.delivers)
    known = (await connection.execute(query)).all()
    if not known or not interaction_ids:
        return 0
    since: dict[int, datetime] = {row.id: row.since for row in known if row.delivers}
    standings = await _standings(connection, interaction_ids)
    if whatever_age and standings:
        since = dict.fromkeys(since, min(one.started for one in standings))
    made = plan(standings, await _wishes(connection, interaction_ids), since)
    await _change(connection, made.changes)
    rows = [
        {
            "connector_id": one.connector_id,
            "interaction_id": one.interaction_id,
            "client_card_id": one.card_id,
            "started_at": one.started,
            "key": f"cardline-{secrets.token_hex(10)}",
        }
        for one in made.new
    ]
    if rows:
        await connection.execute(insert(delivery).values(due_at=func.now()), rows)
    return len(rows)


async def _standings(connection: AsyncConnection, ids: Sequence[int]) -> list[Standing]:
    cards = func.array_agg(link.c.client_card_id).filter(
        link.c.state == LinkState.LINKED,
        link.c.client_card_id.is_not(None),
        interaction.c.erasure_id.is_(None),
        is_not_private(interaction.c.id),
    )
    query = (
        select(interaction.c.id, interaction.c.started_at, cards.label("cards"))
        .outerjoin(link, link.c.interaction_id == interaction.c.id)
        .where(interaction.c.id.in_(ids))
        .group_by(interaction.c.id)
    )
    return [
        Standing(interaction_id=row.id, started=row.started_at, card_ids=tuple(sorted(row.cards or ())))
        for row in await connection.execute(query)
    ]


async def _wishes(connection: AsyncConnection, ids: Sequence[int]) -> list[Wish]:
    columns = delivery.c
    query = (
        select(columns.id, columns.connector_id, columns.interaction_id, columns.client_card_id, columns.withdrawn)
        .where(columns.interaction_id.in_(ids))
        .order_by(columns.id)
        .with_for_update()
    )
    return [
        Wish(
            id=row.id,
            connector_id=row.connector_id,
            interaction_id=row.interaction_id,
            card_id=row.client_card_id,
            withdrawn=row.withdrawn,
        )
        for row in await connection.execute(query)
    ]


async def _change(connection: AsyncConnection, changes: Mapping[int, int | None]) -> None:
    kept = [{"b_id": row, "b_card": card} for row, card in changes.items() if card is not None]
    gone = [row for row, card in changes.items() if card is None]
    if kept:
        dropped = (delivery.c.state == DROPPED) & (delivery.c.client_card_id == bindparam("b_card"))
        statement = update(delivery).where(delivery.c.id == bindparam("b_id"), ~func.coalesce(dropped, false()))
        await connection.execute(statement.values(client_card_id=bindparam("b_card"), withdrawn=False, **_AGAIN), kept)
    if gone:
        await connection.execute(update(delivery).where(delivery.c.id.in_(gone)).values(withdrawn=True, **_AGAIN))


async def stir(connection: AsyncConnection, interaction_ids: Sequence[int]) -> None:
    """Something of these has changed that a CRM may have been told: times, recording, transcript, who was credited."""
    await changes.touch(connection, interaction_ids)
    ids = await _lock(connection, interaction_ids)
    if ids:
        await connection.execute(update(delivery).where(delivery.c.id.in_(ids)).values(**_AGAIN))


async def stir_employee(connection: AsyncConnection, employee_id: int) -> None:
    """An employee has another user in a CRM now: what he took part in is told anew."""
    query = select(party.c.interaction_id).where(party.c.employee_id == employee_id)
    await stir(connection, list((await connection.execute(query)).scalars()))


async def _lock(connection: AsyncConnection, interaction_ids: Iterable[int]) -> list[int]:
    query = select(delivery.c.id).where(
        delivery.c.interaction_id.in_(list(interaction_ids)), ~delivery.c.withdrawn, delivery.c.state != DROPPED
    )
    return list((await connection.execute(query.order_by(delivery.c.id).with_for_update())).scalars())


async def move(connection: AsyncConnection, kept: int, gone: int) -> None:
    """``gone`` becomes part of ``kept``: what a CRM holds of it becomes that of the other where it has none on that
    card, and is withdrawn where it has. The linker decides about ``kept`` next, by `want`."""
    rows = await _wishes(connection, [kept, gone])
    known = {(one.connector_id, one.card_id) for one in rows if one.interaction_id == kept}
    over = [one for one in rows if one.interaction_id == gone]
    free = [one.id for one in over if (one.connector_id, one.card_id) not in known]
    twice = [one.id for one in over if one.id not in free]
    if free:
        statement = update(delivery).where(delivery.c.id.in_(free))
        await connection.execute(statement.values(interaction_id=kept, **_AGAIN))
    if twice:
        statement = update(delivery).where(delivery.c.id.in_(twice))
        await connection.execute(statement.values(interaction_id=None, withdrawn=True, **_AGAIN))


# --- Telling ----------------------------------------------------------------------------------------------------------


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


_CLAIM = text(
    """
    WITH next AS (
        SELECT d.id FROM delivery AS d
        WHERE d.connector_id = :connector AND d.state = 'waiting' AND d.due_at <= now()
          AND (d.leased_until IS NULL OR d.leased_until < now())
          AND (d.client_card_id IS NULL OR d.id = (
              SELECT e.id FROM delivery AS e
              WHERE e.connector_id = d.connector_id AND e.client_card_id = d.client_card_id AND e.state = 'waiting'
              ORDER BY e.started_at, e.id LIMIT 1))
        ORDER BY d.due_at, d.started_at, d.id LIMIT :most
        FOR UPDATE SKIP LOCKED)
    UPDATE delivery SET leased_until = now() + make_interval(secs => :lease)
    FROM next WHERE delivery.id = next.id
    RETURNING delivery.*
    """
)


async def claim(connection: AsyncConnection, connector_id: int, *, most: int, lease: float) -> list[Delivery]:
    """Rows that are due, for this caller alone for ``lease`` seconds: of each card the oldest only, so that it is told
    in order."""
    rows = await connection.execute(_CLAIM, {"connector": connector_id, "most": most, "lease": lease})
    return sorted(map(_delivery, rows), key=lambda one: (one.started, one.id))


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
    WHERE id = :id
    """
)


async def finish(connection: AsyncConnection, one: Delivery, *, state: str = DONE, answered: bool = True) -> None:
    """All of the version that was seen is told; what came meanwhile waits already. ``answered``: the CRM did answer,
    so it is not away."""
    await connection.execute(_FINISH, {"id": one.id, "version": one.wanted, "state": state})
    if answered:
        await _succeeded(connection, one.connector_id)


async def _succeeded(connection: AsyncConnection, connector_id: int) -> None:
    """Noted once a second at most, since all deliveries of a connector would wait for each other here."""
    values = {"failures": 0, "succeeded_at": func.now(), "paused_until": None, "state": "running", "problem": ""}
    recently = func.now() - timedelta(seconds=1)
    is_news = or_(
        connector.c.failures > 0,
        connector.c.succeeded_at.is_(None),
        connector.c.succeeded_at < recently,
        connector.c.state != "running",
    )
    await connection.execute(update(connector).where(connector.c.id == connector_id, is_news).values(**values))


_POSTPONE = text(
    """
    UPDATE delivery SET leased_until = NULL, tried_at = now(), problem = :problem, remedy = :remedy,
           due_at = now() + make_interval(secs => :pause),
           attempts = attempts + CASE WHEN :counts OR connector.succeeded_at > delivery.tried_at THEN 1 ELSE 0 END
    FROM connector WHERE delivery.id = :id AND connector.id = delivery.connector_id
    RETURNING delivery.attempts
    """
)


async def postpone(
    connection: AsyncConnection, one: Delivery, *, pause: float, problem: str, remedy: str, counts: bool = False
) -> int:
    """It is tried again in ``pause`` seconds. An attempt counts if others got through since the one before, so that a
    CRM that is away costs none; ``counts``: it does in any case. Returns how many count by now."""
    values = {"id": one.id, "pause": pause, "problem": problem, "remedy": remedy, "counts": counts}
    return int((await connection.execute(_POSTPONE, values)).scalar_one())


async def give_up(connection: AsyncConnection, one: Delivery, *, failure: str, problem: str, remedy: str) -> None:
    """A person must look; unless something has changed meanwhile, which is a reason to try again."""
    values: dict[str, Any] = {"state": FAILED, "failure": failure, "problem": problem, "remedy": remedy}
    values |= {"leased_until": None, "tried_at": func.now()}
    unchanged = (delivery.c.id == one.id) & (delivery.c.wanted == one.wanted)
    done = await connection.execute(update(delivery).where(unchanged).values(**values))
    if not done.rowcount:
        await connection.execute(update(delivery).where(delivery.c.id == one.id).values(leased_until=None))


async def release(connection: AsyncConnection, one: Delivery) -> None:
    """It was not tried after all; a lease that is somebody else's by now stays his."""
    mine = (delivery.c.id == one.id) & (delivery.c.leased_until == one.leased)
    await connection.execute(update(delivery).where(mine).values(leased_until=None))


# --- What a person sees and does --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedDelivery:
    """What was given up, with what to do about it."""

    id: int
    connector: str
    interaction_id: int | None
    card_id: int | None
    started: datetime
    failure: str
    problem: str
    remedy: str
    tried: datetime | None


async def list_failed(connection: AsyncConnection, *, limit: int = 200) -> list[FailedDelivery]:
    """What was given up, the newest first."""
    columns = delivery.c
    query = (
        select(delivery, connector.c.name)
        .join(connector)
        .where(columns.state == FAILED)
        .order_by(columns.tried_at.desc(), columns.id.desc())
        .limit(limit)
    )
    return [
        FailedDelivery(
            id=row.id,
            connector=row.name,
            interaction_id=row.interaction_id,
            card_id=row.client_card_id,
            started=row.started_at,
            failure=row.failure or "",
            problem=row.problem,
            remedy=row.remedy,
            tried=row.tried_at,
        )
        for row in await connection.execute(query)
    ]


async def count_failed(connection: AsyncConnection) -> int:
    """How many were given up."""
    query = select(func.count()).select_from(delivery).where(delivery.c.state == FAILED)
    return int((await connection.execute(query)).scalar_one())


async def count_states(connection: AsyncConnection, connector_id: int) -> dict[str, int]:
    """How many are in which state."""
    query = select(delivery.c.state, func.count().label("rows")).where(delivery.c.connector_id == connector_id)
    return {row.state: row.rows for row in await connection.execute(query.group_by(delivery.c.state))}


async def retry(
    connection: AsyncConnection, *, ids: Sequence[int] | None = None, connector_id: int | None = None
) -> int:
    """Try again what was given up: these, or all of a connector, or all. Returns how many."""
    which = delivery.c.state == FAILED
    if ids is not None:
        which &= delivery.c.id.in_(ids)
    if connector_id is not None:
        which &= delivery.c.connector_id == connector_id
    return (await connection.execute(update(delivery).where(which).values(**_ONCE_MORE))).rowcount


async def drop(connection: AsyncConnection, delivery_id: int) -> bool:
    """A person says that the CRM need not know: it is not told of this on this card, whatever changes of it. What it
    has from before is taken back as ever, once that stands here no more. False where it was not given up."""
    which = (delivery.c.id == delivery_id) & (delivery.c.state == FAILED)
    return (await connection.execute(update(delivery).where(which).values(state=DROPPED))).rowcount > 0


async def retry_card(connection: AsyncConnection, card_id: int) -> None:
    """A card has got its place over there: what was given up for want of one is tried again."""
    which = (delivery.c.client_card_id == card_id) & (delivery.c.state == FAILED)
    await connection.execute(update(delivery).where(which).values(**_ONCE_MORE))
