"""What further copies of a mail add to it: recipients that only the envelope or a journal report knows.

A copy from a mailbox names whom its header names; the journal's copy knows who was in Bcc, and which members of a group
got it; several reports of one mail know some each. The header's people are those of the first copy and stay so.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import TextClause, bindparam, select, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import CapturedParty
from agent.model_mail import Wrapping
from agent.store.schema import interaction, party

_ADDED = ("bcc", "expanded", "envelope")  # what says more comes first
_MOST_PARTIES = 30_000  # of one interaction; an ordinal is a small integer
_WRAPPING: TypeAdapter[Wrapping] = TypeAdapter(Wrapping)


def _of_rows(sql: str) -> TextClause:
    return text(sql).bindparams(bindparam("rows", type_=JSONB))


_BETTER_KNOWN = _of_rows(
    """
    UPDATE party SET position = r.position FROM jsonb_to_recordset(:rows) AS r(id bigint, position text)
    WHERE party.id = r.id
    """
)
_MISSING = _of_rows(
    """
    INSERT INTO party (interaction_id, ordinal, position, kind, value, name)
    SELECT interaction_id, ordinal, position, kind, value, name
    FROM jsonb_to_recordset(:rows)
         AS r(interaction_id bigint, ordinal smallint, position text, kind text, value text, name text)
    """
)
_WRAPPED = _of_rows(
    """
    UPDATE evidence SET details = details || jsonb_build_object('wrapping', r.wrapping)
    FROM jsonb_to_recordset(:rows) AS r(id bigint, wrapping jsonb)
    WHERE evidence.id = r.id
    """
)


@dataclass(slots=True)
class _Known:
    """Who took part in an interaction so far: address in lower case → row and position; the next ordinal."""

    people: dict[str, tuple[int, str]] = field(default_factory=dict)
    ordinal: int = 0


async def merge_parties(
    connection: AsyncConnection, copies: Sequence[tuple[int, Sequence[CapturedParty]]]
) -> tuple[int, ...]:
    """Add what copies know to the interactions they belong to, whose mails must be locked by their keys.

    Returns those that learned something: they are to be linked anew. An erased one learns nothing.
    """
    told = _told(copies)
    if not told:
        return ()
    known = await _known(connection, sorted(told))
    better: list[dict[str, Any]] = []
    missing: list[dict[str, Any]] = []
    changed = set()
    for number, interaction_parties in told.items():
        if number not in known:
            continue
        for key, one in interaction_parties.items():
            row = known[number].people.get(key)
            if row is None and known[number].ordinal < _MOST_PARTIES:
                missing.append(_row(number, known[number].ordinal, one))
                known[number].ordinal += 1
                changed.add(number)
            elif row is not None and _says_more(one.position, row[1]):
                better.append({"id": row[0], "position": one.position})
                changed.add(number)
    for statement, rows in ((_BETTER_KNOWN, better), (_MISSING, missing)):
        if rows:
            await connection.execute(statement, {"rows": rows})
    return tuple(sorted(changed))


def _told(copies: Sequence[tuple[int, Sequence[CapturedParty]]]) -> dict[int, dict[str, CapturedParty]]:
    """By interaction, each address once, as the copy has it that says most of it."""
    told: dict[int, dict[str, CapturedParty]] = defaultdict(dict)
    for number, parties in copies:
        for one in parties:
            if one.position in _ADDED and one.value:
                before = told[number].get(one.value.lower())
                if before is None or _says_more(one.position, before.position):
                    told[number][one.value.lower()] = one
    return told


def _says_more(position: str, than: str) -> bool:
    return than in _ADDED and _ADDED.index(position) < _ADDED.index(than)


async def _known(connection: AsyncConnection, interaction_ids: Sequence[int]) -> dict[int, _Known]:
    """Of those that are not erased. Who is named by Reply-To only has not taken part by that."""
    living = select(interaction.c.id).where(interaction.c.id.in_(interaction_ids), interaction.c.erasure_id.is_(None))
    known = {number: _Known() for number in (await connection.execute(living)).scalars()}
    columns = (party.c.id, party.c.interaction_id, party.c.ordinal, party.c.position, party.c.value)
    for row in await connection.execute(select(*columns).where(party.c.interaction_id.in_(known))):
        one = known[row.interaction_id]
        one.ordinal = max(one.ordinal, row.ordinal + 1)
        if row.position != "reply_to":
            one.people[row.value.lower()] = (row.id, row.position)
    return known


def _row(number: int, ordinal: int, one: CapturedParty) -> dict[str, Any]:
    names = ("position", "kind", "value", "name")
    return {"interaction_id": number, "ordinal": ordinal} | {name: getattr(one, name) for name in names}


async def note_wrappings(connection: AsyncConnection, found: Sequence[tuple[int, Wrapping | None]]) -> None:
    """Note beside evidence where in it the mail lies that was read."""
    rows = [
        {"id": number, "wrapping": _WRAPPING.dump_python(one, mode="json")} for number, one in found if one is not None
    ]
    if rows:
        await connection.execute(_WRAPPED, {"rows": rows})
