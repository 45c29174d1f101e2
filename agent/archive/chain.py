"""The chain: each blob's digests hashed together with the link before, so that nothing can be changed, removed or
slipped in without every later link changing too.

One process at a time chains what was committed, every few seconds; doing it inside the intake's transactions would
make every call and every mail wait for each other.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog

from agent.archive.blobs import Archive
from agent.errors import Unavailable
from agent.store import blobs
from agent.store.engine import AnyRow, Store

log = structlog.get_logger()

_BATCH = 1000
_PAUSE_SECONDS = 3.0


def link_digest(previous: bytes, *, sequence: int, name: str, salted: bytes, source: str, created: datetime) -> bytes:
    """SHA-256 over the previous link and what this one vouches for, as length-unambiguous text lines."""
    lines = [str(sequence), name, salted.hex(), created.astimezone(UTC).isoformat(timespec="microseconds"), source]
    return hashlib.sha256(previous + "\n".join(lines).encode()).digest()


class Chainer:
    """Appends to the chain for as long as the service runs."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def run(self) -> None:
        """Chain every few seconds; a database that is away is waited for."""
        while True:
            try:
                while await self.chain_batch() == _BATCH:
                    pass
            except Unavailable as error:
                log.warning("chain_waits", reason=str(error))
            await asyncio.sleep(_PAUSE_SECONDS)

    async def chain_batch(self) -> int:
        """Append up to a batch of links in one transaction; returns how many."""
        async with self._store.begin() as connection:
            if not await blobs.lock_chain(connection):
                return 0
            rows = await blobs.list_unchained(connection, _BATCH)
            sequence, previous = await blobs.find_last_link(connection)
            if rows:
                await blobs.append_links(connection, list(_links(rows, sequence, previous)))
            return len(rows)


def _links(rows: Any, sequence: int, previous: bytes) -> Iterator[dict[str, Any]]:
    now = datetime.now(UTC)
    for number, row in enumerate(rows, sequence + 1):
        digest = _digest_of(row, number, previous)
        yield {"sequence": number, "blob_id": row.id, "previous": previous, "digest": digest, "chained_at": now}
        previous = digest


def _digest_of(row: AnyRow, sequence: int, previous: bytes) -> bytes:
    return link_digest(
        previous,
        sequence=sequence,
        name=row.name,
        salted=row.salted_digest,
        source=row.source,
        created=row.created_at,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What `verify` found: how many links hold, and the first that does not."""

    links: int
    first_bad: int | None = None
    problem: str = ""


async def verify(store: Store, archive: Archive, *, contents: bool = True) -> Verdict:
    """Walk the whole chain; with ``contents`` also read every stored byte.

    Stops at the first link that does not hold, since nothing after it proves anything.
    """
    sequence, previous = 0, b""
    while True:
        async with store.begin() as connection:
            rows = await blobs.list_chain(connection, sequence, _BATCH)
        for row in rows:
            problem = _problem_of(row, sequence + 1, previous)
            if not problem and contents:
                problem = await asyncio.to_thread(archive.check, blobs.sealed(row))
            if problem:
                return Verdict(links=sequence, first_bad=sequence + 1, problem=f"{problem} (blob {row.name})")
            sequence, previous = row.sequence, row.digest
        if len(rows) < _BATCH:
            return Verdict(links=sequence)


def _problem_of(row: AnyRow, expected: int, previous: bytes) -> str:
    if row.sequence != expected:
        return f"link {expected} was removed"
    if row.previous != previous or row.digest != _digest_of(row, expected, previous):
        return "its link does not fit the one before or its own row"
    return ""
