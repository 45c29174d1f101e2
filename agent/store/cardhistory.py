"""A card's history narrowed down, histories of several cards as one, and what stands at the top of a card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Integer,
    Select,
    Subquery,
    bindparam,
    exists,
    func,
    literal,
    or_,
    select,
    true,
    tuple_,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import Direction, Disposition, InteractionKind, Role
from agent.store.clients import Position
from agent.store.engine import is_any
from agent.store.rights import Viewer, is_not_private, is_visible_card
from agent.store.schema import call, client_card, employee, interaction, link, party

MISSED = "missed"
KINDS = (InteractionKind.CALL.value, InteractionKind.MESSAGE.value, InteractionKind.MEETING.value, MISSED)
_LOOKED_AT = 300  # entries of each card, the newest, for what stands at its top
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


async def list_talkers(connection: AsyncConnection, card_ids: Sequence[int]) -> list[Talker]:
    """Who of us was in touch, by the newest entries; whoever was last comes first."""
    rows = await connection.execute(_talkers(), _looked_at(card_ids))
    return [Talker(employee_id=row.id, name=row.name, count=row.entries, last=row.last) for row in rows]


@cache
def _talkers() -> Select[*tuple[Any, ...]]:
    newest = _newest()
    last = func.max(newest.c.started_at)
    return (
        select(employee.c.id, employee.c.name, func.count().label("entries"), last.label("last"))
        .select_from(newest.join(party, party.c.interaction_id == newest.c.interaction_id))
        .join(employee, employee.c.id == party.c.employee_id)
        .group_by(employee.c.id, employee.c.name)
        .order_by(last.desc(), employee.c.id)
        .limit(20)
    )


async def count_recent(connection: AsyncConnection, card_ids: Sequence[int], now: datetime) -> dict[str, int]:
    """How many entries of each kind there were within the last thirty days, among the newest."""
    days = {"since": now - _RECENT, "until": now}
    return {row.kind: row.entries for row in await connection.execute(_recent(), _looked_at(card_ids) | days)}


@cache
def _recent() -> Select[*tuple[Any, ...]]:
    newest = _newest()
    return (
        select(interaction.c.kind, func.count().label("entries"))
        .select_from(newest.join(interaction, interaction.c.id == newest.c.interaction_id))
        .where(newest.c.started_at.between(bindparam("since"), bindparam("until")))
        .group_by(interaction.c.kind)
    )


def _cards(card_ids: Sequence[int]) -> Subquery:
    return select(func.unnest(literal(list(card_ids), ARRAY(BigInteger))).label("card_id")).subquery("cards")


def _looked_at(card_ids: Sequence[int]) -> dict[str, Any]:
    """For `_newest`: of many cards fewer entries each."""
    return {"cards": list(card_ids), "most": max(20, _LOOKED_AT // max(1, len(card_ids)))}


def _newest() -> Subquery:
    """The newest entries of the cards together."""
    cards = select(func.unnest(bindparam("cards", type_=ARRAY(BigInteger))).label("card_id")).subquery("cards")
    one = (
        select(link.c.started_at, link.c.interaction_id)
        .where(link.c.client_card_id == cards.c.card_id, is_not_private(link.c.interaction_id))
        .order_by(link.c.started_at.desc(), link.c.interaction_id.desc())
        .limit(bindparam("most", type_=Integer))
        .lateral("one")
    )
    query = select(one.c.started_at, one.c.interaction_id).select_from(cards.join(one, true())).distinct()
    return query.subquery("newest")
