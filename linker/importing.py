"""Lists of cards taken in: shown first as what would come of them, then done in pieces by a job that may be killed.

A row is the card that has one of its numbers or addresses, and then only adds what that lacks; else it is a new one.
Where its numbers are on several cards nothing is done, and it is said. So the same list twice makes nothing twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from agent import jobs
from agent.model import Identity
from agent.store import cardimports, cards, linking, notes
from agent.store.cardimports import KEPT_PROBLEMS, CardImport
from agent.store.engine import Store
from linker.csvcards import CardRow, Plan, read_rows
from linker.link import Linker
from linker.reading import Reader

log = structlog.get_logger()

_PIECE = 300  # rows of one transaction, during which nobody else decides
_SHOWN = 30


@dataclass(slots=True)
class Tally:
    """What comes of a list: ``new`` cards, cards ``filled`` up, rows ``left_out``, and in words why."""

    rows: int = 0
    new: int = 0
    filled: int = 0
    left_out: int = 0
    problems: list[str] = field(default_factory=list)

    def say(self, line: int, what: str) -> None:
        """A problem of a line, as long as there are not too many to read."""
        if len(self.problems) < KEPT_PROBLEMS:
            self.problems.append(f"line {line}: {what}")

    def to_json(self) -> dict[str, Any]:
        """For the database."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreseen:
    """What would become of one row: ``new``, ``filled`` or ``left_out``, and on which card."""

    row: CardRow
    outcome: str
    card_id: int | None = None
    card_name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What would come of a list, without doing it; the first rows one by one."""

    tally: Tally
    rows: tuple[Foreseen, ...]


async def preview(connection: AsyncConnection, one: CardImport, reader: Reader) -> Preview:
    """A dry run: nothing is written."""
    rows = await asyncio.to_thread(_read, one, reader)
    known = await _known(connection, rows)
    people = await cardimports.find_employees(connection)
    tally, shown = Tally(), list[Foreseen]()
    met: dict[Identity | str, int] = {}
    for row in rows:
        outcome, card = _outcome(row, known, met)
        tally.rows += 1
        setattr(tally, outcome, getattr(tally, outcome) + 1)
        _complain(tally, row, outcome, people)
        if len(shown) < _SHOWN:
            shown.append(Foreseen(row=row, outcome=outcome, card_id=card[0] or None, card_name=card[1]))
    return Preview(tally=tally, rows=tuple(shown))


_Known = Mapping[Identity, Sequence[tuple[int, str]]]


def _outcome(row: CardRow, known: _Known, met: dict[Identity | str, int]) -> tuple[str, tuple[int, str]]:
    """By numbers and addresses; a row without any is known by its name, and only within this list."""
    found = {card for identity, _ in row.contacts for card in known.get(identity, ())}
    marks: list[Identity | str] = [identity for identity, _ in row.contacts] or [row.name]
    before = {met[one] for one in marks if one in met}
    met.update(dict.fromkeys(marks, row.line))
    if len(found) > 1:
        return "left_out", (0, "")
    if found:
        return "filled", next(iter(found))
    return ("filled" if before else "new"), (0, "")


def _complain(tally: Tally, row: CardRow, outcome: str, people: Mapping[str, int]) -> None:
    for problem in row.problems:
        tally.say(row.line, problem)
    if outcome == "left_out":
        tally.say(row.line, f"its numbers are on several cards: {row.name}")
    if row.responsible and _folded(row.responsible) not in people:
        tally.say(row.line, f"no employee is called {row.responsible}")


def _folded(name: str) -> str:
    return " ".join(name.casefold().split())


def _read(one: CardImport, reader: Reader) -> list[CardRow]:
    return list(read_rows(one.content or b"", Plan.from_json(one.plan), reader.identity))


async def _known(connection: AsyncConnection, rows: Sequence[CardRow]) -> _Known:
    identities = list(dict.fromkeys(identity for row in rows for identity, _ in row.contacts))
    known: dict[Identity, tuple[tuple[int, str], ...]] = {}
    for at in range(0, len(identities), 5000):
        known |= await cardimports.find_cards_of(connection, identities[at : at + 5000])
    return known


class CardImporter:
    """The job that takes a list in."""

    def __init__(self, store: Store, linker: Linker) -> None:
        self._store = store
        self._linker = linker

    async def take_in(self, import_id: int) -> None:
        """The next piece of a list; the one after it is another job. Done twice, it makes nothing twice."""
        async with self._store.begin() as connection:
            await linking.lock_knowledge(connection)
            one = await cardimports.find_import(connection, import_id, lock=True)
            if one is None or one.content is None or not one.applied:
                return
            tally = Tally(**one.report)
            rows = await asyncio.to_thread(_piece, one, self._linker, tally.rows)
            await self._save(connection, rows, tally, by=one.by)
            is_done = len(rows) < _PIECE
            await cardimports.note(connection, import_id, tally.to_json(), is_done=is_done)
            if not is_done:
                await jobs.defer(connection, [jobs.Job(task=jobs.IMPORT_CARDS, args={"import_id": import_id})])
        log.info("cards_taken_in", import_id=import_id, rows=len(rows), is_done=is_done)

    async def _save(self, connection: AsyncConnection, rows: Sequence[CardRow], tally: Tally, *, by: str) -> None:
        people = await cardimports.find_employees(connection)
        companies = await _companies(connection, rows)
        namesakes = await cardimports.find_by_name(connection, [one.name for one in rows if not one.contacts], "person")
        fresh: dict[Identity, None] = {}
        for row in rows:
            known = await cardimports.find_cards_of(connection, [identity for identity, _ in row.contacts])
            found = {card for each in known.values() for card, _ in each}
            tally.rows += 1
            if len(found) > 1:
                tally.left_out += 1
                _complain(tally, row, "left_out", people)
                continue
            own = found.pop() if found else None if row.contacts else _by_name(row, companies, namesakes)
            is_new = own is None
            card_id = await cards.insert_card(connection, row.name, kind=row.kind, origin="csv") if own is None else own
            if not row.contacts:
                (companies if row.kind == "company" else namesakes)[row.name] = card_id
            tally.new += is_new
            tally.filled += not is_new
            _complain(tally, row, "", people)
            fresh |= dict.fromkeys(await self._complete(connection, card_id, row, companies, people, is_new, by))
        await self._linker.relink_identities(connection, list(fresh), by=by)

    async def _complete(
        self,
        connection: AsyncConnection,
        card_id: int,
        row: CardRow,
        companies: Mapping[str, int],
        people: Mapping[str, int],
        is_new: bool,
        by: str,
    ) -> list[Identity]:
        """What the card lacks; returns the contact points that it has got."""
        company, responsible = companies.get(row.company), people.get(_folded(row.responsible))
        await cardimports.fill(connection, card_id, company=company, responsible=responsible, stage=row.stage)
        if row.note and is_new:
            await notes.add_note(connection, card_id, row.note, by=by)
        return [
            identity
            for identity, label in row.contacts
            if await cards.insert_contact_point(connection, card_id, identity, label=label)
        ]


def _by_name(row: CardRow, companies: Mapping[str, int], namesakes: Mapping[str, int]) -> int | None:
    """A row without number or address is the card of its name, as there is nothing else to tell them apart by."""
    return (companies if row.kind == "company" else namesakes).get(row.name)


def _piece(one: CardImport, reader: Reader, after: int) -> list[CardRow]:
    rows: Iterable[CardRow] = read_rows(one.content or b"", Plan.from_json(one.plan), reader.identity)
    return list(islice(rows, after, after + _PIECE))


async def _companies(connection: AsyncConnection, rows: Sequence[CardRow]) -> dict[str, int]:
    """The companies that rows name, made where there is none of that name."""
    wanted = {one.company for one in rows if one.company} | {one.name for one in rows if one.kind == "company"}
    found = await cardimports.find_by_name(connection, sorted(wanted), "company")
    for name in sorted({one.company for one in rows if one.company} - found.keys()):
        found[name] = await cards.insert_card(connection, name, kind="company", origin="csv")
    return found
