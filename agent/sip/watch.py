"""Looks after sessions that go on: no sound at all, a session not refreshed, a client that fell silent.

A dead client must not hold a call for ever, and a living one must not lose sound because it forgot a formality: while
packets come, nothing is ended.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Coroutine
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import structlog

from agent.sip.answers import ABILITIES, Answers
from agent.sip.body import read_body
from agent.sip.dialogs import Dialog
from agent.sip.journal import UNREFRESHED
from agent.sip.outgoing import Outgoing
from agent.sip.sessiontimer import SessionTimer, refreshed_timer, smallest_allowed

log = structlog.get_logger()

MEDIA_AWAITED_S = 2.0
FLOWING_S = 10.0  # sound this young means that the session lives, whatever the signalling says
GLARE_S = 2.0
LOOK_EVERY_S = 30.0
GONE = frozenset({404, 408, 410, 481, 604})  # answers by which the client says that it has no such session


class Sessions(Protocol):
    """What of the server's sessions a watch needs."""

    def open_dialogs(self) -> Collection[Dialog]:
        """All sessions that go on."""
        ...

    def is_open(self, dialog: Dialog) -> bool:
        """Whether this one goes on."""
        ...

    def refreshed(self, dialog: Dialog, sdp: bytes) -> None:
        """The client answered a re-INVITE of ours."""
        ...

    def no_media(self, dialog: Dialog) -> None:
        """Say loudly that nothing is heard."""
        ...

    def note(self, dialog: Dialog, kind: str) -> None:
        """Write a fact into its journal."""
        ...

    def give_up(self, dialog: Dialog, *, by: str, at: datetime) -> None:
        """End a session whose client is gone, as of its last sign of life."""
        ...


class Watch:
    """Timers of all sessions. All methods but `stop` return at once."""

    def __init__(self, sessions: Sessions, outgoing: Outgoing, answers: Answers, *, silent_s: float) -> None:
        self._sessions, self._outgoing, self._answers = sessions, outgoing, answers
        self._silent_s = silent_s
        self._timers: set[asyncio.TimerHandle] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begin to look for clients that fell silent."""
        self._begin(self._look_around())

    async def stop(self) -> None:
        """Cancel everything."""
        for timer in self._timers:
            timer.cancel()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def expect_media(self, dialog: Dialog) -> None:
        """The client acknowledged: sound has to come now."""
        if dialog.active and not dialog.heard:
            self._later(MEDIA_AWAITED_S, lambda: self._look_for_media(dialog))

    def agree(self, dialog: Dialog, timer: SessionTimer | None) -> None:
        """A request or answer has (re)started the session timer, or ended it."""
        self.forget(dialog)
        dialog.timer = timer
        if timer is not None:
            delay = timer.interval_s / 2 if timer.ours else float(timer.interval_s)
            self._arm(dialog, delay)

    def forget(self, dialog: Dialog) -> None:
        """The session has ended, or its timer starts anew."""
        if dialog.timer_handle is not None:
            dialog.timer_handle.cancel()
            self._timers.discard(dialog.timer_handle)
            dialog.timer_handle = None

    # The session timer (RFC 4028)

    def _arm(self, dialog: Dialog, delay: float) -> None:
        due = self._refresh if dialog.timer and dialog.timer.ours else self._expire
        dialog.timer_handle = self._later(delay, lambda: self._begin(due(dialog)))

    async def _refresh(self, dialog: Dialog) -> None:
        """Refresh a session that is ours to refresh, by UPDATE where the client takes that (RFC 4028, 7.4)."""
        timer = dialog.timer
        if timer is None or not self._sessions.is_open(dialog):
            return
        headers = [timer.header(request=True), self._answers.contact(dialog), *ABILITIES]
        allowed = ",".join(dialog.invite.headers.get("allow")).upper()
        if not allowed or "UPDATE" in allowed:
            response = await self._outgoing.ask(dialog, "UPDATE", headers=headers)
        elif dialog.repeater or dialog.offering:  # the client has an INVITE under way (RFC 3261, 14.1)
            self._arm(dialog, GLARE_S)
            return
        else:
            headers.append(("Content-Type", "application/sdp"))
            dialog.inviting = True
            response = await self._outgoing.ask(dialog, "INVITE", headers=headers, body=dialog.offer())
            dialog.inviting = False
            if response and response.status < 300 and (answer := response.body):
                self._sessions.refreshed(dialog, read_body(response.header("content-type"), answer).sdp or b"")
        if not self._sessions.is_open(dialog):
            return
        if response is None or response.status in GONE:
            await self._expire(dialog)
        elif response.status == 422:
            self.agree(dialog, SessionTimer(interval_s=smallest_allowed(response), ours=True))
            self._begin(self._refresh(dialog))
        elif response.status == 491:
            self._arm(dialog, GLARE_S)
        else:  # also a refusal comes from somebody who lives
            dialog.last_request = time.time()
            self.agree(dialog, refreshed_timer(timer, response) if response.status < 300 else timer)

    async def _expire(self, dialog: Dialog) -> None:
        """The session was not refreshed: end it, unless sound still comes."""
        last = await asyncio.to_thread(_last_sound, dialog.journal.folder)
        if not self._sessions.is_open(dialog):
            return
        if time.time() - last < FLOWING_S:
            if not dialog.unrefreshed:
                log.warning(
                    "siprec_not_refreshed",
                    capture_id=dialog.journal.capture_id,
                    peer=dialog.arrival.source[0],
                    remedy="Sound still comes, so it is recorded; see to the session timer of the client.",
                )
                self._sessions.note(dialog, UNREFRESHED)
            dialog.unrefreshed = True
            dialog.timer_handle = self._later(FLOWING_S, lambda: self._begin(self._expire(dialog)))
            return
        self._give_up(dialog, "expired", last)

    # Silence

    async def _look_around(self) -> None:
        """As long as the server runs."""
        while True:
            await asyncio.sleep(min(LOOK_EVERY_S, self._silent_s / 4))
            try:
                await self._ask_the_silent()
            except Exception:
                log.exception("siprec_silence_not_looked_for")

    async def _ask_the_silent(self) -> None:
        """Ask clients without a timer of whom nothing was heard for long whether they are still there."""
        before = time.time() - self._silent_s
        quiet = [one for one in self._sessions.open_dialogs() if one.timer is None and one.last_request < before]
        for dialog in quiet:
            last = await asyncio.to_thread(_last_sound, dialog.journal.folder)
            if last < before and not dialog.probing and self._sessions.is_open(dialog):
                dialog.probing = True
                self._begin(self._probe(dialog))

    async def _probe(self, dialog: Dialog) -> None:
        try:
            response = await self._outgoing.ask(dialog, "OPTIONS", headers=[self._answers.contact(dialog)])
            if not self._sessions.is_open(dialog):
                return
            if response is not None and response.status not in GONE:
                dialog.last_request = time.time()
                return
            last = await asyncio.to_thread(_last_sound, dialog.journal.folder)
            if time.time() - last > self._silent_s and self._sessions.is_open(dialog):
                self._give_up(dialog, "silent", last)
        finally:
            dialog.probing = False

    def _give_up(self, dialog: Dialog, by: str, last_sound: float) -> None:
        log.warning(
            "siprec_client_gone",
            capture_id=dialog.journal.capture_id,
            peer=dialog.arrival.source[0],
            why=by,
            remedy="Look why the client ended the call without BYE; what was said is kept.",
        )
        self._sessions.give_up(dialog, by=by, at=datetime.fromtimestamp(max(last_sound, dialog.last_request), UTC))

    # Small things

    def _look_for_media(self, dialog: Dialog) -> None:
        """A healthy dialog that nobody speaks into is a fault of the route or of the answer; say so while it lasts."""
        if self._sessions.is_open(dialog) and not dialog.heard and dialog.active:
            self._sessions.no_media(dialog)

    def _later(self, delay: float, act: Callable[[], None]) -> asyncio.TimerHandle:
        def due() -> None:
            self._timers.discard(timer)
            act()

        timer = asyncio.get_running_loop().call_later(delay, due)
        self._timers.add(timer)
        return timer

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("siprec_watch_failed", exc_info=error)


def _last_sound(folder: Path) -> float:
    """When something was last written to a packet log, in seconds of the epoch; 0.0 without any. Blocks."""
    times = [0.0]
    for path in folder.glob("*.rtpdump"):
        with suppress(OSError):
            times.append(path.stat().st_mtime)
    return max(times)
