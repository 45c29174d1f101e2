"""Finding: the newest permitted hits of a question, and the best among them first.

A common word stands in hundreds of thousands of rows; to look at all of them for the newest is what takes time. So
every row has the week it happened in as a lexeme, and common words are asked for together with the newest weeks, some
more at a time until there is enough: GIN walks through the long list of the word by the short ones of the weeks. How
common a word is PostgreSQL knows from its own statistics; rare words are asked for in one go.
"""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.store import asking, wordstats
from agent.store.asking import Query
from agent.store.clients import Position
from agent.store.folding import folded
from agent.store.rights import Viewer
from agent.store.searchfilters import FILE, NOTE, Filters, permitted
from agent.store.searchindex import CONFIG, WEEK
from agent.store.searchquery import Term, TermKind

WINDOW = 200  # hits that are ranked among each other
_ENOUGH = 2 * WINDOW  # hits that a look aims at
_RARE = 4_000  # hits that one look may bring
_FIRST_CHECK = 300  # hits whose rights are looked at together; later more
_MOST_WEEKS = 64  # at a look, by name; what is further back is asked for as a whole
_PATIENCE = 0.4  # seconds
_SHARES_OF_DIGITS = {4: 0.02, 5: 0.01, 6: 0.005}  # of rows in which some number has them, at a guess
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """One row of the index: of an interaction (``file``: the number of the attached part), or of a note on a card."""

    id: int
    interaction_id: int | None
    file: int | None
    note_id: int | None
    started: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A query as PostgreSQL has it. ``lexemes`` are the word forms that are to be marked, ``prefixes`` beginnings of
    words; ``is_empty``: nothing of it can be looked for (stop words only). ``is_guess``: nobody
    knows how common a part of a number is. ``oldest`` and ``newest`` are the moments
    between which there is anything at all."""

    tsquery: str
    negative: str
    lexemes: frozenset[str]
    prefixes: tuple[str, ...]
    share: float
    is_empty: bool
    has_words: bool
    is_guess: bool = False
    oldest: datetime | None = None
    newest: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Hits, the best first or the newest first. ``top`` is the newest of them, ``next_start`` where the next older ones
    begin (None: these are all), ``reached``: the look was broken off there with fewer hits than wanted."""

    hits: tuple[Hit, ...]
    top: Position | None = None
    next_start: Position | None = None
    reached: datetime | None = None


async def ask(connection: AsyncConnection, terms: Sequence[Term]) -> Question:
    """Word forms of what was typed, and how common they are."""
    values: dict[str, Any] = {}
    positive: list[str] = []
    unwanted: list[str] = []
    columns: list[str] = []
    for number, one in enumerate(terms):
        query, forms = _term(one, f"t{number}", values)
        (unwanted if one.is_not else positive).append(query)
        if forms and not one.is_not:
            columns.append(f"{forms} AS f{number}")
    both = " && ".join((*positive, *(f"!!({one})" for one in unwanted))) or "''::tsquery"
    without = " || ".join(unwanted) or "''::tsquery"
    selected = ", ".join((f"({both})::text AS q", f"({without})::text AS n", f"numnode({both}) AS nodes", *columns))
    typed = Query(statement=_statement(f"SELECT {selected}, {_BOUNDS}"), values=values, read=lambda rows: rows[0])
    (row,) = await asking.ask(connection, typed)
    forms_of = {name: frozenset(found or ()) for name, found in row._asdict().items() if name.startswith("f")}
    wanted = [one for one in terms if not one.is_not]
    prefixes = tuple(fold(one.text) for one in wanted if one.kind is TermKind.PREFIX)
    known = await wordstats.load(connection)
    shares = [known.share_of(prefix=one) for one in prefixes]
    for number, one in enumerate(terms):
        found = forms_of.get(f"f{number}", frozenset())
        if one.kind is TermKind.WORD and found:
            shares.append(known.share_of(*found))
        elif one.kind is TermKind.NUMBER and not one.is_not:
            shares.append(_SHARES_OF_DIGITS.get(min(map(len, one.digits)), 0.0))
        elif one.kind is TermKind.PHRASE:
            shares += [known.share_of(each) for each in found]
    return Question(
        tsquery=row.q,
        negative=row.n,
        lexemes=frozenset().union(*forms_of.values()),
        prefixes=prefixes,
        share=min(shares, default=1.0),
        is_empty=row.nodes == 0,
        has_words=bool(wanted) and row.nodes > 0,
        is_guess=any(one.kind is TermKind.NUMBER for one in wanted),
        oldest=row.oldest,
        newest=row.newest,
    )


def fold(word: str) -> str:
    """As the index has it, before word forms."""
    return word.lower().replace("ё", "е").replace("\u00ad", "").replace("\u0301", "")


def _term(term: Term, name: str, values: dict[str, Any]) -> tuple[str, str]:
    """SQL: the query of a term, and the word forms that are marked for it."""
    values[name] = term.text
    words = folded(f":{name}")
    forms = f"tsvector_to_array(to_tsvector('{CONFIG}', {words}))"
    if term.kind is TermKind.PHRASE:
        return f"phraseto_tsquery('{CONFIG}', {words})", forms
    if term.kind is TermKind.PREFIX:
        values[name] = f"'{fold(term.text)}':*"
        return f"CAST(:{name} AS tsquery)", ""
    plain = f"plainto_tsquery('{CONFIG}', {words})"
    if term.kind is TermKind.WORD:
        return _russian(plain, forms) if _CYRILLIC.fullmatch(term.text) else (plain, forms)
    values[f"{name}_ends"] = " | ".join(f"'#{one}':*" for one in term.digits)
    return f"({plain} || CAST(:{name}_ends AS tsquery))", forms


_CYRILLIC = re.compile("[а-яёА-ЯЁ]+")


def _russian(plain: str, forms: str) -> tuple[str, str]:
    """The form's form as well, which the index has too (`agent.store.searchindex`)."""
    again = f"array_to_string({forms}, ' ')"
    query = f"({plain} || plainto_tsquery('{CONFIG}', {again}))"
    return query, f"{forms} || tsvector_to_array(to_tsvector('{CONFIG}', {again}))"


async def find(
    connection: AsyncConnection,
    viewer: Viewer,
    question: Question,
    filters: Filters,
    *,
    start: Position | None = None,
    most: int = WINDOW,
    ranked: bool = True,
) -> Found:
    """The newest ``most`` hits at or before ``start`` that the viewer may see; ``ranked`` puts the best of these first.

    It gives up after a fraction of a second and says how far it came: nobody waits for a question that fits nothing.
    """
    if question.is_empty and not filters.are_any:
        return Found(hits=())
    end = time.monotonic() + _PATIENCE
    hits: list[Hit] = []
    stop: Position | None = None
    async for low, candidates in _looks(connection, question, filters, start):
        check, at = _FIRST_CHECK, 0
        while at < len(candidates) and len(hits) <= most and stop is None:
            chosen = [_hit(row) for row in candidates[at : at + check]]
            seen = await permitted(connection, viewer, filters, question.negative, [one.id for one in chosen])
            hits += [one for one in chosen if one.id in seen]
            at, check = at + check, 4 * _FIRST_CHECK
            if time.monotonic() > end and at < len(candidates):
                stop = _position(_hit(candidates[at]))
        if stop is None and low is not None and time.monotonic() > end:
            stop = Position(moment=low - timedelta(microseconds=1), id=_LAST_ID)
        if stop is not None or len(hits) > most:
            break
    if len(hits) > most:
        hits, rest = hits[:most], hits[most:]
        return await _found(connection, question, hits, _position(rest[0]), None, ranked=ranked)
    return await _found(connection, question, hits, stop, stop.moment if stop else None, ranked=ranked)


async def _found(
    connection: AsyncConnection,
    question: Question,
    hits: list[Hit],
    next_start: Position | None,
    reached: datetime | None,
    *,
    ranked: bool,
) -> Found:
    top = _position(hits[0]) if hits else None
    if ranked and question.has_words and hits:
        hits = await _ranked(connection, question, hits)
    return Found(hits=tuple(hits), top=top, next_start=next_start, reached=reached)


_LAST_ID = 2**62


def _position(hit: Hit) -> Position:
    return Position(moment=hit.started, id=hit.id)


# --- Looks ------------------------------------------------------------------------------------------------------------


async def _looks(
    connection: AsyncConnection, question: Question, filters: Filters, start: Position | None
) -> AsyncIterator[tuple[datetime | None, list[Any]]]:
    """(the moment down to which this look went, rows of hits newest first); None: there is nothing further back."""
    known = await wordstats.load(connection)
    if question.oldest is None or question.newest is None:
        return
    share = question.share if question.has_words else 1.0
    if filters.card_id is not None:
        yield None, await _candidates(connection, question, filters, start, None)
        return
    if question.is_guess or share * known.rows <= _RARE:
        few = await _candidates(connection, question, filters, start, None, most=_RARE + 1)
        if len(few) <= _RARE:
            yield None, few
            return
        share = max(share, _RARE / max(known.rows, 1.0))  # it is more common than was thought
    newest = min(one for one in (question.newest, filters.until, start.moment if start else None) if one is not None)
    oldest = max(one for one in (question.oldest, filters.since) if one is not None)
    week, last = _week(newest), _week(oldest)
    weeks = max(1.0, (question.newest - question.oldest) / timedelta(seconds=WEEK))
    width = max(1, min(_MOST_WEEKS, int(_ENOUGH / max(share * known.rows / weeks, 0.01)) + 1))
    while week >= last:
        low = last if width > _MOST_WEEKS else max(last, week - width + 1)
        yield (
            (_start_of(low) if low > last else None),
            await _candidates(connection, question, filters, start, (low, week)),
        )
        week, width = low - 1, 2 * width


_BOUNDS = """
    least((SELECT min(started_at) FROM interaction), (SELECT at FROM card_note ORDER BY id LIMIT 1)) AS oldest,
    greatest((SELECT max(started_at) FROM interaction), (SELECT at FROM card_note ORDER BY id DESC LIMIT 1)) AS newest
"""


def _week(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(seconds=WEEK)


def _start_of(week: int) -> datetime:
    return _EPOCH + timedelta(seconds=WEEK) * week


async def _candidates(
    connection: AsyncConnection,
    question: Question,
    filters: Filters,
    start: Position | None,
    weeks: tuple[int, int] | None,
    *,
    most: int | None = None,
) -> list[Any]:
    """Rows of hits, newest first; any ``most`` of them where that is given, without looking at the others."""
    conditions = ["words @@ CAST(:q AS tsquery)"]
    values: dict[str, Any] = {"q": question.tsquery}
    if weeks is not None and weeks[1] - weeks[0] < _MOST_WEEKS:
        named = " | ".join(f"'@w{one}'" for one in range(weeks[0], weeks[1] + 1))
        values["q"] = f"({question.tsquery}) & ({named})" if question.tsquery else named
    elif weeks is not None:
        conditions.append("started_at < :high")
        values["high"] = _start_of(weeks[1] + 1)
    if not values["q"]:
        conditions[0] = "part = 0"
    elif not question.has_words:
        conditions.append("part = 0")
    for name, operator, value in (("since", ">=", filters.since), ("until", "<", filters.until)):
        if value is not None:
            conditions.append(f"started_at {operator} :{name}")
            values[name] = value
    if start is not None:
        conditions.append("(started_at, id) <= (:moment, :id)")
        values |= {"moment": start.moment, "id": start.id}
    if filters.card_id is not None:
        conditions.append("interaction_id IN (SELECT interaction_id FROM link WHERE client_card_id = :card)")
        values["card"] = filters.card_id
    sql = f"{_SELECT} WHERE {' AND '.join(conditions)}"
    if most is not None:
        sql, values["most"] = f"SELECT * FROM ({sql} LIMIT :most) AS few", most  # noqa: S608 - our own words
    sql += " ORDER BY started_at DESC, id DESC"
    (found,) = await asking.ask(connection, Query(statement=_statement(sql), values=values, read=list))
    return found


def _hit(row: Any) -> Hit:
    number, of, part, note, started = row
    return Hit(id=number, interaction_id=of, file=part - 1 if part else None, note_id=note, started=started)


_SELECT = "SELECT id, interaction_id, part, card_note_id, started_at FROM search_entry"
_STATEMENTS: dict[str, TextClause] = {}


def _statement(sql: str) -> TextClause:
    """The same object for the same words, which SQLAlchemy need not read again; there are few of them."""
    return _STATEMENTS.setdefault(sql, text(sql))


# --- Rank -------------------------------------------------------------------------------------------------------------

_RANK = text(
    "SELECT id, ts_rank('{0.05, 0.3, 0.6, 1.0}', words, CAST(:q AS tsquery), 1) AS rank"
    " FROM search_entry WHERE id = ANY(:ids)"
)


async def _ranked(connection: AsyncConnection, question: Question, hits: Sequence[Hit]) -> list[Hit]:
    values = {"q": question.tsquery, "ids": [one.id for one in hits]}
    (ranks,) = await asking.ask(connection, Query(statement=_RANK, values=values, read=_ranks))
    return sorted(hits, key=lambda one: (-round(ranks.get(one.id, 0.0), 3), -one.started.timestamp(), -one.id))


def _ranks(rows: Sequence[Any]) -> dict[int, float]:
    return {row.id: row.rank for row in rows}


__all__ = ["FILE", "NOTE", "WINDOW", "Filters", "Found", "Hit", "Question", "ask", "find", "fold"]
