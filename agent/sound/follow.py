"""Sound out of packet logs that still grow, and of files (`followfile.py`): for listening in, a second or so behind.

The same reading, tracking and decoding as when a call is assembled, but packet by packet and never twice: what comes
too late for its block is left out here and is in the recording all the same.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

from agent.sound.batches import Batch, find_records
from agent.sound.codecs import STATIC_CODECS, Codec, Decoder, framing, is_sound
from agent.sound.followfile import FileVoice, FollowedFile
from agent.sound.packetlog import RECORD, LoggedPacket, read_head
from agent.sound.rtp import Ints, parse_headers
from agent.sound.srtp import Opener, SrtpKeys
from agent.sound.streams import PAYLOAD_TYPES, Piece, Resampling
from agent.sound.timeline import Tracked, Tracker

BLOCK = 1 << 20  # bytes read at once
WARM_UP = 2.0  # seconds of packets before the first block, by which clocks and codecs find their feet
LOOK_BACK = 64  # packets whose earliest arrival says when the sound was
TOLERANCE = 0.02  # seconds the clock may seem to move before the sound is placed anew
_SAMPLE_OF_OLD = 4096  # of old encrypted packets one in so many is opened, so that their counter is known (RFC 3711)
_MOST_SOURCES = 32

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowedStream:
    """A packet log, its channel, and what its payload types mean; with ``keys`` where it is encrypted."""

    path: Path
    channel: int
    codecs: Mapping[int, Codec] = field(default_factory=dict)
    keys: SrtpKeys | None = None


class _Heard(Protocol):
    """A voice that is followed, from a packet log or a sound file."""

    @property
    def stream(self) -> FollowedStream | FollowedFile: ...

    def listen(self) -> Iterator[Piece]: ...


class LogTail:
    """What was added to a log since the last look. A record that is not whole yet is left for the next one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._start = 0.0
        self._position = 0
        self._broken = False

    def read(self) -> list[LoggedPacket]:
        """New packets in the order they came; none if the log is not there (yet), or garbage from here on.

        The log is opened anew each time: a capture process that took it up again may have cut a torn record off.
        """
        try:
            with self._path.open("rb") as file:
                return list(self._packets(file.fileno()))
        except FileNotFoundError:
            return []

    def _packets(self, fd: int) -> Iterator[LoggedPacket]:
        with open(fd, "rb", closefd=False) as file:
            if not self._position:
                head = read_head(file)
                if head is None:
                    return
                self._start, self._position = head.start, head.size
            file.seek(self._position)
            rest = b""
            while not self._broken and (block := file.read(BLOCK)):
                data = rest + block
                starts, lengths, sizes, offsets, end, self._broken = find_records(data)
                sizes = np.minimum(lengths - RECORD.size, sizes)
                for start, size, offset in zip(starts.tolist(), sizes.tolist(), offsets.tolist(), strict=True):
                    if size:  # 0 marks RTCP
                        begin = start + RECORD.size
                        yield LoggedPacket(at=self._start + offset / 1000, data=data[begin : begin + size])
                self._position, rest = self._position + end, data[end:]


class Follower:
    """Blocks of sound of a call that goes on, each placed by the wall clock: silence where nothing came."""

    def __init__(
        self, *, rate: int, channels: int, started: float, block: int, now: Callable[[], float] = time.time
    ) -> None:
        """``rate`` in Hz; ``started``, time of the first sample, in seconds since the epoch; ``block`` in samples."""
        self._rate, self._channels, self._started, self._block = rate, channels, started, block
        self._now = now
        self._voices: dict[Path, _Heard] = {}
        self._canvas = np.zeros((block * 32, channels), np.int16)  # the next blocks; sound of later ones is cut off
        self._begin = 0  # sample of the canvas' first row

    def follow(self, streams: Sequence[FollowedStream | FollowedFile]) -> None:
        """The streams of the call as they are known now; new ones join, those known may have learnt codecs and keys."""
        for stream in streams:
            voice = self._voices.get(stream.path)
            if voice is not None and voice.stream == stream:
                continue
            if isinstance(stream, FollowedFile):
                self._voices[stream.path] = FileVoice(stream, rate=self._rate, started=self._started, now=self._now)
            else:
                before = voice if isinstance(voice, _Voice) else None
                self._voices[stream.path] = _Voice(stream, before, rate=self._rate, started=self._started)

    def take(self) -> bytes:
        """The next block: interleaved 16-bit samples in the machine's order."""
        for voice in self._voices.values():
            for piece in voice.listen():
                self._paint(piece, min(voice.stream.channel, self._channels - 1))
        block = self._canvas[: self._block].tobytes()
        self._canvas[: -self._block] = self._canvas[self._block :]
        self._canvas[-self._block :] = 0
        self._begin += self._block
        return block

    def _paint(self, piece: Piece, channel: int) -> None:
        begin = max(piece.start, self._begin)
        end = min(piece.start + len(piece.samples), self._begin + len(self._canvas))
        if begin < end:
            place = self._canvas[begin - self._begin : end - self._begin, channel]
            mixed = place.astype(np.int32) + piece.samples[begin - piece.start : end - piece.start]
            place[:] = np.clip(mixed, -32768, 32767)


class _Clock:
    """When the sound of one segment was: the earliest of its last packets came in time, the others late."""

    def __init__(self) -> None:
        self._offsets: deque[float] = deque(maxlen=LOOK_BACK)
        self._anchor: float | None = None

    def anchor(self, offset: float) -> float:
        """Time of tick 0 in seconds since the epoch, now that this ``arrival - ticks / clock`` is known too."""
        self._offsets.append(offset)
        earliest = min(self._offsets)
        if self._anchor is None or abs(earliest - self._anchor) > TOLERANCE:
            self._anchor = earliest
        return self._anchor


class _Voice:
    """One stream as it comes."""

    def __init__(self, stream: FollowedStream, before: _Voice | None, *, rate: int, started: float) -> None:
        """``before`` is what has followed this stream so far, when more is known of it now."""
        self.stream: FollowedStream | FollowedFile = stream
        self.tail: LogTail = before.tail if before else LogTail(stream.path)
        self._rate, self._started = rate, started
        self._codecs = {**STATIC_CODECS, **stream.codecs}
        self._tracker = Tracker(_clocks(self._codecs))
        self._timing: dict[int, _Clock] = {}
        self._decoders: dict[tuple[int, int], tuple[Decoder, Resampling | None]] = {}
        self._opener: Opener | None = before._opener if before and stream.keys is not None else None
        if self._opener is not None and stream.keys is not None:
            self._opener.learn(stream.keys)
        elif stream.keys is not None:
            self._opener = Opener(stream.keys)
        self._end: int = before._end if before else 0  # sample up to which this stream was heard

    def listen(self) -> Iterator[Piece]:
        packets = self._opened(self.tail.read())
        fresh = [one for one in packets if one.at > self._started - WARM_UP]
        if not fresh:
            return
        batch = _batch(fresh)
        tracked, _ = self._tracker.track(batch)
        for place in range(len(tracked.index)):
            yield from self._sound(batch, tracked, place)

    def _opened(self, packets: list[LoggedPacket]) -> list[LoggedPacket]:
        if self._opener is None:
            return packets
        old = [one for one in packets if one.at <= self._started - WARM_UP]
        wanted = [*old[::_SAMPLE_OF_OLD], *packets[len(old) :]]
        opened = [(one.at, self._opener.open(one.data)) for one in wanted]
        return [LoggedPacket(at=at, data=data) for at, data in opened if data]

    def _sound(self, batch: Batch, tracked: Tracked, place: int) -> Iterator[Piece]:
        index, ticks, clock = (int(part[place]) for part in (tracked.index, tracked.ticks, tracked.clock))
        headers = batch.headers
        timing = _kept(self._timing, int(tracked.segment[place]), _Clock)
        anchor = timing.anchor(float(batch.arrival[index]) - ticks / clock)
        start = round((anchor - self._started) * self._rate) + ticks * self._rate // clock
        begin, length = int(headers.start[index]), int(headers.length[index])
        decoder, resampling = self._decoder(int(headers.ssrc[index]), int(headers.payload_type[index]))
        samples = decoder.decode(batch.buffer[begin : begin + length].tobytes())
        if samples is None:
            return
        for piece in resampling.convert(Piece(start, samples)) if resampling else (Piece(start, samples),):
            yield from self._not_twice(piece)

    def _not_twice(self, piece: Piece) -> Iterator[Piece]:
        """Without what a repeated or overtaken packet would lay over sound of this stream that is there already."""
        skip = self._end - piece.start
        if not 0 < skip <= self._rate:  # farther back it is the clock that has changed
            skip = 0
        if skip < len(piece.samples):
            self._end = piece.start + len(piece.samples)
            yield Piece(piece.start + skip, piece.samples[skip:])

    def _decoder(self, ssrc: int, payload_type: int) -> tuple[Decoder, Resampling | None]:
        def make() -> tuple[Decoder, Resampling | None]:
            decoder = Decoder(self._codecs[payload_type])
            return decoder, (Resampling(decoder.rate, self._rate) if decoder.rate != self._rate else None)

        return _kept(self._decoders, (ssrc, payload_type), make)


def _kept(known: dict[K, V], key: K, make: Callable[[], V]) -> V:
    """What is known under a key, made where it is new; the oldest goes when there are too many."""
    if key not in known:
        known[key] = make()
        if len(known) > _MOST_SOURCES:
            del known[next(iter(known))]
    return known[key]


def _batch(packets: Sequence[LoggedPacket]) -> Batch:
    lengths = np.array([len(one.data) for one in packets], np.int64)
    buffer = np.frombuffer(b"".join(one.data for one in packets), np.uint8)
    headers = parse_headers(buffer, np.cumsum(lengths) - lengths, lengths)
    return Batch(
        arrival=np.array([one.at for one in packets]),
        buffer=buffer,
        headers=headers,
        refused=np.zeros(len(packets), np.bool_),
    )


def _clocks(codecs: Mapping[int, Codec]) -> Ints:
    clocks = np.zeros(PAYLOAD_TYPES, np.int64)
    for number, codec in codecs.items():
        if 0 <= number < PAYLOAD_TYPES and is_sound(codec) and framing(codec) is not None:
            clocks[number] = codec.clock_rate
    return clocks


def wav_head(*, rate: int, channels: int) -> bytes:
    """Head of a WAV stream of 16-bit samples that has no end yet (RIFF, with the largest length there is)."""
    longest = 0xFFFFFFFF - 36
    frame = 2 * channels
    parts = (
        b"RIFF" + (0xFFFFFFFF).to_bytes(4, "little") + b"WAVEfmt " + (16).to_bytes(4, "little"),
        b"".join(number.to_bytes(size, "little") for number, size in ((1, 2), (channels, 2), (rate, 4))),
        b"".join(number.to_bytes(size, "little") for number, size in ((rate * frame, 4), (frame, 2), (16, 2))),
        b"data" + longest.to_bytes(4, "little"),
    )
    return b"".join(parts)
