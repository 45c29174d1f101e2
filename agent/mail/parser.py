"""The job `parse`: sealed mails become messages. It may run twice or be killed anywhere in between."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

import structlog

from agent.archive.blobs import Archive
from agent.errors import BlobErased, CardlineError, Unavailable, Unreadable
from agent.mail.ports import PROBLEM, MessageStore
from agent.mail.sandbox import Sandbox
from agent.model import EvidenceState, SealedBlob
from agent.model_mail import ParsedMessage
from agent.store import evidence
from agent.store.engine import Store
from agent.store.evidence import Evidence

log = structlog.get_logger()

_A_COMMIT = (200, 4 * 1024 * 1024)  # mails, and bytes of them
_A_READING = (32, 1024 * 1024)  # so many are in memory and on their way to the child
_READINGS = 2  # at once: the child reads one while the mails of the other are fetched

_Read = tuple[int, ParsedMessage]


class Parser:
    """Reads evidence of mail. What cannot be read is flagged for a person, and the rest of the batch goes on."""

    def __init__(self, store: Store, archive: Archive, intake: MessageStore, sandbox: Sandbox) -> None:
        self._store = store
        self._archive = archive
        self._intake = intake
        self._sandbox = sandbox
        self._readings = asyncio.Semaphore(_READINGS)

    async def parse(self, evidence_ids: list[int]) -> None:
        """Read each piece of evidence that was not read yet.

        Raises:
            CardlineError: a blob is missing or something is away; all others were read, the job is to be done again.
        """
        async with self._store.begin() as connection:
            found = await evidence.find_evidence(connection, evidence_ids)
        fault: CardlineError | None = None
        for some in _portions([one for one in found if one.state is EvidenceState.STORED], *_A_COMMIT):
            read: list[_Read] = []
            for few in _portions(some, *_A_READING):
                async with self._readings:
                    fault = await self._read(few, read) or fault
            fault = await self._accept(read) or fault
        if fault is not None:
            raise fault

    async def _accept(self, read: Sequence[_Read]) -> CardlineError | None:
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
                fault = _not_yet(one[0], error)
        return fault

    async def _read(self, found: Sequence[Evidence], read: list[_Read]) -> CardlineError | None:
        """Add to ``read`` what can be read; why some could not be read yet."""
        whole: list[tuple[Evidence, SealedBlob]] = []
        for one in found:
            problem = str(one.details.get(PROBLEM, ""))
            if one.blob is None or problem:
                await self._intake.reject_evidence(one.id, problem or "There are no bytes of this mail.")
            else:
                whole.append((one, one.blob))
        fault: CardlineError | None = None
        there: list[tuple[Evidence, bytes]] = []
        for (one, _), raw in zip(whole, await asyncio.to_thread(self._open, [blob for _, blob in whole]), strict=True):
            if isinstance(raw, bytes):
                there.append((one, raw))
            elif isinstance(raw, BlobErased):
                log.info("mail_erased_before_it_was_read", evidence_id=one.id)
            else:
                fault = _not_yet(one.id, raw)
        return await self._understand(there, read) or fault

    def _open(self, blobs: Sequence[SealedBlob]) -> list[bytes | CardlineError]:
        found: list[bytes | CardlineError] = []
        for blob in blobs:
            try:
                found.append(self._archive.read(blob))
            except CardlineError as error:
                found.append(error)
        return found

    async def _understand(self, there: Sequence[tuple[Evidence, bytes]], read: list[_Read]) -> CardlineError | None:
        try:
            answers = await self._sandbox.parse_all([(raw, one.details) for one, raw in there])
        except Unavailable as error:
            return _not_yet(there[0][0].id, error)
        for (one, _), answer in zip(there, answers, strict=True):
            if isinstance(answer, Unreadable):
                await self._intake.reject_evidence(one.id, answer.what)
            else:
                read.append((one.id, answer))
        return None


def _portions(found: Sequence[Evidence], most: int, most_bytes: int) -> Iterator[Sequence[Evidence]]:
    """In order, so many and so large together at most; what is larger goes by itself."""
    start = size = 0
    for at, one in enumerate(found):
        own = one.blob.plain_size if one.blob is not None else 0
        if at > start and (at - start >= most or size + own > most_bytes):
            yield found[start:at]
            start, size = at, 0
        size += own
    if start < len(found):
        yield found[start:]


def _not_yet(evidence_id: int, error: CardlineError) -> CardlineError:
    log.warning("mail_not_read_yet", evidence_id=evidence_id, reason=str(error))
    return error
