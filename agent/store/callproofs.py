"""What vouches for the sound of a call: each recording, and each packet log that was kept as it came, sealed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, bindparam, text

from agent.store.asking import Query
from agent.store.mailthread import CoveringSeal


@dataclass(frozen=True, slots=True, kw_only=True)
class SoundProof:
    """A sealed file of a call's sound. ``kind`` is ``recording`` or ``log``; ``blob`` its name, the SHA-256 of what is
    stored; ``sequence`` its place in the chain, None until it has one."""

    kind: str
    started: datetime | None
    blob: str
    size: int
    is_erased: bool
    sequence: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallProofs:
    """Of all sound of a call, and which seal covers which place in the chain, those of its other evidence too."""

    sounds: tuple[SoundProof, ...]
    seals: dict[int, CoveringSeal]


_PROOFS = text(
    """
    WITH sealed AS (
        SELECT 'recording' AS kind, r.started_at, r.blob_id FROM recording r WHERE r.interaction_id = :id
        UNION ALL
        SELECT 'log', NULL, k.blob_id FROM kept_log k JOIN capture c ON c.id = k.capture_id WHERE c.interaction_id = :id
        UNION ALL
        SELECT 'evidence', NULL, e.blob_id FROM evidence e WHERE e.interaction_id = :id AND e.blob_id IS NOT NULL
    )
    SELECT s.kind, s.started_at, b.name, b.plain_size, b.wrapped_key IS NULL AS is_erased, l.sequence, f.number,
           f.sealed_at
    FROM sealed s JOIN blob b ON b.id = s.blob_id LEFT JOIN chain_link l ON l.blob_id = b.id
    LEFT JOIN LATERAL (
        SELECT number, sealed_at FROM seal WHERE length >= l.sequence ORDER BY number LIMIT 1
    ) f ON true
    ORDER BY s.kind DESC, s.started_at, b.id
    """
).bindparams(bindparam("id", type_=BigInteger))


def proofs_of(interaction_id: int) -> Query[CallProofs]:
    """For one trip with others; recordings first."""
    return Query(statement=_PROOFS, values={"id": interaction_id}, read=_read)


def _read(rows: Sequence[Any]) -> CallProofs:
    return CallProofs(
        sounds=tuple(
            SoundProof(
                kind=row.kind,
                started=row.started_at,
                blob=row.name,
                size=row.plain_size,
                is_erased=row.is_erased,
                sequence=row.sequence,
            )
            for row in rows
            if row.kind != "evidence"
        ),
        seals={
            row.sequence: CoveringSeal(number=row.number, sealed=row.sealed_at)
            for row in rows
            if row.number is not None
        },
    )
