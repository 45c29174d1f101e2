"""Pausing a call, whoever records it: the capture process, or somebody who carries the call himself."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Protocol

from agent.sip.taps import Tap, Taps


class _Recorder(Protocol):
    """What of `agent.sip.recorder.Recorder` is needed here."""

    def pause(self, capture_id: str, at: datetime | None = None) -> datetime: ...

    def resume(self, capture_id: str) -> datetime: ...


class Pauser:
    """The recorder as `agent.sip.commands.CommandDesk` needs it; both methods are idempotent."""

    def __init__(self, recorder: _Recorder, taps: Taps) -> None:
        self._recorder, self._taps = recorder, taps
        self._pauses: dict[str, tuple[datetime, datetime | None]] = {}  # of those who write their sound themselves

    def pause(self, capture_id: str, at: datetime | None = None) -> datetime:
        """From this instant on, or the one it was asked for ``at``, nothing is kept, until `resume`; the instant.

        Raises:
            LookupError: nothing is being recorded.
        """
        tap = self._of_its_own(capture_id)
        if tap is None:
            at = self._recorder.pause(capture_id, at)
            self._note(capture_id, paused=True)
            return at
        begun, ended = self._pauses.get(capture_id, (None, None))
        if begun is None or ended is not None:
            now = datetime.now(UTC)
            begun = max(min(at or now, now), ended or tap.call.started)
            self._pauses[capture_id] = begun, None
            self._order(tap, paused=True)
        return begun

    def resume(self, capture_id: str) -> datetime:
        """Record again from this instant on; the instant.

        Raises:
            LookupError: nothing is being recorded, or it was never paused.
        """
        tap = self._of_its_own(capture_id)
        if tap is None:
            resumed = self._recorder.resume(capture_id)
            self._note(capture_id, paused=False)
            return resumed
        if capture_id not in self._pauses:
            raise LookupError(f"capture {capture_id} is not paused")
        begun, ended = self._pauses[capture_id]
        if ended is None:
            ended = datetime.now(UTC)
            self._pauses[capture_id] = begun, ended
            self._order(tap, paused=False)
        return ended

    def _of_its_own(self, capture_id: str) -> Tap | None:
        for gone in self._pauses.keys() - {tap.capture_id for tap in self._taps.open_taps()}:
            del self._pauses[gone]
        tap = self._taps.find(capture_id)
        return tap if tap is not None and tap.on_pause is not None else None

    def _note(self, capture_id: str, *, paused: bool) -> None:
        if (tap := self._taps.find(capture_id)) is not None:
            tap.is_paused = paused

    @staticmethod
    def _order(tap: Tap, *, paused: bool) -> None:
        assert tap.on_pause is not None
        tap.is_paused = paused
        tap.on_pause(paused)
