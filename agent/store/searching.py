"""Finding: the newest permitted hits of a question, and the best among them first.

A common word stands in hundreds of thousands of rows; to look at all of them for the newest is what takes time. So
every row has the week it happened in as a lexeme, and common words are asked for together with the newest weeks, some
more at a time until there is enough: GIN walks through the long list of the word by the short ones of the weeks. How
common a word is PostgreSQL knows from its own statistics; rare words are asked for in one go. What one such look does
is `agent.store.searchlooks`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import prod
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from agent.store import asking, wordstats
from agent.store.asking import Query
from agent.store.clients import Position
from agent.store.folding import folded
from agent.store.rights import Viewer
from agent.store.searchfilters import FILE, NOTE, Filters
from agent.store.searchindex import CONFIG, WEEK
from agent.store.searchlooks import MOST_WEEKS, Hit, Look, Seen, Words, look, start_of, statement, week_of
from agent.store.searchquery import Term, TermKind
from agent.store.sight import Sight, sight_of
from agent.store.wordstats import WordStatistics

WINDOW = 200  # hits that are ranked among each other
_ENOUGH = 2 * WINDOW  # rows that a look aims at
_MANY = 1_000  # the same where many are not shown, to others than these, or are no hits
_RARE = 4_000  # rows that one look may bring
_MOST_PASSED = 40_000  # rows of the weeks of a first look, through which the index walks
_DEAR = 2_000  # rows of which rights or neighbours were asked: then fewer hits than a window will do …
_PASSED = 20  # rows of a week through which the index walks cost as much as asking one
_FEWEST = 20  # … which are a page
_PATIENCE = 0.4  # seconds
_SHARES_OF_DIGITS = {4: 0.02, 5: 0.01, 6: 0.005}  # of rows in which some number has them, at a guess


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A query as PostgreSQL has it. ``lexemes`` are the word forms that are to be marked, ``prefixes`` beginnings of
    words; ``is_empty``: nothing of it can be looked for (stop words only). ``is_guess``: nobody
    knows how common a part of a number is. ``oldest`` and ``newest`` are the moments
    between which there is anything at all."""

    words: Words
    lexemes: frozenset[str]
    prefixes: tuple[str, ...]
    share: float
    is_empty: bool
    is_guess: bool = False
    oldest: datetime | None = None
    newest: datetime | None = None

    @property
    def has_words(self) -> bool:
        """Whether there is anything that a hit must have, and not only what it must not."""
        return self.words.are_any


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
    (forms,) = await asking.ask(connection, forms_of(terms))
    return understood(terms, forms, await wordstats.load(connection))


def forms_of(terms: Sequence[Term]) -> Query[Any]:
    """What PostgreSQL makes of it, for `understood`: asked along with other things."""
    values: dict[str, Any] = {}
    wanted: list[str] = []
    unwanted: list[str] = []
    loose: list[str] = []
    columns: list[str] = []
    for number, one in enumerate(terms):
        query, forms = _term(one, f"t{number}", values)
        (unwanted if one.is_not else wanted).append(query)
        is_phrase = one.kind is TermKind.PHRASE
        if not (is_phrase and one.is_not):
            loosened = _plain(f"t{number}") if is_phrase else query
            loose.append(f"!!({loosened})" if one.is_not else loosened)
        if forms and not one.is_not:
            columns.append(f"{forms} AS f{number}")
    exact = " && ".join((*wanted, *(f"!!({one})" for one in unwanted))) or _NOTHING
    without = " || ".join(unwanted) or _NOTHING
    selected = (
        f"({exact})::text AS q",
        f"({' && '.join(loose) or _NOTHING})::text AS loose",
        f"({without})::text AS n",
    )
    nodes = f"numnode({exact}) AS nodes"
    sql = f"SELECT {', '.join((*selected, nodes, *columns))}, {_BOUNDS}"
    return Query(statement=statement(sql), values=values, read=lambda rows: rows[0])


_NOTHING = "''::tsquery"


def understood(terms: Sequence[Term], forms: Any, known: WordStatistics) -> Question:
    """The question of these terms with their `forms_of`."""
    forms_by_name = {name: frozenset(found or ()) for name, found in forms._asdict().items() if name.startswith("f")}
    wanted = [(number, one) for number, one in enumerate(terms) if not one.is_not]
    prefixes = tuple(fold(one.text) for _, one in wanted if one.kind is TermKind.PREFIX)
    shares = [known.share_of(prefix=one) for one in prefixes]
    for number, one in wanted:
        found = forms_by_name.get(f"f{number}", frozenset())
        if one.kind is TermKind.WORD and found:
            shares.append(known.share_of(*found))
        elif one.kind is TermKind.NUMBER:
            shares.append(_SHARES_OF_DIGITS.get(min(map(len, one.digits)), 0.0))
        elif one.kind is TermKind.PHRASE:
            shares += [known.share_of(each) for each in found]
    has_phrase = any(one.kind is TermKind.PHRASE for one in terms)
    return Question(
        words=Words(
            exact=forms.q,
            loose=forms.loose if has_phrase and forms.loose != forms.q else "",
            negative=forms.n,
            are_any=bool(wanted) and forms.nodes > 0,
        ),
        lexemes=frozenset().union(*forms_by_name.values()),
        prefixes=prefixes,
        share=_together(shares),
        is_empty=forms.nodes == 0,
        is_guess=any(one.kind is TermKind.NUMBER for _, one in wanted),
        oldest=forms.oldest,
        newest=forms.newest,
    )


def _together(shares: Sequence[float]) -> float:
    """Of the rows that have all of these: words that go together meet more often than chance has it."""
    least = min(shares, default=1.0)
    return max(prod(shares), least / 10)


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
    plain = _plain(name)
    if term.kind is TermKind.WORD:
        return _russian(plain, forms) if _CYRILLIC.fullmatch(term.text) else (plain, forms)
    values[f"{name}_ends"] = " | ".join(f"'#{one}':*" for one in term.digits)
    return f"({plain} || CAST(:{name}_ends AS tsquery))", forms


def _plain(name: str) -> str:
    return f"plainto_tsquery('{CONFIG}', {folded(f':{name}')})"


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
    """The newest ``most`` hits at or before ``start`` that the viewer may see; ``ranked`` puts the best of these first,
    and makes do with a page of them where more are dear to find.

    It gives up after a fraction of a second and says how far it came: nobody waits for a question that fits nothing.
    """
    if question.is_empty and not filters.are_any:
        return Found(hits=())
    end = time.monotonic() + _PATIENCE
    sight = await sight_of(connection, viewer)
    if sight.is_blind or question.oldest is None or question.newest is None:
        return Found(hits=())
    known = await wordstats.load(connection)
    hits: list[Hit] = []
    asked, stop, is_enough, is_late = 0, None, False, False
    stretches = _Stretches(question, filters, sight, start, known.rows)
    while stretches.goes_on and len(hits) <= most and not is_enough and not is_late:
        wanted = stretches.look(most + 1 - len(hits), ranked=ranked)
        seen = await look(connection, sight, question.words, filters, wanted)
        hits += seen.hits
        asked += min(seen.rows, wanted.rows) + stretches.passed(wanted) // _PASSED
        stop = stretches.after(seen)
        is_enough = ranked and len(hits) >= _FEWEST and asked >= _DEAR
        is_late = time.monotonic() > end
    if len(hits) > most:
        hits, stop, is_late = hits[:most], _position(hits[most]), False
    top = _position(hits[0]) if hits else None
    if ranked and question.has_words:
        hits.sort(key=lambda one: (-round(one.rank, 3), -one.started.timestamp(), -one.id))
    return Found(hits=tuple(hits), top=top, next_start=stop, reached=stop.moment if stop and is_late else None)


_LAST_ID = 2**62


def _position(hit: Hit) -> Position:
    return Position(moment=hit.started, id=hit.id)


# --- Looks ------------------------------------------------------------------------------------------------------------


class _Stretches:
    """Which weeks are looked at, one stretch behind the other; a long one in several looks."""

    def __init__(self, question: Question, filters: Filters, sight: Sight, start: Position | None, rows: float) -> None:
        assert question.oldest is not None
        assert question.newest is not None
        self._question = question
        self._start = start
        self._is_dear = bool(question.words.loose) or not sight.sees_all
        self._all_rows = max(rows, 1.0)
        self._share = question.share if question.has_words else 1.0
        self._whole = filters.card_id is not None
        self._tries_whole = question.is_guess or self._share * rows <= _RARE
        until = (question.newest, filters.until, start.moment if start else None)
        self._week = week_of(min(one for one in until if one is not None))
        self._last = week_of(max(one for one in (question.oldest, filters.since) if one is not None))
        self._a_week = self._all_rows / max(1.0, (question.newest - question.oldest) / timedelta(seconds=WEEK))
        self._width = self._first_width()
        self._rows = _MANY if self._is_dear or filters.are_any else WINDOW + WINDOW // 2
        self.goes_on = self._whole or self._tries_whole or self._week >= self._last

    def look(self, wanted: int, *, ranked: bool) -> Look:
        """The next one."""
        weeks = None if self._whole or self._tries_whole else (self._low, self._week)
        rare = _RARE if self._tries_whole and not self._whole else None
        return Look(weeks=weeks, start=self._start, rows=self._rows, wanted=wanted, rare=rare, ranked=ranked)

    def after(self, seen: Seen) -> Position | None:
        """Where to go on after it; None: nothing is left."""
        if self._tries_whole and not self._whole:
            self._tries_whole = False
            if seen.rows <= _RARE:
                self._whole = True
            else:  # it is more common than was thought
                self._share = max(self._share, _RARE / self._all_rows)
                self._width = self._first_width()
                self.goes_on = self._week >= self._last
                return self._start or Position(moment=start_of(self._week + 1), id=_LAST_ID)
        if seen.rest is not None:
            self._start = seen.rest
            return seen.rest
        low = self._low
        self.goes_on = not self._whole and low > self._last
        self._week, self._width = low - 1, 2 * self._width
        return Position(moment=start_of(low) - _INSTANT, id=_LAST_ID) if self.goes_on else None

    def passed(self, asked: Look) -> int:
        """How many rows the index has walked through for a look."""
        return 0 if asked.weeks is None else int((asked.weeks[1] - asked.weeks[0] + 1) * self._a_week)

    @property
    def _low(self) -> int:
        return self._last if self._width > MOST_WEEKS else max(self._last, self._week - self._width + 1)

    def _first_width(self) -> int:
        enough = _ENOUGH if not self._is_dear else _MANY
        width = int(enough / max(self._share * self._a_week, 0.01)) + 1
        return max(1, min(MOST_WEEKS, width, int(_MOST_PASSED / max(self._a_week, 1.0))))


_INSTANT = timedelta(microseconds=1)
_BOUNDS = """
    least((SELECT min(started_at) FROM interaction), (SELECT at FROM card_note ORDER BY id LIMIT 1)) AS oldest,
    greatest((SELECT max(started_at) FROM interaction), (SELECT at FROM card_note ORDER BY id DESC LIMIT 1)) AS newest
"""

__all__ = ["FILE", "NOTE", "WINDOW", "Filters", "Found", "Hit", "Question", "ask", "find", "fold", "look"]
