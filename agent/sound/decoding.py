"""From the runs of a stream to its sound: decoders, short losses concealed, clocks corrected where it is quiet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import av
import numpy as np

from agent.sound.codecs import Codec, Decoder, Samples
from agent.sound.conceal import HISTORY, LONGEST, conceal
from agent.sound.placing import Run

SHORTEST_GAP = 0.1  # seconds without sound that are worth telling
LOST = "packets lost on the way"
UNDECODABLE = "sound that could not be decoded"
SUPPRESSED = "the sender suppressed silence"
NOTHING_SENT = "the sender sent nothing"
CODEC_CHANGE, SSRC_CHANGE = "codec_change", "ssrc_change"
MOST_CHANGES = 100

_PAUSE_OF_A_CODEC = 1.0  # seconds that codecs with silence suppression send nothing for
_CORRECTION = 0.1  # seconds by which a clock may be found to be off without the sound being anchored apart
_QUIET_WITHIN = 5.0  # seconds in which a quiet moment for that is sought
_MOST_SOURCES = 16


class Piece(NamedTuple):
    """Sound from sample ``start`` of the recording on, at the recording's rate."""

    start: int
    samples: Samples


class Note(NamedTuple):
    """Why there may be no sound between two samples of the recording."""

    start: int
    end: int
    reason: str


class Change(NamedTuple):
    """Another codec or source from this sample of the recording on."""

    at: int
    kind: str
    text: str


@dataclass(slots=True)
class _Source:
    """A decoder, and what it gave last."""

    decoder: Decoder
    resampling: Resampling | None
    segment: int = -1
    base: int = 0
    end: int = 0
    rank: int = 0
    tail: Samples | None = None


class _Stretch(NamedTuple):
    """Sound without a hole, at the decoder's rate, of the packets with these ranks."""

    at: int
    first: int
    last: int
    samples: Samples


class Decoding:
    """The decoders of one stream, one for each source and payload type. ``concealed`` counts samples made up."""

    def __init__(self, codecs: Mapping[int, Codec], rate: int, notes: list[Note]) -> None:
        self.changes: list[Change] = []
        self.concealed = 0
        self._codecs, self._rate, self._notes = codecs, rate, notes
        self._sources: dict[tuple[int, int], _Source] = {}
        self._playing: tuple[int, int] | None = None
        self._known: set[int] = set()
        self._last: Resampling | None = None

    def decode(self, run: Run) -> Iterator[Piece]:
        """The pieces of a run, at the recording's rate."""
        source = self._source(run)
        if self._last is not None and source.resampling is not self._last:
            yield from self._last.finish()
        self._last = source.resampling
        for stretch in self._stretches(run, source.decoder):
            for piece in self._follow(source, run, stretch):
                if source.resampling is None:
                    yield piece
                else:
                    yield from source.resampling.convert(piece)

    def finish(self) -> Iterator[Piece]:
        """What is still held back."""
        if self._last is not None:
            yield from self._last.finish()

    def _source(self, run: Run) -> _Source:
        key = (run.ssrc, run.payload_type)
        source = self._sources.pop(key, None)
        if source is None:
            decoder = Decoder(self._codecs[run.payload_type])
            source = _Source(decoder, Resampling(decoder.rate, self._rate) if decoder.rate != self._rate else None)
        self._sources[key] = source
        if len(self._sources) > _MOST_SOURCES:
            del self._sources[next(iter(self._sources))]
        if self._playing is not None and key != self._playing:
            self._changed(self._playing, run)
        self._playing = key
        self._known.add(run.ssrc)
        return source

    def _changed(self, before: tuple[int, int], run: Run) -> None:
        if len(self.changes) >= MOST_CHANGES:
            return
        if run.ssrc not in self._known:
            self.changes.append(Change(int(run.at[0]), SSRC_CHANGE, f"{before[0]:08x} → {run.ssrc:08x}"))
        if self._codecs[before[1]] != self._codecs[run.payload_type]:
            words = f"{self._codecs[before[1]]} → {self._codecs[run.payload_type]}"
            self.changes.append(Change(int(run.at[0]), CODEC_CHANGE, words))

    def _stretches(self, run: Run, decoder: Decoder) -> Iterator[_Stretch]:
        if run.seamless and (samples := decoder.decode(run.joined())) is not None:
            yield _Stretch(int(run.at[0]), int(run.rank[0]), int(run.rank[-1]), samples)
            return
        parts: list[Samples] = []
        start = first = last = end = 0
        for at, rank, payload in zip(run.at.tolist(), run.rank.tolist(), run.payloads(), strict=True):
            if (one := decoder.decode(payload)) is None:
                self._notes.append(Note(at, at + self._rate // 50, UNDECODABLE))
                continue
            if parts and abs(at - end) > 1:
                yield _Stretch(start, first, last, np.concatenate(parts))
                parts = []
            if not parts:
                start = end = at
                first = rank
            last = rank
            parts.append(one)
            end += len(one) * self._rate // decoder.rate
        if parts:
            yield _Stretch(start, first, last, np.concatenate(parts))

    def _follow(self, source: _Source, run: Run, stretch: _Stretch) -> Iterator[Piece]:
        """The stretch at its place, with what stands between it and the one before."""
        at, samples, rate = stretch.at, stretch.samples, source.decoder.rate
        hole, moved = at - source.end, run.base - source.base
        if source.tail is not None and source.segment == run.segment:
            lost = stretch.first - source.rank - 1
            if moved and not lost and abs(hole - moved) <= 1 and abs(moved) <= _CORRECTION * self._rate:
                place = _quietest(samples, rate)
                yield Piece(at - moved, samples[:place])
                at, samples = at + place * self._rate // rate, samples[place:]
            elif lost > 0 and 1 < hole <= LONGEST * self._rate:
                self.concealed += hole
                yield Piece(
                    source.end, conceal(source.tail, samples[: len(source.tail)], hole * rate // self._rate, rate)
                )
            elif hole > self._rate * SHORTEST_GAP:
                self._notes.append(Note(source.end, at, self._reason(lost, hole)))
        yield Piece(at, samples)
        source.segment, source.base, source.rank = run.segment, run.base, stretch.last
        source.end = stretch.at + len(stretch.samples) * self._rate // rate
        source.tail = stretch.samples[-round(HISTORY * rate) :]

    def _reason(self, lost: int, hole: int) -> str:
        if lost > 0:
            return LOST
        return SUPPRESSED if hole <= _PAUSE_OF_A_CODEC * self._rate else NOTHING_SENT


def _quietest(samples: Samples, rate: int) -> int:
    """Where in the next seconds the 20 ms lie that least can be heard in, of equal ones the first."""
    frame = rate // 50
    count = min(len(samples), round(_QUIET_WITHIN * rate)) // frame
    if not count:
        return 0
    loudness = np.abs(samples[: count * frame].reshape(count, frame).astype(np.int32)).max(axis=1)
    return int(np.argmin(loudness)) * frame


class Resampling:
    """Brings pieces to the recording's rate; pieces that follow one another are converted without a seam."""

    def __init__(self, source: int, target: int) -> None:
        self._source, self._target = source, target
        self._resampler: av.AudioResampler | None = None
        self._next_in = self._next_out = 0

    def convert(self, piece: Piece) -> Iterator[Piece]:
        """The piece in the other rate; the filter holds its end back."""
        if not len(piece.samples):
            return
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
