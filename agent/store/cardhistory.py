"""A card's history narrowed down, histories of several cards as one, and what stands at the top of a card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    DateTime,
    Integer,
    Subquery,
    bindparam,
    exists,
    func,
    literal,
    or_,
    select,
    text,
    true,
    tuple_,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import Direction, Disposition, InteractionKind, Role
from agent.store.asking import Query
from agent.store.clients import Position
from agent.store.engine import is_any
from agent.store.rights import Viewer, is_not_private, is_visible_card, not_private
from agent.store.schema import call, client_card, interaction, link, party

MISSED = "missed"
KINDS = (InteractionKind.CALL.value, InteractionKind.MESSAGE.value, InteractionKind.MEETING.value, MISSED)
_LOOKED_AT, _FEWEST_LOOKED_AT = 300, 20  # entries of each card, the newest, for what stands at its top
_MOST_TALKERS = 20
_RECENT = timedelta(days=30)
_MOST_PEOPLE = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryFilter:
    """What of a history is wanted; empty is everything. ``kind`` is one of `KINDS`, ``among`` are interactions that
    were found by their words."""

    kind: str = ""
    employee_id: int | None = None
    direction: str = ""
    since: datetime | None = None
    until: datetime | None = None
    among: Sequence[int] | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """On a link joined with its interaction."""
        found: list[ColumnElement[bool]] = []
        if self.kind == MISSED:
            found += [interaction.c.kind == InteractionKind.CALL, _is_missed()]
        elif self.kind:
            found.append(interaction.c.kind == self.kind)
        if self.direction:
            found.append(interaction.c.direction == self.direction)
        if self.employee_id is not None:
            own = party.alias()
            his = (own.c.interaction_id == link.c.interaction_id) & (own.c.employee_id == self.employee_id)
            found.append(exists(select(own.c.id).where(his)))
        if self.since is not None:
            found.append(link.c.started_at >= self.since)
        if self.until is not None:
            found.append(link.c.started_at < self.until)
        if self.among is not None:
            found.append(is_any(link.c.interaction_id, self.among))
        return found


def _is_missed() -> ColumnElement[bool]:
    """As `agent.web.entries` says it: nobody answered an incoming call, or no one of ours did."""
    own = party.alias()
    mine = select(own.c.id).where(own.c.interaction_id == call.c.interaction_id, own.c.role == Role.EMPLOYEE)
    ours = exists(mine.correlate(call))
    unanswered = call.c.disposition == Disposition.NO_ANSWER
    alone = (call.c.disposition == Disposition.ANSWERED) & ~ours
    return exists(
        select(call.c.interaction_id).where(
            call.c.interaction_id == link.c.interaction_id,
            interaction.c.direction == Direction.INBOUND,
            or_(unanswered, alone),
        )
    )


async def list_filtered(
    connection: AsyncConnection,
    card_ids: Sequence[int],
    wanted: HistoryFilter,
    *,
    after: Position | None = None,
    limit: int = 50,
) -> list[Position]:
    """Times and ids of the interactions on any of the cards, newest first, each once. Each card's part comes out of
    the index of its history, however many cards there are."""
    cards = _cards(card_ids)
    one = (
        select(link.c.started_at, link.c.interaction_id)
        .join(interaction, interaction.c.id == link.c.interaction_id)
        .where(link.c.client_card_id == cards.c.card_id, is_not_private(link.c.interaction_id), *wanted.conditions())
    )
    if after is not None:
        place = tuple_(literal(after.moment), literal(after.id))
        one = one.where(tuple_(link.c.started_at, link.c.interaction_id) < place)
    page = one.order_by(link.c.started_at.desc(), link.c.interaction_id.desc()).limit(limit).lateral("page")
    query = select(page.c.started_at, page.c.interaction_id).select_from(cards.join(page, true())).distinct()
    query = query.order_by(page.c.started_at.desc(), page.c.interaction_id.desc()).limit(limit)
    return [Position(moment=row.started_at, id=row.interaction_id) for row in await connection.execute(query)]


async def list_people(connection: AsyncConnection, viewer: Viewer, company_id: int) -> list[tuple[int, str]]:
    """Cards of the people of a company that exist for the viewer: id and name."""
    query = (
        select(client_card.c.id, client_card.c.name)
        .where(
            client_card.c.company_id == company_id,
            client_card.c.merged_into_id.is_(None),
            is_visible_card(viewer, client_card.c.id),
        )
        .order_by(client_card.c.name, client_card.c.id)
        .limit(_MOST_PEOPLE)
    )
    return [(row.id, row.name) for row in await connection.execute(query)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Talker:
    """An employee who was in touch with a client: in how many of the newest entries, and when last."""

    employee_id: int
    name: str
    count: int
    last: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """What the newest entries of some cards tell at a glance. ``total`` is of the card itself, ``newest`` the first
    page of the history, ``recent`` how many entries of each kind the last thirty days have brought."""

    total: int
    newest: tuple[Position, ...]
    talkers: tuple[Talker, ...]
    recent: Mapping[str, int]


_OUTLINE = text(
    f"""
    WITH newest AS MATERIALIZED (
        SELECT DISTINCT one.started_at, one.interaction_id
        FROM unnest(:cards) AS card(id) CROSS JOIN LATERAL (
            SELECT l.started_at, l.interaction_id FROM link l
            WHERE l.client_card_id = card.id AND {not_private("l.interaction_id")}
            ORDER BY l.started_at DESC, l.interaction_id DESC LIMIT :most) AS one
    )
    SELECT (SELECT json_agg(json_build_array(page.started_at, page.interaction_id))
            FROM (SELECT * FROM newest ORDER BY started_at DESC, interaction_id DESC LIMIT :page) AS page) AS newest,
        (SELECT json_agg(json_build_array(who.id, who.name, who.entries, who.last))
         FROM (SELECT e.id, e.name, count(*) AS entries, max(n.started_at) AS last
               FROM newest n JOIN party p ON p.interaction_id = n.interaction_id JOIN employee e ON e.id = p.employee_id
               GROUP BY e.id, e.name ORDER BY last DESC, e.id LIMIT {_MOST_TALKERS}) AS who) AS talkers,
        (SELECT json_object_agg(each.kind, each.entries)
         FROM (SELECT i.kind, count(*) AS entries FROM newest n JOIN interaction i ON i.id = n.interaction_id
               WHERE n.started_at BETWEEN :since AND :until GROUP BY i.kind) AS each) AS recent,
        CASE WHEN cardinality(:cards) = 1 AND (SELECT count(*) FROM newest) < :most THEN (SELECT count(*) FROM newest)
             ELSE (SELECT count(*) FROM link l WHERE l.client_card_id = :card AND {not_private("l.interaction_id")})
        END AS total
    """  # noqa: S608 - our own words
).bindparams(
    *(bindparam(name, type_=kind) for name, kind in (("cards", ARRAY(BigInteger)), ("card", BigInteger))),
    *(bindparam(name, type_=Integer) for name in ("most", "page")),
    *(bindparam(name, type_=DateTime(timezone=True)) for name in ("since", "until")),
)


def outline_of(card_id: int, card_ids: Sequence[int], now: datetime, *, page: int) -> Query[Outline]:
    """Of a card, or of one with those of its people, ``page`` entries long; of many cards fewer entries each are looked
    at. Whoever was in touch last comes first."""
    values = {
        "card": card_id,
        "cards": list(card_ids),
        "most": max(_FEWEST_LOOKED_AT, _LOOKED_AT // max(1, len(card_ids))),
        "page": page,
        "since": now - _RECENT,
        "until": now,
    }
    return Query(statement=_OUTLINE, values=values, read=lambda rows: _outline(rows[0]))


def _outline(row: Any) -> Outline:
    return Outline(
        total=row.total,
        newest=tuple(Position(moment=datetime.fromisoformat(at), id=number) for at, number in row.newest or ()),
        talkers=tuple(
            Talker(employee_id=number, name=name, count=count, last=datetime.fromisoformat(last))
            for number, name, count, last in row.talkers or ()
        ),
        recent=row.recent or {},
    )


def _cards(card_ids: Sequence[int]) -> Subquery:
    return select(func.unnest(literal(list(card_ids), ARRAY(BigInteger))).label("card_id")).subquery("cards")
