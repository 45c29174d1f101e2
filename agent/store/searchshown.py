"""What a page of hits shows: the interactions with people and cards, and the words in which something was found.

Only for the few interactions of one page, in a fixed number of statements.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import BigInteger, Text, bindparam, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.store.asking import Query, ask
from agent.store.engine import is_any
from agent.store.folding import folded
from agent.store.rights import Viewer
from agent.store.schema import attachment, card_note, client_card
from agent.store.searchindex import CONFIG
from agent.store.searching import Hit, fold
from agent.store.searchlooks import statement
from agent.store.sight import sight_of

_MOST_LINES = 1_500  # of a call
_MOST_COMMENTS = 500  # of a call, the newest
_LONGEST_TEXT = 60_000  # characters of a mail or a file that are looked through for a place to show
_KEPT_WORDS = 200_000


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundLine:
    """An utterance of a call: its second, and on which channel."""

    id: int
    second: float
    channel: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundComment:
    """What somebody noted on a call, at a second of a recording or (None) on the whole."""

    recording_id: int | None
    second: float | None
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundEntry:
    """An interaction. ``people`` are (name, contact, is ours); ``cards`` only those that the viewer may see."""

    id: int
    kind: str
    direction: str
    started: datetime
    talk_seconds: float | None
    is_missed: bool
    subject: str
    text: str
    people: tuple[tuple[str, str, bool], ...]
    cards: tuple[tuple[int, str], ...]
    lines: tuple[FoundLine, ...]
    comments: tuple[FoundComment, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundFile:
    """An attached file."""

    id: int
    name: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundNote:
    """A note on a card."""

    card_id: int
    card: str
    by: str
    text: str


_IDS = bindparam("ids", type_=ARRAY(BigInteger))
_LINES = f"""
    SELECT json_agg(json_build_array(u.id, u.start_ms, u.channel, coalesce(k.text, u.text)) ORDER BY u.start_ms, u.id)
    FROM (SELECT DISTINCT ON (recording_id) id FROM transcript WHERE interaction_id = i.id
          ORDER BY recording_id, shown_at DESC, id DESC) AS t
        CROSS JOIN LATERAL (
            SELECT * FROM utterance WHERE transcript_id = t.id ORDER BY start_ms, id LIMIT {_MOST_LINES}) AS u
        LEFT JOIN utterance_correction k ON k.utterance_id = u.id AND k.ended_at IS NULL
"""  # noqa: S608 - our own numbers
_COMMENTS = f"""
    SELECT json_agg(json_build_array(c.recording_id, c.at_ms, c.text)
                    ORDER BY c.recording_id NULLS FIRST, c.at_ms, c.id)
    FROM (SELECT * FROM comment WHERE interaction_id = i.id AND removed_at IS NULL
          ORDER BY id DESC LIMIT {_MOST_COMMENTS}) AS c
"""  # noqa: S608 - our own numbers
_ENTRIES = """
    {beginning} wanted AS MATERIALIZED (SELECT unnest(CAST(:ids AS bigint[])) AS id)
    SELECT i.id, i.kind, coalesce(i.direction, 'unknown') AS direction, i.started_at,
        CASE WHEN c.answered_at IS NOT NULL THEN extract(epoch FROM c.ended_at - c.answered_at)::float END AS talk,
        coalesce(c.disposition = 'no_answer' AND i.direction IS DISTINCT FROM 'outbound', false) AS is_missed,
        coalesce(m.subject, g.summary, '') AS subject, coalesce(left(m.text, :longest), g.location, '') AS words,
        (SELECT json_agg(json_build_array(coalesce(e.name, nullif(p.name, ''), ''),
                                          coalesce(p.identity_value, p.value), coalesce(p.role = 'employee', false))
                         ORDER BY p.ordinal) FROM party p LEFT JOIN employee e ON e.id = p.employee_id
         WHERE p.interaction_id = i.id) AS people,
        (SELECT json_agg(json_build_array(a.id, a.name) ORDER BY l.id) FROM link l
             JOIN client_card a ON a.id = l.client_card_id
         WHERE l.interaction_id = i.id AND {may_see}) AS cards,
        ({lines}) AS lines, ({comments}) AS comments
    FROM wanted w JOIN interaction i ON i.id = w.id LEFT JOIN call c ON c.interaction_id = i.id
        LEFT JOIN message m ON m.interaction_id = i.id LEFT JOIN meeting g ON g.interaction_id = i.id
"""
_WORDS = text("SELECT id, words FROM utterance WHERE id = ANY(:ids)").bindparams(_IDS)
_CARDS = text(
    """
    SELECT l.interaction_id, c.id, c.name FROM link l JOIN client_card c ON c.id = l.client_card_id
    WHERE l.interaction_id = ANY(:ids) ORDER BY l.id
    """
).bindparams(_IDS)
_LEXEMES = text(
    f"""
    SELECT word, forms || tsvector_to_array(to_tsvector('{CONFIG}', array_to_string(forms, ' '))) AS forms
    FROM (SELECT word, tsvector_to_array(to_tsvector('{CONFIG}', {folded("word")})) AS forms
          FROM unnest(:words) AS word OFFSET 0) AS found
    """  # noqa: S608 - our own expressions
).bindparams(bindparam("words", type_=ARRAY(Text)))


async def load_entries(connection: AsyncConnection, viewer: Viewer, ids: Sequence[int]) -> dict[int, FoundEntry]:
    """These interactions, which the viewer may see, by id."""
    if not ids:
        return {}
    sight = await sight_of(connection, viewer)
    sql = _ENTRIES.format(
        beginning=sight.beginning, may_see=sight.of_card("l.client_card_id"), lines=_LINES, comments=_COMMENTS
    )
    values = {"ids": list(ids), "longest": _LONGEST_TEXT, **sight.values}
    (found,) = await ask(connection, Query(statement=statement(sql), values=values, read=_entries))
    return found


def _entries(rows: Sequence[Any]) -> dict[int, FoundEntry]:
    return {row.id: _entry(row) for row in rows}


def _entry(row: Any) -> FoundEntry:
    return FoundEntry(
        id=row.id,
        kind=row.kind,
        direction=row.direction,
        started=row.started_at,
        talk_seconds=row.talk,
        is_missed=row.is_missed,
        subject=row.subject,
        text=row.words,
        people=tuple([(name, contact, is_ours) for name, contact, is_ours in row.people or ()]),
        cards=tuple([(number, name) for number, name in row.cards or ()]),
        lines=tuple(
            [
                FoundLine(id=number, second=start / 1000, channel=channel, text=words)
                for number, start, channel, words in row.lines or ()
            ]
        ),
        comments=tuple(
            [
                FoundComment(recording_id=recording, second=None if at_ms is None else at_ms / 1000, text=words)
                for recording, at_ms, words in row.comments or ()
            ]
        ),
    )


async def load_words(connection: AsyncConnection, utterance_ids: Sequence[int]) -> dict[int, list[tuple[float, str]]]:
    """The words of a few utterances as the machine understood them, each with its second."""
    if not utterance_ids:
        return {}
    (rows,) = await ask(connection, Query(statement=_WORDS, values={"ids": list(utterance_ids)}, read=list))
    return {row.id: [(float(one["start"]), str(one["text"])) for one in row.words] for row in rows}


async def load_files(connection: AsyncConnection, hits: Iterable[Hit]) -> dict[tuple[int, int], FoundFile]:
    """Attached files by interaction and part."""
    ids = sorted({one.interaction_id for one in hits if one.file is not None and one.interaction_id is not None})
    if not ids:
        return {}
    short = text(f"left(attachment.text, {_LONGEST_TEXT}) AS words")
    columns = (attachment.c.id, attachment.c.interaction_id, attachment.c.part, attachment.c.name)
    rows = await connection.execute(select(*columns, short).where(is_any(attachment.c.interaction_id, ids)))
    return {(row.interaction_id, row.part): FoundFile(id=row.id, name=row.name, text=row.words) for row in rows}


async def load_notes(connection: AsyncConnection, hits: Iterable[Hit]) -> dict[int, FoundNote]:
    """Notes by id."""
    ids = [one.note_id for one in hits if one.note_id is not None]
    if not ids:
        return {}
    query = (
        select(card_note.c.id, card_note.c.client_card_id, card_note.c.by, card_note.c.text, client_card.c.name)
        .join(client_card)
        .where(is_any(card_note.c.id, ids))
    )
    return {
        row.id: FoundNote(card_id=row.client_card_id, card=row.name, by=row.by, text=row.text)
        for row in await connection.execute(query)
    }


# --- Word forms -------------------------------------------------------------------------------------------------------

_forms: dict[str, frozenset[str]] = {}


async def match_words(
    connection: AsyncConnection, words: Collection[str], lexemes: Collection[str], prefixes: Sequence[str] = ()
) -> frozenset[str]:
    """Those among the words (as they stand in a text) that are forms of the lexemes, or begin with a prefix.

    What a word is a form of never changes, so it is asked once a process.
    """
    unknown = [one for one in words if one not in _forms]
    if unknown:
        if len(_forms) > _KEPT_WORDS:
            _forms.clear()
        (rows,) = await ask(connection, Query(statement=_LEXEMES, values={"words": unknown}, read=list))
        _forms.update((word, frozenset(forms)) for word, forms in rows)
    wanted = frozenset(lexemes)
    starts = tuple(prefixes)
    return frozenset(
        one
        for one in words
        if not wanted.isdisjoint(_forms.get(one, ())) or (starts and _folded(one).startswith(starts))
    )


@lru_cache(maxsize=50_000)
def _folded(word: str) -> str:
    return fold(word)


_TAGS = text("SELECT DISTINCT tag FROM mail_rule WHERE coalesce(tag, '') <> '' ORDER BY tag")


def tags() -> Query[list[str]]:
    """Those that rules give to mails, in order."""
    return Query(statement=_TAGS, values={}, read=lambda rows: [row.tag for row in rows])
