"""One packet log as sound: two passes over it, the first to find the clock, the second to decode piece by piece."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from agent.sound.batches import Batch, BatchReader
from agent.sound.codecs import STATIC_CODECS, Codec, framing, is_sound, sound_rate
from agent.sound.decoding import LOST, MOST_CHANGES, SHORTEST_GAP, SUPPRESSED, Change, Decoding, Note, Piece, Resampling
from agent.sound.events import MOST, KeyPress, KeyReader
from agent.sound.packetlog import LONGEST_PACKET
from agent.sound.placing import Placer, Table
from agent.sound.rtp import Bools, Floats
from agent.sound.srtp import Opener, SrtpKeys
from agent.sound.timeline import Blocks, Tracker, find_anchors

__all__ = ["LOST", "Note", "Piece", "Resampling", "StreamPlan", "StreamSound"]

PAYLOAD_TYPES = 128
REFUSED = "sound that could not be decrypted"
KEY_PRESSED = "a key was pressed"
_AROUND = 0.3  # seconds within which the comfort noise packet of a silence comes


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamPlan:
    """A packet log, the channel its sound belongs on and what its payload types mean (from the SDP).

    Static payload types (RFC 3551) need no entry. ``srtp`` has the keys where the packets are encrypted. Of a log that
    still grows ``size`` bytes are read, so that both passes read the same.
    """

    path: Path
    channel: int
    codecs: Mapping[int, Codec]
    srtp: SrtpKeys | None = None
    size: int | None = None


class StreamSound:
    """The sound of one log. `survey` first, then `pieces`; ``flags``, ``notes``, ``changes`` say what was found in it.

    ``unread`` holds where there may be sound in the log that was not understood.
    ``begins`` and ``ends`` say from when to when it sounds, in seconds since the epoch; by the arrivals where nothing
    could be decoded, 0 where nothing came.
    """

    def __init__(self, plan: StreamPlan, *, pauses: Sequence[tuple[float, float]] = ()) -> None:
        self.plan = plan
        self.flags: list[str] = []
        self.notes: list[Note] = []
        self.changes: list[Change] = []
        self.presses: list[KeyPress] = []
        self.packets = 0
        self.dropped = 0
        self.concealed = 0
        self.rate = 0
        self.unread = False
        self.begins = self.ends = 0.0
        self._pauses = pauses
        self._codecs = {**STATIC_CODECS, **plan.codecs}
        self._anchors: Floats = np.zeros(0)
        self._table = _table(self._codecs)
        self._events = {
            number: codec.clock_rate
            for number, codec in self._codecs.items()
            if codec.name.upper() == "TELEPHONE-EVENT" and codec.clock_rate > 0
        }

    def survey(self) -> None:
        """Read all headers: which codecs came, at which rate, where the clock runs, which keys were pressed."""
        if not self.plan.path.is_file():
            self.flags.append(f"{self.plan.path.name}: no packet log")
            return
        reader, tracker, keys, found = self._reader(), Tracker(self._table.clock), KeyReader(), []
        seen = np.zeros(PAYLOAD_TYPES, np.int64)
        refused = 0
        for batch in reader:
            headers = batch.headers
            seen += np.bincount(headers.payload_type[headers.valid], minlength=PAYLOAD_TYPES)
            refused += int(batch.refused.sum())
            self.packets += int(headers.valid.sum() + batch.refused.sum())
            self._time(batch)
            for number, clock_rate in self._events.items():
                events = (headers.valid | batch.refused) & (headers.payload_type == number)
                if events.any():
                    keys.take(batch, events, clock_rate)
            found.append(tracker.track(batch)[1])
        self.presses = keys.presses()
        if found:
            blocks = Blocks.joined(found)
            self._anchors = find_anchors(blocks)
            self._extend(blocks)
        self._judge(np.flatnonzero(seen).tolist())
        self.unread = self.unread or reader.unread > LONGEST_PACKET or refused > 0
        self._flag(f"{reader.torn}", reader.torn)
        self._flag(f"{refused} encrypted packets do not open under any key", refused)
        self._flag(f"more than {MOST} keys were pressed; the rest is left out", keys.overflow)

    def pieces(self, *, rate: int, started: float) -> Iterator[Piece]:
        """The decoded sound in order; ``rate`` in Hz, ``started`` (sample 0) in seconds since the epoch."""
        if not self.plan.path.is_file():
            return
        placer = Placer(self._table, self._anchors, rate=rate, started=started)
        decoding = Decoding(self._codecs, rate, self.notes)
        self.changes = decoding.changes
        for press in self.presses:
            self._note(press.start - started, press.end - started, rate, KEY_PRESSED)
        for batch in self._reader():
            self._note_silences(batch, rate, started)
            for run in placer.place(batch):
                yield from decoding.decode(run)
        for run in placer.finish():
            yield from decoding.decode(run)
        yield from decoding.finish()
        self.dropped, self.concealed = placer.dropped, decoding.concealed
        self._flag(f"more than {MOST_CHANGES} changes of source or codec", len(self.changes) >= MOST_CHANGES)

    def _reader(self) -> BatchReader:
        opener = Opener(self.plan.srtp) if self.plan.srtp is not None else None
        return BatchReader(self.plan.path, opener=opener, pauses=self._pauses, size=self.plan.size)

    def _time(self, batch: Batch) -> None:
        arrival = batch.arrival[batch.headers.valid | batch.refused]
        if len(arrival):
            self.begins = min(self.begins or np.inf, float(arrival.min()))
            self.ends = max(self.ends, float(arrival.max()))

    def _extend(self, blocks: Blocks) -> None:
        """A packet's sound lies earlier than it came, and lasts longer."""
        if len(blocks.segment):
            self.begins = min(self.begins, float((self._anchors + blocks.begins).min()))
            self.ends = max(self.ends, float((self._anchors + blocks.ends).max()))

    def _judge(self, payload_types: list[int]) -> None:
        for number in payload_types:
            codec = self._codecs.get(number)
            if codec is not None and self._table.clock[number]:
                self.rate = max(self.rate, sound_rate(codec))
            elif codec is None or is_sound(codec):
                self.unread = True
                self._flag(self._unknown(number), True)

    def _flag(self, words: str, holds: object) -> None:
        if holds:
            self.flags.append(f"{self.plan.path.name}: {words}")

    def _unknown(self, number: int) -> str:
        codec = self._codecs.get(number)
        return f"codec {codec} is not known" if codec else f"payload type {number} was never announced"

    def _note_silences(self, batch: Batch, rate: int, started: float) -> None:
        """Note packets that are no sound for us, with the reason why."""
        headers = batch.headers
        strange = headers.valid & (self._table.clock[headers.payload_type] == 0)
        for number in np.unique(headers.payload_type[strange]).tolist():
            mine = strange & (headers.payload_type == number)
            codec = self._codecs.get(number)
            if codec is None or is_sound(codec):
                self._note_span(batch, mine, rate, started, self._unknown(number))
            elif codec.name.upper() == "CN":  # RFC 3389: made-up noise has no place in a record, so it is silent
                for at in (batch.arrival[mine] - started).tolist():
                    self._note(at - _AROUND, at + _AROUND, rate, SUPPRESSED)
        if batch.refused.any():
            self._note_span(batch, batch.refused, rate, started, REFUSED)

    def _note_span(self, batch: Batch, packets: Bools, rate: int, started: float, reason: str) -> None:
        when = batch.arrival[packets] - started
        self._note(float(when.min()), float(when.max()) + SHORTEST_GAP, rate, reason)

    def _note(self, start: float, end: float, rate: int, reason: str) -> None:
        self.notes.append(Note(int(start * rate), int(end * rate), reason))


def _table(codecs: Mapping[int, Codec]) -> Table:
    clock, size, ticks = (np.zeros(PAYLOAD_TYPES, np.int64) for _ in range(3))
    for number, codec in codecs.items():
        frames = framing(codec) if 0 <= number < PAYLOAD_TYPES and is_sound(codec) else None
        if frames is not None:
            clock[number], size[number], ticks[number] = codec.clock_rate, frames.size, frames.ticks
    return Table(clock=clock, size=size, ticks=ticks)
