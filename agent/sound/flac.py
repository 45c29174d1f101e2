"""Writing FLAC block by block, with a head that says the whole length, by which browsers seek (RFC 9639, 8.2)."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import numpy as np

from agent.sound.codecs import Samples

MOST_CHANNELS = 8
LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
_NARROW, _NARROW_FRAME = 8000, 1152  # FFmpeg takes 576 here: as small a file for twice the packets


class FlacWriter:
    """An open FLAC file of 16 bits, mode 0600; leaving the context completes it."""

    def __init__(self, path: Path, *, rate: int, channels: int) -> None:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600))
        self._layout, self._rate, self._samples = LAYOUTS[channels], rate, 0
        self._file = av.open(str(path), "w", format="flac")
        self._stream = self._file.add_stream("flac", rate=rate, layout=self._layout)
        self._stream.codec_context.format = av.AudioFormat("s16")
        if rate <= _NARROW:
            self._stream.codec_context.options = {"frame_size": str(_NARROW_FRAME)}

    def write(self, sound: Samples) -> None:
        """Add a block of shape (samples, channels)."""
        packed = np.ascontiguousarray(sound).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(packed, format="s16", layout=self._layout)
        frame.sample_rate, frame.pts = self._rate, self._samples
        self._samples += len(sound)
        self._file.mux(self._stream.encode(frame))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._file.mux(self._stream.encode(None))
        finally:
            self._file.close()
