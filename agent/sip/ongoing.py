"""Calls whose packet logs are being written on this host, and their sound as far as it is certain.

For whoever works on the sound of a call before it has ended. All of it blocks, for a thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from agent.model import CapturedCall
from agent.sip.assembler import begins_at
from agent.sip.calls import captured_call, stream_plans
from agent.sip.journal import CLOSED, FILE_NAME, Fact, read_journal
from agent.sip.sounding import codecs_of, keys_of, pauses
from agent.sound.assemble import Assembly
from agent.sound.codecs import Samples
from agent.sound.growing import PIECE, GrowingSound
from agent.sound.streams import StreamPlan

LATE_SECONDS = 3.0  # of packets, and of the capture process that writes them twice a second
BLOCK_SECONDS = 30.0  # whoever listens gets so much at a time, and a little of what follows
_SETTLED_SECONDS = 34.0  # of sound, after which the clock of the first streams is known (`timeline.REACH`)


class OngoingCalls:
    """The calls of this host."""

    def __init__(self, captures: Path) -> None:
        self._captures = captures

    def list_ids(self) -> list[str]:
        """The captures there are, of which some may have ended."""
        try:
            return sorted(one.name for one in self._captures.iterdir() if one.is_dir())
        except FileNotFoundError:
            return []

    def open(self, capture_id: str) -> OngoingCall:
        """One of them."""
        return OngoingCall(self._captures / capture_id)


class OngoingCall:
    """One call. Look with `refresh`, then take what is new from `blocks`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._size = -1
        self._sound = GrowingSound()
        self._call: CapturedCall | None = None
        self._facts: list[Fact] = []
        self._first = 0.0  # when the first sound was, as far as known
        self.ended = False
        self.begins = 0.0  # when the sound begins, in seconds since the epoch; 0: not known yet
        self.rate = self.channels = 0

    def refresh(self) -> None:
        """Read the journal again if it has grown. A folder that is gone was assembled: the call has ended."""
        try:
            size = (self._folder / FILE_NAME).stat().st_size
        except FileNotFoundError:
            self.ended = True
            return
        if size != self._size:
            self._size = size
            self._facts = read_journal(self._folder)
            self._call = captured_call(self._facts, self._folder.name)
            self.ended = any(fact.kind == CLOSED for fact in self._facts)

    def pauses(self, now: float) -> list[tuple[float, float]]:
        """When nothing of it was to be recorded, by ``now``; seconds since the epoch."""
        return [(one.start, one.end) for one in pauses(self._facts, datetime.fromtimestamp(now, UTC))]

    def due(self) -> float:
        """From when on `blocks` may have more, in seconds since the epoch; 0: nobody has answered, or nothing came."""
        if not self.begins:
            return self._first + _SETTLED_SECONDS if self._first else 0.0
        blocks = int(self._sound.seconds / BLOCK_SECONDS) + 1
        return self.begins + blocks * BLOCK_SECONDS + PIECE + LATE_SECONDS

    def blocks(self, now: float) -> Iterator[Samples]:
        """New sound, of shape (samples, `channels`) at `rate`: of the very first sample first, then what follows.

        Raises:
            SoundChanged: what was given is not what it will be; the next look begins again.
            OSError: a log cannot be read.
        """
        if self._call is None or self._call.answered is None or self.ended:
            return
        plans = [
            StreamPlan(
                path=self._folder / f"{one.index}.rtpdump",
                channel=one.channel,
                codecs=codecs_of(one),
                srtp=keys_of(one),
                size=_size(self._folder / f"{one.index}.rtpdump"),
            )
            for one in stream_plans(self._facts)
        ]
        assembly = Assembly(plans, pauses=self.pauses(now))
        self._first = assembly.begins or 0.0
        if not self._first or now < self._first + _SETTLED_SECONDS:
            return
        self.begins = begins_at(self._first, self._call.answered.timestamp())
        self.rate, self.channels = assembly.rate, assembly.channels
        yield from self._sound.look(assembly, started=self.begins, until=now - LATE_SECONDS)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
