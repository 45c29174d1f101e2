"""A batch of captured mails on its way in: blobs and evidence in a few statements, however many mails there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import CapturedMail, EvidenceState, SealedBlob
from agent.store import blobs
from agent.store.schema import blob, evidence


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedMail:
    """A mail whose bytes are on the disk, with the keyed digest that recognises its content."""

    mail: CapturedMail
    blob: SealedBlob
    fingerprint: bytes


async def insert_mails(connection: AsyncConnection, sealed: Sequence[SealedMail]) -> list[int]:
    """Commit to sealed mails; the ids of the new evidence, in the order of the mails.

    What another process delivered meanwhile under the same key is left out, and the row of its blob taken back.
    """
    if not sealed:
        return []
    blob_ids = await _insert_blobs(connection, sealed)
    rows = [_evidence_values(one, blob_ids[one.blob.name]) for one in sealed]
    statement = insert(evidence).values(rows).on_conflict_do_nothing().returning(evidence.c.id, evidence.c.blob_id)
    kept = {row.blob_id: row.id for row in await connection.execute(statement)}
    vain = [one for one in blob_ids.values() if one not in kept]
    if vain:
        await connection.execute(delete(blob).where(blob.c.id.in_(vain), ~blob.c.chained))
    return [kept[number] for one in sealed if (number := blob_ids[one.blob.name]) in kept]


async def _insert_blobs(connection: AsyncConnection, sealed: Sequence[SealedMail]) -> dict[str, int]:
    rows = [
        {column.name: getattr(one.blob, column.name) for column in blobs.COLUMNS} | {"source": one.mail.source}
        for one in sealed
    ]
    result = await connection.execute(insert(blob).values(rows).returning(blob.c.name, blob.c.id))
    return {row.name: row.id for row in result}


def _evidence_values(one: SealedMail, blob_id: int) -> dict[str, object]:
    return {
        "source": one.mail.source,
        "key": one.mail.key,
        "blob_id": blob_id,
        "fingerprint": one.fingerprint,
        "details": dict(one.mail.envelope),
        "received_at": one.mail.received,
        "state": EvidenceState.STORED,
    }


async def find_by_content(connection: AsyncConnection, source: str, fingerprints: Sequence[bytes]) -> dict[bytes, int]:
    """Evidence of a source by its content; of equal contents the oldest."""
    query = (
        select(evidence.c.id, evidence.c.fingerprint)
        .where(evidence.c.source == source, evidence.c.fingerprint.in_(fingerprints))
        .order_by(evidence.c.id.desc())
    )
    return {row.fingerprint: row.id for row in await connection.execute(query)}
