"""One PBX, followed for as long as the service runs: connect, look at what is there, listen, and again after a pause.

Whatever fails, calls go on at the PBX as if nobody listened.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta

import structlog

from agent.errors import CardlineError, Misconfigured
from agent.model import SourceState
from agent.settings_asterisk import AsteriskSettings
from agent.sip.asterisk.ari import Ari, AsteriskReadOnly, AsteriskRefused, Events, open_ari
from agent.sip.asterisk.callmaker import Conversation
from agent.sip.asterisk.clock import PbxClock
from agent.sip.asterisk.events import BridgeView, ChannelView, event_time, read_bridge, read_channel, read_event
from agent.sip.asterisk.following import Connection, FollowedCall, Patience
from agent.sip.asterisk.state import CallState
from agent.sip.asterisk.tapping import prefix, remove_all
from agent.sip.lines.linecalls import KeyRules
from agent.sip.taps import Taps

log = structlog.get_logger()

OnState = Callable[[str, SourceState, str], None]
_AT_ONCE = 16  # questions after linkedids
_BREATH = 50  # events after which others get their turn


class AsteriskReplaced(Misconfigured):
    """Another program has registered under our name, and gets the events now."""

    remedy = "Let no two Cardlines use one `app` at one PBX; it is a setting of the [[asterisk]] table."


class AsteriskSource:
    """Follows one PBX. ``digits``: numbers up to this long are extensions."""

    def __init__(
        self,
        settings: AsteriskSettings,
        taps: Taps,
        *,
        digits: int,
        keys: KeyRules = KeyRules(),  # noqa: B008 - frozen
        patience: Patience = Patience(),  # noqa: B008 - frozen
    ) -> None:
        self._settings, self._taps, self._keys, self._patience = settings, taps, keys, patience
        self._on_state: OnState | None = None
        self.name = f"asterisk:{settings.name}"
        self._state = CallState(self.name, digits=digits)
        self._calls: dict[str, FollowedCall] = {}
        self._ending: set[str] = set()
        self._closed: set[str] = set()
        self._connection: Connection | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._main: asyncio.Task[None] | None = None
        self._shown: tuple[SourceState, str] = (SourceState.CONNECTING, "")
        self._clock = PbxClock()
        self._is_full = False  # the disk
        self._heard = datetime.now(UTC)  # when the PBX last said something

    def start(self) -> None:
        """Begin, on the running event loop."""
        self._main = asyncio.create_task(self._run(), name=self.name)

    async def stop(self) -> None:
        """Take the taps away and leave; calls that go on are left to `Taps.stop`."""
        leaving = [task for call in self._calls.values() for task in call.leave()]
        self._connection = None
        if leaving:
            await asyncio.wait(leaving, timeout=self._patience.farewell)
        for task in (*self._tasks, *filter(None, [self._main])):
            task.cancel()
        await asyncio.gather(*self._tasks, *filter(None, [self._main]), return_exceptions=True)
        await asyncio.gather(*(self._finish(key) for key in tuple(self._ending)), return_exceptions=True)

    def watch(self, on_state: OnState) -> None:
        """Hear how the source is, now and whenever that changes: its name, the state, and in words why."""
        self._on_state = on_state
        on_state(self.name, *self._shown)

    # --- The connection ---------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        failures = 0
        while True:
            began = asyncio.get_running_loop().time()
            least = 0.0
            try:
                await self._serve()
            except (AsteriskReplaced, Misconfigured) as error:
                state = SourceState.UNREACHABLE if isinstance(error, AsteriskReplaced) else SourceState.LOGIN_FAILED
                self._failed(state, error)
                least = self._patience.refused_pause
            except CardlineError as error:
                self._failed(SourceState.UNREACHABLE, error)
            except Exception:
                log.exception("asterisk_source_fault", pbx=self._settings.name)
                self._show(SourceState.UNREACHABLE, "Following this PBX failed in an unforeseen way; see the log.")
            finally:
                self._connection = None
            lasted = asyncio.get_running_loop().time() - began
            failures = 0 if lasted > self._patience.longest_pause else failures + 1
            await asyncio.sleep(max(least, self._pause(failures)))

    def _pause(self, failures: int) -> float:
        pause = self._patience.first_pause * 2.0 ** min(failures, 10)
        return min(self._patience.longest_pause, pause) * random.uniform(0.5, 1.0)  # noqa: S311

    async def _serve(self) -> None:
        async with open_ari(self._settings) as ari, ari.events() as events:
            own = self._settings.advertise or events.own_address
            self._connection = Connection(ari=ari, own_address=own)
            trouble = await self._may_act(ari)
            self._mind_the_clock(ari.date)
            await self._look(ari, is_first=True)
            self._show(*trouble or (SourceState.RUNNING, self._clock.note))
            looking = asyncio.create_task(self._look_often(ari))
            try:
                await self._listen(events)
            finally:
                looking.cancel()
                await asyncio.gather(looking, return_exceptions=True)

    async def _may_act(self, ari: Ari) -> tuple[SourceState, str] | None:
        """Whether the user may change anything: asked by removing what is not there."""
        try:
            await ari.delete_bridge(prefix(self._settings.app) + "none")
        except AsteriskReadOnly as error:
            log.warning("asterisk_user_is_read_only", pbx=self._settings.name, reason=str(error))
            return SourceState.LOGIN_FAILED, f"Calls are followed and not recorded. {error}"
        except AsteriskRefused:
            pass
        return None

    async def _listen(self, events: Events) -> None:
        count = 0
        async for data in events:
            if isinstance(data, dict) and data.get("type") == "ApplicationReplaced":
                raise AsteriskReplaced(f"Another program is connected to {self._settings.name} under our name.")
            self._heard = datetime.now(UTC)
            self._mind_the_clock(event_time(data))
            event = read_event(data, shift=self._clock.shift)
            if event is not None:
                for conversation in self._state.take(event):
                    self._follow(conversation)
                if event.kind == "ChannelDtmfReceived":
                    for call in self._calls.values():
                        call.press(event.channel, event.digit, event.at)
            count += 1
            if count % _BREATH == 0:
                await asyncio.sleep(0)

    # --- Looking at everything --------------------------------------------------------------------------------------

    async def _look_often(self, ari: Ari) -> None:
        while True:
            await asyncio.sleep(self._patience.look_every)
            try:
                await self._look(ari, is_first=False)
            except CardlineError as error:
                log.warning("asterisk_not_looked_at", pbx=self._settings.name, reason=str(error))
            self._show(self._shown[0], self._clock.note if self._shown[0] is SourceState.RUNNING else self._shown[1])

    async def _look(self, ari: Ari, *, is_first: bool) -> None:
        """Bring what is known in line with what is there; what was left behind by a killed run is removed."""
        alive, inside, open_before = self._state.alive(), self._state.inside(), set(self._calls)
        asked, heard = datetime.now(UTC), self._heard
        channels, bridges = await self._lists(ari, asked)
        there = {one.id for one in channels}
        await self._clean(ari, there, {one.id for one in bridges})
        new = [one.id for one in channels if one.id not in self._state.known() and not self._is_ours(one.id)]
        linkedids = await self._linkedids(ari, new)
        self._state.find(channels, bridges, linkedids, at=asked)
        members = {(member, one.id) for one in bridges for member in one.members}
        self._state.lose(alive - there, heard=heard, left=inside - members)
        for call in self._calls.values() if is_first else ():
            call.check(there)
        seen = set[str]()
        for count, channel_id in enumerate(self._state.clusters()):
            for conversation in self._state.around(channel_id):
                seen.add(conversation.call.key)
                self._follow(conversation)
            if count % _BREATH == 0:
                await asyncio.sleep(0)
        for key in (open_before - seen) & self._calls.keys():
            self._end_soon(key)
        before = asked - timedelta(seconds=2 * self._patience.linger)
        self._state.sweep(before=before, keep=self._calls.keys())

    async def _lists(self, ari: Ari, asked: datetime) -> tuple[list[ChannelView], list[BridgeView]]:
        channels = [read_channel(one, at=asked, shift=self._clock.shift) for one in await ari.list("channels")]
        bridges = [read_bridge(one) for one in await ari.list("bridges")]
        return [one for one in channels if one], [one for one in bridges if one]

    async def _linkedids(self, ari: Ari, channel_ids: list[str]) -> dict[str, str]:
        gate = asyncio.Semaphore(_AT_ONCE)

        async def ask(channel_id: str) -> tuple[str, str]:
            async with gate:
                try:
                    return channel_id, await ari.linkedid(channel_id)
                except AsteriskRefused:  # it has gone meanwhile
                    return channel_id, ""

        return dict(await asyncio.gather(*map(ask, channel_ids)))

    async def _clean(self, ari: Ari, channels: set[str], bridges: set[str]) -> None:
        """Taps that are no call's: names of those that are just being made are known before they are. They go before
        new ones are made: they may still send to the ports that these get."""
        ours = {name for call in self._calls.values() for name in call.taps()}
        left = [[one for one in found if self._is_ours(one) and one not in ours] for found in (channels, bridges)]
        if any(left):
            log.info("asterisk_leftovers_removed", pbx=self._settings.name, channels=len(left[0]), bridges=len(left[1]))
            await remove_all(ari, left[0], left[1])

    def _is_ours(self, name: str) -> bool:
        return name.startswith(prefix(self._settings.app))

    # --- Calls ------------------------------------------------------------------------------------------------------

    def _follow(self, conversation: Conversation) -> None:
        key = conversation.call.key
        if key in self._closed:
            return
        call = self._calls.get(key) or self._open(conversation)
        if call is not None:
            call.update(conversation)
            if conversation.is_over:
                self._end_soon(key)

    def _open(self, conversation: Conversation) -> FollowedCall | None:
        try:
            tap = self._taps.open(conversation.call)
        except OSError as error:
            if not self._is_full:
                log.warning("asterisk_calls_not_noted", pbx=self._settings.name, reason=str(error))
            self._is_full = True
            return None
        self._is_full = False
        call = self._calls[conversation.call.key] = FollowedCall(
            tap,
            self._settings,
            connection=lambda: self._connection,
            patience=self._patience,
            keys=self._keys,
            background=self._background,
        )
        return call

    def _end_soon(self, key: str) -> None:
        if key not in self._ending:
            self._ending.add(key)
            self._background(self._end(key))

    async def _end(self, key: str) -> None:
        await asyncio.sleep(self._patience.linger)  # for events that come late
        await self._finish(key)

    async def _finish(self, key: str) -> None:
        """Close a call, unless it turned out to go on."""
        self._ending.discard(key)
        conversation = self._state.current(key)
        call = self._calls.get(key)
        if call is None or (conversation is not None and not conversation.is_over):
            return
        del self._calls[key]
        self._closed.add(key)
        self._closed -= self._state.forget(key)
        await call.close(conversation.call if conversation else call.told)

    # --- Small things -----------------------------------------------------------------------------------------------

    def _mind_the_clock(self, told: datetime | None) -> None:
        if self._clock.hear(told, datetime.now(UTC)):
            seconds = round(self._clock.shift.total_seconds(), 1)
            log.warning("asterisk_clock_differs", pbx=self._settings.name, seconds=seconds)

    def _failed(self, state: SourceState, error: CardlineError) -> None:
        log.warning("asterisk_source_failed", pbx=self._settings.name, state=state, reason=str(error))
        self._show(state, str(error))

    def _show(self, state: SourceState, detail: str) -> None:
        if self._shown != (state, detail):
            self._shown = (state, detail)
            if self._on_state is not None:
                self._on_state(self.name, state, detail)

    def _background(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(_logged(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


async def _logged(work: Coroutine[None, None, None]) -> None:
    """What fails in the background ends nothing else."""
    try:
        await work
    except Exception:
        log.exception("asterisk_background_failed")
