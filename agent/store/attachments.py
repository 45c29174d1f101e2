"""The words of attached files, which a job reads after the mail was accepted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import bindparam, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.store import search
from agent.store.schema import attachment


class WordsState(StrEnum):
    """How far the reading of an attached file has come."""

    WAITING = ""
    READ = "read"
    NONE = "none"  # this sort of file has no words that we read
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unread:
    """A file whose words are to be read: ``part`` of the mail, with its digest."""

    id: int
    part: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What was read of a file."""

    attachment_id: int
    state: WordsState
    text: str = ""
    problem: str = ""


_SAVE = (
    update(attachment)
    .where(attachment.c.id == bindparam("of"))
    .values(text_state=bindparam("state"), text=bindparam("words"), text_problem=bindparam("trouble"))
)


async def list_unread_mails(connection: AsyncConnection, *, limit: int) -> list[int]:
    """Mails with files that nobody has read yet, the newest first."""
    query = select(attachment.c.interaction_id).where(attachment.c.text_state == WordsState.WAITING).distinct()
    return list((await connection.execute(query.order_by(attachment.c.interaction_id.desc()).limit(limit))).scalars())


async def list_unread(connection: AsyncConnection, interaction_id: int) -> list[Unread]:
    """Files of a mail that nobody has read yet, in the order of their parts."""
    query = select(attachment.c.id, attachment.c.part, attachment.c.sha256).where(
        attachment.c.interaction_id == interaction_id, attachment.c.text_state == WordsState.WAITING
    )
    rows = await connection.execute(query.order_by(attachment.c.part))
    return [Unread(id=row.id, part=row.part, sha256=row.sha256) for row in rows]


async def list_readable(connection: AsyncConnection, attachment_ids: Sequence[int]) -> set[int]:
    """Those among the files whose words were read."""
    query = select(attachment.c.id).where(
        attachment.c.id.in_(attachment_ids), attachment.c.text_state == WordsState.READ
    )
    return set((await connection.execute(query)).scalars())


async def find_words(connection: AsyncConnection, attachment_id: int) -> str:
    """What was read of a file, empty where nothing was."""
    query = select(attachment.c.text).where(attachment.c.id == attachment_id)
    return (await connection.execute(query)).scalar_one_or_none() or ""


async def save_words(connection: AsyncConnection, found: Sequence[Words]) -> None:
    """Note what was read; a file that was erased meanwhile stays erased."""
    rows = [{"of": one.attachment_id, "state": one.state, "words": one.text, "trouble": one.problem} for one in found]
    if rows:
        await connection.execute(_SAVE, rows)
        ids = select(attachment.c.interaction_id).where(attachment.c.id.in_([one.attachment_id for one in found]))
        await search.changed(connection, list((await connection.execute(ids.distinct())).scalars()))
