"""Mails that a mailbox lists and does not give: notes in their place, and when each is asked for again.

A note is evidence with a `PROBLEM` in its details. What belongs to asking again is kept there too: ``asked`` (how
often) and ``ask_at``. A mail that came takes the note's place in `mailbox_copy`; the note is then set aside by its
mailbox.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

FIRST_PAUSE = timedelta(hours=1)
_AT_ONCE = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class LostMail:
    """A note, where its mail lies, how often it was asked for since, and whether it is time to ask."""

    evidence_id: int
    folder: str
    uidvalidity: int
    uid: int
    noted: datetime
    asked: int
    is_due: bool


_LIST = text(
    """
    SELECT id, details->>'folder' AS folder, (details->>'uidvalidity')::bigint AS uidvalidity,
           (details->>'uid')::bigint AS uid, coalesce((details->>'asked')::int, 0) AS asked, received_at,
           coalesce((details->>'ask_at')::timestamptz, received_at + :first_pause) <= now() AS is_due
    FROM evidence
    WHERE state = 'unreadable' AND source = :source AND details ? 'problem' AND details ? 'uid'
          AND NOT details ? 'found'
    ORDER BY coalesce((details->>'ask_at')::timestamptz, received_at), id LIMIT :most
    """
)
_ASKING = text(
    """
    UPDATE evidence SET details = details || jsonb_build_object('asked', :asked, 'ask_at', now() + :pause)
    WHERE id = :id
    """
)
_FOUND = text(
    """
    UPDATE evidence SET details = details || jsonb_build_object('found', true, 'set_aside', source) WHERE id = :id
    """
)
_ASK_NOW = text(
    """
    UPDATE evidence SET details = details || jsonb_build_object('ask_at', now())
    WHERE id = :id AND state = 'unreadable' AND source LIKE 'imap:%' AND details ? 'problem' AND details ? 'uid'
          AND NOT details ? 'found'
    """
)


async def list_lost(connection: AsyncConnection, mailbox: str) -> list[LostMail]:
    """Mails of a mailbox that never came, those first that are due longest; also those that a person has set aside."""
    given = {"source": f"imap:{mailbox}", "first_pause": FIRST_PAUSE, "most": _AT_ONCE}
    return [
        LostMail(
            evidence_id=row.id,
            folder=row.folder,
            uidvalidity=row.uidvalidity,
            uid=row.uid,
            noted=row.received_at,
            asked=row.asked,
            is_due=row.is_due,
        )
        for row in await connection.execute(_LIST, given)
    ]


async def note_asking(connection: AsyncConnection, lost: LostMail, pause: timedelta) -> None:
    """It is about to be asked for, and then not within ``pause``: noted before, for a server may fall over it."""
    await connection.execute(_ASKING, {"id": lost.evidence_id, "asked": lost.asked + 1, "pause": pause})


async def mark_found(connection: AsyncConnection, lost: LostMail) -> None:
    """It came, or there is another note in its place: this one bothers nobody any more."""
    await connection.execute(_FOUND, {"id": lost.evidence_id})


async def ask_now(connection: AsyncConnection, evidence_id: int) -> bool:
    """A person wants it asked for at the mailbox's next look. False where it is no such note."""
    return (await connection.execute(_ASK_NOW, {"id": evidence_id})).rowcount > 0
