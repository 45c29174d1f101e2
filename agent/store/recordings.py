"""Captures (folders of packet logs on a host) and the recordings they become."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select, text, true, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import Gap, Mark, MarkKind, SealedBlob
from agent.store import blobs, notices, outbox
from agent.store.engine import AnyRow, is_any
from agent.store.schema import blob, capture, kept_log, recording, recording_mark

OPEN, CLOSED, ASSEMBLED = "open", "closed", "assembled"
LOST = "lost"  # its host was given up
_REFERENCE_LOCK = 0x524546  # ours alone in this database
FILE = "file:"  # what a reference begins with that is the digest of a file's content
FULLER = "{0}.truncated, {0}.mixed, {0}.duration_ms DESC, {0}.started_at, {0}.id"  # the fuller of a call's first
_IS_FILE = text("recording.reference LIKE 'file:%'")  # word for word what the index is for


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """The sealed sound of a call. ``started`` is the wall time of its first sample; ``mixed`` means that the parties
    are heard on one channel together."""

    id: int
    interaction_id: int
    blob: SealedBlob
    started: datetime
    duration_ms: int
    channels: int
    sample_rate: int
    gaps: tuple[Gap, ...]
    truncated: bool
    mixed: bool


def recording_of(row: Any) -> Recording:
    """From a row with the columns of a recording and of its blob."""
    return Recording(
        id=row.id,
        interaction_id=row.interaction_id,
        blob=blobs.sealed(row),
        started=row.started_at,
        duration_ms=row.duration_ms,
        channels=row.channels,
        sample_rate=row.sample_rate,
        gaps=tuple(Gap(**gap) for gap in row.gaps),
        truncated=row.truncated,
        mixed=row.mixed,
    )


_SELECT = select(
    recording.c.id,
    recording.c.interaction_id,
    recording.c.started_at,
    recording.c.duration_ms,
    recording.c.channels,
    recording.c.sample_rate,
    recording.c.gaps,
    recording.c.truncated,
    recording.c.mixed,
    *blobs.COLUMNS,
).join(blob)


async def find_recording(connection: AsyncConnection, recording_id: int) -> Recording | None:
    """One recording."""
    row = (await connection.execute(_SELECT.where(recording.c.id == recording_id))).first()
    return recording_of(row) if row else None


async def list_recordings(connection: AsyncConnection, interaction_ids: Sequence[int]) -> list[Recording]:
    """The recordings of these interactions. Of one that was recorded more than once the fuller comes first: whole
    before cut short, then parties apart before mixed, then the longer."""
    columns = recording.c
    query = _SELECT.where(is_any(columns.interaction_id, interaction_ids))
    query = query.order_by(columns.interaction_id, text(FULLER.format("recording")))
    return [recording_of(row) for row in await connection.execute(query)]


async def open_capture(
    connection: AsyncConnection, capture_id: str, interaction_id: int, host: str, *, evidence_id: int | None = None
) -> None:
    """Note that this host writes packet logs for a call, as the source of this evidence told us; once. One that was
    given up with its host (`agent.store.hosts`) is open again, since that tells of it."""
    statement = insert(capture).values(
        id=capture_id, interaction_id=interaction_id, host=host, state=OPEN, evidence_id=evidence_id
    )
    back = {"state": OPEN, "truncated": False}
    lost = capture.c.state == LOST
    await connection.execute(statement.on_conflict_do_update(index_elements=[capture.c.id], set_=back, where=lost))


async def close_capture(connection: AsyncConnection, capture_id: str, *, truncated: bool) -> bool:
    """Note that the logs are complete; True only the first time."""
    statement = (
        update(capture)
        .where(capture.c.id == capture_id, capture.c.state == OPEN)
        .values(state=CLOSED, truncated=truncated)
        .returning(capture.c.id)
    )
    return (await connection.execute(statement)).first() is not None


async def find_capture(connection: AsyncConnection, capture_id: str) -> AnyRow | None:
    """The capture's row (id, interaction_id, host, state, truncated), held until the end of the transaction."""
    return (await connection.execute(select(capture).where(capture.c.id == capture_id).with_for_update())).first()


async def mark_assembled(connection: AsyncConnection, capture_id: str) -> None:
    """Note that the logs are not needed any more; pages hear of it."""
    statement = update(capture).where(capture.c.id == capture_id).values(state=ASSEMBLED)
    for number in (await connection.execute(statement.returning(capture.c.interaction_id))).scalars().all():
        await notices.notify(connection, notices.INTERACTIONS, number)


async def save_recording(
    connection: AsyncConnection,
    *,
    capture_id: str | None,
    interaction_id: int,
    blob_id: int,
    started: datetime,
    duration_ms: int,
    channels: int,
    sample_rate: int,
    gaps: Sequence[Gap],
    truncated: bool,
    mixed: bool = False,
    reference: str | None = None,
    evidence_id: int | None = None,
) -> int:
    """A new recording: one a capture, one a reference of a call. ``evidence_id`` is what told of it, where it is no
    capture's."""
    values = {
        "capture_id": capture_id,
        "interaction_id": interaction_id,
        "blob_id": blob_id,
        "started_at": started,
        "duration_ms": duration_ms,
        "channels": channels,
        "sample_rate": sample_rate,
        "gaps": [asdict(gap) for gap in gaps],
        "truncated": truncated,
        "mixed": mixed,
        "reference": reference,
        "evidence_id": evidence_id,
    }
    statement = insert(recording).values(**values).returning(recording.c.id)
    recording_id = int((await connection.execute(statement)).scalar_one())
    await outbox.stir(connection, [interaction_id])
    return recording_id


async def has_reference(connection: AsyncConnection, interaction_id: int, reference: str) -> bool:
    """Whether this call has a recording that its source calls so, or, of a reference that begins with `FILE`, any call.

    Who asks is alone in doing so until the end of the transaction, so that of two with the same file one comes second.
    """
    lock = func.pg_advisory_xact_lock(_REFERENCE_LOCK, func.hashtext(reference))
    await connection.execute(select(lock))
    mine = true() if reference.startswith(FILE) else recording.c.interaction_id == interaction_id
    query = select(recording.c.id).where(recording.c.reference == reference, mine)
    if reference.startswith(FILE):
        query = query.where(_IS_FILE)
    return (await connection.execute(query)).first() is not None


async def find_file(connection: AsyncConnection, reference: str) -> int | None:
    """The interaction that a file with this content, wherever it lay, is a recording of."""
    query = select(recording.c.interaction_id).where(recording.c.reference == reference, _IS_FILE)
    found: int | None = (await connection.execute(query)).scalar_one_or_none()
    return found


async def save_marks(connection: AsyncConnection, recording_id: int, marks: Sequence[Mark]) -> None:
    """What happened within a new recording."""
    if marks:
        rows = [{"recording_id": recording_id, **asdict(mark)} for mark in marks]
        await connection.execute(insert(recording_mark), rows)


async def list_marks(connection: AsyncConnection, recording_ids: Sequence[int]) -> dict[int, tuple[Mark, ...]]:
    """The marks of each of these recordings in order of time; a recording without any has an empty entry."""
    columns = recording_mark.c
    query = (
        select(recording_mark)
        .where(is_any(columns.recording_id, recording_ids))
        .order_by(columns.start_ms, columns.end_ms, columns.id)
    )
    found: dict[int, list[Mark]] = {recording_id: [] for recording_id in recording_ids}
    for row in await connection.execute(query):
        found[row.recording_id].append(
            Mark(kind=MarkKind(row.kind), channel=row.channel, start_ms=row.start_ms, end_ms=row.end_ms, text=row.text)
        )
    return {recording_id: tuple(marks) for recording_id, marks in found.items()}


async def keep_log(connection: AsyncConnection, capture_id: str, blob_id: int) -> None:
    """Note where the packet logs of a capture lie sealed."""
    await connection.execute(insert(kept_log).values(capture_id=capture_id, blob_id=blob_id))
