"""Job: recordings that lie at providers are fetched, and given to the intake.

Each is tried again after growing pauses until its days are over; then it is given up and the call says so. What is
fetched goes through `agent.sip.providers.egress`, into a file that is removed afterwards.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

import structlog

from agent.archive.blobs import Archive
from agent.errors import CardlineError, UnreadableSound
from agent.model import CapturedCall
from agent.sip.providers.calls import build_call
from agent.sip.providers.egress import AddressForbidden, AnswerTooLarge, ProviderRefused, ProviderUnreachable
from agent.sip.providers.notification import RecordingReference
from agent.sip.providers.preset import Api, File, Provider
from agent.sip.providers.reading import Calls, keep_unreadable, tell_all
from agent.store import notifications, providers, recordings
from agent.store.engine import Store
from agent.store.providers import GIVEN_UP, KEPT, ProviderRecording

log = structlog.get_logger()

_FILE_SECONDS = 600.0
_AT_ONCE, _MOST_A_JOB = 3, 60
_FIRST_PAUSE, _LONGEST_PAUSE = timedelta(seconds=30), timedelta(hours=1)
_OUR_PAUSE = timedelta(minutes=2)
_UNREADABLE_ATTEMPTS = 8  # an hour: a file may be unfinished at first
_LEFT_SECONDS = 3600.0  # a file of a worker that was killed
_THEIRS = (AddressForbidden, AnswerTooLarge, ProviderRefused, ProviderUnreachable, UnreadableSound)


class Keeper(Calls, Protocol):
    """What of `agent.intake.Intake` is needed here besides."""

    async def keep_recording(self, call: CapturedCall, sound: Path, *, reference: str) -> int | None:
        """Store a sound file as the call's recording; its number, None where it is there already."""
        ...


class RecordingFetcher:
    """Does the job `jobs.FETCH_RECORDINGS`. ``folder`` is for files on their way."""

    def __init__(
        self, store: Store, archive: Archive, intake: Keeper, known: Mapping[str, Provider], folder: Path
    ) -> None:
        self._store, self._archive, self._intake, self._known, self._folder = store, archive, intake, known, folder
        self.pause = _FIRST_PAUSE

    async def fetch(self) -> None:
        """The job: what is due now. A recording that cannot be had waits; it holds up no other."""
        await asyncio.to_thread(_prepare, self._folder)
        async with self._store.begin() as connection:
            due = await providers.list_due(connection, limit=_MOST_A_JOB)
        gate = asyncio.Semaphore(_AT_ONCE)
        apis = {name: self._known[name].open_api() for name in {one.provider for one in due} & self._known.keys()}
        try:
            work = (self._fetch_in_turn(gate, one, apis.get(one.provider)) for one in due)
            failures = [one for one in await asyncio.gather(*work, return_exceptions=True) if one is not None]
        finally:
            await asyncio.gather(*(api.egress.close() for api in apis.values()))
        if failures:  # of the database, most likely: the job comes again
            raise failures[0]

    async def _fetch_in_turn(self, gate: asyncio.Semaphore, one: ProviderRecording, api: Api | None) -> None:
        async with gate:
            if api is None:
                problem = f"There is no [[provider]] {one.provider} in the settings any more."
                await self._postpone(one, problem, is_ours=True)
                return
            try:
                await self._fetch_one(self._known[one.provider], one, api)
            except _THEIRS as error:
                await self._postpone(one, str(error))
            except (CardlineError, OSError) as error:
                await self._postpone(one, str(error), is_ours=True)
            except Exception as error:
                log.exception("recording_not_fetched", provider=one.provider)
                await self._postpone(one, f"It cannot be fetched: {type(error).__name__}.")

    async def _fetch_one(self, provider: Provider, one: ProviderRecording, api: Api) -> None:
        call = await self._call(provider, one.call_key)
        if call is None:
            raise ProviderUnreachable("Nothing is known yet of the call it is of.")
        file = await _find(provider, one, api)
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            path = Path(folder) / "recording"
            limit = provider.settings.recording_max_mb * 1_000_000
            await api.egress.download(file.address, path, limit=limit, within=_FILE_SECONDS, form=file.form)
            try:
                number = await self._intake.keep_recording(call, path, reference=one.reference)
            except UnreadableSound as error:
                if one.attempts < _UNREADABLE_ATTEMPTS:
                    raise
                await self._give_up_unreadable(provider, one, path, str(error))
                return
        await self._settle(one, number)

    async def _give_up_unreadable(self, provider: Provider, one: ProviderRecording, path: Path, problem: str) -> None:
        """It stays what it is: the file is kept for a person, who may know what it is."""
        key, now = f"recording:{one.call_key}:{one.reference}", datetime.now(UTC)
        with await asyncio.to_thread(path.open, "rb") as file:
            await keep_unreadable(self._store, self._archive, provider.source, key, file, received=now, problem=problem)
        await self._give_up(one, problem)

    async def _call(self, provider: Provider, call_key: str) -> CapturedCall | None:
        async with self._store.begin() as connection:
            key = (provider.name, call_key)
            stored = (await notifications.list_of_calls(connection, [key]))[key]
        return build_call(provider.source, tell_all(provider, stored), swap_channels=provider.settings.swap_channels)

    async def _settle(self, one: ProviderRecording, number: int | None) -> None:
        async with self._store.begin() as connection:
            kept = await recordings.find_recording(connection, number) if number is not None else None
            await providers.settle(
                connection,
                one,
                state=KEPT,
                channels=kept.channels if kept is not None else None,
                interaction_id=kept.interaction_id if kept is not None else None,
            )
        log.info("provider_recording_kept", provider=one.provider, recording_id=number)

    async def _postpone(self, one: ProviderRecording, problem: str, *, is_ours: bool = False) -> None:
        """Try again later; or, when its days are over, never again, and the call says why. Where it is us who cannot
        (the disk is full), nothing is given up."""
        now = datetime.now(UTC)
        pause = max(
            _OUR_PAUSE if is_ours else timedelta(), min(self.pause * 2 ** min(one.attempts, 20), _LONGEST_PAUSE)
        )
        if is_ours or now + pause < one.expires:
            async with self._store.begin() as connection:
                await providers.postpone(connection, one, due=now + pause, problem=problem)
            log.info("recording_postponed", provider=one.provider, seconds=pause.total_seconds(), reason=problem)
            return
        await self._give_up(one, problem)

    async def _give_up(self, one: ProviderRecording, problem: str) -> None:
        provider = self._known.get(one.provider)
        call = await self._call(provider, one.call_key) if provider is not None else None
        if call is not None:
            flag = f"the provider's recording could not be had: {problem}"
            await self._intake.update_call(replace(call, flags=(*call.flags, flag)))
        async with self._store.begin() as connection:
            await providers.settle(connection, one, state=GIVEN_UP, problem=problem)
        log.error("recording_given_up", provider=one.provider, reason=problem)


async def _find(provider: Provider, one: ProviderRecording, api: Api) -> File:
    """Where it is to be had now: by API where the preset has one, else by the address that was told."""
    if provider.preset.find_file is not None:
        return await provider.preset.find_file(api, RecordingReference(reference=one.reference, url=one.url))
    if not one.url:
        raise ProviderUnreachable("The provider told no address of it.")
    return File(address=one.url)


def _prepare(folder: Path) -> None:
    """The folder, without what a killed worker has left in it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for left in folder.iterdir():
        with contextlib.suppress(OSError):
            if left.stat().st_mtime < time.time() - _LEFT_SECONDS:
                shutil.rmtree(left)
