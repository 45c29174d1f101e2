"""The job `parse`: sealed mails become messages. It may run twice or be killed anywhere in between."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from agent.archive.blobs import Archive
from agent.errors import BlobErased, CardlineError, Unreadable
from agent.mail.ports import PROBLEM, MessageStore
from agent.mail.sandbox import Sandbox
from agent.model import EvidenceState, ParsedMessage, SealedBlob
from agent.store import evidence
from agent.store.engine import Store
from agent.store.evidence import Evidence

log = structlog.get_logger()

_MAILS_A_COMMIT = 50


class Parser:
    """Reads evidence of mail. What cannot be read is flagged for a person, and the rest of the batch goes on."""

    def __init__(self, store: Store, archive: Archive, intake: MessageStore, sandbox: Sandbox) -> None:
        self._store = store
        self._archive = archive
        self._intake = intake
        self._sandbox = sandbox

    async def parse(self, evidence_ids: list[int]) -> None:
        """Read each piece of evidence that was not read yet.

        Raises:
            CardlineError: a blob is missing or something is away; all others were read, the job is to be done again.
        """
        async with self._store.begin() as connection:
            found = await evidence.find_evidence(connection, evidence_ids)
        await self._parse_all([one for one in found if one.state is EvidenceState.STORED])

    async def _parse_all(self, found: Sequence[Evidence]) -> None:
        fault: CardlineError | None = None
        for start in range(0, len(found), _MAILS_A_COMMIT):
            read: list[tuple[int, ParsedMessage]] = []
            for one in found[start : start + _MAILS_A_COMMIT]:
                try:
                    message = await self._read_one(one)
                except CardlineError as error:
                    log.warning("mail_not_read_yet", evidence_id=one.id, reason=str(error))
                    fault = error
                else:
                    read += [(one.id, message)] if message is not None else []
            fault = await self._accept(read) or fault
        if fault is not None:
            raise fault

    async def _accept(self, read: Sequence[tuple[int, ParsedMessage]]) -> CardlineError | None:
        """All together, and where that fails each by itself, so that one mail holds up no other."""
        if not read:
            return None
        try:
            became = await self._intake.accept_messages(read)
        except Exception as error:
            if len(read) == 1:
                raise
            log.warning("mails_not_accepted_together", count=len(read), reason=str(error))
        else:
            log.info("mails_read", count=len(read), interactions=len(set(became.values())))
            return None
        fault: CardlineError | None = None
        for one in read:
            try:
                await self._accept([one])
            except CardlineError as error:
                log.warning("mail_not_read_yet", evidence_id=one[0], reason=str(error))
                fault = error
        return fault

    async def _read_one(self, one: Evidence) -> ParsedMessage | None:
        """What can be read of a mail; None where that is noted already."""
        problem = str(one.details.get(PROBLEM, ""))
        if one.blob is None or problem:
            await self._intake.reject_evidence(one.id, problem or "There are no bytes of this mail.")
            return None
        try:
            raw = await asyncio.to_thread(self._read, one.blob)
            return await self._sandbox.parse(raw, one.details)
        except BlobErased:
            log.info("mail_erased_before_it_was_read", evidence_id=one.id)
        except Unreadable as error:
            await self._intake.reject_evidence(one.id, error.what)
        return None

    def _read(self, blob: SealedBlob) -> bytes:
        return self._archive.open(blob).read()
