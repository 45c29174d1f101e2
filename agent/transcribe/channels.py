"""From a sealed recording to what each party said into its channel: decoded once for all channels, by PyAV.

Samples are held as 16-bit integers (115 MB an hour and channel) and become floats only piece by piece.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import av
import numpy as np
import numpy.typing as npt
import structlog
from av.audio.stream import AudioStream

from agent.errors import Unreadable
from agent.transcribe.engine import SAMPLE_RATE, Sound

log = structlog.get_logger()

Samples = npt.NDArray[np.int16]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Channel:
    """One party's sound at 16 kHz."""

    samples: Samples

    @property
    def seconds(self) -> float:
        """Length of the channel."""
        return len(self.samples) / SAMPLE_RATE

    def piece(self, start: float, end: float) -> Sound:
        """The sound from ``start`` to ``end`` seconds, as far as there is any."""
        part = self.samples[max(0, round(start * SAMPLE_RATE)) : max(0, round(end * SAMPLE_RATE))]
        return part.astype(np.float32) / 32768.0


def read_channels(source: BinaryIO) -> list[Channel]:
    """Decode a recording of any format FFmpeg knows; the channels come in their order.

    A broken packet in the middle is skipped and counted in the log, since the rest was said all the same.

    Raises:
        Unreadable: there is no sound in it.
    """
    try:
        with av.open(source, mode="r") as container:
            if not container.streams.audio:
                raise Unreadable("The recording has no audio stream.")
            blocks = list(_blocks(container, container.streams.audio[0]))
    except (av.FFmpegError, ValueError) as error:
        raise Unreadable(f"The recording cannot be decoded: {error}.") from error
    if not blocks:
        raise Unreadable("The recording holds no sound.")
    return [Channel(samples=np.concatenate([block[index] for block in blocks])) for index in range(len(blocks[0]))]


def _blocks(container: av.container.InputContainer, stream: AudioStream) -> Iterator[Samples]:
    """Arrays of shape (channels, samples) at 16 kHz."""
    resampler = av.AudioResampler(format="s16p", layout=stream.layout, rate=SAMPLE_RATE)
    broken = 0
    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except av.FFmpegError:
            broken += 1
            continue
        for frame in frames:
            yield from map(_samples, resampler.resample(frame))
    yield from map(_samples, resampler.resample(None))
    if broken:
        log.warning("recording_partly_undecodable", packets=broken)


def _samples(frame: av.AudioFrame) -> Samples:
    return frame.to_ndarray().astype(np.int16, copy=False)
