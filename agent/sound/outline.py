"""How loud a recording is over time, and where nobody speaks. Blocks; for a thread.

A byte a bucket and channel: the loudest sample of the bucket, 255 for full scale. A bucket is 50 ms, or more where the
recording is so long that there would be more than a screen can show.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import av
import numpy as np
from numpy.typing import NDArray

from agent.errors import UnreadableSound

BUCKET_MS = 50
MOST_BUCKETS = 80_000  # a channel; an hour has 72,000 of the shortest
_FULL_SCALE = 32768
_LONGEST_SECONDS = 24 * 3600

# Where nobody speaks
SHORTEST_SILENCE = 1.2  # seconds worth skipping
_KEPT_MARGIN = 0.25  # seconds of it left on either side, so that no word is cut
_FLOOR = 3  # of 255: what is below is nothing, on whatever line
_LOUDEST_FLOOR = 16  # of 255, about -24 dBFS: a line this noisy is listened to as it is


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """``peaks`` has one array of bytes a channel, all of the same length."""

    bucket_ms: int
    peaks: tuple[NDArray[np.uint8], ...]


def bucket_for(duration_ms: int) -> int:
    """Milliseconds of a bucket for a recording of this length."""
    bucket = BUCKET_MS
    while duration_ms // bucket > MOST_BUCKETS:
        bucket *= 2
    return bucket


def measure(sound: BinaryIO, *, duration_ms: int) -> Outline:
    """Decode once, block by block, keeping nothing but the peaks.

    Raises:
        UnreadableSound: it is no sound.
    """
    bucket_ms = bucket_for(duration_ms)
    try:
        with av.open(sound, "r") as source:
            track = source.streams.audio[0]
            size = track.rate * bucket_ms // 1000
            peaks = _peaks(source, track, size)
    except (av.FFmpegError, IndexError) as error:
        raise UnreadableSound(f"The recording cannot be decoded: {error}.") from error
    return Outline(bucket_ms=bucket_ms, peaks=peaks)


def _peaks(source: Any, track: Any, size: int) -> tuple[NDArray[np.uint8], ...]:
    """Samples are gathered into whole buckets; the last may be shorter."""
    made: list[NDArray[np.uint8]] = []
    rest: list[NDArray[np.int16]] = []
    held = 0
    for frame in source.decode(track):
        if frame.time is not None and frame.time > _LONGEST_SECONDS:
            break
        samples = _samples(frame)
        rest.append(samples)
        held += samples.shape[1]
        if held >= size * 64:
            block = np.concatenate(rest, axis=1)
            whole = held // size * size
            made.append(_loudest(block[:, :whole], size))
            rest, held = [block[:, whole:]], held - whole
    if held:
        block = np.concatenate(rest, axis=1)
        padding = -held % size
        made.append(_loudest(np.pad(block, ((0, 0), (0, padding))), size))
    if not made:
        return tuple(np.zeros(0, np.uint8) for _ in range(track.channels))
    return tuple(np.concatenate(made, axis=1))


def _samples(frame: Any) -> NDArray[np.int16]:
    """Shape (channels, samples), whatever the decoder gives."""
    values = frame.to_ndarray()
    if not frame.format.is_planar:
        values = values.reshape(-1, frame.layout.nb_channels).T
    if values.dtype == np.int32:  # 24 bits and more
        values = values >> 16
    elif values.dtype != np.int16:
        values = np.clip(values * _FULL_SCALE, -_FULL_SCALE, _FULL_SCALE - 1)
    return np.asarray(values, np.int16)


def _loudest(block: NDArray[np.int16], size: int) -> NDArray[np.uint8]:
    buckets = block.reshape(block.shape[0], -1, size)
    loudest = np.maximum(buckets.max(axis=2).astype(np.int32), -buckets.min(axis=2).astype(np.int32))
    return np.asarray(np.minimum((loudest * 255 + _FULL_SCALE // 2) // _FULL_SCALE, 255), np.uint8)


def silences(peaks: Sequence[NDArray[np.uint8]], bucket_ms: int) -> list[tuple[float, float]]:
    """Stretches in seconds in which no channel is louder than its own line noise, shortened by a margin.

    A channel's noise is what its quieter third has: in a conversation each side is silent for longer than that.
    """
    if not peaks or not len(peaks[0]):
        return []
    quiet = np.ones(len(peaks[0]), bool)
    for channel in peaks:
        noise = float(np.percentile(channel, 33))
        quiet &= channel <= min(max(noise * 2, _FLOOR), _LOUDEST_FLOOR)
    edges = np.flatnonzero(np.diff(np.concatenate(([0], quiet.astype(np.int8), [0]))))
    found = []
    for start, end in zip(edges[::2] * bucket_ms / 1000, edges[1::2] * bucket_ms / 1000, strict=True):
        if end - start >= SHORTEST_SILENCE:
            found.append((round(float(start) + _KEPT_MARGIN, 3), round(float(end) - _KEPT_MARGIN, 3)))
    return found
