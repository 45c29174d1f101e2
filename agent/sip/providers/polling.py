"""Asking providers for their statistics, so that a lost notification loses no call, and none at all is needed.

Each line is stored as if the provider had told it, so there is one way to read it. The same line told again is none.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

import structlog

from agent import jobs
from agent.errors import CardlineError, Misconfigured, Unavailable
from agent.model import SourceState
from agent.sip.providers.door import store_told
from agent.sip.providers.preset import Provider
from agent.sip.providers.reading import NotificationReader, fetch_job
from agent.store import notifications, providers, sources
from agent.store.engine import Store
from agent.store.notifications import Told

log = structlog.get_logger()

_TICK_SECONDS = 10.0
# Statistics have the call when it has ended, in the place of its start; and recordings are added later.
_OVERLAP = timedelta(hours=6)
_LONGEST_SPAN = timedelta(days=7)  # a request; providers allow a month
_LATE = timedelta(minutes=2)  # stored, and no job has read it, or one that was killed over it
_SILENT = timedelta(hours=12)  # a call of which nothing more was told has ended without our being told
_STORED_AT_ONCE = 500

Clock = Callable[[], datetime]


def _now() -> datetime:
    return datetime.now(UTC)


class Poller:
    """Keeps all providers of an installation up to date, for as long as `run` runs."""

    def __init__(
        self, store: Store, reader: NotificationReader, known: Mapping[str, Provider], *, clock: Clock = _now
    ) -> None:
        self._store, self._reader, self._known, self._clock = store, reader, known, clock

    async def run(self) -> None:
        """Look around every few seconds; each provider is asked as often as its settings say."""
        await asyncio.gather(self._look_around(), *(self._keep_polling(one) for one in self._known.values()))

    async def _keep_polling(self, provider: Provider) -> None:
        while True:
            try:
                await self._poll_if_due(provider)
            except CardlineError as error:
                log.warning("provider_not_polled", provider=provider.name, reason=str(error))
            except Exception:
                log.exception("provider_not_polled", provider=provider.name)
            await asyncio.sleep(_TICK_SECONDS)

    async def _poll_if_due(self, provider: Provider) -> None:
        if not provider.can_poll:
            await self._say(provider, SourceState.RUNNING, "")
            await asyncio.sleep(3600)
            return
        every = timedelta(minutes=provider.settings.poll_minutes)
        async with self._store.begin() as connection:
            is_due = await providers.claim_poll(connection, provider.name, every)
        if is_due:
            await self.poll(provider)

    async def poll(self, provider: Provider) -> int:
        """Read the statistics from where we were to now; returns how many lines were new.

        Raises:
            CardlineError: they cannot be had; the page of sources and the doctor say why.
        """
        try:
            found = await self._read_statistics(provider)
        except CardlineError as error:
            state = SourceState.LOGIN_FAILED if isinstance(error, Misconfigured) else SourceState.UNREACHABLE
            async with self._store.begin() as connection:
                await providers.note_poll_problem(connection, provider.name, str(error))
            await self._say(provider, state, str(error))
            raise
        await self._say(provider, SourceState.RUNNING, "")
        return found

    async def _read_statistics(self, provider: Provider) -> int:
        list_calls = provider.preset.list_calls
        assert list_calls is not None
        until, found = self._clock(), 0
        async with self._store.begin() as connection:
            since = (await providers.find_status(connection, provider.name)).polled_until
        start = since - _OVERLAP if since else until - timedelta(hours=provider.settings.history_hours)
        api = provider.open_api()
        try:
            while start < until:
                end = min(start + _LONGEST_SPAN, until)
                async for rows in list_calls(api, start, end):
                    found += await self._store_rows(provider, [dict(row) for row in rows])
                async with self._store.begin() as connection:
                    await providers.note_polled(connection, provider.name, end)
                start = end
            async with self._store.begin() as connection:
                await providers.note_polled(connection, provider.name, until)
        finally:
            await api.egress.close()
        if found:
            log.info("provider_polled", provider=provider.name, news=found)
        return found

    async def _store_rows(self, provider: Provider, rows: list[dict[str, object]]) -> int:
        told = [
            Told(
                provider=provider.name,
                origin=notifications.POLL,
                content_type="application/json",
                body=json.dumps(row, sort_keys=True, ensure_ascii=False).encode(errors="replace"),
            )
            for row in rows
        ]
        parts = [told[at : at + _STORED_AT_ONCE] for at in range(0, len(told), _STORED_AT_ONCE)]
        return sum([await store_told(self._store, part) for part in parts])

    async def _say(self, provider: Provider, state: SourceState, detail: str) -> None:
        async with self._store.begin() as connection:
            if state is SourceState.RUNNING and await providers.last_channels(connection, provider.name) == 1:
                detail = f"Its recordings have one channel: the parties are not separated. {provider.preset.stereo}"
            await sources.save_status(connection, provider.source, state, detail)

    # --- What is left over --------------------------------------------------------------------------------------------

    async def _look_around(self) -> None:
        while True:
            try:
                await self.look_around()
            except Unavailable as error:
                log.warning("providers_not_looked_after", reason=str(error))
            except Exception:
                log.exception("providers_not_looked_after")
            await asyncio.sleep(_TICK_SECONDS)

    async def look_around(self) -> None:
        """Recordings that are due are ordered, forgotten notifications read, calls without an end ended."""
        now = self._clock()
        async with self._store.begin() as connection:
            due = await providers.list_due(connection, limit=1)
            if due:
                await jobs.defer_unless_waiting(connection, fetch_job())
            forgotten = await notifications.list_forgotten(connection, sorted(self._known), before=now - _LATE)
        if forgotten:
            await self._reader.read(forgotten)
        await self._reader.go_on(before=now - _LATE)
        for provider in self._known.values():
            async with self._store.begin() as connection:
                silent = await notifications.list_silent(connection, provider.name, before=now - _SILENT)
            for call_key, told in silent:
                await self._reader.give_up((provider.name, call_key), at=told)
