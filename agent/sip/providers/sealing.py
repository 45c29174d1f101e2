"""Job: what virtual PBXs told of a call becomes evidence, one sealed file a call.

An answer to a provider waits for one commit and no file, so a notification lies in the database first. Once the call
has ended and nothing more was told of it for a while, all of it is sealed as it came and a link of the chain: from then
on nobody changes a time of that call unseen. What is told later still is sealed beside it, again with all there is.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from agent import jobs
from agent.archive.blobs import Archive
from agent.model import EvidenceState, SealedBlob
from agent.store import blobs, evidence, notifications
from agent.store.engine import Store
from agent.store.notifications import CallKey, StoredNotification

log = structlog.get_logger()

QUIET = timedelta(hours=1)  # after a call providers tell of its recording, and their statistics have it
MEDIA_TYPE = "application/x-ndjson"


class ToldSealer:
    """Does the job `jobs.SEAL_TOLD`."""

    def __init__(self, store: Store, archive: Archive) -> None:
        self._store, self._archive = store, archive

    async def seal(self, calls: Sequence[Sequence[str]]) -> None:
        """Those of these calls, [provider, call key], that have ended and of which nothing was told for an hour.

        Raises:
            Unavailable: database or archive are away; it is tried again.
        """
        keys = [(str(provider), str(key)) for provider, key in calls]
        async with self._store.begin() as connection:
            quiet = await notifications.list_quiet(connection, keys, before=datetime.now(UTC) - QUIET)
            told = await notifications.list_of_calls(connection, quiet)
            news = await self._only_news(connection, {key: stored for key, stored in told.items() if stored})
        if not news:
            return
        ordered = sorted(news.items())  # two jobs over the same calls then wait for each other in one order
        contents = [content_of(stored) for _, stored in ordered]
        sealed = await asyncio.to_thread(self._archive.seal_all, contents, media_type=MEDIA_TYPE)
        async with self._store.begin() as connection:
            for (key, stored), one in zip(ordered, sealed, strict=True):
                await _keep(connection, key, stored, one)
        log.info("notifications_sealed", calls=len(news))

    async def _only_news(
        self, connection: AsyncConnection, told: dict[CallKey, list[StoredNotification]]
    ) -> dict[CallKey, list[StoredNotification]]:
        """Those that were not sealed with all of this before."""
        names: dict[str, list[str]] = defaultdict(list)
        for key, stored in told.items():
            names[key[0]].append(_name(key, stored))
        known = set[tuple[str, str]]()
        for provider, wanted in names.items():
            found, _ = await evidence.find_known(connection, _source(provider), wanted, [])
            known |= {(provider, one) for one in found}
        return {key: stored for key, stored in told.items() if (key[0], _name(key, stored)) not in known}


def seal_job(calls: Sequence[CallKey], *, now: datetime) -> jobs.Job:
    """Looks an hour after ``now`` whether these calls can be sealed."""
    return jobs.Job(task=jobs.SEAL_TOLD, args={"calls": [list(key) for key in calls]}, at=now + QUIET)


def content_of(stored: Sequence[StoredNotification]) -> bytes:
    """A line of JSON each: when it came, by which way, and what came, its body in base64."""
    lines = [
        {
            "received": one.received.isoformat(),
            "origin": one.told.origin,
            "tail": one.told.tail,
            "query": one.told.query,
            "content_type": one.told.content_type,
            "body": base64.b64encode(one.told.body).decode(),
        }
        for one in stored
    ]
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode(errors="surrogatepass")


def _source(provider: str) -> str:
    return f"provider:{provider}"


def _name(key: CallKey, stored: Sequence[StoredNotification]) -> str:
    """Of the evidence: the call, and up to which notification."""
    return f"told:{key[1]}:{stored[-1].id}"


async def _keep(
    connection: AsyncConnection, key: CallKey, stored: Sequence[StoredNotification], sealed: SealedBlob
) -> None:
    """Of a call that was erased meanwhile nothing is kept: its file is vouched for by nothing and has no key."""
    source = _source(key[0])
    interaction_id = await notifications.lock_living_call(connection, source, key[1])
    if interaction_id is None:
        return
    blob_id = await blobs.save_blob(connection, sealed, source=source)
    made = await evidence.insert_evidence(
        connection,
        source=source,
        key=_name(key, stored),
        blob_id=blob_id,
        received_at=stored[-1].received,
        state=EvidenceState.READ,
        interaction_id=interaction_id,
    )
    if made is None:
        await blobs.take_back_blob(connection, blob_id)
