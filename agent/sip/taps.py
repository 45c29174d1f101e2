"""Calls whose sound a PBX sends here because we asked (Asterisk), or that we carry ourselves (lines).

Who has a call state of his own opens a `Tap` for a call, says each snapshot to it, and asks it for ports; journal,
courier, pause, recovery and assembling are those of SIPREC.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import structlog

from agent.model import CapturedCall
from agent.sip.journal import CLOSED, KEY, NO_MEDIA, OPENED, SNAPSHOT, STREAM, Journal
from agent.sip.snapshots import as_data

log = structlog.get_logger()


class Recorder(Protocol):
    """What of `agent.sip.recorder.Recorder` is needed here."""

    def open_stream(self, capture_id: str, index: int, *, events: frozenset[int] = frozenset()) -> int:
        """Open a pair of ports; returns that for RTP."""
        ...

    async def close_capture(self, capture_id: str) -> None:
        """Close a call's streams; returns when its packet logs are complete on the disk."""
        ...


class Teller(Protocol):
    """What of `agent.sip.courier.Courier` is needed here; both return at once."""

    def tell(self, capture_id: str) -> None:
        """The journal has something new."""
        ...

    def tell_ended(self, capture_id: str) -> None:
        """The call has ended and its packet logs are complete."""
        ...


class Taps:
    """Opens taps. One a service; its methods belong to the event loop's thread."""

    def __init__(self, recorder: Recorder, courier: Teller, captures: Path) -> None:
        self._recorder, self._courier, self._captures = recorder, courier, captures
        self._open: dict[str, Tap] = {}

    def open(self, call: CapturedCall) -> Tap:
        """A call that begins, also one without any sound yet.

        Raises:
            OSError: the disk is full.
        """
        journal = Journal.create(self._captures)
        journal.write(OPENED, source=call.source, call=as_data(call))
        tap = Tap(call, journal, self._recorder, self._courier, on_closed=self._open)
        self._open[journal.capture_id] = tap
        self._courier.tell(journal.capture_id)
        return tap

    def find(self, capture_id: str) -> Tap | None:
        """The open tap of a capture, for events of the recorder."""
        return self._open.get(capture_id)

    def open_taps(self) -> Collection[Tap]:
        """All that go on."""
        return tuple(self._open.values())

    async def stop(self) -> None:
        """Leave every call; its record says that it was cut short."""
        await asyncio.gather(*(tap.close(tap.call, by="shutdown", truncated=True) for tap in self.open_taps()))


class Tap:
    """One call on its way into the database, with the streams of its sound."""

    def __init__(
        self, call: CapturedCall, journal: Journal, recorder: Recorder, courier: Teller, *, on_closed: dict[str, Tap]
    ) -> None:
        self.call, self.journal = call, journal
        self._recorder, self._courier, self._siblings = recorder, courier, on_closed
        self._streams: dict[int, dict[str, Any]] = {}
        self.heard: set[int] = set()  # streams of which a packet came
        self.is_paused = False  # recording; keys that are pressed now may be those of a card
        self.on_pause: Callable[[bool], None] | None = None  # of somebody who writes the sound himself; False: go on

    @property
    def capture_id(self) -> str:
        """The name of its folder."""
        return self.journal.capture_id

    def open_stream(self, channel: int, *, label: str, codecs: Mapping[str, str]) -> tuple[int, int]:
        """Ask for sound on a channel of the recording; ``codecs``: payload type → rtpmap (``{"8": "PCMA/8000"}``).

        Returns the stream's index and the RTP port to send to. Several streams may share a channel, one after the
        other: after a transfer the new leg of a party sounds where the old one did.

        Raises:
            OSError: no port is free, or the disk is full.
        """
        index = len(self._streams)
        events = frozenset(int(number) for number, value in codecs.items() if value.lower().startswith("telephone-"))
        port = self._recorder.open_stream(self.capture_id, index, events=events)
        self._streams[index] = {"channel": channel, "label": label, "codecs": dict(codecs)}
        self.set_active(index, active=True)
        return index, port

    def add_file(self, channel: int, name: str, *, started: datetime) -> int:
        """Sound that somebody else writes into this folder, as a file of one channel whose first sample is of that
        time; it may still grow. Returns its index."""
        index = len(self._streams)
        self._streams[index] = {"channel": channel, "file": name, "started": started.isoformat()}
        self.set_active(index, active=True)
        return index

    def add_key(self, channel: int, digit: str, *, at: datetime) -> None:
        """Somebody pressed a key; an empty ``digit`` where only the fact may be kept. In a pause nothing is kept."""
        if not self.is_paused:
            self._note(KEY, at=at, channel=channel, digit=digit)

    def set_active(self, index: int, *, active: bool, at: datetime | None = None) -> None:
        """Hold and its end: silence is to be expected."""
        self._note(STREAM, at=at, index=index, active=active, **self._streams[index])

    def tell(self, call: CapturedCall) -> None:
        """More is known now."""
        if call == self.call:
            return
        self.call = call
        self._note(SNAPSHOT, call=as_data(call))
        self._courier.tell(self.capture_id)

    def no_media(self) -> None:
        """Sound was asked for, and none came."""
        log.error("tap_no_media", capture_id=self.capture_id, source=self.call.source, key=self.call.key)
        self._note(NO_MEDIA)
        self._courier.tell(self.capture_id)

    async def close(self, call: CapturedCall, *, by: str = "source", truncated: bool = False) -> None:
        """The call has ended; returns when its logs are complete and its end is on the way. Once closed it stays so."""
        if self._siblings.pop(self.capture_id, None) is None:
            return
        self._note(SNAPSHOT, call=as_data(call))
        self.call = call
        self._note(CLOSED, by=by, truncated=truncated, at=call.ended)
        try:
            await self._recorder.close_capture(self.capture_id)
        except Exception:  # what is on the disk is assembled all the same
            log.exception("capture_not_closed", capture_id=self.capture_id)
        self._courier.tell_ended(self.capture_id)

    def _note(self, kind: str, **data: Any) -> None:
        """Where the disk is full the call goes on; recovery makes up for a lost end."""
        try:
            self.journal.write(kind, **data)
        except OSError:
            log.exception("journal_not_written", capture_id=self.capture_id, fact=kind)
