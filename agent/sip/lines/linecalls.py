"""The calls of one line on their way into the database: what its process tells becomes snapshots in their journals."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

import structlog

from agent.settings_lines import LineSettings
from agent.sip.lines.codes import Codes
from agent.sip.lines.state import NOT_RECORDED, answered_call, ended_call, flagged, lost_call, ringing_call
from agent.sip.lines.words import (
    ANSWERED,
    CHANNELS,
    ENDED,
    HELD,
    KEY,
    PAUSE,
    RECORD,
    RECORDING,
    RESUME,
    RINGING,
    WRONG,
    LineFact,
)
from agent.sip.taps import Tap, Taps

log = structlog.get_logger()

Order = Callable[..., None]
OnCode = Callable[[str, str, datetime], None]
"""Hears of a capture in which somebody has entered a code: its name, and when."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRules:
    """What is done about keys pressed: with ``mask`` they are never written down; ``codes`` are told to ``on_code``."""

    mask: bool = False
    codes: Mapping[str, str] = field(default_factory=dict)
    on_code: OnCode = lambda capture_id, name, at: None


class LineCalls:
    """Those that go on. ``order`` speaks to the line's process."""

    def __init__(self, settings: LineSettings, taps: Taps, order: Order, *, keys: KeyRules) -> None:
        self._settings, self._taps, self._order, self._keys = settings, taps, order, keys
        self._codes: dict[tuple[str, str], Codes] = {}  # call and side → what was pressed there
        self._open: dict[str, Tap] = {}
        self._files: dict[tuple[str, str], int] = {}  # call and side → index of its sound file
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def count(self) -> int:
        """How many go on."""
        return len(self._open)

    def hear(self, fact: LineFact) -> None:
        """Something happened to a call; what is said of a call that is not open concerns nobody."""
        if fact.kind == RINGING:
            self._begin(fact)
            return
        tap = self._open.get(fact.call)
        if tap is None:
            return
        side = fact.text("side")
        if fact.kind == ANSWERED:
            tap.tell(answered_call(tap.call, fact.at))
        elif fact.kind == ENDED:
            self._end(tap, fact)
        elif fact.kind == WRONG:
            log.error("line_call_fault", line=self._settings.name, call=fact.call, what=fact.text("what"))
            tap.tell(flagged(tap.call, f"{fact.text('what')}: {fact.text('why')}"[:300]))
        elif side in CHANNELS:
            self._hear_sound(tap, fact, side)

    def _hear_sound(self, tap: Tap, fact: LineFact, side: str) -> None:
        key = fact.call, side
        if fact.kind == RECORDING:
            self._files[key] = tap.add_file(CHANNELS[side], fact.text("file"), started=fact.at)
        elif fact.kind == HELD and key in self._files:
            tap.set_active(self._files[key], active=bool(fact.data.get("active")), at=fact.at)
        elif fact.kind == KEY:
            digit = fact.text("digit")[:1]
            tap.add_key(CHANNELS[side], "" if self._keys.mask else digit, at=fact.at)
            code = self._codes.setdefault(key, Codes(self._keys.codes)).press(digit, fact.at)
            if code is not None:
                self._keys.on_code(tap.capture_id, code, fact.at)

    def _begin(self, fact: LineFact) -> None:
        """The call goes on whatever happens here: a full disk costs the recording, not the conversation."""
        try:
            tap = self._open[fact.call] = self._taps.open(ringing_call(self._settings.name, fact))
        except OSError:
            log.exception("line_call_not_recorded", line=self._settings.name, call=fact.call)
            self._order(RECORD, call=fact.call, folder="")
            return
        tap.on_pause = partial(self._pause, fact.call)
        self._order(RECORD, call=fact.call, folder=str(tap.journal.folder) if self._settings.record else "")

    def _pause(self, call: str, paused: bool) -> None:
        self._order(PAUSE if paused else RESUME, call=call)

    def _end(self, tap: Tap, fact: LineFact) -> None:
        call = ended_call(tap.call, fact)
        files = self._forget(fact.call)
        if call.answered and self._settings.record and not files:
            call = flagged(call, NOT_RECORDED)
        self._open.pop(fact.call, None)
        task = asyncio.create_task(tap.close(call, by=fact.text("by") or "line"))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _forget(self, call: str) -> int:
        """How many sound files the call had."""
        self._codes = {key: codes for key, codes in self._codes.items() if key[0] != call}
        mine = [key for key in self._files if key[0] == call]
        for key in mine:
            del self._files[key]
        return len(mine)

    async def lose_all(self, at: datetime) -> None:
        """The process is gone: its calls are over as of now, and their files end where they were cut off."""
        lost = list(self._open.items())
        self._open.clear()
        self._files.clear()
        self._codes.clear()
        if lost:
            log.error("line_calls_cut_short", line=self._settings.name, calls=len(lost))
        for _, tap in lost:
            await tap.close(lost_call(tap.call, at), by="line", truncated=True)
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*self._closing, return_exceptions=True)
