"""How far each folder of each mailbox is archived, and which messages lie in it now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime

from sqlalchemy import ColumnElement, and_, bindparam, delete, func, select, text, update
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import MailboxPosition
from agent.store.schema import mailbox_copy, mailbox_folder

_MARKS = ("mailbox", "folder", "uidvalidity", "low_uid", "high_uid")
_UIDS_A_STATEMENT = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderState:
    """What is kept of a folder besides its marks: before which day nothing was taken, up to where flags are known."""

    position: MailboxPosition
    horizon: date | None
    modseq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderCopy:
    """A message as it lies, or lay, in a folder. ``skipped`` says why its bytes were not taken; else empty."""

    uid: int
    flags: tuple[str, ...] = ()
    skipped: str = ""
    evidence_id: int | None = None
    gone: datetime | None = None


async def find_position(connection: AsyncConnection, mailbox: str, folder: str) -> MailboxPosition | None:
    """The marks of a folder, or None before its first batch."""
    state = await find_folder(connection, mailbox, folder)
    return state.position if state else None


async def find_folder(connection: AsyncConnection, mailbox: str, folder: str) -> FolderState | None:
    """Everything known of a folder, or None before its first batch."""
    query = select(mailbox_folder).where(mailbox_folder.c.mailbox == mailbox, mailbox_folder.c.folder == folder)
    row = (await connection.execute(query)).first()
    if row is None:
        return None
    position = MailboxPosition(**{name: row._mapping[name] for name in _MARKS})
    return FolderState(position=position, horizon=row.horizon, modseq=row.modseq)


async def save_position(connection: AsyncConnection, position: MailboxPosition) -> None:
    """Move the marks of a folder, in the same transaction as the evidence they stand for."""
    values = {name: getattr(position, name) for name in _MARKS}
    statement = insert(mailbox_folder).values(**values)
    await connection.execute(
        statement.on_conflict_do_update(index_elements=[mailbox_folder.c.mailbox, mailbox_folder.c.folder], set_=values)
    )


async def save_start(
    connection: AsyncConnection, position: MailboxPosition, horizon: date | None, *, anew: bool
) -> None:
    """Note from which marks and from which day on a folder is read.

    ``anew``: its UIDs stand for other messages than before under the same UIDVALIDITY, so what was known of copies is
    put aside (a negative UIDVALIDITY, which no server gives) until `retire_copies` has compared contents.
    """
    await save_position(connection, position)
    await _set(connection, position, horizon=horizon)
    if anew and position.uidvalidity:
        aside = replace(position, uidvalidity=-position.uidvalidity)
        await connection.execute(delete(mailbox_copy).where(_of(aside)))
        await connection.execute(update(mailbox_copy).where(_of(position)).values(uidvalidity=aside.uidvalidity))


async def save_modseq(connection: AsyncConnection, position: MailboxPosition, modseq: int) -> None:
    """Note up to where the flags of a folder are known."""
    await _set(connection, position, modseq=modseq)


async def _set(connection: AsyncConnection, position: MailboxPosition, **values: object) -> None:
    where = (mailbox_folder.c.mailbox == position.mailbox, mailbox_folder.c.folder == position.folder)
    await connection.execute(update(mailbox_folder).where(*where).values(**values))


# --- Copies ---------------------------------------------------------------------------------------------------------


def _of(position: MailboxPosition) -> ColumnElement[bool]:
    return and_(
        mailbox_copy.c.mailbox == position.mailbox,
        mailbox_copy.c.folder == position.folder,
        mailbox_copy.c.uidvalidity == position.uidvalidity,
    )


async def save_copies(connection: AsyncConnection, position: MailboxPosition, copies: Sequence[FolderCopy]) -> None:
    """Note that these messages lie in the folder; one that was gone is back."""
    if not copies or not position.uidvalidity:
        return  # without UIDVALIDITY a UID means nothing for longer than a connection
    rows = [
        {"uid": one.uid, "evidence_id": one.evidence_id, "flags": list(one.flags), "skipped": one.skipped}
        for one in copies
    ]
    where = {"mailbox": position.mailbox, "folder": position.folder, "uidvalidity": position.uidvalidity}
    await connection.execute(_SAVE_COPIES, {"rows": rows, **where})


_SAVE_COPIES = text(
    """
    INSERT INTO mailbox_copy (mailbox, folder, uidvalidity, uid, evidence_id, flags, skipped)
    SELECT :mailbox, :folder, :uidvalidity, uid, evidence_id, ARRAY(SELECT jsonb_array_elements_text(flags)), skipped
    FROM jsonb_to_recordset(:rows) AS r(uid bigint, evidence_id bigint, flags jsonb, skipped text)
    ON CONFLICT (mailbox, folder, uidvalidity, uid) DO UPDATE
    SET evidence_id = excluded.evidence_id, flags = excluded.flags, skipped = excluded.skipped, gone_at = NULL
    """
).bindparams(bindparam("rows", type_=JSONB))


async def list_uids(
    connection: AsyncConnection, position: MailboxPosition, *, first: int = 1, last: int | None = None
) -> tuple[set[int], set[int]]:
    """UIDs of the copies that lie in the folder, and of those that are gone."""
    query = select(mailbox_copy.c.uid, mailbox_copy.c.gone_at.is_(None)).where(_of(position))
    query = query.where(mailbox_copy.c.uid >= first)
    if last is not None:
        query = query.where(mailbox_copy.c.uid <= last)
    living: set[int] = set()
    gone: set[int] = set()
    for uid, is_there in await connection.execute(query):
        (living if is_there else gone).add(uid)
    return living, gone


async def list_skipped(connection: AsyncConnection, position: MailboxPosition, limit: int) -> list[int]:
    """UIDs, newest first, of messages that lie in the folder and whose bytes were not taken yet."""
    query = select(mailbox_copy.c.uid).where(_of(position), mailbox_copy.c.skipped != "")
    query = query.where(mailbox_copy.c.gone_at.is_(None)).order_by(mailbox_copy.c.uid.desc()).limit(limit)
    return list((await connection.execute(query)).scalars())


async def mark_gone(
    connection: AsyncConnection, position: MailboxPosition, uids: Sequence[int], *, gone: bool = True
) -> None:
    """Mark copies that lie in the folder no more, or take the mark away; nothing else of them changes."""
    for start in range(0, len(uids), _UIDS_A_STATEMENT):
        some = list(uids[start : start + _UIDS_A_STATEMENT])
        change = {"gone_at": func.now() if gone else None}
        await connection.execute(
            update(mailbox_copy)
            .where(_of(position), mailbox_copy.c.uid.in_(some), mailbox_copy.c.gone_at.is_(None) == gone)
            .values(**change)
        )


async def save_flags(
    connection: AsyncConnection, position: MailboxPosition, flags: Mapping[int, tuple[str, ...]]
) -> None:
    """Note changed flags of copies that are known."""
    rows = [{"b_uid": uid, "b_flags": list(each)} for uid, each in flags.items()]
    if rows:
        statement = update(mailbox_copy).where(_of(position), mailbox_copy.c.uid == bindparam("b_uid"))
        await connection.execute(statement.values(flags=bindparam("b_flags")), rows)


async def retire_copies(connection: AsyncConnection, position: MailboxPosition) -> None:
    """The folder was read anew under another UIDVALIDITY: copies found again replace the old ones, others are gone."""
    same = and_(
        mailbox_copy.c.mailbox == position.mailbox,
        mailbox_copy.c.folder == position.folder,
        mailbox_copy.c.uidvalidity != position.uidvalidity,
    )
    found = select(mailbox_copy.c.evidence_id).where(_of(position), mailbox_copy.c.evidence_id.is_not(None))
    await connection.execute(
        delete(mailbox_copy).where(same, mailbox_copy.c.evidence_id.in_(found) | (mailbox_copy.c.skipped != ""))
    )
    await connection.execute(
        update(mailbox_copy).where(same, mailbox_copy.c.gone_at.is_(None)).values(gone_at=func.now())
    )


async def retire_missing_folders(connection: AsyncConnection, mailbox: str, folders: Sequence[str]) -> int:
    """Copies in folders other than these are gone; how many. The marks stay, for a folder that comes back."""
    query = update(mailbox_copy).where(
        mailbox_copy.c.mailbox == mailbox, mailbox_copy.c.gone_at.is_(None), mailbox_copy.c.folder.not_in(folders)
    )
    return len((await connection.execute(query.values(gone_at=func.now()).returning(mailbox_copy.c.uid))).all())


async def list_copies(
    connection: AsyncConnection, evidence_ids: Sequence[int]
) -> dict[int, list[tuple[str, FolderCopy]]]:
    """(folder, copy) of these pieces of evidence: where each lies in its mailbox, and since when no more."""
    query = select(mailbox_copy).where(mailbox_copy.c.evidence_id.in_(evidence_ids)).order_by(mailbox_copy.c.uid)
    found: dict[int, list[tuple[str, FolderCopy]]] = {one: [] for one in evidence_ids}
    for row in await connection.execute(query):
        copy = FolderCopy(
            uid=row.uid,
            flags=tuple(row.flags),
            skipped=row.skipped,
            evidence_id=row.evidence_id,
            gone=row.gone_at,
        )
        found[row.evidence_id].append((row.folder, copy))
    return found


async def count_copies(connection: AsyncConnection, mailbox: str) -> dict[str, int]:
    """How many messages of each folder are known to lie in it under today's UIDVALIDITY."""
    query = text(
        """
        SELECT c.folder, count(*) AS copies
        FROM mailbox_copy c JOIN mailbox_folder f USING (mailbox, folder, uidvalidity)
        WHERE c.mailbox = :mailbox AND c.gone_at IS NULL GROUP BY c.folder
        """
    )
    return {row.folder: row.copies for row in await connection.execute(query, {"mailbox": mailbox})}
