"""How common words are, by PostgreSQL's own statistics of the index; remembered for a while a process."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from sqlalchemy import Engine, text
from sqlalchemy.ext.asyncio import AsyncConnection

_KEEP_SECONDS = 300.0
_STATISTICS = text(
    """
    SELECT greatest(c.reltuples, 0) AS rows, s.most_common_elems::text::text[] AS words,
        s.most_common_elem_freqs AS shares
    FROM pg_class c LEFT JOIN pg_stats s ON s.schemaname = c.relnamespace::regnamespace::text
        AND s.tablename = c.relname AND s.attname = 'words'
    WHERE c.oid = 'search_entry'::regclass
    """
)


@dataclass(frozen=True, slots=True, kw_only=True)
class WordStatistics:
    """``rows`` of the index; ``shares`` of them with the common words; ``least`` is that of the rarest known one."""

    rows: float
    shares: Mapping[str, float] = field(default_factory=dict)
    least: float = 0.0

    def share_of(self, *lexemes: str, prefix: str = "") -> float:
        """Of the rows that have any of these, at most; or any word that begins so."""
        if prefix:
            return sum(share for word, share in self.shares.items() if word.startswith(prefix))
        return sum(self.shares.get(one, self.least / 2) for one in lexemes)


_known: WeakKeyDictionary[Engine, tuple[float, WordStatistics]] = WeakKeyDictionary()


async def load(connection: AsyncConnection) -> WordStatistics:
    """What is known of this database's words."""
    engine = connection.sync_connection.engine if connection.sync_connection is not None else None
    kept = _known.get(engine) if engine is not None else None
    if kept is not None and kept[0] > time.monotonic():
        return kept[1]
    row = (await connection.execute(_STATISTICS)).one()
    shares = dict(zip(row.words or (), row.shares or (), strict=False))  # behind the shares of words come their bounds
    found = WordStatistics(rows=row.rows, shares=shares, least=min(shares.values(), default=0.0))
    if engine is not None:
        _known[engine] = (time.monotonic() + (_KEEP_SECONDS if row.rows > 10_000 else 1.0), found)
    return found
