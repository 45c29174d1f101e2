"""Jobs: what providers told becomes calls.

Each notification is read once to learn which call it is of; the call is then made anew from everything that was told
of it. Two jobs may do that at once: after telling the intake each looks whether something came meanwhile, and if so
does it again, so the last word is the one that knows everything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, BinaryIO, Protocol

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from agent import jobs
from agent.archive.blobs import Archive
from agent.errors import CardlineError, Misconfigured
from agent.model import CapturedCall, Disposition, EvidenceState
from agent.sip.providers.calls import build_call, recordings_of
from agent.sip.providers.fields import object_of
from agent.sip.providers.notification import Hook, Notification, UnreadableNotification
from agent.sip.providers.preset import Provider
from agent.sip.providers.sealing import seal_job
from agent.store import blobs, evidence, notifications, providers
from agent.store.engine import Store
from agent.store.notifications import CallKey, StoredNotification
from agent.store.providers import ProviderRecording

log = structlog.get_logger()

# How often a call is made anew where notifications of it keep coming; the next job goes on.
_MOST_ROUNDS = 20
_MOST_AT_ONCE = 200
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
        """The job: these notifications, whatever else waits, and the calls they are of.

        Raises:
            Misconfigured: a provider stands no more in the settings; its notifications wait for it.
        """
        async with self._store.begin() as connection:
            names = sorted(self._known)
            stored = await notifications.claim_stored(connection, notification_ids, names, most=_MOST_AT_ONCE)
            found = [self._look_into(one) for one in stored if one.told.provider in self._known]
            told = _latest(found)
            readable = [(one.stored.id, one.state, one.call_key) for one in found if not one.problem]
            await notifications.mark_notifications(connection, readable)
            await notifications.note_calls(connection, told)
            await self._seal_later(connection, sorted(told))
        for one in found:
            if one.problem:
                await self._keep_unreadable(one)
        await self.make_calls(sorted(told))
        if len(stored) >= _MOST_AT_ONCE:
            async with self._store.begin() as connection:
                await jobs.defer_unless_waiting(connection, read_job())
        missing = {one.told.provider for one in stored} - self._known.keys()
        if missing:
            raise Misconfigured(
                f"There are notifications of {', '.join(sorted(missing))}, which is in no [[provider]] table.",
                remedy="Put it back into cardline.toml; they are kept as they came.",
            )

    @staticmethod
    async def _seal_later(connection: AsyncConnection, keys: Sequence[CallKey]) -> None:
        if keys:
            await jobs.defer(connection, [seal_job(keys, now=datetime.now(UTC))])

    async def give_up(self, key: CallKey, *, at: datetime) -> None:
        """A call of whose end nobody told has ended ``at`` that time."""
        await self.make_calls([key], abandoned_at=at)
        async with self._store.begin() as connection:
            await self._seal_later(connection, [key])

    async def go_on(self, *, before: datetime) -> None:
        """Make the calls that a job was killed over: told of before that time, and not made with it."""
        async with self._store.begin() as connection:
            left = await notifications.list_interrupted(connection, sorted(self._known), before=before)
        if left:
            log.warning("provider_calls_taken_up", count=len(left))
        await self.make_calls(left)

    def _look_into(self, one: StoredNotification) -> _Found:
        """What it is of. A preset that stumbles over what nobody foresaw loses nothing either: it is kept and shown."""
        try:
            notification = understand(self._known[one.told.provider], one)
        except UnreadableNotification as error:
            return _Found(stored=one, problem=error.what)
        except Exception as error:
            log.exception("notification_not_read", provider=one.told.provider, notification_id=one.id)
            return _Found(stored=one, problem=f"The notification cannot be read: {type(error).__name__}.")
        if notification is None:
            return _Found(stored=one, state=notifications.IGNORED)
        return _Found(stored=one, state=notifications.READ, call_key=notification.call_key)

    async def _keep_unreadable(self, one: _Found) -> None:
        """Sealed first, marked then: killed in between it is only sealed again."""
        told, number = one.stored.told, one.stored.id
        raw = f"{told.tail}?{told.query}\r\n\r\n".encode(errors="replace") + told.body
        source, key = self._known[told.provider].source, f"notification:{number}"
        received, problem = one.stored.received, one.problem
        await keep_unreadable(self._store, self._archive, source, key, raw, received=received, problem=problem)
        async with self._store.begin() as connection:
            await notifications.mark_notifications(connection, [(number, notifications.UNREADABLE, None)])
        log.warning("notification_unreadable", provider=told.provider, notification_id=number, problem=problem)

    async def make_calls(self, keys: Sequence[CallKey], *, abandoned_at: datetime | None = None) -> None:
        """These calls as everything told of them makes them, told to the intake, and their recordings ordered.

        ``abandoned_at``: nothing more is expected of them.
        """
        upto: dict[CallKey, int] = {}
        for _ in range(_MOST_ROUNDS):
            async with self._store.begin() as connection:
                told = await notifications.list_of_calls(connection, keys)
            news = {key: stored for key, stored in told.items() if stored and stored[-1].id > upto.get(key, 0)}
            if not news:
                return
            for key, stored in news.items():
                await self._make_or_show(key, stored, abandoned_at)
                upto[key] = stored[-1].id
            keys = list(news)

    async def _make_or_show(
        self, key: CallKey, stored: Sequence[StoredNotification], abandoned_at: datetime | None
    ) -> None:
        """A call that cannot be made for a reason nobody foresaw holds up no other, and a person sees it."""
        try:
            await self._make_call(key, stored, abandoned_at)
        except CardlineError:
            raise
        except Exception as error:
            log.exception("provider_call_not_made", provider=key[0])
            problem = f"The call cannot be made of what was told of it: {type(error).__name__}."
            last, source = stored[-1], self._known[key[0]].source
            body, name = last.told.body, f"call:{last.id}"
            await keep_unreadable(
                self._store, self._archive, source, name, body, received=last.received, problem=problem
            )
            async with self._store.begin() as connection:
                await notifications.settle_call(connection, key, state=None, upto=last.id)

    async def _make_call(
        self, key: CallKey, stored: Sequence[StoredNotification], abandoned_at: datetime | None
    ) -> None:
        provider = self._known[key[0]]
        told = tell_all(provider, stored)
        swap = provider.settings.swap_channels
        call = build_call(provider.source, told, swap_channels=swap, abandoned_at=abandoned_at)
        state = None
        if call is not None:
            has_ended = call.disposition is not Disposition.IN_PROGRESS
            state = notifications.ENDED if has_ended else notifications.OPEN
            number = await (self._intake.close_call(call) if has_ended else self._intake.update_call(call))
            log.info("provider_call_told", provider=provider.name, interaction_id=number, ended=has_ended)
        async with self._store.begin() as connection:
            await notifications.settle_call(connection, key, state=state, upto=stored[-1].id)
            if call is not None and state == notifications.ENDED and provider.settings.recordings:
                await self._order(connection, provider, call, told)

    async def _order(
        self, connection: AsyncConnection, provider: Provider, call: CapturedCall, told: Sequence[Notification]
    ) -> None:
        now, ready = datetime.now(UTC), timedelta(seconds=_READY_SECONDS)
        due = min(max(now, (call.ended or call.started) + ready), now + ready)
        is_news = False
        for one in recordings_of(told):
            wanted = ProviderRecording(
                provider=provider.name,
                call_key=call.key,
                reference=one.reference,
                url=one.url,
                attempts=0,
                expires=now + timedelta(days=provider.settings.recording_days),
            )
            is_news |= await providers.add_recording(connection, wanted, due=due)
        if is_news and due <= now:  # the others are ordered when they are due
            await jobs.defer_unless_waiting(connection, fetch_job())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What a look into a notification has shown; ``problem`` where it cannot be read."""

    stored: StoredNotification
    state: str = ""
    call_key: str | None = None
    problem: str = ""


def _latest(found: Sequence[_Found]) -> dict[CallKey, tuple[int, datetime]]:
    """The calls these are of, with the last notification's id and when it came."""
    latest: dict[CallKey, tuple[int, datetime]] = {}
    for one in found:
        if one.call_key is not None:
            key, last = (one.stored.told.provider, one.call_key), (one.stored.id, one.stored.received)
            latest[key] = max(last, latest.get(key, last))
    return latest


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


def read_job(ids: Sequence[int] = ()) -> jobs.Job:
    """Reads these, and whatever else waits."""
    return jobs.Job(task=jobs.READ_NOTIFICATIONS, args={"notification_ids": list(ids)})


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
