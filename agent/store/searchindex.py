"""The job `index`: what was said and written becomes rows of word forms, a batch a transaction, the newest first.

One row holds everything of an interaction, so that all words of a question may come from different mouths and a minus
means the whole call; each attached file has a row of its own. Weights: A who took part and the subject, B what was said
or written, C attached files and what people note on a call, D what a mail quotes. Beside the words a row has lexemes
that nobody can type: ``#`` and each end of a number, so that any part of it is a prefix, and ``@w`` and the week (see
`agent.store.searching`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog
from sqlalchemy import BigInteger, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.store.engine import Store, first_line
from agent.store.folding import folded
from agent.store.search import QUEUE, TASK

log = structlog.get_logger()

CONFIG = "russian"  # Latin words go to the English stemmer in it
WEEK = 7 * 24 * 3600  # seconds
_BATCH = 200
_MANY = 5_000  # after so many, and as many again, PostgreSQL looks at the words, to know common ones from rare ones
_IDS = bindparam("ids", type_=ARRAY(BigInteger))


def _vector(expression: str, weight: str) -> str:
    return f"setweight(to_tsvector('{CONFIG}', {folded(f'coalesce({expression}, {chr(39) * 2})')}), '{weight}')"


# The stemmer takes an ending off words that have none: диван and диванов become дива and диван. So the form of each
# form is there too.
_FORMS = (
    f"array_to_tsvector(tsvector_to_array(to_tsvector('{CONFIG}', array_to_string(tsvector_to_array(words), ' '))))"
)
_INTO = f"""
    INSERT INTO search_entry (interaction_id, part, card_note_id, started_at, words)
    SELECT interaction_id, part, card_note_id, started_at, words || {_FORMS} || array_to_tsvector(marks) FROM made
    ORDER BY interaction_id, part, card_note_id
"""  # noqa: S608 - our own expressions
_TAKE = text(
    """
    WITH newest AS (SELECT id FROM search_due ORDER BY id DESC LIMIT :most FOR UPDATE SKIP LOCKED)
    DELETE FROM search_due USING newest WHERE search_due.id = newest.id RETURNING search_due.interaction_id
    """
)
_TAKE_OVER = text(
    f"""
    DELETE FROM procrastinate_jobs WHERE id IN (
        SELECT id FROM procrastinate_jobs
        WHERE task_name = '{TASK}' AND queue_name = '{QUEUE}' AND status = 'todo' FOR UPDATE SKIP LOCKED)
    """  # noqa: S608 - our own constants
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
_ENTRIES = text(
    f"""
    WITH made AS MATERIALIZED (
    SELECT i.id AS interaction_id, 0 AS part, NULL::bigint AS card_note_id, i.started_at,
        {_vector("left(people.names, 20000)", "A")}
        || {_vector("left(m.subject, 2000)", "A")} || {_vector("left(g.summary || ' . ' || g.location, 5000)", "A")}
        || {_vector("left(said.said, 300000)", "B")} || {_vector("own.own", "B")} || {_vector("quoted.quoted", "D")}
        || {_vector("noted.noted", "C")}
        AS words, coalesce(called.numbers, '{{}}') || ({_WEEK_LEXEME}) AS marks
    FROM interaction i
        LEFT JOIN message m ON m.interaction_id = i.id
        LEFT JOIN meeting g ON g.interaction_id = i.id
        LEFT JOIN LATERAL ({_NAMES}) AS people ON true
        LEFT JOIN LATERAL ({_NUMBERS}) AS called ON true
        LEFT JOIN LATERAL ({_SAID}) AS said ON i.kind = 'call'
        LEFT JOIN LATERAL ({_NOTED}) AS noted ON true
        LEFT JOIN LATERAL ({_OWN}) AS own ON m.interaction_id IS NOT NULL
        LEFT JOIN LATERAL ({_QUOTED}) AS quoted ON m.interaction_id IS NOT NULL
    WHERE i.id = ANY(:ids) AND i.erasure_id IS NULL
    )
    {_INTO}
    ON CONFLICT (interaction_id, part) DO UPDATE SET started_at = excluded.started_at, words = excluded.words
    WHERE (search_entry.started_at, search_entry.words) IS DISTINCT FROM (excluded.started_at, excluded.words)
    """  # noqa: S608 - our own expressions
).bindparams(_IDS)
_FILES = text(
    f"""
    WITH made AS MATERIALIZED (
    SELECT i.id AS interaction_id, a.part + 1 AS part, NULL::bigint AS card_note_id, i.started_at,
        {_vector("left(normalize(a.name, NFC), 1000)", "B")} || {_vector("left(a.text, 300000)", "C")}
        AS words, ARRAY[{_WEEK_LEXEME}] AS marks
    FROM attachment a JOIN interaction i ON i.id = a.interaction_id
    WHERE a.interaction_id = ANY(:ids) AND a.part BETWEEN 0 AND 32766 AND i.erasure_id IS NULL
    )
    {_INTO}
    ON CONFLICT (interaction_id, part) DO UPDATE SET started_at = excluded.started_at, words = excluded.words
    WHERE (search_entry.started_at, search_entry.words) IS DISTINCT FROM (excluded.started_at, excluded.words)
    """  # noqa: S608 - our own expressions
).bindparams(_IDS)
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
    SELECT NULL::bigint AS interaction_id, 0 AS part, i.id AS card_note_id, i.at AS started_at,
        {_vector("left(i.text, 100000)", "B")}
        AS words, ARRAY[{_WEEK_LEXEME.replace("started_at", "at")}] AS marks
    FROM card_note i WHERE i.id = ANY(:ids)
    )
    {_INTO}
    ON CONFLICT (card_note_id) WHERE card_note_id IS NOT NULL
    DO UPDATE SET started_at = excluded.started_at, words = excluded.words
    """  # noqa: S608 - our own expressions
).bindparams(_IDS)


async def index_interactions(connection: AsyncConnection, ids: Sequence[int]) -> None:
    """Bring the rows of these in line with what is stored; doing it twice changes nothing."""
    values = {"ids": sorted(set(ids))}
    await connection.execute(_GONE, values)
    await connection.execute(_ENTRIES, values)
    await connection.execute(_FILES, values)


async def index_notes(connection: AsyncConnection, ids: Sequence[int]) -> None:
    """The same for notes on cards, which are short: whoever writes one does it within the same transaction."""
    await connection.execute(_NOTES, {"ids": list(ids)})


class Indexer:
    """Does the job. May be killed anywhere: what is due is taken in the transaction that has done it."""

    def __init__(self, store: Store, *, batch: int = _BATCH) -> None:
        self._store = store
        self._batch = batch
        self._count = 0  # done by this process
        self._looked_at = 0  # how many it had done when PostgreSQL last looked at the words

    async def index(self) -> None:
        """Everything that is due, until nothing is and no further job waits for this one to end."""
        while True:
            while done := await self.step():
                self._count += done
                if self._count - self._looked_at >= max(_MANY, self._looked_at):
                    await self._look_at_words()
                    self._looked_at = self._count
                await asyncio.sleep(0)
            if not await self._take_over():
                return

    async def _take_over(self) -> bool:
        """Do the work of jobs that wait for this one: nobody is told when a lock is free, so they would wait for the
        worker's next look. Whether there were any; what they were made for has been committed with them.
        """
        async with self._store.begin(redoable=True) as connection:
            return bool((await connection.execute(_TAKE_OVER)).rowcount)

    async def step(self) -> int:
        """One batch; returns how many were taken, 0 when nothing was due."""
        try:
            async with self._store.begin(redoable=True) as connection:
                ids = await self._take(connection)
                if ids:
                    await index_interactions(connection, ids)
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
                        await index_interactions(connection, [one])
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
