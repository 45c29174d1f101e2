"""Re-reads every stored blob within so many days, slowly, and walks the chain once a day: disks rot unseen.

What is wrong stands in the blob's row, on the page of sources and in `cardline doctor`, until a later reading finds it
right again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog

from agent.archive.blobs import Archive
from agent.archive.chain import verify
from agent.archive.contents import MISSING, UNREAD, Content, problem_of
from agent.errors import ArchiveUnavailable, CardlineError, MasterKeyMissing, Unavailable
from agent.model import SourceState
from agent.store import blobs, sources
from agent.store.blobs import DueBlob
from agent.store.engine import Store

log = structlog.get_logger()

SOURCE = "archive"
_BATCH = 32
_IDLE_SECONDS = 60.0
_A_DAY = timedelta(days=1)


@dataclass(slots=True)
class _Pace:
    """Bytes a second, kept by pausing after what was read."""

    per_second: float

    def pause_after(self, size: int, seconds: float) -> float:
        """How long to rest after ``size`` bytes that took ``seconds``."""
        return max(0.0, size / self.per_second - seconds)


class Rereader:
    """One a host. Two that read the same do no harm; nothing is held meanwhile, as a large recording takes a while."""

    def __init__(self, store: Store, archive: Archive, *, days: int, megabytes_a_second: float) -> None:
        self._store = store
        self._archive = archive
        self._age = timedelta(days=days)
        self._pace = _Pace(megabytes_a_second * 1e6)
        self._walked: datetime | None = None

    async def run(self) -> None:
        """Re-read what is due, for as long as the service runs."""
        while True:
            try:
                if self._walked is None or datetime.now(UTC) - self._walked >= _A_DAY:
                    await self.walk()
                while await self.read_batch():
                    pass
            except Unavailable as error:
                log.warning("rereading_waits", reason=str(error))
            except (CardlineError, OSError) as error:  # nothing of it is a reason to stop recording
                log.error("rereading_stopped", reason=str(error))  # noqa: TRY400 - a person must act
                await self._note_calmly(SourceState.STOPPED, str(error))
            await asyncio.sleep(_IDLE_SECONDS)

    async def walk(self) -> None:
        """Prove the chain itself, without contents."""
        verdict = await verify(self._store, self._archive, contents=False)
        self._walked = datetime.now(UTC)
        if not verdict.holds:
            log.error("chain_broken", link=verdict.first_bad, problem=verdict.problem, seals=verdict.seal_problems)
            problem = f"link {verdict.first_bad}: {verdict.problem}" if verdict.first_bad else verdict.seal_problems[0]
            await self._note(SourceState.DAMAGED, f"The chain does not hold. {problem}. Run `cardline verify`.")
            return
        await self._note_count(verdict.links)

    async def read_batch(self) -> int:
        """Re-read some blobs that are due; returns how many bytes that were, zero when nothing is."""
        async with self._store.begin() as connection:
            due = await blobs.list_due(connection, datetime.now(UTC) - self._age, _BATCH)
        found = [(one, await self._read(one)) for one in due]
        if found and all(problem.startswith(UNREAD) for _, problem in found):
            raise ArchiveUnavailable("The archive cannot be re-read.")
        async with self._store.begin() as connection:
            await blobs.save_checks(connection, [(one.id, problem) for one, problem in found])
        faulty = [one for one, problem in found if problem]
        for one in faulty:
            log.error("blob_faulty", blob=one.blob.name)
        if faulty or any(one.fault for one in due):
            await self._note_count()
        return sum(one.blob.stored_size for one in due)

    async def _read(self, due: DueBlob) -> str:
        started = asyncio.get_running_loop().time()
        problem = await asyncio.to_thread(self._problem, due)
        seconds = asyncio.get_running_loop().time() - started
        await asyncio.sleep(self._pace.pause_after(due.blob.stored_size, seconds))
        return problem

    def _problem(self, due: DueBlob) -> str:
        blob, secret = due.blob, None
        if blob.wrapped_key is not None:
            try:
                secret = self._archive.keys.unwrap(blob.master_key, blob.wrapped_key)
            except MasterKeyMissing:
                raise
            except CardlineError as error:
                return error.what
        content = Content(0, blob.name, blob.plain_size, blob.salted_digest, secret)
        problem = problem_of(self._archive.open_stored, content)
        return "" if due.is_erased and problem == MISSING else problem

    async def _note_count(self, links: int | None = None) -> None:
        async with self._store.begin() as connection:
            faulty = await blobs.list_faulty(connection)
        if faulty:
            await self._note(SourceState.DAMAGED, _words(faulty))
        elif links is not None:
            await self._note(SourceState.RUNNING, f"the chain holds, {links} links; every blob is as it was stored")

    async def _note_calmly(self, state: SourceState, detail: str) -> None:
        try:
            await self._note(state, detail)
        except Unavailable as error:
            log.warning("source_state_not_noted", reason=str(error))

    async def _note(self, state: SourceState, detail: str) -> None:
        async with self._store.begin() as connection:
            await sources.save_status(connection, SOURCE, state, detail)


def _words(faulty: Sequence[tuple[str, str]]) -> str:
    name, problem = faulty[0]
    return f"{len(faulty)} blobs are not as they were stored, first {name}: {problem}. Restore them from a backup."
