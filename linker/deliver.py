"""The job `deliver`: whatever is due for one CRM is told to it, in order on each card, each thing once.

`linker.outbox` decides the steps, a connector takes them, and each outcome is committed before the next. One process at
a time tells a CRM (`agent.store.turns`): one that is killed leaves its turn at once, and what it had claimed is free
some seconds later. The lease on each delivery fences off a process that only seemed to be dead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import datetime
from time import monotonic
from typing import Any

import structlog

from agent import jobs
from agent.archive.blobs import Archive
from agent.errors import CardlineError, Unavailable
from agent.model import SourceState
from agent.settings_crm import CrmSettings
from agent.store import connectors, deliveries, mirror, turns
from agent.store.deliveries import Delivery
from agent.store.engine import Store
from linker.crm.compose import is_ready
from linker.crm.connected import Crms
from linker.crm.facts import (
    CallToLog,
    ExternalId,
    Logged,
    RecordingToAttach,
    Sought,
)
from linker.crm.protocol import (
    Capability,
    Crm,
    CrmAuthFailed,
    CrmGone,
    CrmLimit,
    CrmRefused,
    CrmRightsMissing,
    CrmUnreachable,
)
from linker.outbox import (
    ATTEMPTS,
    ATTEMPTS_OF_A_BUG,
    FAILURES_TO_OPEN,
    SETTLE_SECONDS,
    Known,
    Step,
    circuit_pause,
    decide,
    retry_pause,
)
from linker.pacing import deliver_job
from linker.sharing import Sharing
from linker.wishes import Batch, Composer, NotYet, Work, load

log = structlog.get_logger()

_AT_ONCE = 8  # requests under way
_CLAIMED = 32  # deliveries read together
_LEASE_SECONDS = 180.0
_STEP_SECONDS = 60.0  # an upload of an hour of sound is 21 MB; no attempt begins that might outlast its lease
_TURN_SECONDS = 30.0  # then the job ends, so that a shutdown or another job gets its turn; the next one goes on
_AUTH_SECONDS = 300.0
_MOST_STEPS = 12


class _LeaseLost(Exception):
    """Somebody else tells it by now, or it is to be withdrawn."""


class Deliverer:
    """Does the job. ``crms`` are connected once and kept; ``settle`` is `SETTLE_SECONDS`, for tests."""

    def __init__(
        self, store: Store, archive: Archive, crms: Crms, *, public_url: str = "", settle: float = SETTLE_SECONDS
    ) -> None:
        self._store = store
        self._crms = crms
        self._public_url = public_url.rstrip("/")
        self._sharing = Sharing(store, archive, self._public_url)
        self.settle = settle

    async def deliver(self, crm: str) -> None:
        """The job: until nothing is due, the CRM is to be left alone, or half a minute has passed. Where somebody else
        is telling it, there is nothing to do."""
        async with self._store.begin() as connection:
            connector = await connectors.find_connector(connection, crm)
        if connector is None:
            return
        async with turns.take(self._store.url, turns.DELIVER, connector.id) as turn:
            if turn is not None:
                await self._deliver(crm, connector.id, turn)

    async def _deliver(self, crm: str, connector_id: int, turn: turns.Turn) -> None:
        async with self._store.begin() as connection:
            if left := await deliveries.cut_short(connection, connector_id, settle=self.settle):
                log.warning("deliveries_left_behind", crm=crm, deliveries=left)
        until = monotonic() + _TURN_SECONDS
        while await self._tell_some(crm, turn):
            if monotonic() > until:
                async with self._store.begin() as connection:
                    await jobs.defer_unless_waiting(connection, deliver_job(crm))
                return

    async def _tell_some(self, crm: str, turn: turns.Turn) -> bool:
        """Whether there may be more."""
        settings = self._crms.settings_of(crm)
        await turn.ensure()
        async with self._store.begin() as connection:
            connector = await connectors.find_connector(connection, crm)
            if connector is None or not connector.delivers or connector.is_paused:
                return False
            most = 1 if connector.failures >= FAILURES_TO_OPEN else _CLAIMED
            batch = await deliveries.claim(connection, connector.id, most=most, lease=_LEASE_SECONDS)
            known = await load(connection, connector, batch)
        channel = _Channel(self, settings, known, self._crms.connected(crm))
        ends = await asyncio.gather(*(channel.tell(one) for one in batch), return_exceptions=True)
        for end in ends:
            if isinstance(end, BaseException):
                raise end
        return bool(batch)

    @property
    def store(self) -> Store:
        """The database."""
        return self._store

    @property
    def sharing(self) -> Sharing:
        """Links to recordings."""
        return self._sharing

    @property
    def public_url(self) -> str:
        """Where our pages are, or empty."""
        return self._public_url


class _Channel:
    """One CRM for the length of a batch."""

    def __init__(self, deliverer: Deliverer, settings: CrmSettings, known: Batch, crm: Crm) -> None:
        self._store = deliverer.store
        self._sharing = deliverer.sharing
        self._settings = settings
        self._composer = Composer(self._store, settings, known, crm, public_url=deliverer.public_url)
        self._crm = crm
        self._turn = asyncio.Semaphore(_AT_ONCE)
        self._settle = deliverer.settle
        self._is_left_alone = False

    async def tell(self, one: Delivery) -> None:
        """One delivery, to its end or to what stands in its way. Once it is known that the CRM is to be left alone,
        those that wait for their turn are left for another time."""
        try:
            async with self._turn:
                await (self._release(one) if self._is_left_alone else self._tell(one))
        except NotYet as wait:
            await self._postpone(one, wait.seconds, CrmUnreachable("It is not to be told yet."))
        except _LeaseLost:
            log.info("delivery_changed_meanwhile", delivery_id=one.id)
            await self._release(one)
        except CrmLimit as error:
            await self._leave_alone(one, error.seconds, SourceState.RUNNING, error)
        except CrmAuthFailed as error:
            await self._leave_alone(one, _AUTH_SECONDS, SourceState.LOGIN_FAILED, error)
        except CrmGone as error:
            await self._gone(one, error)
        except (CrmRightsMissing, CrmRefused) as error:
            await self._give_up(one, error)
        except CrmUnreachable as error:
            await self._unreachable(one, error)
        except Unavailable:
            await self._release(one)  # our own disk or database; the job is tried again by itself
            raise
        except CardlineError as error:
            await self._give_up(one, error)
        except Exception as error:
            log.exception("delivery_failed", delivery_id=one.id)
            await self._bug(one, error)

    # --- What stands in its way ---------------------------------------------------------------------------------------

    async def _postpone(self, one: Delivery, pause: float, error: CardlineError, *, counts: bool = False) -> int:
        async with self._store.begin() as connection:
            return await deliveries.postpone(
                connection,
                one,
                pause=pause,
                problem=error.what,
                remedy=error.remedy,
                settle=self._settle,
                counts=counts,
            )

    async def _release(self, one: Delivery) -> None:
        async with self._store.begin() as connection:
            await deliveries.release(connection, one)

    async def _leave_alone(self, one: Delivery, seconds: float, state: SourceState, error: CardlineError) -> None:
        self._is_left_alone = True
        async with self._store.begin() as connection:
            await deliveries.release(connection, one)
            await connectors.pause(connection, one.connector_id, seconds=seconds, state=state, problem=str(error))
        log.warning("crm_left_alone", crm=self._settings.name, seconds=seconds, reason=str(error))

    async def _give_up(self, one: Delivery, error: CardlineError) -> None:
        async with self._store.begin() as connection:
            failure = type(error).__name__
            await deliveries.give_up(connection, one, failure=failure, problem=error.what, remedy=error.remedy)
        log.warning("delivery_given_up", delivery_id=one.id, crm=self._settings.name, reason=str(error))

    async def _gone(self, one: Delivery, error: CardlineError) -> None:
        """The card over there is no more, which the mirror had not heard yet: the next attempt looks for another."""
        place = self._composer.place(one)
        if place is None:
            await self._give_up(one, error)
            return
        async with self._store.begin() as connection:
            await mirror.mark_gone(connection, one.connector_id, place.kind, place.id, merged_into=None)
        if await self._postpone(one, retry_pause(0), error, counts=True) >= ATTEMPTS_OF_A_BUG:
            await self._give_up(one, error)

    async def _unreachable(self, one: Delivery, error: CardlineError) -> None:
        attempts = await self._postpone(one, retry_pause(one.attempts), error)
        async with self._store.begin() as connection:
            failures = await connectors.note_failure(connection, one.connector_id)
            if (open_for := circuit_pause(failures)) > 0:
                state = SourceState.UNREACHABLE
                await connectors.pause(connection, one.connector_id, seconds=open_for, state=state, problem=str(error))
        log.info("delivery_postponed", delivery_id=one.id, crm=self._settings.name, attempts=attempts)
        if attempts >= ATTEMPTS:
            remedy = "Look into the CRM's own log for why it does not answer this one, then try again."
            await self._give_up(one, CrmUnreachable(error.what, remedy=remedy))

    async def _bug(self, one: Delivery, error: Exception) -> None:
        what = CardlineError(f"{type(error).__name__} in the connector.", remedy="Report it with the log around it.")
        if await self._postpone(one, retry_pause(one.attempts), what, counts=True) >= ATTEMPTS_OF_A_BUG:
            await self._give_up(one, what)

    # --- The steps ----------------------------------------------------------------------------------------------------

    async def _tell(self, one: Delivery) -> None:
        entry = self._composer.entry(one)
        if entry is not None and not is_ready(entry):
            async with self._store.begin() as connection:
                await deliveries.finish(connection, one, state=deliveries.UNREADY, answered=False)
            return
        work = await self._composer.prepare(one, entry)
        asked = False
        looked = False
        for _ in range(_MOST_STEPS):
            delivery = work.delivery
            known = Known(
                is_logged=bool(delivery.logged), begun=delivery.begun, looked=looked, parts=_texts(delivery.parts)
            )
            step = decide(work.wanted, known)
            if step is Step.NOTHING:
                break
            asked, looked = True, looked or step is Step.LOOK_FOREIGN
            work = await self._step(step, work)
        else:
            raise AssertionError("the steps do not come to an end")
        async with self._store.begin() as connection:
            await deliveries.finish(connection, one, answered=asked)
        log.info("delivery_done", delivery_id=one.id, crm=self._settings.name, interaction_id=one.interaction_id)

    async def _step(self, step: Step, work: Work) -> Work:
        if step is not Step.LOG:  # which has a guard of its own
            async with self._store.begin() as connection:
                if not await deliveries.is_held(connection, work.delivery, within=_STEP_SECONDS):
                    raise _LeaseLost
        try:
            async with asyncio.timeout(_STEP_SECONDS):
                return await self._take(step, work)
        except TimeoutError:
            raise CrmUnreachable(f"It did not answer within {_STEP_SECONDS:g} seconds.") from None
        except CrmGone:
            if step in (Step.UPDATE, Step.RECORDING, Step.TRANSCRIPT):
                log.info("deleted_in_crm", delivery_id=work.delivery.id)
                return await self._forgotten(work)
            raise

    async def _take(self, step: Step, work: Work) -> Work:
        crm, delivery, activity = self._crm, work.delivery, work.activity
        parts = dict(_texts(delivery.parts))
        match step:
            case Step.LOOK:
                found = await crm.find_logged(_sought(delivery))
                return await self._kept(work, found, {} if found is None else {"activity": "?"})
            case Step.LOOK_FOREIGN:
                assert activity is not None
                found = await crm.find_foreign(activity)
                return await self._kept(work, found, {"activity": "?"}) if found is not None else work
            case Step.LOG:
                return await self._log(work)
            case Step.WITHDRAW:
                await crm.withdraw(_logged(delivery.logged))
                await self._sharing.revoke(delivery.id)
                return await self._kept(work, None, {})
            case Step.UPDATE:
                assert activity is not None
                logged = _logged(delivery.logged)
                if crm.scorecard.can(Capability.UPDATE):
                    logged = await crm.update(logged, activity)
                return await self._kept(work, logged, {**parts, "activity": work.wanted.activity})
            case Step.RECORDING:
                assert isinstance(activity, CallToLog)
                recording = await self._recording(work, activity)
                logged = await crm.attach_recording(_logged(delivery.logged), activity, recording)
                await self._sharing.revoke(delivery.id, but=work.recording_id if recording.url else None)
                return await self._kept(work, logged, {**parts, "recording": work.wanted.recording})
            case Step.TRANSCRIPT:
                assert isinstance(activity, CallToLog)
                assert work.transcript is not None
                logged = await crm.attach_transcript(_logged(delivery.logged), activity, work.transcript)
                return await self._kept(work, logged, {**parts, "transcript": work.wanted.transcript})
            case Step.NOTHING:
                return work

    async def _log(self, work: Work) -> Work:
        activity, delivery = work.activity, work.delivery
        assert activity is not None
        is_call = isinstance(activity, CallToLog)
        at = activity.started if isinstance(activity, CallToLog) else activity.sent
        sought = {"is_call": is_call, "card": [activity.card.kind, activity.card.id], "at": at.isoformat()}
        async with self._store.begin() as connection:
            begun = await deliveries.begin(connection, delivery, sought, within=_STEP_SECONDS)
        if begun is None:
            raise _LeaseLost
        crm = self._crm
        logged = await (crm.log_call(activity) if isinstance(activity, CallToLog) else crm.log_mail(activity))
        return await self._kept(replace(work, delivery=begun), logged, {"activity": work.wanted.activity})

    async def _kept(self, work: Work, logged: Logged | None, parts: Mapping[str, str]) -> Work:
        kept = _as_json(logged) if logged is not None else {}
        async with self._store.begin() as connection:
            await deliveries.keep(connection, work.delivery.id, logged=kept, parts=parts)
        return replace(work, delivery=replace(work.delivery, begun=False, logged=kept, parts=parts))

    async def _forgotten(self, work: Work) -> Work:
        """A person has deleted over there what we logged: it stays so, whatever changes here."""
        parts = {"activity": work.wanted.activity, "recording": work.wanted.recording}
        parts["transcript"] = work.wanted.transcript
        return await self._kept(work, _logged(work.delivery.logged), parts)

    async def _recording(self, work: Work, call: CallToLog) -> RecordingToAttach:
        assert work.recording_id is not None
        is_upload = work.wanted.recording.endswith(":upload")
        name = f"{call.started:%Y-%m-%d-%H%M%S}-{work.delivery.key[-6:]}.mp3"
        return await self._sharing.recording(work.recording_id, work.delivery.id, file_name=name, upload=is_upload)


def _texts(parts: Mapping[str, Any]) -> dict[str, str]:
    return {name: value for name, value in parts.items() if isinstance(value, str)}


def _logged(kept: Mapping[str, Any]) -> Logged:
    return Logged(
        id=ExternalId(kind=kept["id"]["kind"], id=kept["id"]["id"]),
        details=dict(kept["details"]),
        is_foreign=bool(kept["is_foreign"]),
    )


def _as_json(logged: Logged) -> dict[str, Any]:
    return asdict(replace(logged, details=dict(logged.details)))


def _sought(one: Delivery) -> Sought:
    kept = one.parts["sought"]
    return Sought(
        key=one.key,
        is_call=bool(kept["is_call"]),
        card=ExternalId(kind=kept["card"][0], id=kept["card"][1]),
        at=datetime.fromisoformat(kept["at"]),
    )
