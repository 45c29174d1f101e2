"""The job `parse`: sealed mails become messages. It may run twice or be killed anywhere in between."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from agent.archive.blobs import Archive
from agent.errors import BlobErased, CardlineError, Unreadable
from agent.mail.ports import PROBLEM, MessageStore
from agent.mail.sandbox import Sandbox
from agent.model import EvidenceState, SealedBlob
from agent.store import evidence
from agent.store.engine import Store
from agent.store.evidence import Evidence

log = structlog.get_logger()


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
        for one in found:
            try:
                await self._parse_one(one)
            except CardlineError as error:
                log.warning("mail_not_read_yet", evidence_id=one.id, reason=str(error))
                fault = error
        if fault is not None:
            raise fault

    async def _parse_one(self, one: Evidence) -> None:
        problem = str(one.details.get(PROBLEM, ""))
        if one.blob is None or problem:
            await self._intake.reject_evidence(one.id, problem or "There are no bytes of this mail.")
            return
        try:
            raw = await asyncio.to_thread(self._read, one.blob)
            message = await self._sandbox.parse(raw, one.details)
        except BlobErased:
            log.info("mail_erased_before_it_was_read", evidence_id=one.id)
        except Unreadable as error:
            await self._intake.reject_evidence(one.id, error.what)
        else:
            interaction_id = await self._intake.accept_message(one.id, message)
            log.info(
                "mail_read",
                evidence_id=one.id,
                interaction_id=interaction_id,
                category=message.category,
                problems=len(message.problems),
            )

    def _read(self, blob: SealedBlob) -> bytes:
        return self._archive.open(blob).read()
