"""Jobs: what providers told becomes calls.

Each notification is read once to learn which call it is of; the call is then made anew from everything that was told
of it. Two jobs may do that at once: after telling the intake each looks whether something came meanwhile, and if so
does it again, so the last word is the one that knows everything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, BinaryIO, Protocol

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from agent import jobs
from agent.archive.blobs import Archive
from agent.errors import Misconfigured
from agent.model import CapturedCall, Disposition, EvidenceState
from agent.sip.providers.calls import build_call, recordings_of
from agent.sip.providers.fields import object_of
from agent.sip.providers.notification import Hook, Notification, UnreadableNotification
from agent.sip.providers.preset import Provider
from agent.store import blobs, evidence, notifications, providers
from agent.store.engine import Store
from agent.store.notifications import StoredNotification
from agent.store.providers import ProviderRecording

log = structlog.get_logger()

# How often a call is made anew where notifications of it keep coming; the next job goes on.
_MOST_ROUNDS = 20
_READY_SECONDS = 20.0  # a provider needs a little until a recording can be had


class Calls(Protocol):
    """What of `agent.intake.Intake` is needed here."""

    async def update_call(self, call: CapturedCall) -> int:
        """More is known now."""
        ...

    async def close_call(self, call: CapturedCall) -> int:
        """The call has ended."""
        ...


class NotificationReader:
    """Does the job `jobs.READ_NOTIFICATIONS`."""

    def __init__(self, store: Store, archive: Archive, intake: Calls, known: Mapping[str, Provider]) -> None:
        self._store, self._archive, self._intake, self._known = store, archive, intake, known

    async def read(self, notification_ids: list[int]) -> None:
        """The job: these notifications, and the calls they are of.

        Raises:
            Misconfigured: a provider stands no more in the settings; the notification waits for it.
        """
        async with self._store.begin() as connection:
            stored = await notifications.list_notifications(connection, notification_ids)
        missing = {one.told.provider for one in stored} - self._known.keys()
        calls: dict[tuple[str, str], datetime] = {}
        marks: list[tuple[int, str, str | None]] = []
        for one in stored:
            call_key = one.call_key  # of one that was read by a job that was killed then
            if one.state == notifications.STORED and one.told.provider not in missing:
                state, call_key = await self._read_one(one)
                marks.append((one.id, state, call_key))
            if call_key is not None and one.told.provider not in missing:
                key = (one.told.provider, call_key)
                calls[key] = max(one.received, calls.get(key, one.received))
        async with self._store.begin() as connection:
            await notifications.mark_notifications(connection, marks)
            for (name, call_key), told in sorted(calls.items()):
                await notifications.note_call(connection, name, call_key, told_at=told)
        for name, call_key in sorted(calls):
            await self.make_call(self._known[name], call_key)
        if missing:
            raise Misconfigured(
                f"There are notifications of {', '.join(sorted(missing))}, which is in no [[provider]] table.",
                remedy="Put it back into cardline.toml; they are kept as they came.",
            )

    async def _read_one(self, one: StoredNotification) -> tuple[str, str | None]:
        """What became of it, and the call it is of."""
        try:
            found = understand(self._known[one.told.provider], one)
        except UnreadableNotification as error:
            await self._keep_unreadable(one, error.what)
            return notifications.UNREADABLE, None
        except Exception as error:  # a preset that stumbles over what nobody foresaw: kept and shown all the same
            log.exception("notification_not_read", provider=one.told.provider, notification_id=one.id)
            await self._keep_unreadable(one, f"The notification cannot be read: {type(error).__name__}.")
            return notifications.UNREADABLE, None
        if found is None:
            return notifications.IGNORED, None
        return notifications.READ, found.call_key

    async def _keep_unreadable(self, one: StoredNotification, problem: str) -> None:
        raw = f"{one.told.tail}?{one.told.query}\r\n\r\n".encode(errors="replace") + one.told.body
        source, key = self._known[one.told.provider].source, f"notification:{one.id}"
        await keep_unreadable(self._store, self._archive, source, key, raw, received=one.received, problem=problem)
        log.warning("notification_unreadable", provider=one.told.provider, notification_id=one.id, problem=problem)

    async def make_call(self, provider: Provider, call_key: str, *, abandoned_at: datetime | None = None) -> None:
        """The call as everything told of it makes it, told to the intake, and its recordings ordered."""
        seen: list[int] = []
        for _ in range(_MOST_ROUNDS):
            async with self._store.begin() as connection:
                stored = await notifications.list_of_call(connection, provider.name, call_key)
            if (numbers := [one.id for one in stored]) == seen:
                return
            seen = numbers
            told = tell_all(provider, stored)
            call = build_call(
                provider.source, told, swap_channels=provider.settings.swap_channels, abandoned_at=abandoned_at
            )
            if call is not None:
                await self._tell(provider, call, told)

    async def _tell(self, provider: Provider, call: CapturedCall, told: Sequence[Notification]) -> None:
        has_ended = call.disposition is not Disposition.IN_PROGRESS
        interaction_id = await (self._intake.close_call(call) if has_ended else self._intake.update_call(call))
        async with self._store.begin() as connection:
            state = notifications.ENDED if has_ended else notifications.OPEN
            await notifications.settle_call(connection, provider.name, call.key, state)
            if has_ended and provider.settings.recordings:
                await self._order(connection, provider, call, told)
        log.info("provider_call_told", provider=provider.name, interaction_id=interaction_id, ended=has_ended)

    async def _order(
        self, connection: AsyncConnection, provider: Provider, call: CapturedCall, told: Sequence[Notification]
    ) -> None:
        now = datetime.now(UTC)
        expires = now + timedelta(days=provider.settings.recording_days)
        due = max(now, (call.ended or call.started) + timedelta(seconds=_READY_SECONDS))
        due = min(due, now + timedelta(seconds=_READY_SECONDS))
        is_news = False
        for one in recordings_of(told):
            wanted = ProviderRecording(
                provider=provider.name,
                call_key=call.key,
                reference=one.reference,
                url=one.url,
                attempts=0,
                expires=expires,
            )
            is_news |= await providers.add_recording(connection, wanted, due=due)
        if is_news and due <= now:  # the others are ordered when they are due
            await jobs.defer(connection, [fetch_job()])


async def keep_unreadable(
    store: Store,
    archive: Archive,
    source: str,
    key: str,
    content: bytes | BinaryIO,
    *,
    received: datetime,
    problem: str,
) -> None:
    """Seal what could not be read as it came, once; it is shown on the page of what is to be sorted."""
    sealed = await asyncio.to_thread(archive.seal, content, media_type="application/octet-stream")
    async with store.begin() as connection:
        blob_id = await blobs.save_blob(connection, sealed, source=source)
        values: dict[str, Any] = {
            "source": source,
            "key": key,
            "blob_id": blob_id,
            "received_at": received,
            "state": EvidenceState.UNREADABLE,
            "problem": problem,
        }
        if await evidence.insert_evidence(connection, **values) is None:
            await blobs.take_back_blob(connection, blob_id)


def fetch_job() -> jobs.Job:
    """Whatever is due of all providers; one such job works at a time."""
    return jobs.Job(task=jobs.FETCH_RECORDINGS, lock=jobs.FETCH_RECORDINGS)


def understand(provider: Provider, one: StoredNotification) -> Notification | None:
    """What it tells; None where that is nothing of a call.

    Raises:
        UnreadableNotification: it makes no sense.
    """
    told, preset = one.told, provider.preset
    if told.origin == notifications.POLL:
        return preset.read_row(object_of(told.body), provider.zone) if preset.read_row is not None else None
    hook = Hook(tail=told.tail, query=told.query, content_type=told.content_type, body=told.body)
    return preset.read(hook, provider.keys, provider.zone)


def tell_all(provider: Provider, stored: Sequence[StoredNotification]) -> list[Notification]:
    """All that can be understood of these."""
    found = []
    for one in stored:
        try:
            notification = understand(provider, one)
        except Exception as error:  # it was read once; whatever reads it otherwise now must not hide the others
            log.warning("notification_not_read_again", notification_id=one.id, reason=repr(error))
            continue
        if notification is not None:
            found.append(notification)
    return found
