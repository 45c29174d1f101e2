"""The door for notifications: believed or not, stored, answered.

Whatever waits is stored together, in one commit with the job that reads it: hundreds a second cost a few commits.
Nothing is promised before that commit; where the database is away or slow the provider is told 503, and comes again.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Mapping
from ipaddress import ip_address, ip_network

import structlog

from agent import jobs
from agent.errors import Unavailable
from agent.sip.providers.notification import Hook
from agent.sip.providers.preset import Provider, Reply, Verdict
from agent.sip.providers.reading import read_job
from agent.store import notifications, providers
from agent.store.engine import Store
from agent.store.notifications import Told

log = structlog.get_logger()

_ANSWER_SECONDS = 2.0  # after that the provider is told to come again
_MOST_WAITING = 2000
_MOST_AT_ONCE = 200
_STATUS_SECONDS = 2.0
_REFUSED = Reply(status=403)
_UNKNOWN = Reply(status=404)
_LATER = Reply(status=503)


class HookDoor:
    """One a service; `run` stores what `take` brings, for as long as it runs."""

    def __init__(self, store: Store, known: Mapping[str, Provider]) -> None:
        self._store, self._known = store, known
        self._waiting: asyncio.Queue[tuple[Told, asyncio.Future[None]]] = asyncio.Queue(_MOST_WAITING)
        self._refused: Counter[str] = Counter()
        self._told: set[str] = set()
        self._news = asyncio.Event()

    async def take(self, name: str, hook: Hook, *, address: str = "") -> Reply:
        """Judge a request, store it, and say what to answer. ``hook.tail`` is the whole path behind the name."""
        provider = self._known.get(name)
        if provider is None:
            return _UNKNOWN
        if not _may_come(provider, address):
            return self._refuse(provider)
        preset = provider.preset
        if preset.greet is not None and (greeting := preset.greet(hook)) is not None:
            return greeting
        verdict = preset.verify(hook, provider.keys)
        if verdict is Verdict.REFUSED:
            return self._refuse(provider)
        if verdict is Verdict.IGNORED:
            return preset.reply
        told = Told(
            provider=name,
            origin=notifications.HOOK,
            body=hook.body,
            tail="" if preset.in_address else hook.tail,  # a token is not written down
            query=hook.query,
            content_type=hook.content_type[:200],
        )
        if not await self._store_soon(told):
            return _LATER
        self._told.add(name)
        return preset.reply

    def _refuse(self, provider: Provider) -> Reply:
        self._refused[provider.name] += 1  # noted every few seconds: a flood of them must not become one of writes
        return _REFUSED

    async def _store_soon(self, told: Told) -> bool:
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        try:
            self._waiting.put_nowait((told, stored))
        except asyncio.QueueFull:
            return False
        self._news.set()
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                await stored
        except (Unavailable, TimeoutError):
            return False
        return True

    # --- Storing ------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Store whatever waits, batch after batch."""
        noted = time.monotonic()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_STATUS_SECONDS):
                    await self._news.wait()
            self._news.clear()
            while batch := self._next_batch():
                await self._store_batch(batch)
            if time.monotonic() >= noted + _STATUS_SECONDS:
                await self._note_status()
                noted = time.monotonic()

    def _next_batch(self) -> list[tuple[Told, asyncio.Future[None]]]:
        """Those whose provider still waits; the others were told to come again."""
        batch: list[tuple[Told, asyncio.Future[None]]] = []
        while len(batch) < _MOST_AT_ONCE and not self._waiting.empty():
            one = self._waiting.get_nowait()
            if not one[1].done():
                batch.append(one)
        return batch

    async def _store_batch(self, batch: list[tuple[Told, asyncio.Future[None]]]) -> None:
        problem: Exception | None = None
        try:
            await store_told(self._store, [told for told, _ in batch])
        except Unavailable as error:
            log.warning("notifications_not_stored", count=len(batch), reason=str(error))
            problem = error
        except Exception as error:
            log.exception("notifications_not_stored", count=len(batch))
            problem = Unavailable(f"The notifications could not be stored: {error!r}.")
        for _, stored in batch:
            if not stored.done():
                stored.set_exception(problem) if problem else stored.set_result(None)

    async def _note_status(self) -> None:
        """Who told something, and how many signatures were wrong; where the database is away it is noted later."""
        if not self._refused and not self._told:
            return
        refused, self._refused = self._refused, Counter()
        told, self._told = self._told, set()
        for name, count in refused.items():
            log.warning("notifications_refused", provider=name, count=count)
        try:
            async with self._store.begin() as connection:
                await providers.note_told(connection, sorted(told))
                for name in sorted(refused):
                    await providers.note_refused(connection, name, refused[name])
        except Unavailable:
            self._refused.update(refused)
            self._told |= told


async def store_told(store: Store, told: list[Told]) -> int:
    """One commit: what is new of this, and the job that reads it; returns how much that is.

    Raises:
        Unavailable: nothing was promised.
    """
    async with store.begin() as connection:
        ids = await notifications.insert_notifications(connection, told)
        if ids:
            await jobs.defer_unless_waiting(connection, read_job(ids))
    return len(ids)


def _may_come(provider: Provider, address: str) -> bool:
    """Whether the settings let this address send; without a list the signature alone counts."""
    if not provider.settings.allow:
        return True
    try:
        found = ip_address(address)
    except ValueError:
        return False
    return any(found in ip_network(network) for network in provider.settings.allow)
