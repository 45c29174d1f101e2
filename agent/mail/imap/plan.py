"""Which messages of a folder to read next, and how far the marks then stand. Pure.

A folder has two marks (`agent.model.MailboxPosition`): everything from ``low_uid`` to ``high_uid`` is archived. New
mail moves the upper mark up, message by message; what was there before moves the lower one down, newest first, until
it stands at 1. A mark moves only in the commit that archives the bytes it passes, so a crash costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date

from agent.model import MailboxPosition

BATCH_MAILS = 200
BATCH_BYTES = 3 * 1024 * 1024  # several batches are in memory at once
FIRST_CHUNK = 500  # UIDs asked for at once, at first
_LARGEST_CHUNK = 65536
_TOO_FEW, _TOO_MANY = 1000, 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderStatus:
    """What the server says of a folder; a ``uidvalidity`` of 0 means that it gives no lasting UIDs."""

    uidvalidity: int
    uidnext: int
    exists: int = 0
    modseq: int = 0  # HIGHESTMODSEQ (RFC 7162); 0: the server has none


@dataclass(frozen=True, slots=True, kw_only=True)
class UidRange:
    """UIDs from ``first`` to ``last``, both included. ``upwards``: they are newer than everything archived."""

    first: int
    last: int
    upwards: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Messages to archive in one commit together with the marks that are true afterwards."""

    uids: tuple[int, ...]
    position: MailboxPosition


def starting_position(
    mailbox: str, folder: str, status: FolderStatus, known: MailboxPosition | None
) -> tuple[MailboxPosition, bool]:
    """The marks to go on from, and whether UIDs may stand for other messages than before.

    The folder is read anew, and nothing dropped, when its UIDs lost their meaning: another UIDVALIDITY, none at all,
    or a UIDNEXT that went back, which servers restored from a backup show against RFC 9051 (2.3.1.1).
    """
    fresh = MailboxPosition(
        mailbox=mailbox,
        folder=folder,
        uidvalidity=status.uidvalidity,
        low_uid=status.uidnext,
        high_uid=status.uidnext - 1,
    )
    if known is None:
        return fresh, status.uidvalidity == 0
    if status.uidvalidity == 0 or (status.uidnext <= known.high_uid and status.uidvalidity == known.uidvalidity):
        return fresh, True
    if known.uidvalidity == status.uidvalidity:
        return known, False
    return fresh, True  # it may be one of before, when its UIDs stood for others


def widened(position: MailboxPosition, read_from: date | None, wanted_from: date | None) -> MailboxPosition:
    """The marks after the horizon was set: one that lies further back than before begins the first pass anew.

    ``read_from`` and ``wanted_from`` are the days before which messages were and are passed over; None: none were.
    What is known already is not fetched again.
    """
    is_wider = read_from is not None and (wanted_from is None or wanted_from < read_from)
    return replace(position, low_uid=position.high_uid + 1) if is_wider else position


def horizon(today: date, since: date | None, months: int) -> date | None:
    """The day before which mail is not archived: as set by date, or by months back from ``today``; None: none."""
    if since is not None or not months:
        return since
    years, month = divmod(today.year * 12 + today.month - 1 - months, 12)
    return date(years, month + 1, min(today.day, 28))


def newer_range(first: int, status: FolderStatus, chunk: int) -> UidRange | None:
    """The next stretch above the upper mark, from UID ``first`` on; None when the folder's end is reached."""
    if first >= status.uidnext:
        return None
    return UidRange(first=first, last=min(first + chunk, status.uidnext) - 1, upwards=True)


def older_range(position: MailboxPosition, chunk: int) -> UidRange | None:
    """The next stretch below the lower mark; None when the first pass is done."""
    if position.low_uid <= 1:
        return None
    return UidRange(first=max(1, position.low_uid - chunk), last=position.low_uid - 1, upwards=False)


def plan_batches(
    position: MailboxPosition, stretch: UidRange, sizes: Mapping[int, int], status: FolderStatus
) -> Iterator[Batch]:
    """Batches for the messages that the server has in ``stretch``: ``sizes`` is UID → bytes.

    The upper mark stops at the last message seen when the stretch reaches UIDNEXT: a server may announce a UID before
    it shows the message. The last batch may be empty and only move a mark.
    """
    uids = sorted((uid for uid in sizes if stretch.first <= uid <= stretch.last), reverse=not stretch.upwards)
    start = 0
    while start < len(uids):
        end = _batch_end(uids, start, sizes)
        position = _passed(position, uids[end - 1], upwards=stretch.upwards)
        if end == len(uids):
            position = _at_end(position, stretch, status)
        yield Batch(uids=tuple(uids[start:end]), position=position)
        start = end
    if not uids and (moved := _at_end(position, stretch, status)) != position:
        yield Batch(uids=(), position=moved)


def _batch_end(uids: list[int], start: int, sizes: Mapping[int, int]) -> int:
    size = 0
    for end in range(start, min(start + BATCH_MAILS, len(uids))):
        size += sizes[uids[end]]
        if size > BATCH_BYTES and end > start:
            return end
    return min(start + BATCH_MAILS, len(uids))


def _passed(position: MailboxPosition, uid: int, *, upwards: bool) -> MailboxPosition:
    return replace(position, high_uid=uid) if upwards else replace(position, low_uid=uid)


def _at_end(position: MailboxPosition, stretch: UidRange, status: FolderStatus) -> MailboxPosition:
    if stretch.upwards:
        return position if stretch.last >= status.uidnext - 1 else replace(position, high_uid=stretch.last)
    return replace(position, low_uid=stretch.first)


def next_chunk(chunk: int, found: int) -> int:
    """How many UIDs to ask for next time: more where they are sparse, fewer where they are dense."""
    if found < _TOO_FEW:
        return min(chunk * 2, _LARGEST_CHUNK)
    return max(FIRST_CHUNK, chunk // 2) if found > _TOO_MANY else chunk
