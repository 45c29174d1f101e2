"""Evidence: one row for each thing that a source delivered, before and after it was understood."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, bindparam, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import EvidenceState, SealedBlob
from agent.store import blobs
from agent.store.asking import Query
from agent.store.engine import AnyRow, is_any
from agent.store.schema import blob, evidence


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What was captured, with the sealed bytes if it came as bytes."""

    id: int
    source: str
    key: str
    blob: SealedBlob | None
    details: Mapping[str, Any]
    received: datetime
    state: EvidenceState
    problem: str
    interaction_id: int | None


def evidence_of(row: Any) -> Evidence:
    """A row of `_SELECT` as it is known outside."""
    return Evidence(
        id=row.id,
        source=row.source,
        key=row.key,
        blob=blobs.sealed(row) if row.name is not None else None,
        details=row.details,
        received=row.received_at,
        state=EvidenceState(row.state),
        problem=row.problem,
        interaction_id=row.interaction_id,
    )


_SELECT = select(
    evidence.c.id,
    evidence.c.source,
    evidence.c.key,
    evidence.c.details,
    evidence.c.received_at,
    evidence.c.state,
    evidence.c.problem,
    evidence.c.interaction_id,
    *blobs.COLUMNS,
).outerjoin_from(evidence, blob)


async def find_evidence(connection: AsyncConnection, ids: Sequence[int]) -> list[Evidence]:
    """These pieces of evidence, in the order of their ids."""
    rows = await connection.execute(_SELECT.where(is_any(evidence.c.id, ids)).order_by(evidence.c.id))
    return [evidence_of(row) for row in rows]


async def list_evidence_of(connection: AsyncConnection, interaction_id: int) -> list[Evidence]:
    """Everything that vouches for an interaction, oldest first."""
    rows = await connection.execute(_SELECT.where(evidence.c.interaction_id == interaction_id).order_by(evidence.c.id))
    return [evidence_of(row) for row in rows]


_PROOFS = text(
    """
    SELECT e.*, b.name, b.media_type, b.plain_size, b.stored_size, b.salted_digest, b.master_key, b.wrapped_key,
        c.sequence
    FROM evidence e LEFT JOIN blob b ON b.id = e.blob_id LEFT JOIN chain_link c ON c.blob_id = e.blob_id
    WHERE e.interaction_id = :id ORDER BY e.id
    """
).bindparams(bindparam("id", type_=BigInteger))


def proofs_of(interaction_id: int) -> Query[tuple[list[Evidence], dict[str, int]]]:
    """The same, and where the blobs stand in the chain; those that wait for their link do not stand there."""
    return Query(statement=_PROOFS, values={"id": interaction_id}, read=_proofs)


def _proofs(rows: Sequence[Any]) -> tuple[list[Evidence], dict[str, int]]:
    return [evidence_of(row) for row in rows], {row.name: row.sequence for row in rows if row.sequence is not None}


async def list_unreadable(connection: AsyncConnection, limit: int) -> list[Evidence]:
    """Evidence that could not be read, newest first, for a person to look at; no notes of what came at last."""
    query = _SELECT.where(evidence.c.state == EvidenceState.UNREADABLE, ~evidence.c.details.has_key("found"))
    newest = query.order_by(evidence.c.id.desc()).limit(limit)
    return [evidence_of(row) for row in await connection.execute(newest)]


async def insert_evidence(connection: AsyncConnection, **values: Any) -> int | None:
    """Add a row, or None when this source has delivered this key before."""
    query = insert(evidence).values(**values).on_conflict_do_nothing().returning(evidence.c.id)
    found: int | None = (await connection.execute(query)).scalar_one_or_none()
    return found


async def lock_evidence(connection: AsyncConnection, source: str, key: str) -> AnyRow | None:
    """The row (id, interaction_id) as it is now, held until the transaction ends: the call stays where it is."""
    query = select(evidence.c.id, evidence.c.interaction_id)
    query = query.where(evidence.c.source == source, evidence.c.key == key).with_for_update()
    return (await connection.execute(query)).first()


async def find_known(
    connection: AsyncConnection, source: str, keys: Sequence[str], fingerprints: Sequence[bytes]
) -> tuple[set[str], set[bytes]]:
    """Which of these keys and contents the source has delivered before."""
    query = select(evidence.c.key, evidence.c.fingerprint).where(
        evidence.c.source == source, is_any(evidence.c.key, keys) | is_any(evidence.c.fingerprint, fingerprints)
    )
    rows = (await connection.execute(query)).all()
    return {row.key for row in rows}, {row.fingerprint for row in rows}


async def find_received(connection: AsyncConnection, ids: Sequence[int]) -> dict[int, datetime]:
    """When each of these came in."""
    query = select(evidence.c.id, evidence.c.received_at).where(is_any(evidence.c.id, ids))
    return {row.id: row.received_at for row in await connection.execute(query)}


async def mark_read(connection: AsyncConnection, evidence_id: int, interaction_id: int) -> None:
    """Note which interaction the evidence became."""
    values = {"state": EvidenceState.READ, "interaction_id": interaction_id, "problem": ""}
    await connection.execute(update(evidence).where(evidence.c.id == evidence_id).values(**values))


async def mark_unreadable(connection: AsyncConnection, evidence_id: int, problem: str) -> None:
    """Note why it could not be read; it stays and is shown to a person."""
    values = {"state": EvidenceState.UNREADABLE, "problem": problem}
    await connection.execute(update(evidence).where(evidence.c.id == evidence_id).values(**values))


async def save_details(connection: AsyncConnection, evidence_id: int, details: Mapping[str, Any]) -> None:
    """Replace what the source said besides the bytes."""
    await connection.execute(update(evidence).where(evidence.c.id == evidence_id).values(details=dict(details)))
