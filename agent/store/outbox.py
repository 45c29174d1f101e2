"""The outbox: what each CRM should hold of an interaction, as rows made in the transaction that decides it.

A row is the *wish* for one interaction on one card in one CRM. `want` brings the wishes in line with the links, `stir`
says that what is to be told has changed; both only raise a version, and `linker.deliver` tells whatever is newer than
what it told (`agent.store.deliveries`). So a hundred changes while a CRM is away cost one delivery, and what changes
nothing that a CRM is told costs none.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import BigInteger, bindparam, literal_column, select, text, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import LinkState
from agent.store import changes
from agent.store.asking import Query, ask
from agent.store.deliveries import AFRESH, DROPPED
from agent.store.rights import is_not_private
from agent.store.schema import delivery, party

_AFRESH = "state = 'waiting', due_at = now(), attempts = 0, failure = NULL, problem = '', remedy = ''"
_AGAIN: Mapping[str, Any] = {"wanted": delivery.c.wanted + 1, **AFRESH}
_SHOWN = str(
    is_not_private(literal_column("i.id", BigInteger)).compile(
        dialect=postgresql.dialect(),  # type: ignore[no-untyped-call]
        compile_kwargs={"literal_binds": True},
    )
)

# A wish whose card is no longer right goes over to a card that is new, so that a CRM moves what it has; only what is
# left is withdrawn. What a CRM knows of stays known there, also if it is older than the day it was switched on. Rows
# that stay right are locked and nothing more.
_WANT = text(
    f"""
    WITH standing AS (
        SELECT i.id, i.started_at, coalesce(array_agg(l.client_card_id) FILTER (WHERE
                   l.state = '{LinkState.LINKED}' AND l.client_card_id IS NOT NULL), '{{}}') AS cards
        FROM interaction AS i LEFT JOIN link AS l
             ON l.interaction_id = i.id AND i.erasure_id IS NULL AND {_SHOWN}
        WHERE i.id = ANY(:ids) GROUP BY i.id
    ), held AS MATERIALIZED (
        SELECT id, connector_id, interaction_id, client_card_id, withdrawn, state FROM delivery
        WHERE interaction_id = ANY(:ids) ORDER BY id FOR UPDATE
    ), stood AS (
        SELECT held.*, coalesce(held.client_card_id = ANY(standing.cards), false) AS is_right
        FROM held JOIN standing ON standing.id = held.interaction_id
    ), wrong AS (
        SELECT id, connector_id, interaction_id,
               row_number() OVER (PARTITION BY connector_id, interaction_id ORDER BY id) AS place
        FROM stood WHERE NOT is_right AND NOT withdrawn
    ), missing AS (
        SELECT c.id AS connector_id, s.id AS interaction_id, s.started_at, card,
               row_number() OVER (PARTITION BY c.id, s.id ORDER BY card) AS place,
               c.delivers AND (:whatever_age OR s.started_at >= c.since OR EXISTS (
                   SELECT FROM held WHERE held.connector_id = c.id AND held.interaction_id = s.id)) AS is_told
        FROM connector AS c, standing AS s, unnest(s.cards) AS card
        WHERE NOT EXISTS (SELECT FROM held WHERE held.connector_id = c.id AND held.interaction_id = s.id
                                                 AND held.client_card_id = card)
    ), due AS (
        SELECT wrong.id, missing.card, missing.card IS NULL AS withdrawn
        FROM wrong LEFT JOIN missing USING (connector_id, interaction_id, place)
        UNION ALL
        SELECT id, client_card_id, false FROM stood
        WHERE is_right AND state <> '{DROPPED}' AND (withdrawn OR interaction_id = ANY(:anew))
    ), told AS (
        UPDATE delivery SET client_card_id = coalesce(due.card, delivery.client_card_id), withdrawn = due.withdrawn,
                            wanted = wanted + 1, {_AFRESH}
        FROM due WHERE delivery.id = due.id RETURNING delivery.id
    ), new AS (
        INSERT INTO delivery (connector_id, interaction_id, client_card_id, started_at, key, due_at)
        SELECT connector_id, interaction_id, card, started_at,
               'cardline-' || left(encode(sha256(uuid_send(gen_random_uuid())), 'hex'), 20), now()
        FROM missing LEFT JOIN wrong USING (connector_id, interaction_id, place)
        WHERE wrong.id IS NULL AND is_told
        RETURNING id
    )
    SELECT (SELECT count(*) FROM new) AS new, (SELECT count(*) FROM told) AS told
    """  # noqa: S608 - our own constants
).bindparams(bindparam("ids", type_=ARRAY(BigInteger)), bindparam("anew", type_=ARRAY(BigInteger)))


async def want(
    connection: AsyncConnection,
    interaction_ids: Sequence[int],
    *,
    anew: Collection[int] = (),
    whatever_age: bool = False,
    commit: bool = False,
) -> int:
    """Bring the wishes for these in line with their links as they are now, in one statement; part of whoever decides
    about links, and holds the interactions. Returns how many wishes are new.

    ``anew``: those of which something else that is told has changed too: who took part, the direction. Where a link
    stays as it was and nothing else has changed, no version is raised. ``whatever_age``: also what began before a
    connector was switched on (`cardline crm deliver`). ``commit``: nothing comes after it in this transaction.
    """
    values = {"ids": list(interaction_ids), "anew": sorted(anew), "whatever_age": whatever_age}
    (new,) = await ask(
        connection, Query(statement=_WANT, values=values, read=lambda rows: int(rows[0].new)), commit=commit
    )
    return new


_STIR = text(
    f"""
    WITH touched AS ({changes.TOUCH.format(ids="unnest(CAST(:ids AS bigint[]))")}
    ), held AS (
        SELECT id FROM delivery WHERE interaction_id = ANY(:ids) AND NOT withdrawn AND state <> '{DROPPED}'
        ORDER BY id FOR UPDATE)
    UPDATE delivery SET wanted = wanted + 1, {_AFRESH} FROM held WHERE delivery.id = held.id
    """  # noqa: S608 - our own constants
).bindparams(bindparam("ids", type_=ARRAY(BigInteger)))


async def stir(connection: AsyncConnection, interaction_ids: Sequence[int]) -> None:
    """Something of these has changed that a CRM may have been told: times, recording, transcript, who was credited."""
    if interaction_ids:
        await connection.execute(_STIR, {"ids": sorted(set(interaction_ids))})


async def stir_employee(connection: AsyncConnection, employee_id: int) -> None:
    """An employee has another user in a CRM now: what he took part in is told anew."""
    query = select(party.c.interaction_id).where(party.c.employee_id == employee_id)
    await stir(connection, list((await connection.execute(query)).scalars()))


async def move(connection: AsyncConnection, kept: int, gone: int) -> None:
    """``gone`` becomes part of ``kept``: what a CRM holds of it becomes that of the other where it has none on that
    card, and is withdrawn where it has. The linker decides about ``kept`` next, by `want`."""
    columns = delivery.c
    query = select(columns.id, columns.connector_id, columns.interaction_id, columns.client_card_id)
    rows = (
        await connection.execute(
            query.where(columns.interaction_id.in_([kept, gone])).order_by(columns.id).with_for_update()
        )
    ).all()
    known = {(one.connector_id, one.client_card_id) for one in rows if one.interaction_id == kept}
    over = [one for one in rows if one.interaction_id == gone]
    free = [one.id for one in over if (one.connector_id, one.client_card_id) not in known]
    twice = [one.id for one in over if one.id not in free]
    if free:
        statement = update(delivery).where(delivery.c.id.in_(free))
        await connection.execute(statement.values(interaction_id=kept, **_AGAIN))
    if twice:
        statement = update(delivery).where(delivery.c.id.in_(twice))
        await connection.execute(statement.values(interaction_id=None, withdrawn=True, **_AGAIN))
