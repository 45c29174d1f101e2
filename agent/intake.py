"""The door: whatever a source captured becomes evidence, an Interaction and the jobs it needs, in one transaction.

Nothing reaches the history in any other way, so here stand the two promises of the program: a thing once accepted is
durable, and accepting it again changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from agent import jobs
from agent.archive.blobs import Archive
from agent.keeping import Keeper
from agent.model import CapturedCall, CapturedMail, MailboxPosition, SealedBlob
from agent.model_mail import ParsedMessage
from agent.store import conversations, evidence, incoming, mailboxes, notices, recordings
from agent.store.accepted import ReadMail, accept_mails
from agent.store.engine import Store
from agent.store.incoming import SealedMail
from agent.store.mailboxes import FolderCopy

if TYPE_CHECKING:
    from agent.sound.files import SoundFile

log = structlog.get_logger()

_MAIL_TYPE = "message/rfc822"
_CLOCK_TOLERANCE = timedelta(days=1)


class Intake:
    """One a process. ``host`` is the name of this machine, on which the packet logs of its calls lie."""

    def __init__(self, store: Store, archive: Archive, *, host: str) -> None:
        self._store = store
        self._archive = archive
        self._host = host
        self._keeper = Keeper(store, archive)
        self._is_database_sure = False  # whether it has just answered

    # --- Calls ------------------------------------------------------------------------------------------------------

    async def open_call(self, call: CapturedCall) -> int:
        """The call exists from the first ring: it stands on the card while it goes on. Returns the interaction's id.

        Raises:
            DatabaseUnavailable: nothing was changed; say it again later.
        """
        async with self._store.begin() as connection:
            return await self._merge_call(connection, call)

    async def update_call(self, call: CapturedCall) -> int:
        """More is known now; the same as `open_call`, named for what the source saw."""
        return await self.open_call(call)

    async def close_call(self, call: CapturedCall) -> int:
        """The call has ended and its packet logs are complete: they are to be assembled, here, once."""
        async with self._store.begin() as connection:
            interaction_id = await self._merge_call(connection, call)
            if call.capture_id is not None and await recordings.close_capture(
                connection, call.capture_id, truncated=call.truncated
            ):
                work = jobs.Job(
                    task=jobs.ASSEMBLE, queue=jobs.host_queue(self._host), args={"capture_id": call.capture_id}
                )
                await jobs.defer(connection, [work])
            return interaction_id

    async def _merge_call(self, connection: AsyncConnection, call: CapturedCall) -> int:
        """A call that another source has told of already is that one (`agent.store.sameness` has the rule)."""
        merged = await conversations.merge(connection, call)
        if call.capture_id is not None:
            await recordings.open_capture(
                connection, call.capture_id, merged.interaction_id, self._host, evidence_id=merged.evidence_id
            )
        for number in (merged.interaction_id, *merged.absorbed):
            await notices.notify(connection, notices.INTERACTIONS, number)
        if merged.is_news:
            await jobs.defer(connection, [_link_job([merged.interaction_id])])
        return merged.interaction_id

    async def keep_recording(
        self, call: CapturedCall, sound: Path | Sequence[SoundFile], *, reference: str
    ) -> int | None:
        """The sound of a call that ended, as a file of any kind, or as one a party: `SoundFile` says which is whose and
        from when. Returns the recording's id, or None where this call has the ``reference`` already.

        The call is told first, so it is in the history even where its sound cannot be read. A file alone is placed so
        that it ends with the call. The files are sealed as they are beside the recording made of them.

        Raises:
            UnreadableSound: there is no sound in it; it is the caller's to say so to a person.
            Unavailable: disk or database are away; say it again later.
            OSError: a file cannot be read.
        """
        return await self.keep_sound(await self.close_call(call), call, sound, reference=reference)

    async def keep_sound(
        self, interaction_id: int, call: CapturedCall, sound: Path | Sequence[SoundFile], *, reference: str
    ) -> int | None:
        """The same for a call that was told already, as this interaction."""
        if await self._keeper.is_kept(interaction_id, reference):
            return None
        return await self._keeper.keep(interaction_id, call, sound, reference)

    # --- Mail -------------------------------------------------------------------------------------------------------

    async def store_evidence(
        self, mails: Sequence[CapturedMail], *, position: MailboxPosition | None = None
    ) -> list[int]:
        """Seal and commit the bytes of mails of one source before anything is parsed. Returns the new evidence's ids.

        When this returns, the bytes are on disk and the rows committed: now a sender may get its 250. With
        ``position`` (IMAP) the folder's marks move in the same transaction, and content that this mailbox has
        delivered before, under another UID or UIDVALIDITY, is recognised and not stored twice.

        Raises:
            Unavailable: disk or database are away; nothing was promised.
        """
        prints = await asyncio.to_thread(self._fingerprints, mails)
        news = await self._only_news(mails, prints, by_content=position is not None)
        return await self._keep_mails(news, mails, prints, position)

    async def store_deliveries(self, mails: Sequence[CapturedMail]) -> list[int]:
        """The same for mails each delivery of which is evidence of its own: nobody can have delivered their keys, so
        these are not looked up, as long as the database answers.
        """
        if not self._is_database_sure:
            return await self.store_evidence(mails)
        prints = await asyncio.to_thread(self._fingerprints, mails)
        return await self._keep_mails(list(zip(mails, prints, strict=True)), mails, prints, None)

    async def _keep_mails(
        self,
        fresh: Sequence[tuple[CapturedMail, bytes]],
        mails: Sequence[CapturedMail],
        prints: Sequence[bytes],
        position: MailboxPosition | None,
    ) -> list[int]:
        self._is_database_sure = False
        sealed = await self._seal_all(fresh)
        async with self._store.begin() as connection:
            made = await incoming.insert_mails(connection, sealed)
            ids = [number for _, number in made]
            if ids:
                await jobs.defer(connection, [jobs.Job(task=jobs.PARSE, args={"evidence_ids": ids})])
            if position is not None:
                await _save_copies(connection, position, mails, prints, known=dict(made))
                await mailboxes.save_position(connection, position)
        self._is_database_sure = True
        return ids

    def _fingerprints(self, mails: Sequence[CapturedMail]) -> list[bytes]:
        return [self._archive.fingerprint(mail.raw if mail.file is None else mail.file) for mail in mails]

    async def _only_news(
        self, mails: Sequence[CapturedMail], prints: Sequence[bytes], *, by_content: bool
    ) -> list[tuple[CapturedMail, bytes]]:
        """Mails with their fingerprints. Asks the database before anything is sealed, so that one that is away does
        not fill the disk with blobs.

        ``by_content``: only equal content is no news; a key that another content has is extended, since a mail server
        may give a UID to another message.
        """
        if not mails:
            return []
        async with self._store.begin() as connection:
            keys, contents = await evidence.find_known(
                connection, mails[0].source, [mail.key for mail in mails], prints if by_content else []
            )
        news = []
        for mail, fingerprint in zip(mails, prints, strict=True):
            if fingerprint in contents if by_content else mail.key in keys:
                continue
            key = f"{mail.key}/{fingerprint.hex()[:16]}" if mail.key in keys else mail.key
            keys.add(key)
            contents.add(fingerprint)
            news.append((replace(mail, key=key), fingerprint))
        return news

    async def _seal_all(self, fresh: Sequence[tuple[CapturedMail, bytes]]) -> list[SealedMail]:
        sealed = await asyncio.to_thread(self._seal_each, [mail for mail, _ in fresh])
        return [
            SealedMail(mail=mail, blob=blob, fingerprint=fingerprint)
            for (mail, fingerprint), blob in zip(fresh, sealed, strict=True)
        ]

    def _seal_each(self, mails: Sequence[CapturedMail]) -> list[SealedBlob]:
        small = iter(self._archive.seal_all([one.raw for one in mails if one.file is None], media_type=_MAIL_TYPE))
        return [next(small) if one.file is None else self._seal_file(one.file) for one in mails]

    def _seal_file(self, file: BinaryIO) -> SealedBlob:
        file.seek(0)
        return self._archive.seal(file, media_type=_MAIL_TYPE)

    async def accept_message(self, evidence_id: int, parsed: ParsedMessage) -> int:
        """What was read of a mail becomes a message, or one more piece of evidence of a message that is there already.

        Returns the interaction's id.
        """
        return (await self.accept_messages([(evidence_id, parsed)]))[evidence_id]

    async def accept_messages(self, read: Sequence[tuple[int, ParsedMessage]]) -> Mapping[int, int]:
        """The same for many at once, all or none: evidence → interaction. What a power cut undoes is read again."""
        async with self._store.begin(redoable=True) as connection:
            received = await evidence.find_received(connection, [evidence_id for evidence_id, _ in read])
            mails = [
                ReadMail(evidence_id=one, message=parsed, started=_plausible(parsed.sent, received[one]))
                for one, parsed in read
            ]
            accepted = await accept_mails(connection, mails)
            if to_link := [*accepted.new, *accepted.meetings, *accepted.changed]:
                await jobs.defer(connection, [_link_job(to_link)])
            if any(parsed.attachments for _, parsed in read):
                await jobs.defer_unless_waiting(connection, _WORDS_JOB)
        return accepted.interactions

    async def reject_evidence(self, evidence_id: int, problem: str) -> None:
        """Nothing could be read of it: it stays as it is and is shown to a person with the reason."""
        log.warning("evidence_unreadable", evidence_id=evidence_id, problem=problem)
        async with self._store.begin() as connection:
            await evidence.mark_unreadable(connection, evidence_id, problem)


_WORDS_JOB = jobs.Job(task=jobs.EXTRACT_WORDS, priority=-10, lock=jobs.EXTRACT_WORDS)
"""The words of attached files are read after all mails, and at no more than one place at a time."""


def _link_job(interaction_ids: list[int]) -> jobs.Job:
    return jobs.Job(task=jobs.LINK, args={"interaction_ids": interaction_ids}, priority=jobs.FINISHING)


async def _save_copies(
    connection: AsyncConnection,
    position: MailboxPosition,
    mails: Sequence[CapturedMail],
    prints: Sequence[bytes],
    *,
    known: Mapping[bytes, int],
) -> None:
    """Where each of these mails lies in its folder, also where its content had been delivered before. ``known``: the
    evidence that just came of them."""
    before = [one for one in prints if one not in known]
    if before:
        known = {**await incoming.find_by_content(connection, mails[0].source, before), **known}
    copies = {
        int(mail.envelope["uid"]): FolderCopy(
            uid=int(mail.envelope["uid"]),
            flags=tuple(mail.envelope.get("flags", ())),
            evidence_id=known.get(fingerprint),
        )
        for mail, fingerprint in zip(mails, prints, strict=True)
        if "uid" in mail.envelope
    }
    await mailboxes.save_copies(connection, position, list(copies.values()))


def _plausible(sent: datetime | None, received: datetime) -> datetime:
    """The sender's time unless it lies in the future, which only a wrong clock explains."""
    return sent if sent is not None and sent <= received + _CLOCK_TOLERANCE else received
