"""From a sealed recording to what each party said into its channel, by PyAV, in memory that has a bound.

Samples are held as 16-bit integers at 8 kHz (telephony) or 16 kHz and become floats at 16 kHz only piece by piece. What
is longer than a while is not held at all: it is decoded again as it is asked for, which costs a second or two an hour
where pieces are asked for in order of time. So a file must stay open for as long as its channels are used.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, BinaryIO, Protocol

import av
import numpy as np
import numpy.typing as npt
import structlog
from av.audio.stream import AudioStream

from agent.errors import Unreadable
from agent.transcribe.engine import SAMPLE_RATE, Sound

log = structlog.get_logger()

Samples = npt.NDArray[np.int16]

TELEPHONY = 8000
_HELD_SECONDS = 1200.0  # two channels of telephony: 38 MB
_KEPT_SECONDS = 660.0  # of a longer one, behind what was asked for last
_TAPS = 32  # of the filter to 16 kHz, on each side


class SampleRow(Protocol):
    """Samples of one channel, held or decoded when a slice of them is asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> Samples: ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Channel:
    """One party's sound; ``rate`` in Hz is 16 000 or 8 000. Safe to read from several threads."""

    samples: SampleRow
    rate: int = SAMPLE_RATE

    @property
    def seconds(self) -> float:
        """Length of the channel."""
        return len(self.samples) / self.rate

    def piece(self, start: float, end: float) -> Sound:
        """The sound from ``start`` to ``end`` seconds at 16 kHz, as far as there is any."""
        first, last = (min(max(0, round(time * self.rate)), len(self.samples)) for time in (start, end))
        if self.rate == SAMPLE_RATE or first >= last:
            return _floats(self.samples[first : max(first, last)])
        before = min(first, _TAPS)
        part = _floats(self.samples[first - before : last + _TAPS])
        return _twice(part)[2 * before : 2 * (before + last - first)]


def read_channels(source: BinaryIO) -> list[Channel]:
    """Decode a recording of any format FFmpeg knows; the channels come in their order.

    A broken packet in the middle is skipped and counted in the log, since the rest was said all the same. ``source``
    is read again later where the recording is long.

    Raises:
        Unreadable: there is no sound in it.
    """
    blocks: list[Samples] | None = []
    length = count = rate = 0
    for rate, block in _decode(source):
        count, length = len(block), length + block.shape[1]
        if blocks is not None:
            blocks.append(block)
            if length > _HELD_SECONDS * rate:
                blocks = None
    if not count:
        raise Unreadable("The recording holds no sound.")
    if blocks is None:
        reel = _Reel(source, rate, length)
        return [Channel(samples=_Track(reel, index), rate=rate) for index in range(count)]
    return [Channel(samples=np.concatenate([block[index] for block in blocks]), rate=rate) for index in range(count)]


class _Reel:
    """A recording that is decoded forwards; it winds back to the beginning for what has passed already."""

    def __init__(self, source: BinaryIO, rate: int, length: int) -> None:
        self._source, self._rate, self.length = source, rate, length
        self._lock = threading.Lock()
        self._wind_back()

    def take(self, channel: int, start: int, end: int) -> Samples:
        """The samples of a channel; where a file has changed meanwhile and ends early, silence."""
        with self._lock:
            if start < self._begin:
                self._wind_back()
            while self._end < end and self._read():
                self._forget(start)
            taken = np.zeros(max(0, end - start), np.int16)
            place = self._begin
            for block in self._blocks:
                first, last = max(start, place), min(end, place + block.shape[1])
                if first < last:
                    taken[first - start : last - start] = block[channel, first - place : last - place]
                place += block.shape[1]
            return taken

    def _wind_back(self) -> None:
        self._decoded = _decode(self._source, quietly=True)
        self._blocks: deque[Samples] = deque()
        self._begin = self._end = 0

    def _read(self) -> bool:
        _, block = next(self._decoded, (0, None))
        if block is None:
            return False
        self._blocks.append(block)
        self._end += block.shape[1]
        return True

    def _forget(self, start: int) -> None:
        kept = min(start, self._end - round(_KEPT_SECONDS * self._rate))
        while self._begin + self._blocks[0].shape[1] <= kept:
            self._begin += self._blocks.popleft().shape[1]


class _Track:
    """One channel of a reel."""

    def __init__(self, reel: _Reel, channel: int) -> None:
        self._reel, self._channel = reel, channel

    def __len__(self) -> int:
        return self._reel.length

    def __getitem__(self, part: slice, /) -> Samples:
        start, end, _ = part.indices(self._reel.length)
        return self._reel.take(self._channel, start, end)


def _decode(source: BinaryIO, *, quietly: bool = False) -> Iterator[tuple[int, Samples]]:
    """The rate and arrays of shape (channels, samples), about a second each.

    Raises:
        Unreadable: it cannot be opened, or there is no audio stream in it.
    """
    source.seek(0)
    try:
        with av.open(source, mode="r") as container:
            if not container.streams.audio:
                raise Unreadable("The recording has no audio stream.")
            stream = container.streams.audio[0]
            rate = TELEPHONY if stream.rate <= TELEPHONY else SAMPLE_RATE
            yield from ((rate, block) for block in _gathered(_blocks(container, stream, rate, quietly=quietly), rate))
    except (av.FFmpegError, ValueError) as error:
        raise Unreadable(f"The recording cannot be decoded: {error}.") from error


def _blocks(
    container: av.container.InputContainer, stream: AudioStream, rate: int, *, quietly: bool
) -> Iterator[Samples]:
    resampler = av.AudioResampler(format="s16p", layout=stream.layout, rate=rate)
    broken, converted = 0, False
    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except av.FFmpegError:
            broken += 1
            continue
        for frame in frames:
            converted = converted or not _is_ready(frame, stream, rate)
            yield from map(_samples, resampler.resample(frame)) if converted else (_ready(frame),)
    yield from map(_samples, resampler.resample(None))
    if broken and not quietly:
        log.warning("recording_partly_undecodable", packets=broken)


def _gathered(blocks: Iterator[Samples], size: int) -> Iterator[Samples]:
    """Frames of some codecs are 20 ms; that many arrays of an hour cost more than their samples."""
    waiting: list[Samples] = []
    length = 0
    for block in blocks:
        waiting.append(block)
        length += block.shape[1]
        if length >= size:
            yield np.concatenate(waiting, axis=1)
            waiting, length = [], 0
    if waiting:
        yield np.concatenate(waiting, axis=1)


def _is_ready(frame: av.AudioFrame, stream: AudioStream, rate: int) -> bool:
    """Whether its samples are as wanted. To ask the resampler for each frame of our own FLAC, 72 ms of telephony, took
    almost half of the time of reading."""
    return frame.format.name == "s16" and frame.sample_rate == rate and frame.layout.name == stream.layout.name


def _ready(frame: av.AudioFrame) -> Samples:
    plane: Any = frame.planes[0]  # has a buffer, of which its types say nothing
    packed = np.frombuffer(plane, np.int16, frame.samples * frame.layout.nb_channels)
    return packed.reshape(frame.samples, -1).T


def _samples(frame: av.AudioFrame) -> Samples:
    return frame.to_ndarray().astype(np.int16, copy=False)


def _floats(samples: Samples) -> Sound:
    return samples.astype(np.float32) / np.float32(32768)


def _twice(sound: Sound) -> Sound:
    """The same sound at twice the rate: each other sample is interpolated by a windowed sinc, those there are stay."""
    doubled = np.empty(2 * len(sound), np.float32)
    doubled[::2] = sound
    doubled[1::2] = np.convolve(sound, _half_band(), mode="full")[_TAPS : _TAPS + len(sound)]
    return doubled


@cache
def _half_band() -> Sound:
    """Weights of the ``2 * _TAPS`` samples around a place in the middle between two of them."""
    place = np.arange(-_TAPS, _TAPS) + 0.5
    weights = np.sinc(place) * np.kaiser(2 * _TAPS, 6.0)
    half_band: Sound = (weights / weights.sum()).astype(np.float32)
    return half_band
