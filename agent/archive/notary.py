"""Seals the chain: once a day, after many links, and on demand; and sees that the sealed part still is what it was.

A seal is a row and a copy to be made at each place that is configured, in one transaction; carrying the copies away is
durable work of others, asked for through ``announce``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.archive.chain import chain_all
from agent.archive.sealkeys import SealKey, SealKeyMissing
from agent.archive.seals import Seal, make_seal, seal_statement
from agent.errors import CardlineError, Unavailable
from agent.model import SourceState
from agent.store import blobs, seals, sources
from agent.store.engine import Store
from agent.store.seals import StoredSeal

log = structlog.get_logger()

SOURCE = "seals"
_LOOK_SECONDS = 60.0
_A_DAY = timedelta(days=1)
_OTHERS_SEAL = timedelta(days=2)  # a host without the key is silent while another one seals

Announce = Callable[[AsyncConnection, int, Sequence[str]], Awaitable[None]]


class ChainRewritten(CardlineError):
    """The chain does not lead to the head of its last seal any more."""

    remedy = (
        "Run `cardline verify` with the seals that were kept elsewhere, and find out who can write to the database."
    )


class Notary:
    """One an installation; several are no harm."""

    def __init__(
        self, store: Store, keys: Path, *, targets: Sequence[str], announce: Announce, every_links: int = 10_000
    ) -> None:
        """``keys`` is the key folder; ``announce`` defers the carrying of a seal to these targets."""
        self._store = store
        self._keys = keys
        self._targets = tuple(targets)
        self._announce = announce
        self._every_links = every_links

    async def run(self) -> None:
        """Seal when it is time, for as long as the service runs."""
        while True:
            try:
                if await self.is_due():
                    await self.seal()
            except Unavailable as error:
                log.warning("seal_waits", reason=str(error))
            except (CardlineError, OSError) as error:  # nothing of it is a reason to stop recording
                await self._refuse(error)
            await asyncio.sleep(_LOOK_SECONDS)

    async def is_due(self) -> bool:
        """Whether there is something new and a day has passed, or much is new."""
        async with self._store.begin() as connection:
            last = await seals.find_last_seal(connection)
            length, _ = await blobs.find_last_link(connection)
        if last is None:
            return length > 0
        news = length - last.length
        return news >= self._every_links or (news > 0 and datetime.now(UTC) - last.sealed >= _A_DAY)

    async def seal(self) -> Seal | None:
        """Seal what is committed by now; None when the last seal says it already.

        Raises:
            ChainRewritten: what was sealed before is not there any more, so nothing is sealed over it.
            SealKeyMissing: another machine has the key, or it was lost.
        """
        async with self._store.begin() as connection:
            await chain_all(connection)
            last = await seals.find_last_seal(connection)
            length, head = await blobs.find_last_link(connection)
            if length == 0 or (last is not None and last.length == length):
                return None
            key = await asyncio.to_thread(SealKey.open_or_create, self._keys, is_first=last is None)
            before = make_seal(last.statement, last.signature) if last is not None else None
            if before is not None and await blobs.find_digest(connection, before.length) != before.head:
                raise ChainRewritten(f"The chain does not lead to seal {before.number} any more.")
            made = _sign(key, before, length=length, head=head)
            await self._save(connection, made)
        log.info("sealed", number=made.number, links=made.length, targets=self._targets)
        await self._note(SourceState.RUNNING, self._words(made))
        return made

    async def _save(self, connection: AsyncConnection, made: Seal) -> None:
        await seals.insert_seal(
            connection,
            number=made.number,
            length=made.length,
            statement=made.statement,
            signature=made.signature,
            sealed=made.at,
            targets=self._targets,
        )
        await self._announce(connection, made.number, self._targets)

    async def _refuse(self, error: Exception) -> None:
        if isinstance(error, SealKeyMissing) and await self._is_sealed_elsewhere():
            return
        log.error("seal_refused", reason=str(error))
        await self._note(SourceState.STOPPED, str(error))

    async def _is_sealed_elsewhere(self) -> bool:
        try:
            async with self._store.begin() as connection:
                last: StoredSeal | None = await seals.find_last_seal(connection)
        except Unavailable:
            return True  # asked again in a minute
        return last is not None and datetime.now(UTC) - last.sealed < _OTHERS_SEAL

    async def _note(self, state: SourceState, detail: str) -> None:
        try:
            async with self._store.begin() as connection:
                await sources.save_status(connection, SOURCE, state, detail)
        except Unavailable as error:
            log.warning("source_state_not_noted", reason=str(error))

    def _words(self, made: Seal) -> str:
        places = f"it goes to: {', '.join(self._targets)}" if self._targets else "it goes nowhere yet: see [seal]"
        return f"seal {made.number} vouches for {made.length} links; {places}"


def _sign(key: SealKey, before: Seal | None, *, length: int, head: bytes) -> Seal:
    statement = seal_statement(
        number=before.number + 1 if before else 1,
        length=length,
        head=head,
        at=datetime.now(UTC),
        previous=before.digest if before else b"",
        installation=key.installation,
        key=key.fingerprint,
    )
    return make_seal(statement, key.sign(statement))
