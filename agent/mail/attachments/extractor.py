"""The job `extract_words`: attached files of accepted mails become text for search.

It comes after the mails and beside them: a mail is on the card before anybody has looked into its files.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from agent.archive.blobs import Archive
from agent.errors import BlobAltered, BlobErased, BlobMissing, Unavailable
from agent.mail.attachments.reading import AttachmentReader, PartWords
from agent.store import attachments, evidence
from agent.store.attachments import Unread, Words, WordsState
from agent.store.engine import Store

log = structlog.get_logger()

_A_LOOK = 100  # mails


class Extractor:
    """Reads the words of attached files. May run twice or be killed anywhere in between."""

    def __init__(self, store: Store, archive: Archive, reader: AttachmentReader) -> None:
        self._store = store
        self._archive = archive
        self._reader = reader

    async def extract(self) -> None:
        """Read all files that nobody has read yet, those of the newest mails first; each mail is committed by itself.

        Raises:
            Unavailable: database, archive or child are away; do it again later.
        """
        while found := await self._waiting():
            for interaction_id in found:
                await self._extract(interaction_id)

    async def _waiting(self) -> list[int]:
        async with self._store.begin() as connection:
            return await attachments.list_unread_mails(connection, limit=_A_LOOK)

    async def _extract(self, interaction_id: int) -> None:
        async with self._store.begin() as connection:
            unread = await attachments.list_unread(connection, interaction_id)
        try:
            found = await self._read(interaction_id, unread)
        except Unavailable:
            raise
        except Exception:  # one mail at which we fail must not keep the words of all older ones from being read
            log.exception("attachments_failed", interaction_id=interaction_id)
            problem = "reading it failed"
            found = [Words(attachment_id=one.id, state=WordsState.FAILED, problem=problem) for one in unread]
        async with self._store.begin() as connection:
            await attachments.save_words(connection, found)
        read = sum(one.state is WordsState.READ for one in found)
        log.info("attachments_read", interaction_id=interaction_id, files=len(found), with_words=read)

    async def _read(self, interaction_id: int, unread: Sequence[Unread]) -> list[Words]:
        """Copies of a mail may number their parts differently: the digest says which part is meant."""
        async with self._store.begin() as connection:
            proofs = await evidence.list_evidence_of(connection, interaction_id)
        found: list[Words] = []
        left = list(unread)
        for blob in (one.blob for one in proofs if one.blob is not None):
            try:
                raw = await asyncio.to_thread(self._archive.read, blob)
            except (BlobErased, BlobMissing, BlobAltered) as error:
                log.warning("attachments_not_read", interaction_id=interaction_id, reason=error.what)
                continue
            answers = await self._reader.read(raw, [one.part for one in left])
            digests = {one.part: one for one in answers}
            here = [one for one in left if digests[one.part].sha256 in ("", one.sha256)]
            found += [_words(one.id, digests[one.part]) for one in here]
            left = [one for one in left if one not in here]
            if not left:
                break
        missing = [Words(attachment_id=one.id, state=WordsState.FAILED, problem="its mail is away") for one in left]
        return found + missing


def _words(attachment_id: int, found: PartWords) -> Words:
    if found.problem:
        return Words(attachment_id=attachment_id, state=WordsState.FAILED, problem=found.problem)
    if not found.text:
        return Words(attachment_id=attachment_id, state=WordsState.NONE)
    return Words(attachment_id=attachment_id, state=WordsState.READ, text=found.text)
