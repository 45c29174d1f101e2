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
from agent.store.rights import Viewer, is_visible_card
from agent.store.schema import attachment, card_note, client_card, link
from agent.store.searchindex import CONFIG
from agent.store.searching import Hit, fold

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
_ENTRIES = text(
    """
    SELECT i.id, i.kind, coalesce(i.direction, 'unknown') AS direction, i.started_at,
        CASE WHEN c.answered_at IS NOT NULL THEN extract(epoch FROM c.ended_at - c.answered_at)::float END AS talk,
        coalesce(c.disposition = 'no_answer' AND i.direction IS DISTINCT FROM 'outbound', false) AS is_missed,
        coalesce(m.subject, g.summary, '') AS subject, coalesce(left(m.text, :longest), g.location, '') AS words,
        (SELECT jsonb_agg(jsonb_build_array(coalesce(e.name, nullif(p.name, ''), ''),
                                            coalesce(p.identity_value, p.value), p.role = 'employee')
                          ORDER BY p.ordinal) FROM party p LEFT JOIN employee e ON e.id = p.employee_id
         WHERE p.interaction_id = i.id) AS people
    FROM interaction i LEFT JOIN call c ON c.interaction_id = i.id LEFT JOIN message m ON m.interaction_id = i.id
        LEFT JOIN meeting g ON g.interaction_id = i.id
    WHERE i.id = ANY(:ids)
    """
).bindparams(_IDS)
_LINES = text(
    """
    SELECT t.interaction_id, u.id, u.start_ms, u.channel, coalesce(k.text, u.text) AS words
    FROM (SELECT DISTINCT ON (recording_id) id, interaction_id FROM transcript WHERE interaction_id = ANY(:ids)
          ORDER BY recording_id, shown_at DESC, id DESC) AS t
        CROSS JOIN LATERAL (SELECT * FROM utterance WHERE transcript_id = t.id ORDER BY start_ms, id LIMIT :most) AS u
        LEFT JOIN utterance_correction k ON k.utterance_id = u.id AND k.ended_at IS NULL
    ORDER BY t.interaction_id, u.start_ms, u.id
    """
).bindparams(_IDS)
_COMMENTS = text(
    """
    SELECT each.id, c.recording_id, c.at_ms, c.text AS words
    FROM unnest(:ids) AS each(id) CROSS JOIN LATERAL (
        SELECT * FROM comment WHERE interaction_id = each.id AND removed_at IS NULL ORDER BY id DESC LIMIT :most) AS c
    ORDER BY each.id, c.recording_id NULLS FIRST, c.at_ms, c.id
    """
).bindparams(_IDS)
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
    values = {"ids": list(ids)}
    rows, lines, comments = await ask(
        connection,
        Query(statement=_ENTRIES, values=values | {"longest": _LONGEST_TEXT}, read=list),
        Query(statement=_LINES, values=values | {"most": _MOST_LINES}, read=_lines),
        Query(statement=_COMMENTS, values=values | {"most": _MOST_COMMENTS}, read=_comments),
    )
    cards = await _cards(connection, viewer, ids)
    return {
        row.id: FoundEntry(
            id=row.id,
            kind=row.kind,
            direction=row.direction,
            started=row.started_at,
            talk_seconds=row.talk,
            is_missed=row.is_missed,
            subject=row.subject,
            text=row.words,
            people=tuple((name, contact, bool(is_ours)) for name, contact, is_ours in row.people or ()),
            cards=tuple(cards.get(row.id, ())),
            lines=tuple(lines.get(row.id, ())),
            comments=tuple(comments.get(row.id, ())),
        )
        for row in rows
    }


def _lines(rows: Sequence[Any]) -> dict[int, list[FoundLine]]:
    found: dict[int, list[FoundLine]] = {}
    for owner, number, start, channel, words in rows:
        found.setdefault(owner, []).append(FoundLine(id=number, second=start / 1000, channel=channel, text=words))
    return found


def _comments(rows: Sequence[Any]) -> dict[int, list[FoundComment]]:
    found: dict[int, list[FoundComment]] = {}
    for owner, recording, at_ms, words in rows:
        second = None if at_ms is None else at_ms / 1000
        found.setdefault(owner, []).append(FoundComment(recording_id=recording, second=second, text=words))
    return found


async def load_words(connection: AsyncConnection, utterance_ids: Sequence[int]) -> dict[int, list[tuple[float, str]]]:
    """The words of a few utterances as the machine understood them, each with its second."""
    if not utterance_ids:
        return {}
    (rows,) = await ask(connection, Query(statement=_WORDS, values={"ids": list(utterance_ids)}, read=list))
    return {row.id: [(float(one["start"]), str(one["text"])) for one in row.words] for row in rows}


async def _cards(connection: AsyncConnection, viewer: Viewer, ids: Sequence[int]) -> dict[int, list[tuple[int, str]]]:
    if viewer.sees_all:
        (rows,) = await ask(connection, Query(statement=_CARDS, values={"ids": list(ids)}, read=list))
        return _by_owner(rows)
    query = (
        select(link.c.interaction_id, client_card.c.id, client_card.c.name)
        .join(client_card, client_card.c.id == link.c.client_card_id)
        .where(is_any(link.c.interaction_id, ids), is_visible_card(viewer, client_card.c.id))
        .order_by(link.c.id)
    )
    return _by_owner((await connection.execute(query)).all())


def _by_owner(rows: Sequence[Any]) -> dict[int, list[tuple[int, str]]]:
    found: dict[int, list[tuple[int, str]]] = {}
    for owner, card, name in rows:
        found.setdefault(owner, []).append((card, name))
    return found


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
