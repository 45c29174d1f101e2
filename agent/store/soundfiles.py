"""Which files of a folder of recordings were taken, and whether somebody else recorded their calls already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import case, exists, func, literal, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.store.schema import evidence, followed_file, interaction, recording, sound_file, source_status

SOURCE_PREFIX = "recordings:"


class FileState(StrEnum):
    """What became of a file."""

    TRYING = "trying"
    KEPT = "kept"
    KNOWN = "known"  # the call or the very file was there already
    LEFT_OUT = "left_out"


@dataclass(frozen=True, slots=True, kw_only=True)
class NotedFile:
    """A recording of a folder as it was when it was looked at. ``path`` is within the folder, without its ending;
    ``tries`` counts how often work on it began since something came of it last."""

    path: bytes
    suffix: str
    size: int
    modified_ns: int
    state: FileState
    reason: str = ""
    tries: int = 0
    interaction_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """How far a growing file was read, in bytes. ``head`` is the length (a byte) and the SHA-256 of its first bytes."""

    inode: int = 0
    offset: int = 0
    head: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveCall:
    """A call as another source knows it."""

    source: str
    key: str
    interaction_id: int
    has_recording: bool


async def find_noted(connection: AsyncConnection, source: str, paths: Sequence[bytes]) -> dict[bytes, NotedFile]:
    """What is noted of these files."""
    query = select(sound_file).where(sound_file.c.source == source, sound_file.c.path.in_(paths))
    return {
        row.path: NotedFile(
            path=row.path,
            suffix=row.suffix,
            size=row.size,
            modified_ns=row.modified_ns,
            state=FileState(row.state),
            reason=row.reason,
            tries=row.tries,
            interaction_id=row.interaction_id,
        )
        for row in await connection.execute(query)
    }


async def note_files(connection: AsyncConnection, source: str, files: Sequence[NotedFile]) -> None:
    """Note what became of files; of one that is only being tried, that it was tried once more."""
    if not files:
        return
    rows = [
        {
            "source": source,
            "path": one.path,
            "suffix": one.suffix,
            "size": one.size,
            "modified_ns": one.modified_ns,
            "state": one.state,
            "reason": one.reason,
            "tries": int(one.state is FileState.TRYING),
            "interaction_id": one.interaction_id,
        }
        for one in sorted(files, key=lambda one: one.path)  # in one order, so that two processes never wait in a ring
    ]
    statement = insert(sound_file).values(rows)
    new = statement.excluded
    changed = {
        name: new[name] for name in ("suffix", "size", "modified_ns", "state", "reason", "interaction_id", "noted_at")
    }
    tries = case((new.state == FileState.TRYING, sound_file.c.tries + 1), else_=0)
    await connection.execute(
        statement.on_conflict_do_update(
            index_elements=[sound_file.c.source, sound_file.c.path], set_={**changed, "tries": tries}
        )
    )


async def find_place(connection: AsyncConnection, source: str, path: bytes) -> Place:
    """How far a growing file was read."""
    query = select(followed_file).where(followed_file.c.source == source, followed_file.c.path == path)
    row = (await connection.execute(query)).first()
    return Place(inode=row.inode, offset=row.place, head=row.head) if row else Place()


async def save_place(connection: AsyncConnection, source: str, path: bytes, place: Place) -> None:
    """Note how far it was read."""
    statement = insert(followed_file).values(
        source=source, path=path, inode=place.inode, place=place.offset, head=place.head
    )
    new = statement.excluded
    await connection.execute(
        statement.on_conflict_do_update(
            index_elements=[followed_file.c.source, followed_file.c.path],
            set_={"inode": new.inode, "place": new.place, "head": new.head},
            where=(followed_file.c.place != new.place) | (followed_file.c.inode != new.inode),
        )
    )


async def find_live_call(connection: AsyncConnection, ids: Sequence[str]) -> LiveCall | None:
    """The call that a source which sees calls as they happen has under one of these ids of the PBX."""
    if not ids:
        return None
    columns = (evidence.c.source, evidence.c.key, evidence.c.interaction_id)
    live = evidence.c.source.not_like(f"{SOURCE_PREFIX}%")
    sources = select(source_status.c.source)
    by_key = select(*columns).where(evidence.c.source.in_(sources), evidence.c.key.in_(ids), live)
    by_conversation = (
        select(*columns)
        .join(interaction, interaction.c.id == evidence.c.interaction_id)
        .where(interaction.c.conversation_key.in_(ids), interaction.c.conversation_key.is_not(None), live)
    )
    found = by_key.union(by_conversation).subquery()
    recorded = exists().where(recording.c.interaction_id == found.c.interaction_id, recording.c.capture_id.is_not(None))
    query = select(found, recorded.label("recorded")).where(found.c.interaction_id.is_not(None))
    row = (await connection.execute(query.order_by(text("recorded DESC"), found.c.source, found.c.key))).first()
    if row is None:
        return None
    return LiveCall(source=row.source, key=row.key, interaction_id=row.interaction_id, has_recording=row.recorded)


async def is_recorded_live(
    connection: AsyncConnection, interaction_id: int, started: datetime, ended: datetime
) -> bool:
    """Whether most of this time of a call was recorded while it went on."""
    columns = recording.c
    its_end = columns.started_at + columns.duration_ms * text("interval '1 millisecond'")
    common = func.least(its_end, literal(ended)) - func.greatest(columns.started_at, literal(started))
    query = select(columns.id).where(
        columns.interaction_id == interaction_id,
        columns.capture_id.is_not(None),
        common > literal((ended - started) / 2),
    )
    return (await connection.execute(query.limit(1))).first() is not None
