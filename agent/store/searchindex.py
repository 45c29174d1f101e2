"""The job `index`: what was said and written becomes rows of word forms, a batch a transaction, the newest first.

One row holds everything of an interaction, so that all words of a question may come from different mouths and a minus
means the whole call; each attached file has a row of its own. Weights: A who took part and the subject, B what was said
or written, C attached files and what people note on a call, D what a mail quotes. Beside the words a row has lexemes
that nobody can type: ``#`` and each end of a number, so that any part of it is a prefix, and ``@w`` and the week (see
`agent.store.searching`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import structlog
from sqlalchemy import BigInteger, LargeBinary, TextClause, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.store.engine import Store, first_line
from agent.store.folding import folded
from agent.store.wordforms import CONFIG, FORMS, WordForms, vector

__all__ = ["CONFIG", "WEEK", "Indexer", "folded", "index_interactions", "index_notes"]

log = structlog.get_logger()

WEEK = 7 * 24 * 3600  # seconds
_BATCH = 200
_BYTES = 2 * 1024 * 1024  # of texts in memory at once
_MANY = 5_000  # after so many at once PostgreSQL looks at the words anew, to know common ones from rare ones
_IDS = bindparam("ids", type_=ARRAY(BigInteger))
_TAKE = text(
    """
    WITH newest AS (SELECT id FROM search_due ORDER BY id DESC LIMIT :most FOR UPDATE SKIP LOCKED)
    DELETE FROM search_due USING newest WHERE search_due.id = newest.id RETURNING search_due.interaction_id
    """
)
_WEEK_LEXEME = f"'@w' || floor(extract(epoch FROM i.started_at) / {WEEK})::bigint"
_NAMES = """
    SELECT string_agg(p.name || CASE WHEN p.kind = 'address'
                      THEN ' ' || p.value || ' ' || translate(p.value, '@._', '   ') ELSE '' END,
                      ' . ' ORDER BY p.ordinal) AS names
    FROM party p WHERE p.interaction_id = i.id
"""
_NUMBERS = """
    SELECT array_agg(DISTINCT '#' || substr(d.digits, n)) AS numbers
    FROM party p, LATERAL (SELECT right(regexp_replace(coalesce(p.identity_value, p.value), '[^0-9]', '', 'g'), 15)
                           AS digits) AS d,
        LATERAL generate_series(1, greatest(length(d.digits) - 3, 1)) AS n
    WHERE p.interaction_id = i.id AND d.digits <> '' AND coalesce(p.identity_kind, p.kind) IN ('phone', 'extension')
"""
_SAID = """
    SELECT string_agg(coalesce(k.text, u.text), ' . ' ORDER BY u.start_ms, u.id) AS said
    FROM (SELECT DISTINCT ON (recording_id) id FROM transcript WHERE interaction_id = i.id
          ORDER BY recording_id, shown_at DESC, id DESC) AS t
        JOIN utterance u ON u.transcript_id = t.id
        LEFT JOIN utterance_correction k ON k.utterance_id = u.id AND k.ended_at IS NULL
"""
_NOTED = """
    SELECT left(string_agg(c.text, ' . ' ORDER BY c.id), 100000) AS noted
    FROM comment c WHERE c.interaction_id = i.id AND c.removed_at IS NULL
"""
_LONGEST_OWN = 200_000
# To count letters, or to cut by their number, PostgreSQL walks through the whole text.
_OWN = f"""
    SELECT CASE WHEN m.spans = '[]' AND octet_length(m.text) <= {_LONGEST_OWN} THEN m.text ELSE
        (SELECT left(string_agg(substr(m.text, piece.a + 1, piece.b - piece.a), ' . ' ORDER BY piece.a), {_LONGEST_OWN})
         FROM (SELECT coalesce(lag((s ->> 2)::int) OVER (ORDER BY n), 0) AS a, (s ->> 1)::int AS b
               FROM jsonb_array_elements(m.spans) WITH ORDINALITY AS x(s, n)
               UNION ALL SELECT coalesce((m.spans -> -1 ->> 2)::int, 0), length(m.text)) AS piece
         WHERE piece.b > piece.a) END AS own
"""  # noqa: S608 - our own numbers
_QUOTED = """
    SELECT left(string_agg(substr(m.text, (s ->> 1)::int + 1, (s ->> 2)::int - (s ->> 1)::int), ' . '), 100000)
        AS quoted
    FROM jsonb_array_elements(m.spans) AS s
"""
_SIZES = text(
    """
    SELECT i.id, CASE i.kind WHEN 'call' THEN 100000 ELSE coalesce(octet_length(m.text), 0) END
        + coalesce((SELECT sum(octet_length(a.text)) FROM attachment a WHERE a.interaction_id = i.id), 0) AS size
    FROM interaction i LEFT JOIN message m ON m.interaction_id = i.id
    WHERE i.id = ANY(:ids) AND i.erasure_id IS NULL ORDER BY i.id
    """
).bindparams(_IDS)
_ENTRIES = text(
    f"""
    SELECT i.id, 0 AS part, coalesce(called.numbers, '{{}}') || ({_WEEK_LEXEME}) AS marks,
        left(people.names, 20000), left(m.subject, 2000), left(g.summary || ' . ' || g.location, 5000),
        left(said.said, 300000), own.own, quoted.quoted, noted.noted
    FROM interaction i
        LEFT JOIN message m ON m.interaction_id = i.id
        LEFT JOIN meeting g ON g.interaction_id = i.id
        LEFT JOIN LATERAL ({_NAMES}) AS people ON true
        LEFT JOIN LATERAL ({_NUMBERS}) AS called ON true
        LEFT JOIN LATERAL ({_SAID}) AS said ON i.kind = 'call'
        LEFT JOIN LATERAL ({_NOTED}) AS noted ON true
        LEFT JOIN LATERAL ({_OWN}) AS own ON m.interaction_id IS NOT NULL
        LEFT JOIN LATERAL ({_QUOTED}) AS quoted ON m.spans <> '[]'
    WHERE i.id = ANY(:ids)
    """  # noqa: S608 - our own expressions
).bindparams(_IDS)
_WEIGHTS = ("A", "A", "A", "B", "B", "D", "C")
_FILES = text(
    f"""
    SELECT i.id, a.part + 1 AS part, ARRAY[{_WEEK_LEXEME}] AS marks,
        left(normalize(a.name, NFC), 1000), left(a.text, 300000)
    FROM attachment a JOIN interaction i ON i.id = a.interaction_id
    WHERE a.interaction_id = ANY(:ids) AND a.part BETWEEN 0 AND 32766
    """  # noqa: S608 - our own expressions
).bindparams(_IDS)
_WEIGHTS_OF_FILES = ("B", "C")
# Vectors are one piece of bytes for all rows, as texts are in `agent.store.accepted`.
_SAVE = text(
    """
    INSERT INTO search_entry (interaction_id, part, started_at, words)
    SELECT i.id, r.part, i.started_at,
        CAST(convert_from(substr(CAST(:words AS bytea), r.begin, r.size), 'UTF8') AS tsvector)
    FROM jsonb_to_recordset(:rows) AS r(id bigint, part smallint, begin integer, size integer)
        JOIN interaction i ON i.id = r.id
    WHERE i.erasure_id IS NULL ORDER BY i.id, r.part
    ON CONFLICT (interaction_id, part) DO UPDATE SET started_at = excluded.started_at, words = excluded.words
    WHERE (search_entry.started_at, search_entry.words) IS DISTINCT FROM (excluded.started_at, excluded.words)
    """
).bindparams(bindparam("rows", type_=JSONB), bindparam("words", type_=LargeBinary))
_GONE = text(
    """
    DELETE FROM search_entry USING interaction i WHERE search_entry.interaction_id = ANY(:ids)
        AND i.id = search_entry.interaction_id AND (i.erasure_id IS NOT NULL OR search_entry.part > 0 AND NOT EXISTS (
            SELECT FROM attachment a WHERE a.interaction_id = i.id AND a.part = search_entry.part - 1))
    """
).bindparams(_IDS)
_NOTES = text(
    f"""
    WITH made AS MATERIALIZED (
    SELECT i.id, i.at, setweight(to_tsvector('{CONFIG}', {folded("left(i.text, 100000)")}), 'B') AS words,
        {_WEEK_LEXEME.replace("started_at", "at")} AS mark
    FROM card_note i WHERE i.id = ANY(:ids)
    )
    INSERT INTO search_entry (part, card_note_id, started_at, words)
    SELECT 0, id, at, words || array_to_tsvector(tsvector_to_array({FORMS})) || array_to_tsvector(ARRAY[mark]) FROM made
    ON CONFLICT (card_note_id) WHERE card_note_id IS NOT NULL
    DO UPDATE SET started_at = excluded.started_at, words = excluded.words
    """  # noqa: S608 - our own expressions
).bindparams(_IDS)


async def index_interactions(connection: AsyncConnection, ids: Sequence[int], known: WordForms | None = None) -> None:
    """Bring the rows of these in line with what is stored; doing it twice changes nothing. ``known``: to be kept from
    one call to the next."""
    forms = known or WordForms()
    values = {"ids": sorted(set(ids))}
    await connection.execute(_GONE, values)
    sizes = [(row.id, row.size) for row in await connection.execute(_SIZES, values)]
    for some in _portions(sizes):
        entries = await _read(connection, _ENTRIES, some, _WEIGHTS)
        await _save(connection, forms, entries + await _read(connection, _FILES, some, _WEIGHTS_OF_FILES))


async def index_notes(connection: AsyncConnection, ids: Sequence[int]) -> None:
    """The same for notes on cards, which are short: whoever writes one does it within the same transaction."""
    await connection.execute(_NOTES, {"ids": list(ids)})


def _portions(sizes: Sequence[tuple[int, int]]) -> Iterator[list[int]]:
    """Ids whose texts are some megabytes together; what is longer goes by itself."""
    some: list[int] = []
    total = 0
    for one, size in sizes:
        if some and total + size > _BYTES:
            yield some
            some, total = [], 0
        some.append(one)
        total += size
    if some:
        yield some


@dataclass(frozen=True, slots=True)
class _Entry:
    """A row to be. ``texts`` are pairs of weight and what stands between blanks."""

    of: int
    part: int
    marks: Sequence[str]
    texts: Sequence[tuple[str, Sequence[str]]]


async def _read(
    connection: AsyncConnection, statement: TextClause, ids: Sequence[int], weights: Sequence[str]
) -> list[_Entry]:
    rows = await connection.execute(statement, {"ids": ids})
    return [_Entry(of, part, marks, _texts(weights, texts)) for of, part, marks, *texts in rows]


def _texts(weights: Sequence[str], texts: Sequence[str | None]) -> list[tuple[str, Sequence[str]]]:
    return [(weight, one.split()) for weight, one in zip(weights, texts, strict=True) if one]


async def _save(connection: AsyncConnection, forms: WordForms, entries: Sequence[_Entry]) -> None:
    known = await forms.learn(connection, (pieces for one in entries for _, pieces in one.texts))
    rows: list[dict[str, int]] = []
    words = bytearray()
    for one in entries:
        made = vector(one.texts, one.marks, known).encode()
        rows.append({"id": one.of, "part": one.part, "begin": len(words) + 1, "size": len(made)})
        words += made
    if rows:
        await connection.execute(_SAVE, {"rows": rows, "words": bytes(words)})


class Indexer:
    """Does the job. May be killed anywhere: what is due is taken in the transaction that has done it."""

    def __init__(self, store: Store, *, batch: int = _BATCH) -> None:
        self._store = store
        self._batch = batch
        self._forms = WordForms()

    async def index(self) -> None:
        """Everything that is due, until nothing is."""
        count = 0
        while done := await self.step():
            count += done
            if count // _MANY != (count - done) // _MANY and count < 4 * _MANY:
                await self._look_at_words()
            await asyncio.sleep(0)
        if count >= _MANY:
            await self._look_at_words()

    async def step(self) -> int:
        """One batch; returns how many were taken, 0 when nothing was due."""
        try:
            async with self._store.begin(redoable=True) as connection:
                ids = await self._take(connection)
                if ids:
                    await index_interactions(connection, ids, self._forms)
                return len(ids)
        except DBAPIError as error:
            log.warning("index_batch_failed", reason=first_line(error))
        return await self._one_by_one()

    async def _one_by_one(self) -> int:
        """One that no server can take (too many words) must not keep the others from being found."""
        async with self._store.begin(redoable=True) as connection:
            ids = await self._take(connection)
            for one in set(ids):
                try:
                    async with connection.begin_nested():
                        await index_interactions(connection, [one], self._forms)
                except DBAPIError as error:
                    if error.connection_invalidated:
                        raise
                    log.error("index_failed", interaction_id=one, reason=first_line(error))  # noqa: TRY400
            return len(ids)

    async def _take(self, connection: AsyncConnection) -> list[int]:
        return list((await connection.execute(_TAKE, {"most": self._batch})).scalars())

    async def _look_at_words(self) -> None:
        async with self._store.begin() as connection:
            await connection.execute(text("ANALYZE search_entry"))
