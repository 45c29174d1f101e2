"""Sound files for tests, as PBXs, providers and their accidents leave them."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.audio.stream import AudioStream

from agent.sound.codecs import Samples


def wav_bytes(sound: Samples, *, rate: int = 8000, length: int | None = None, after: bytes = b"") -> bytes:
    """A WAV of 16 bits; ``sound`` has shape (samples,) or (samples, channels), ``length`` is what its head says."""
    data = np.ascontiguousarray(sound, dtype="<i2").tobytes()
    channels = sound.shape[1] if sound.ndim > 1 else 1
    told = len(data) if length is None else length
    head = struct.pack("<IHHIIHH", 16, 1, channels, rate, rate * 2 * channels, 2 * channels, 16)
    riff = (36 + told) & 0xFFFFFFFF
    return b"RIFF" + struct.pack("<I", riff) + b"WAVEfmt " + head + b"data" + struct.pack("<I", told) + data + after


def write_encoded(path: Path, sound: Samples, codec: str, *, rate: int = 8000, container: str | None = None) -> Path:
    """The sound through an encoder of FFmpeg into the container of the path's ending."""
    channels = sound.shape[1] if sound.ndim > 1 else 1
    layout = "stereo" if channels == 2 else "mono"
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound).reshape(1, -1), format="s16", layout=layout)
    frame.sample_rate = rate
    with av.open(str(path), "w", format=container) as file:
        stream = cast(AudioStream, file.add_stream(codec, rate=rate, layout=layout))
        stream.codec_context.options = {"strict": "experimental"}
        resampler = av.AudioResampler(format=stream.codec_context.format, layout=layout, rate=rate)
        for one in [*resampler.resample(frame), *resampler.resample(None)]:
            file.mux(stream.encode(one))
        file.mux(stream.encode(None))
    return path
