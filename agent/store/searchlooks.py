"""One look at the index of words: a statement that finds hits of some weeks, newest first, and keeps those that may be
shown, with their ranks.

It takes the rows first, by the index alone, and asks of the newest ones what is dear: rights, filters, whether words
are neighbours (for which PostgreSQL has to unpack all words of the row). It asks one by one and stops where enough are
found, so a look costs as much as it brings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.store import asking
from agent.store.asking import Query
from agent.store.clients import Position
from agent.store.searchfilters import Filters, may_be_shown
from agent.store.searchindex import WEEK
from agent.store.sight import Sight

MOST_WEEKS = 64  # at a look, by name; what is further back is asked for as a whole
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """One row of the index: of an interaction (``file``: the number of the attached part), or of a note on a card."""

    id: int
    interaction_id: int | None
    file: int | None
    note_id: int | None
    started: datetime
    rank: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What is looked for, as PostgreSQL has it. ``loose`` is ``exact`` without the order of words, so that the index
    answers it by itself, and empty where it is the same; ``negative`` must not stand in another part of the same
    interaction."""

    exact: str
    loose: str
    negative: str
    are_any: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Of which weeks (all, without), from where on, and at how many rows to look; ``wanted`` hits are enough.
    ``rare``: where there are more rows than that, none is looked at."""

    weeks: tuple[int, int] | None
    start: Position | None
    rows: int
    wanted: int
    rare: int | None = None
    ranked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """``rows`` there are (with ``rare`` one more at most), ``hits`` of the newest; ``rest``: where those begin that
    were not looked at."""

    rows: int
    hits: tuple[Hit, ...]
    rest: Position | None


async def look(connection: AsyncConnection, sight: Sight, words: Words, filters: Filters, asked: Look) -> Seen:
    """Do it."""
    rows, values = _rows(words, filters, asked)
    shown, more = may_be_shown(sight, filters)
    values |= more | {"looked": asked.rows, "wanted": asked.wanted}
    if words.negative:
        shown += f" AND {_NOT_ELSEWHERE}"
        values["negative"] = words.negative
    if words.loose:
        shown += f" AND {_EXACTLY}"
    rank = _RANK if asked.ranked and words.are_any else "0"
    if words.loose or rank is _RANK:
        values["exact"] = words.exact
    looked = _LOOKED
    if asked.rare is not None:
        looked, values["rare"] = _UNLESS_MANY, asked.rare
    sql = _LOOK.format(beginning=sight.beginning, rows=rows, shown=shown, rank=rank, looked=looked)
    (seen,) = await asking.ask(connection, Query(statement=statement(sql), values=values, read=_seen))
    return seen


# The order is that of `newest` all the way: nothing is sorted again, and what stops early has the newest.
_LOOK = """
    {beginning} found AS MATERIALIZED ({rows}),
    newest AS MATERIALIZED (SELECT * FROM found ORDER BY started_at DESC, id DESC LIMIT {looked}),
    shown AS MATERIALIZED (
        SELECT * FROM (SELECT * FROM newest ORDER BY started_at DESC, id DESC LIMIT :looked) AS h
        WHERE {shown} ORDER BY started_at DESC, id DESC LIMIT :wanted)
    SELECT (SELECT count(*) FROM found) AS rows,
        (SELECT json_build_array((extract(epoch FROM n.started_at) * 1000000)::bigint, n.id)
         FROM newest n ORDER BY n.started_at DESC, n.id DESC OFFSET :looked) AS rest,
        (SELECT json_agg(json_build_array(s.id, s.interaction_id, s.part, s.card_note_id,
                                          (extract(epoch FROM s.started_at) * 1000000)::bigint, {rank})
                         ORDER BY s.started_at DESC, s.id DESC) FROM shown s) AS hits
"""
_LOOKED = ":looked + 1"
_UNLESS_MANY = f"CASE WHEN (SELECT count(*) FROM found) > :rare THEN 0 ELSE {_LOOKED} END"  # noqa: S608 - our own words
# Each is one row by its number: no plan may turn these into a search of the whole index.
_RANK = (
    "(SELECT ts_rank('{0.05, 0.3, 0.6, 1.0}', r.words, CAST(:exact AS tsquery), 1)"
    " FROM search_entry r WHERE r.id = s.id)"
)
_EXACTLY = "(SELECT e.words @@ CAST(:exact AS tsquery) FROM search_entry e WHERE e.id = h.id)"
_NOT_ELSEWHERE = """
    NOT coalesce((SELECT bool_or(o.words @@ CAST(:negative AS tsquery)) FROM search_entry o
                  WHERE o.interaction_id = h.interaction_id AND o.part <> h.part), false)
"""


def _rows(words: Words, filters: Filters, asked: Look) -> tuple[str, dict[str, Any]]:
    """The statement of the rows, in no order."""
    query, conditions = words.loose or words.exact, []
    values: dict[str, Any] = {}
    if asked.weeks is not None and asked.weeks[1] - asked.weeks[0] < MOST_WEEKS:
        named = " | ".join(f"'@w{one}'" for one in range(asked.weeks[0], asked.weeks[1] + 1))
        query = f"({query}) & ({named})" if query else named
    elif asked.weeks is not None:
        conditions.append("started_at < :high")
        values["high"] = start_of(asked.weeks[1] + 1)
    if query:
        conditions.append("words @@ CAST(:words AS tsquery)")
        values["words"] = query
    if not query or not words.are_any:
        conditions.append("part = 0")
    for name, operator, value in (("since", ">=", filters.since), ("until", "<", filters.until)):
        if value is not None:
            conditions.append(f"started_at {operator} :{name}")
            values[name] = value
    if asked.start is not None:
        conditions.append("(started_at, id) <= (:moment, :id)")
        values |= {"moment": asked.start.moment, "id": asked.start.id}
    if filters.card_id is not None:
        conditions.append("interaction_id IN (SELECT interaction_id FROM link WHERE client_card_id = :card)")
        values["card"] = filters.card_id
    limit = " LIMIT :rare + 1" if asked.rare is not None else ""
    return f"{_SELECT} WHERE {' AND '.join(conditions)}{limit}", values


_SELECT = "SELECT id, interaction_id, part, card_note_id, started_at FROM search_entry"


def _seen(rows: Sequence[Any]) -> Seen:
    (row,) = rows
    rest = Position(moment=_moment(row.rest[0]), id=row.rest[1]) if row.rest else None
    return Seen(rows=row.rows, hits=tuple(map(_hit, row.hits or ())), rest=rest)


def _hit(row: Sequence[Any]) -> Hit:
    number, of, part, note, at, rank = row
    file = part - 1 if part else None
    return Hit(id=number, interaction_id=of, file=file, note_id=note, started=_moment(at), rank=rank or 0.0)


def _moment(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)


def week_of(moment: datetime) -> int:
    """Its number."""
    return (moment - _EPOCH) // timedelta(seconds=WEEK)


def start_of(week: int) -> datetime:
    """Its first moment."""
    return _EPOCH + timedelta(seconds=WEEK) * week


_STATEMENTS: dict[str, TextClause] = {}


def statement(sql: str) -> TextClause:
    """The same object for the same words, which SQLAlchemy need not read again; there are few of them."""
    found = _STATEMENTS.get(sql)
    if found is None:
        found = _STATEMENTS[sql] = text(sql)
    return found
