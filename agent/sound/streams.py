"""One packet log as sound: two passes over it, the first to find the clock, the second to decode piece by piece."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

from agent.sound.batches import BatchReader
from agent.sound.codecs import STATIC_CODECS, Codec, Decoder, Samples, framing, is_sound, sound_rate
from agent.sound.placing import Placer, Run, Table
from agent.sound.rtp import Floats
from agent.sound.timeline import Blocks, Tracker, find_anchors

PAYLOAD_TYPES = 128
SHORTEST_GAP = 0.1  # seconds without sound that are worth telling
LOST = "packets lost on the way"
UNDECODABLE = "sound that could not be decoded"


class Piece(NamedTuple):
    """Sound from sample ``start`` of the recording on, at the recording's rate."""

    start: int
    samples: Samples


class Note(NamedTuple):
    """Why there may be no sound between two samples of the recording."""

    start: int
    end: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamPlan:
    """A packet log, the channel its sound belongs on and what its payload types mean (from the SDP).

    Static payload types (RFC 3551) need no entry.
    """

    path: Path
    channel: int
    codecs: Mapping[int, Codec]


class StreamSound:
    """The sound of one log. `survey` first, then `pieces`; ``flags`` and ``notes`` say what was wrong with it."""

    def __init__(self, plan: StreamPlan) -> None:
        self.plan = plan
        self.flags: list[str] = []
        self.notes: list[Note] = []
        self.packets = 0
        self.dropped = 0
        self.rate = 0
        self._codecs = {**STATIC_CODECS, **plan.codecs}
        self._anchors: Floats = np.zeros(0)
        self._table = _table(self._codecs)

    def survey(self) -> None:
        """Read all headers: which codecs came, at which rate they sound, and where the clock runs."""
        if not self.plan.path.is_file():
            self.flags.append(f"{self.plan.path.name}: no packet log")
            return
        reader, tracker, found = BatchReader(self.plan.path), Tracker(self._table.clock), []
        seen = np.zeros(PAYLOAD_TYPES, np.int64)
        for batch in reader:
            headers = batch.headers
            seen += np.bincount(headers.payload_type[headers.valid], minlength=PAYLOAD_TYPES)
            self.packets += int(headers.valid.sum())
            found.append(tracker.track(batch)[1])
        if reader.torn:
            self.flags.append(f"{self.plan.path.name}: {reader.torn}")
        if found:
            self._anchors = find_anchors(Blocks(*(np.concatenate(part) for part in zip(*found, strict=True))))
        self._judge(np.flatnonzero(seen).tolist())

    def _judge(self, payload_types: list[int]) -> None:
        for number in payload_types:
            codec = self._codecs.get(number)
            if codec is not None and self._table.clock[number]:
                self.rate = max(self.rate, sound_rate(codec))
            elif codec is None or is_sound(codec):
                self.flags.append(f"{self.plan.path.name}: {self._unknown(number)}")

    def _unknown(self, number: int) -> str:
        codec = self._codecs.get(number)
        return f"codec {codec} is not known" if codec else f"payload type {number} was never announced"

    def pieces(self, *, rate: int, started: float) -> Iterator[Piece]:
        """The decoded sound in order; ``rate`` in Hz, ``started`` (sample 0) in seconds since the epoch."""
        if not self.plan.path.is_file():
            return
        placer = Placer(self._table, self._anchors, rate=rate, started=started)
        decoding = _Decoding(self._codecs, rate, self.notes)
        for batch in BatchReader(self.plan.path):
            headers = batch.headers
            strange = headers.valid & (self._table.clock[headers.payload_type] == 0)
            for number in np.unique(headers.payload_type[strange]).tolist():
                codec = self._codecs.get(number)
                if codec is None or is_sound(codec):
                    when = (batch.arrival[strange & (headers.payload_type == number)] - started) * rate
                    self.notes.append(Note(int(when.min()), int(when.max()) + rate // 10, self._unknown(number)))
            for run in placer.place(batch):
                yield from decoding.decode(run)
        for run in placer.finish():
            yield from decoding.decode(run)
        yield from decoding.finish()
        self.dropped = placer.dropped


class _Decoding:
    """The decoders of one stream, one for each source and payload type."""

    _MOST = 16

    def __init__(self, codecs: Mapping[int, Codec], rate: int, notes: list[Note]) -> None:
        self._codecs, self._rate, self._notes = codecs, rate, notes
        self._decoders: dict[tuple[int, int], tuple[Decoder, Resampling | None]] = {}
        self._last: Resampling | None = None
        self._end = 0

    def decode(self, run: Run) -> Iterator[Piece]:
        key = (run.ssrc, run.payload_type)
        opened = self._decoders.pop(key) if key in self._decoders else self._open(run.payload_type)
        self._decoders[key] = decoder, resampling = opened
        if len(self._decoders) > self._MOST:
            del self._decoders[next(iter(self._decoders))]
        if self._last is not None and resampling is not self._last:
            yield from self._last.finish()
        self._last = resampling
        if run.lost and run.at[0] - self._end > self._rate * SHORTEST_GAP:
            self._notes.append(Note(self._end, int(run.at[0]), LOST))
        for piece in self._sound(run, decoder):
            self._end = piece.start + len(piece.samples) * self._rate // decoder.rate
            if resampling is None:
                yield piece
            else:
                yield from resampling.convert(piece)

    def finish(self) -> Iterator[Piece]:
        if self._last is not None:
            yield from self._last.finish()

    def _open(self, payload_type: int) -> tuple[Decoder, Resampling | None]:
        decoder = Decoder(self._codecs[payload_type])
        return decoder, (Resampling(decoder.rate, self._rate) if decoder.rate != self._rate else None)

    def _sound(self, run: Run, decoder: Decoder) -> Iterator[Piece]:
        """Pieces at the decoder's rate; their starts are samples of the recording."""
        if run.seamless and (samples := decoder.decode(run.joined())) is not None:
            yield Piece(int(run.at[0]), samples)
            return
        parts: list[Samples] = []
        start = end = 0
        for at, payload in zip(run.at.tolist(), run.payloads(), strict=True):
            if (one := decoder.decode(payload)) is None:
                self._notes.append(Note(at, at + self._rate // 50, UNDECODABLE))
                continue
            if parts and abs(at - end) > 1:
                yield Piece(start, np.concatenate(parts))
                parts = []
            if not parts:
                start = end = at
            parts.append(one)
            end += len(one) * self._rate // decoder.rate
        if parts:
            yield Piece(start, np.concatenate(parts))


class Resampling:
    """Brings pieces to the recording's rate; pieces that follow one another are converted without a seam."""

    def __init__(self, source: int, target: int) -> None:
        self._source, self._target = source, target
        self._resampler: av.AudioResampler | None = None
        self._next_in = self._next_out = 0

    def convert(self, piece: Piece) -> Iterator[Piece]:
        if self._resampler is None or abs(piece.start - self._next_in) > 1:
            yield from self.finish()
            self._resampler = av.AudioResampler(format="s16", layout="mono", rate=self._target)
            self._next_in = self._next_out = piece.start
        self._next_in += len(piece.samples) * self._target // self._source
        frame = av.AudioFrame.from_ndarray(piece.samples.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate = self._source
        yield from self._pieces(self._resampler.resample(frame))

    def finish(self) -> Iterator[Piece]:
        """What the filter still holds."""
        if self._resampler is not None:
            yield from self._pieces(self._resampler.resample(None))
            self._resampler = None

    def _pieces(self, frames: list[av.AudioFrame]) -> Iterator[Piece]:
        for frame in frames:
            samples = frame.to_ndarray().reshape(-1).astype(np.int16, copy=False)
            yield Piece(self._next_out, samples)
            self._next_out += len(samples)


def _table(codecs: Mapping[int, Codec]) -> Table:
    clock, size, ticks = (np.zeros(PAYLOAD_TYPES, np.int64) for _ in range(3))
    for number, codec in codecs.items():
        frames = framing(codec) if 0 <= number < PAYLOAD_TYPES and is_sound(codec) else None
        if frames is not None:
            clock[number], size[number], ticks[number] = codec.clock_rate, frames.size, frames.ticks
    return Table(clock=clock, size=size, ticks=ticks)
