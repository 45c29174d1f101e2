"""What of a WAV file of PCM the recording of lines needs to know and to change. Pure but for the file.

The format: RIFF, https://www.loc.gov/preservation/digital/formats/fdd/fdd000001.shtml. A killed writer leaves lengths
in the head that are too small; what counts is how long the file is.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_HEAD = 4096  # the chunk of the sound begins within so many bytes
_ZEROS = bytes(64 * 1024)


@dataclass(frozen=True, slots=True, kw_only=True)
class WavShape:
    """Where the sound begins and ends in the file, in bytes; bytes a frame, frames a second."""

    begin: int
    end: int
    frame: int
    rate: int

    @property
    def seconds(self) -> float:
        """How long it sounds."""
        return (self.end - self.begin) / self.frame / self.rate


def shape_of(path: Path) -> WavShape | None:
    """How a file is laid out; None for one that is no WAV of PCM, or not one yet.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        head, size = file.read(_HEAD), os.fstat(file.fileno()).st_size
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        return None
    at, layout = 12, (0, 0)
    while at + 8 <= len(head):
        name, length = struct.unpack_from("<4sI", head, at)
        at += 8
        if name == b"fmt " and at + 16 <= len(head):
            kind, _, rate, _, frame, _ = struct.unpack_from("<HHIIHH", head, at)
            layout = (frame, rate) if kind == 1 else (0, 0)
        elif name == b"data" and all(layout):
            frame, rate = layout
            return WavShape(begin=at, end=at + (size - at) // frame * frame, frame=frame, rate=rate)
        at += length + length % 2
    return None


def is_complete(path: Path) -> bool:
    """Whether its writer has closed it: its head says how long it is."""
    try:
        with path.open("rb") as file:
            head, size = file.read(8), os.fstat(file.fileno()).st_size
    except OSError:
        return False
    return len(head) == 8 and int.from_bytes(head[4:8], "little") == size - 8


def mute(path: Path, started: float, silences: Iterable[tuple[float, float]]) -> None:
    """Overwrite what sounds in these stretches (seconds since the epoch), in place; ``started`` is its first sample's.

    For a pause that became known after its sound had been written.

    Raises:
        OSError: it cannot be read or written.
    """
    shape = shape_of(path)
    if shape is None:
        return
    with path.open("r+b") as file:
        for start, end in silences:
            first, last = (
                min(max(shape.begin + int((at - started) * shape.rate) * shape.frame, shape.begin), shape.end)
                for at in (start, end)
            )
            file.seek(first)
            while first < last:
                first += file.write(_ZEROS[: last - first])
        file.flush()
        os.fsync(file.fileno())
