"""What a viewer may see, as conditions of statements that are written out and look at hundreds of rows.

They say the same as those of `agent.store.rights`, which decides. A card that somebody sees because he took part in
something on it is dear to ask about: fifty entries of it may have to be looked at until one of his is met, and all of
them for a card that is not his. So it is remembered for a minute which cards he sees, and of each the entry that shows
it to him. A card that is not remembered is not his; for one that is, the remembered entry is looked at now, and where
it shows the card no more, all of it. So nothing is seen a moment longer than it may be, and a card that became his is
found up to a minute later (entries in which he took part himself at once).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import BigInteger, Engine, TextClause, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.store.asking import Query, ask
from agent.store.rights import Tenure, Viewer, not_private

_KEEP_SECONDS = 60.0
_MOST_VIEWERS = 200  # of whom cards are remembered, a process

_private = lru_cache(maxsize=16)(not_private)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """Conditions for a viewer, on a column as it stands in the statement; ``values`` are what they name, and each
    begins with ``sight_``. ``is_blind``: there is nothing he may see."""

    sees_all: bool
    is_blind: bool
    is_bounded: bool
    values: Mapping[str, object]

    @property
    def beginning(self) -> str:
        """How a statement has to begin in which the conditions stand: long arrays are sent and copied once."""
        return "WITH" if self.sees_all else _BEGINNING

    def of_interaction(self, number: str) -> str:
        """Whether he may see this interaction (`agent.store.rights.is_visible_interaction`)."""
        return _private(number) if self.sees_all else _of_interaction(number, is_bounded=self.is_bounded)

    def of_card(self, number: str) -> str:
        """Whether this card exists for him (`agent.store.rights.is_visible_card`)."""
        return "true" if self.sees_all else _of_card(number, is_bounded=self.is_bounded)


async def sight_of(connection: AsyncConnection, viewer: Viewer) -> Sight:
    """That of a viewer as he is now; may look for his cards, which takes the longer the more entries are his."""
    if viewer.sees_all:
        return Sight(sees_all=True, is_blind=False, is_bounded=False, values={})
    now = datetime.now(UTC)
    members = _members(viewer.tenures, now)
    known = await _known_cards(connection, viewer.tenures, members) if viewer.tenures else _NONE
    return Sight(
        sees_all=False,
        is_blind=not viewer.tenures,
        is_bounded=bool(members["sight_some"]),
        values={**members, "sight_cards": known.cards, "sight_entries": known.entries},
    )


def _members(tenures: tuple[Tenure, ...], now: datetime) -> dict[str, Any]:
    """Whose work he sees: of all time, and of some (`sight_some`, from, until); and whose cards are his today."""
    always = {one.employee_id for one in tenures if one.since is None and one.until is None}
    bounded = [one for one in tenures if one.employee_id not in always]
    return {
        "sight_always": sorted(always),
        "sight_some": [one.employee_id for one in bounded],
        "sight_since": [one.since.isoformat() if one.since else "-infinity" for one in bounded],
        "sight_until": [one.until.isoformat() if one.until else "infinity" for one in bounded],
        "sight_responsible": sorted({one.employee_id for one in tenures if one.is_valid(now)}),
    }


# --- Conditions -------------------------------------------------------------------------------------------------------

_ALWAYS, _RESPONSIBLE = "CAST(:sight_always AS bigint[])", "CAST(:sight_responsible AS bigint[])"
_CARDS, _ENTRIES = "(SELECT cards FROM sight)", "(SELECT entries FROM sight)"
_BEGINNING = """WITH sight AS MATERIALIZED (
    SELECT CAST(:sight_cards AS bigint[]) AS cards, CAST(:sight_entries AS bigint[]) AS entries),"""
_SOME = (
    "unnest(CAST(:sight_some AS bigint[]), CAST(:sight_since AS timestamptz[]), CAST(:sight_until AS timestamptz[]))"
    " AS member (id, since, until)"
)


def _is_member(employee: str, at: str, *, is_bounded: bool) -> str:
    always = f"{employee} = ANY({_ALWAYS})"
    if not is_bounded:
        return always
    some = f"SELECT FROM {_SOME} WHERE member.id = {employee} AND {at} >= member.since AND {at} < member.until"
    return f"({always} OR EXISTS ({some}))"


@lru_cache(maxsize=16)
def _of_interaction(number: str, *, is_bounded: bool) -> str:
    joined = "JOIN interaction met ON met.id = own.interaction_id" if is_bounded else ""
    member = _is_member("own.employee_id", "met.started_at", is_bounded=is_bounded)
    return f"""(
        (EXISTS (SELECT FROM party own {joined} WHERE own.interaction_id = {number} AND {member})
         OR EXISTS (SELECT FROM link stands WHERE stands.interaction_id = {number}
                    AND stands.client_card_id IS NOT NULL
                    AND {_of_card("stands.client_card_id", is_bounded=is_bounded)}))
        AND {_private(number)})"""  # noqa: S608 - our own words


@lru_cache(maxsize=16)
def _of_card(number: str, *, is_bounded: bool) -> str:
    """The remembered cards are in order, so a card's place among them is found by halving."""
    shows = f"""
        SELECT FROM link shown JOIN party seen ON seen.interaction_id = shown.interaction_id
        WHERE shown.client_card_id = {number}
            AND {_is_member("seen.employee_id", "shown.started_at", is_bounded=is_bounded)}
    """
    return f"""EXISTS (
        SELECT FROM (SELECT width_bucket({number}, {_CARDS}) AS place OFFSET 0) AS kept
        WHERE ({_CARDS})[kept.place] = {number} AND (
            EXISTS (SELECT FROM client_card his WHERE his.id = {number} AND his.responsible_id = ANY({_RESPONSIBLE}))
            OR EXISTS ({shows} AND shown.interaction_id = ({_ENTRIES})[kept.place])
            OR EXISTS ({shows})))"""  # noqa: S608 - our own words


# --- Cards that are remembered ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """Cards in order, and of each an entry that shows it (0: he is responsible); arrays as PostgreSQL writes them."""

    cards: str = "{}"
    entries: str = "{}"
    until: float = 0.0  # by the monotonic clock


_NONE = _Known()
_known: WeakKeyDictionary[Engine, dict[tuple[Tenure, ...], _Known]] = WeakKeyDictionary()


async def _known_cards(
    connection: AsyncConnection, tenures: tuple[Tenure, ...], members: Mapping[str, object]
) -> _Known:
    assert connection.sync_connection is not None
    known = _known.setdefault(connection.sync_connection.engine, {})
    kept = known.get(tenures)
    if kept is not None and kept.until > time.monotonic():
        return kept
    statement = _LOAD_BOUNDED if members["sight_some"] else _LOAD
    names = (name for name in members if f":{name} " in f"{statement.text} ")
    (row,) = await ask(
        connection,
        Query(statement=statement, values={name: members[name] for name in names}, read=lambda rows: rows[0]),
    )
    if len(known) > _MOST_VIEWERS:
        known.clear()
    known[tenures] = _Known(cards=row.cards, entries=row.entries, until=time.monotonic() + _KEEP_SECONDS)
    return known[tenures]


def _load(*, is_bounded: bool) -> TextClause:
    """With the newest entry of each, which stays one that shows it the longest."""
    some = f"""
        UNION ALL
        SELECT shown.client_card_id, shown.interaction_id
        FROM {_SOME} JOIN party seen ON seen.employee_id = member.id
            JOIN link shown ON shown.interaction_id = seen.interaction_id
        WHERE shown.client_card_id IS NOT NULL AND shown.started_at >= member.since AND shown.started_at < member.until
    """  # noqa: S608 - our own words
    return text(
        f"""
        SELECT coalesce(array_agg(card ORDER BY card), '{{}}')::text AS cards,
            coalesce(array_agg(entry ORDER BY card), '{{}}')::text AS entries
        FROM (SELECT card, max(entry) AS entry FROM (
            SELECT shown.client_card_id AS card, shown.interaction_id AS entry
            FROM party seen JOIN link shown ON shown.interaction_id = seen.interaction_id
            WHERE seen.employee_id = ANY({_ALWAYS}) AND shown.client_card_id IS NOT NULL
            {some if is_bounded else ""}
            UNION ALL SELECT his.id, 0 FROM client_card his WHERE his.responsible_id = ANY({_RESPONSIBLE})) AS each
            GROUP BY card) AS made
        """  # noqa: S608 - our own words
    ).bindparams(*(bindparam(name, type_=ARRAY(BigInteger)) for name in ("sight_always", "sight_responsible")))


_LOAD, _LOAD_BOUNDED = _load(is_bounded=False), _load(is_bounded=True)
