"""The list of clients: cards a viewer sees, those with the newest contact first."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, ScalarSelect, Select, Subquery, Text, cast, func, literal, or_, select, tuple_
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.store.engine import is_any
from agent.store.newestcards import Dated, list_newest
from agent.store.rights import Viewer, cards_near, is_visible_card
from agent.store.schema import client_card, contact_point, employee, link

_FEWEST_DIGITS = 3

Query = Select[*tuple[Any, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """The last row of a page: the next page begins after it."""

    moment: datetime
    id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientRow:
    """One line of the list. ``moment`` is the last contact, or the card's making where there was none."""

    id: int
    name: str
    kind: str
    company: str
    responsible: str
    contact_points: tuple[str, ...]
    last_contact: datetime | None
    moment: datetime
    entries: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ListOrder:
    """How the list is ordered and narrowed. ``by``: empty is the newest contact; else NAME or RESPONSIBLE, where pages
    begin at ``offset`` and not after a position."""

    by: str = ""
    responsible_id: int | None = None
    stage: str = ""
    offset: int = 0


NAME, RESPONSIBLE = "name", "responsible"
_AS_EVER = ListOrder()


async def list_clients(
    connection: AsyncConnection,
    viewer: Viewer,
    *,
    search: str = "",
    after: Position | None = None,
    limit: int = 50,
    order: ListOrder = _AS_EVER,
) -> list[ClientRow]:
    """A page of the list; ``search`` is part of a name, of a number in any notation, or the beginning of an address."""
    search = search.strip()
    page = await _newest(connection, viewer, after, limit) if not search and order == _AS_EVER else None
    if page is None:
        chosen = _chosen(viewer, search, after, order)
        page = chosen.limit(limit).offset(order.offset if order.by else 0).subquery()
    return [
        ClientRow(
            id=row.id,
            name=row.name,
            kind=row.kind,
            company=row.company,
            responsible=row.responsible,
            contact_points=tuple(row.points or ()),
            last_contact=row.last,
            moment=row.moment,
            entries=row.entries,
        )
        for row in await connection.execute(_shown(page, order))
    ]


async def _newest(connection: AsyncConnection, viewer: Viewer, after: Position | None, limit: int) -> Subquery | None:
    """A page by the newest contact, without a look at every card; None where there is no other way."""
    start = Dated(moment=after.moment, id=after.id) if after is not None else None
    found = await list_newest(connection, viewer, after=start, limit=limit)
    if found is not None:
        return _dated().where(is_any(client_card.c.id, [one.id for one in found])).subquery()
    if viewer.sees_all:
        return None
    own = _chosen(viewer, "", after, _AS_EVER).where(client_card.c.id.in_(cards_near(viewer)))
    return own.limit(limit).subquery()


def _ordered(query: Query, order: ListOrder, moment: ColumnElement[datetime], whose: ColumnElement[str]) -> Query:
    by_name = (client_card.c.name, client_card.c.id)
    if order.by == RESPONSIBLE:
        return query.order_by(whose.nulls_last(), *by_name)
    return query.order_by(*by_name) if order.by == NAME else query.order_by(moment.desc(), client_card.c.id.desc())


def _last() -> ScalarSelect[datetime | None]:
    return select(func.max(link.c.started_at)).where(link.c.client_card_id == client_card.c.id).scalar_subquery()


def _moment() -> ColumnElement[datetime]:
    return func.coalesce(_last(), client_card.c.created_at)


def _dated() -> Query:
    """Cards with their last contact, and the moment by which they are ordered."""
    return select(client_card.c.id, _last().label("last"), _moment().label("moment"))


def _chosen(viewer: Viewer, search: str, after: Position | None, order: ListOrder) -> Query:
    """The cards of the list, in its order: only what decides which ones stand on a page."""
    query = _dated().where(is_visible_card(viewer, client_card.c.id), client_card.c.merged_into_id.is_(None))
    moment = _moment()
    if search:
        query = query.where(_matches(search))
    if after is not None:
        query = query.where(tuple_(moment, client_card.c.id) < tuple_(literal(after.moment), literal(after.id)))
    if order.responsible_id is not None:
        query = query.where(client_card.c.responsible_id == order.responsible_id)
    if order.stage:
        query = query.where(client_card.c.stage == order.stage)
    if order.by == RESPONSIBLE:
        query = query.outerjoin(employee, employee.c.id == client_card.c.responsible_id)
    return _ordered(query, order, moment, employee.c.name)


def _shown(page: Subquery, order: ListOrder) -> Query:
    """What is shown of the cards of a page, in the same order."""
    company = client_card.alias()
    entries = select(func.count()).where(link.c.client_card_id == client_card.c.id).scalar_subquery()
    points = (
        select(func.array_agg(aggregate_order_by(contact_point.c.value, contact_point.c.id)))
        .where(contact_point.c.client_card_id == client_card.c.id)
        .scalar_subquery()
    )
    query = (
        select(
            client_card.c.id,
            client_card.c.name,
            client_card.c.kind,
            func.coalesce(company.c.name, "").label("company"),
            func.coalesce(employee.c.name, "").label("responsible"),
            points.label("points"),
            page.c.last,
            page.c.moment,
            entries.label("entries"),
        )
        .join(page, page.c.id == client_card.c.id)
        .outerjoin(company, company.c.id == client_card.c.company_id)
        .outerjoin(employee, employee.c.id == client_card.c.responsible_id)
    )
    return _ordered(query, order, page.c.moment, employee.c.name)


def _matches(search: str) -> ColumnElement[bool]:
    ways: list[ColumnElement[bool]] = [client_card.c.name.icontains(search, autoescape=True)]
    values = contact_point.c.value.istartswith(search, autoescape=True)
    digits = _significant_digits(search)
    if len(digits) >= _FEWEST_DIGITS:
        values = or_(values, contact_point.c.value.contains(cast(digits, Text)))
    ways.append(client_card.c.id.in_(select(contact_point.c.client_card_id).where(values)))
    return or_(*ways)


def _significant_digits(search: str) -> str:
    """The digits of what looks like a number, without a trunk prefix, as they stand in E.164."""
    if not re.fullmatch(r"[\d\s()+.\-]+", search):
        return ""
    digits = re.sub(r"\D", "", search)
    return digits[1:] if digits.startswith(("8", "0")) and len(digits) >= _FEWEST_DIGITS + 1 else digits
