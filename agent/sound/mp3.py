"""A recording as mp3, which every CRM's player takes: both channels, at a bit rate that is enough for speech."""

from __future__ import annotations

import io
from typing import BinaryIO

import av
from av.audio.resampler import AudioResampler

_BITS_A_CHANNEL = 24_000  # speech at 16 kHz; an hour of two channels is 21 MB
_RATE = 16_000
_LONGEST_SECONDS = 4 * 3600


def encode_mp3(sound: BinaryIO) -> bytes:
    """Constant bit rate, so that a player seeks by bytes; at most four hours.

    Raises:
        av.FFmpegError: it is no sound.
    """
    target = io.BytesIO()
    with (
        av.open(sound, "r") as source,
        av.open(target, "w", format="mp3", options={"write_xing": "0", "id3v2_version": "0"}) as out,
    ):
        track = source.streams.audio[0]
        layout = "stereo" if track.channels >= 2 else "mono"
        stream = out.add_stream("libmp3lame", rate=_RATE, layout=layout)
        stream.codec_context.options = {"joint_stereo": "0"}  # or one party is faintly heard on the other's side
        stream.bit_rate = _BITS_A_CHANNEL * (2 if layout == "stereo" else 1)
        resampler = AudioResampler(format="s16p", layout=layout, rate=_RATE)
        for frame in source.decode(track):
            if frame.time is not None and frame.time > _LONGEST_SECONDS:
                break
            for piece in resampler.resample(frame):
                out.mux(stream.encode(piece))
        for piece in resampler.resample(None):
            out.mux(stream.encode(piece))
        out.mux(stream.encode(None))
    return target.getvalue()
