"""A batch of captured mails on its way in: blobs and evidence in a few statements, however many mails there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, delete, select, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import CapturedMail, EvidenceState, SealedBlob
from agent.store.engine import is_any
from agent.store.schema import blob, evidence


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedMail:
    """A mail whose bytes are on the disk, with the keyed digest that recognises its content."""

    mail: CapturedMail
    blob: SealedBlob
    fingerprint: bytes


_BLOBS = text(
    """
    INSERT INTO blob (name, media_type, plain_size, stored_size, salted_digest, master_key, wrapped_key, source)
    SELECT name, media_type, plain_size, stored_size, decode(salted_digest, 'hex'), master_key,
           decode(wrapped_key, 'hex'), source
    FROM jsonb_to_recordset(:rows)
         AS r(name text, media_type text, plain_size bigint, stored_size bigint, salted_digest text,
              master_key smallint, wrapped_key text, source text)
    RETURNING name, id
    """
).bindparams(bindparam("rows", type_=JSONB))
_EVIDENCE = text(
    """
    INSERT INTO evidence (source, key, blob_id, fingerprint, details, received_at, state)
    SELECT source, key, blob_id, decode(fingerprint, 'hex'), details, received_at, state
    FROM jsonb_to_recordset(:rows)
         AS r(source text, key text, blob_id bigint, fingerprint text, details jsonb, received_at timestamptz,
              state text)
    ON CONFLICT DO NOTHING
    RETURNING id, blob_id
    """
).bindparams(bindparam("rows", type_=JSONB))


async def insert_mails(connection: AsyncConnection, sealed: Sequence[SealedMail]) -> list[tuple[bytes, int]]:
    """Commit to sealed mails; fingerprints and ids of the new evidence, in the order of the mails.

    What another process delivered meanwhile under the same key is left out, and the row of its blob taken back. Rows
    travel as one JSON document a statement: SQLAlchemy takes a millisecond to spell out a row of a long VALUES list.
    """
    if not sealed:
        return []
    made = await connection.execute(_BLOBS, {"rows": [_blob_row(one) for one in sealed]})
    blob_ids = {row.name: row.id for row in made}
    rows = [_evidence_row(one, blob_ids[one.blob.name]) for one in sealed]
    kept = {row.blob_id: row.id for row in await connection.execute(_EVIDENCE, {"rows": rows})}
    vain = [one for one in blob_ids.values() if one not in kept]
    if vain:
        await connection.execute(delete(blob).where(blob.c.id.in_(vain), ~blob.c.chained))
    return [(one.fingerprint, kept[number]) for one in sealed if (number := blob_ids[one.blob.name]) in kept]


def _blob_row(one: SealedMail) -> dict[str, Any]:
    return {
        "name": one.blob.name,
        "media_type": one.blob.media_type,
        "plain_size": one.blob.plain_size,
        "stored_size": one.blob.stored_size,
        "salted_digest": one.blob.salted_digest.hex(),
        "master_key": one.blob.master_key,
        "wrapped_key": one.blob.wrapped_key.hex() if one.blob.wrapped_key is not None else None,
        "source": one.mail.source,
    }


def _evidence_row(one: SealedMail, blob_id: int) -> dict[str, Any]:
    return {
        "source": one.mail.source,
        "key": one.mail.key,
        "blob_id": blob_id,
        "fingerprint": one.fingerprint.hex(),
        "details": dict(one.mail.envelope),
        "received_at": one.mail.received.isoformat(),
        "state": EvidenceState.STORED,
    }


async def find_by_content(connection: AsyncConnection, source: str, fingerprints: Sequence[bytes]) -> dict[bytes, int]:
    """Evidence of a source by its content; of equal contents the oldest."""
    query = (
        select(evidence.c.id, evidence.c.fingerprint)
        .where(evidence.c.source == source, is_any(evidence.c.fingerprint, fingerprints))
        .order_by(evidence.c.id.desc())
    )
    return {row.fingerprint: row.id for row in await connection.execute(query)}
