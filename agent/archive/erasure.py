"""Erasure on demand: the keys of what concerns somebody are destroyed and its text is wiped, as an act that the chain
records. What stays is a tombstone: the sealed bytes nobody can open any more, and their link, so that the chain and
every seal still hold.

What an erasure does not reach (the database's log, backups, copies handed out) stands in docs/evidence.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.archive.chain import append_erasure, chain_all
from agent.archive.statements import as_ranges
from agent.errors import CardlineError, Misconfigured
from agent.store import audit, changes, erasures, notices
from agent.store.engine import Store

log = structlog.get_logger()


class NothingToErase(CardlineError):
    """Nothing of what was named can be erased."""

    remedy = "Look at the card or the interaction: it may be erased already, or still be going on."


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """Whose erasure is demanded, and why. Either a card or single interactions are named.

    ``reason`` and ``basis`` (the law, the contract) stay in the chain for good: they name no person. ``shared``: also
    what stands on other cards as well. ``account_id``: who did it, where it was done on a page.
    """

    by: str
    reason: str
    basis: str
    card_id: int | None = None
    interaction_ids: Sequence[int] = ()
    shared: bool = False
    account_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure:
    """What an act took, and what it had to leave: what other clients share, what is not assembled yet."""

    id: int
    sequence: int
    interactions: tuple[int, ...]
    blobs: int
    shared: tuple[int, ...]
    unfinished: tuple[int, ...]


async def erase(store: Store, demand: Demand) -> Erasure:
    """Do it, in one transaction: afterwards either all of it is erased and recorded, or nothing.

    Raises:
        NothingToErase: there is nothing there, or nothing that may go.
        Misconfigured: the demand does not say by whom, why and on what basis.
    """
    for name in ("by", "reason", "basis"):
        if not getattr(demand, name).strip():
            raise Misconfigured("An erasure says who, why and on what legal basis.", remedy=f"Give {name} in words.")
    async with store.begin() as connection:
        asked, shared, unfinished = await _choose(connection, demand)
        ids = await erasures.lock_interactions(connection, sorted(asked - shared - unfinished))
        if not ids and demand.card_id is None:
            raise NothingToErase("There is nothing to erase.")
        await chain_all(connection)
        done = await _erase(connection, demand, ids, shared=shared, unfinished=unfinished)
    log.info("erased", erasure_id=done.id, interactions=len(done.interactions), blobs=done.blobs)
    return done


async def _choose(connection: AsyncConnection, demand: Demand) -> tuple[set[int], set[int], set[int]]:
    asked = set(demand.interaction_ids)
    shared: set[int] = set()
    if demand.card_id is not None:
        asked |= set(await erasures.list_card_interactions(connection, demand.card_id))
        if not demand.shared:
            shared = await erasures.list_shared(connection, sorted(asked), demand.card_id)
    return asked, shared, await erasures.list_unfinished(connection, sorted(asked))


async def _erase(
    connection: AsyncConnection, demand: Demand, ids: Sequence[int], *, shared: set[int], unfinished: set[int]
) -> Erasure:
    blob_ids = await erasures.list_blob_ids(connection, ids)
    positions = await erasures.list_positions(connection, blob_ids)
    subject = f"card {demand.card_id}" if demand.card_id is not None else f"interactions {as_ranges(ids)}"
    at = datetime.now(UTC)
    act = await erasures.insert_erasure(
        connection,
        at=at,
        by=demand.by,
        reason=demand.reason,
        basis=demand.basis,
        subject=subject,
        links=as_ranges(positions),
        blobs=len(blob_ids),
    )
    sequence = await append_erasure(connection, act)
    await erasures.destroy_keys(connection, blob_ids)
    words = f"erased {at:%Y-%m-%d} by {demand.by}: {demand.reason} ({demand.basis})"
    await erasures.wipe(connection, ids, act.id, words)
    if demand.card_id is not None and not unfinished:
        await erasures.wipe_card(connection, demand.card_id)
    await audit.add_entry(connection, demand.account_id, audit.ERASED, {"erasure_id": act.id, "subject": subject})
    await changes.touch(connection, ids)
    for one in ids:
        await notices.notify(connection, notices.INTERACTIONS, one)
    return Erasure(
        id=act.id,
        sequence=sequence,
        interactions=tuple(ids),
        blobs=len(blob_ids),
        shared=tuple(sorted(shared)),
        unfinished=tuple(sorted(unfinished)),
    )
