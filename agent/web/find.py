"""The page Find: one box over all that was said and written, cards that fit first, and searches that are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import parse_qsl

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.store import (
    cards,
    cardsearch,
    employees,
    history,
    rights,
    savedsearches,
    search,
    searching,
    searchshown,
    wordstats,
)
from agent.store.asking import Query, ask_all
from agent.store.clients import Position
from agent.store.rights import Viewer
from agent.store.searching import Found, Hit, Question
from agent.store.searchquery import parse_query
from agent.store.searchshown import FoundComment, FoundEntry, FoundFile, FoundLine, FoundNote
from agent.store.sight import sight_of
from agent.web.findquery import BEST, NEWEST, FindQuery, query_of, read_cursor, read_query, write_cursor
from agent.web.formats import zone_of
from agent.web.pages import page
from agent.web.phones import phone
from agent.web.services import login_of, number_in, services
from agent.web.snippets import Pieces, mark, snippet, words_of

PAGE_SIZE = 20
_MOST_PLACES = 3
_LONG_LINE = 240
_MOST_WAITING = 10_000  # that are counted
_LONGEST_NAME = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where in an entry something was found: at a second of a call, in the text, in a file, or in a comment."""

    url: str
    pieces: Pieces
    second: float | None = None
    file: str = ""
    is_comment: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One entry, or one note on a card (``entry`` is None then), with the places in it."""

    url: str
    started: datetime
    kind: str
    entry: FoundEntry | None
    note: FoundNote | None
    title: Pieces
    people: Pieces
    places: tuple[Place, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What the form offers."""

    employees: Sequence[tuple[int, str]]
    tags: Sequence[str]
    card: str
    who: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A page of results; ``reached``: it was looked back to then, and may be looked on."""

    results: tuple[Result, ...] = ()
    next_url: str = ""
    total: int = 0
    is_more: bool = False
    reached: datetime | None = None
    only_stop_words: bool = False


async def show_find(request: web.Request) -> web.StreamResponse:
    """Hits grouped by entry, the best among the newest first; without a question the searches that are kept."""
    query, cursor = read_query(request), read_cursor(request.query.get("after", ""))
    viewer = login_of(request).viewer
    shown, terms = Shown(), parse_query(query.q)
    async with services(request).store.begin() as connection:
        sight = await sight_of(connection, viewer)
        is_plain = bool(query.q) and cursor is None and not query.has_filters
        saved, tags, waiting, names, forms, fitting = await ask_all(
            connection,
            (
                savedsearches.searches_of(viewer.account_id),
                searchshown.tags(),
                search.backlog_of(_MOST_WAITING),
                _names(viewer),
                searching.forms_of(terms),
                cardsearch.fitting(sight, query.q if is_plain else ""),
            ),
        )
        choices = await _choices(connection, viewer, query, tags, names)
        if not query.is_empty:
            question = searching.understood(terms, forms, await wordstats.load(connection))
            shown = await _search(request, connection, viewer, query, question, cursor)
    return page(
        request,
        "find.html",
        query=query,
        shown=shown,
        fitting=fitting,
        saved=saved,
        choices=choices,
        is_first=cursor is None,
        waiting=waiting.waiting if viewer.sees_all else 0,
        problem="find_save_wrong" if request.query.get("problem") == "find_save_wrong" else "",
        is_saved=any(query_of(dict(parse_qsl(one.query))) == query for one in saved),
    )


async def _search(
    request: web.Request,
    connection: AsyncConnection,
    viewer: Viewer,
    query: FindQuery,
    question: Question,
    cursor: tuple[Position, int] | None,
) -> Shown:
    start, offset = cursor or (None, 0)
    if question.is_empty and query.q and not query.has_filters:
        return Shown(only_stop_words=True)
    is_best = query.order == BEST and question.has_words
    most = searching.WINDOW if is_best else 2 * PAGE_SIZE
    found = await searching.find(
        connection, viewer, question, query.filters(zone_of(request.cookies)), start=start, most=most, ranked=is_best
    )
    groups = grouped(found.hits)
    chosen = groups[offset : offset + PAGE_SIZE]
    next_url = _next_url(query, found, offset, len(groups))
    return Shown(
        results=tuple(await load_results(connection, viewer, question, chosen)),
        next_url=next_url,
        total=len(groups),
        is_more=found.next_start is not None or start is not None,
        reached=found.reached if offset + PAGE_SIZE >= len(groups) else None,
    )


def _next_url(query: FindQuery, found: Found, offset: int, count: int) -> str:
    if offset + PAGE_SIZE < count and found.top is not None:
        return query.url(after=write_cursor(found.top, offset + PAGE_SIZE))
    return query.url(after=write_cursor(found.next_start)) if found.next_start is not None else ""


def grouped(hits: Iterable[Hit]) -> list[list[Hit]]:
    """Hits of an entry together, where its first one stands."""
    groups: dict[tuple[int | None, int | None], list[Hit]] = {}
    for one in hits:
        groups.setdefault((one.interaction_id, one.note_id), []).append(one)
    return list(groups.values())


def _names(viewer: Viewer) -> Query[dict[int, str]]:
    return employees.names() if viewer.sees_all else history.employee_names([one.employee_id for one in viewer.tenures])


async def _choices(
    connection: AsyncConnection, viewer: Viewer, query: FindQuery, tags: Sequence[str], names: Mapping[int, str]
) -> Choices:
    card = ""
    if query.card is not None and await rights.may_see_card(connection, viewer, query.card):
        found = await cards.find_card(connection, query.card)
        card = found.name if found else ""
    return Choices(
        employees=sorted(names.items(), key=lambda one: one[1]),
        tags=tags,
        card=card,
        who=names.get(query.who or 0, ""),
    )


# --- Results ----------------------------------------------------------------------------------------------------------


async def load_results(
    connection: AsyncConnection, viewer: Viewer, question: Question, groups: Sequence[Sequence[Hit]]
) -> list[Result]:
    """Groups of hits with what stands there."""
    ids = [group[0].interaction_id for group in groups if group[0].interaction_id is not None]
    hits = [one for group in groups for one in group]
    entries = await searchshown.load_entries(connection, viewer, ids)
    files = await searchshown.load_files(connection, hits)
    notes = await searchshown.load_notes(connection, hits)
    spoken = {line.id: words_of(line.text) for one in entries.values() for line in one.lines}
    words: set[str] = set().union(*spoken.values())
    for text in _texts(entries.values(), files.values(), notes.values()):
        words |= words_of(text)
    found = await searchshown.match_words(connection, words, question.lexemes, question.prefixes)
    results = []
    best = {one.id: _best_lines(one, spoken, found) for one in entries.values() if one.lines}
    said = await searchshown.load_words(connection, [line.id for lines in best.values() for line in lines])
    for group in groups:
        first = group[0]
        if first.interaction_id in entries:
            entry = entries[first.interaction_id]
            places = _lines(entry, best.get(entry.id, ()), said, found.__contains__)
            results.append(_entry(entry, group, files, places, found.__contains__))
        elif first.note_id in notes:
            results.append(_note(notes[first.note_id], first, found.__contains__))
    return results


def _texts(entries: Iterable[FoundEntry], files: Iterable[FoundFile], notes: Iterable[FoundNote]) -> Iterable[str]:
    for entry in entries:
        yield from (entry.subject, entry.text)
        yield from (one.text for one in entry.comments)
        yield from (text for name, contact, _ in entry.people for text in (name, contact))
    for file in files:
        yield from (file.name, file.text)
    yield from (note.text for note in notes)


def _entry(
    entry: FoundEntry,
    group: Sequence[Hit],
    files: dict[tuple[int, int], FoundFile],
    lines: Sequence[Place],
    is_hit: Callable[[str], bool],
) -> Result:
    url = f"/interactions/{entry.id}"
    places: list[Place] = []
    is_own = any(one.file is None for one in group)
    if entry.lines and is_own:
        places = list(lines)
    elif entry.text and (is_own or not group):
        places = [Place(url=url, pieces=snippet(entry.text, is_hit)[0])]
    if is_own and (noted := _noted(entry, is_hit)):
        places = [one for one in places if any(is_marked for _, is_marked in one.pieces)] + noted
    for one in group:
        file = files.get((entry.id, one.file)) if one.file is not None else None
        if file is not None:
            name = mark(file.name, is_hit)
            pieces, _ = snippet(file.text, is_hit) if file.text else (name, 0)
            places.append(Place(url=f"/attachments/{file.id}", pieces=pieces, file=file.name))
    if len(places) == 1 and places[0].second is not None:
        url = places[0].url
    return Result(
        url=url,
        started=entry.started,
        kind=entry.kind,
        entry=entry,
        note=None,
        title=mark(entry.subject[:300], is_hit),
        people=_people(entry, is_hit),
        places=tuple(places[: _MOST_PLACES + 1]),
    )


def _best_lines(entry: FoundEntry, spoken: Mapping[int, Set[str]], hits: Set[str]) -> list[FoundLine]:
    """The lines with the most of what was looked for, in the order in which they were said; without any the first."""
    scored = []
    for place, line in enumerate(entry.lines):
        different = {word.casefold() for word in spoken[line.id] & hits}
        if different:
            scored.append((-len(different), place))
    best = sorted(place for _, place in sorted(scored)[:_MOST_PLACES]) or [0]
    return [entry.lines[place] for place in best]


def _lines(
    entry: FoundEntry,
    lines: Sequence[FoundLine],
    said: Mapping[int, Sequence[tuple[float, str]]],
    is_hit: Callable[[str], bool],
) -> list[Place]:
    """Each at the second at which the first word that was looked for is said in it."""
    places = []
    for line in lines:
        heard = (second for second, word in said.get(line.id, ()) if any(map(is_hit, words_of(word))))
        second = next(heard, line.second)
        places.append(
            Place(
                url=f"/interactions/{entry.id}?at={second:.1f}",
                pieces=snippet(line.text, is_hit, length=_LONG_LINE)[0],
                second=second,
            )
        )
    return places


def _noted(entry: FoundEntry, is_hit: Callable[[str], bool]) -> list[Place]:
    """Comments in which something was found, each at its second of its recording."""
    found = []
    for one in entry.comments:
        pieces, score = snippet(one.text, is_hit)
        if score:
            found.append(Place(url=_comment_url(entry.id, one), pieces=pieces, second=one.second, is_comment=True))
    return found[:_MOST_PLACES]


def _comment_url(interaction_id: int, one: FoundComment) -> str:
    url = f"/interactions/{interaction_id}"
    return f"{url}#comments" if one.second is None else f"{url}?at={one.second:.1f}&recording={one.recording_id}"


def _people(entry: FoundEntry, is_hit: Callable[[str], bool]) -> Pieces:
    """Names, or numbers where there are none; the client first."""
    pieces: list[tuple[str, bool]] = []
    for name, contact, _ in sorted(entry.people, key=lambda one: one[2])[:4]:
        shown = phone(contact) if contact.startswith("+") else contact
        if pieces:
            pieces.append((" · ", False))
        pieces += mark(name, is_hit) if name and name != contact else ()
        if not name or name == contact or any(map(is_hit, words_of(contact))):
            pieces += [(" ", False)] if name and name != contact else []
            pieces.append((shown, any(map(is_hit, words_of(contact)))))
    return tuple(pieces)


def _note(note: FoundNote, hit: Hit, is_hit: Callable[[str], bool]) -> Result:
    url = f"/cards/{note.card_id}"
    return Result(
        url=url,
        started=hit.started,
        kind="note",
        entry=None,
        note=note,
        title=((note.card, False),),
        people=((note.by, False),),
        places=(Place(url=url, pieces=snippet(note.text, is_hit)[0]),),
    )


# --- Searches that are kept -------------------------------------------------------------------------------------------


async def save_search(request: web.Request) -> web.StreamResponse:
    """Keep the search of the form's address under a name."""
    form = await request.post()
    query = query_in(str(form.get("query", "")))
    name = " ".join(str(form.get("name", "")).replace("\0", "").split())[:_LONGEST_NAME]
    if query.is_empty:
        raise web.HTTPBadRequest
    kept = False
    if name:
        account = login_of(request).viewer.account_id
        text = query.url().partition("?")[2]
        async with services(request).store.begin() as connection:
            kept = await savedsearches.save_search(connection, account, name, text)
    raise web.HTTPSeeOther(query.url() if kept else query.url(problem="find_save_wrong"))


def query_in(text: str) -> FindQuery:
    """Of what stands behind the question mark of the page's address."""
    return query_of(dict(parse_qsl(text[:2000])))


async def remove_search(request: web.Request) -> web.StreamResponse:
    """Forget one of the reader's own."""
    async with services(request).store.begin() as connection:
        if not await savedsearches.remove_search(connection, login_of(request).viewer.account_id, number_in(request)):
            raise web.HTTPNotFound
    raise web.HTTPSeeOther("/find")


__all__ = ["NEWEST", "query_in", "remove_search", "save_search", "show_find"]
