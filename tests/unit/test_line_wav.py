"""WAV files as their writers leave them: closed, killed, not begun; and overwriting what a pause must not keep."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.sound.wav import is_complete, mute, shape_of
from tests.unit.soundlab import EPOCH

RATE = 16000


def wav(samples: int, *, told: int | None = None, extra: bytes = b"") -> bytes:
    """A file of ones; ``told``: how many bytes of sound its head admits."""
    sound = np.ones(samples, np.int16).tobytes()
    size = len(sound) if told is None else told
    head = b"fmt " + struct.pack("<IHHIIHH", 16, 1, 1, RATE, 2 * RATE, 2, 16) + extra
    return (
        b"RIFF"
        + struct.pack("<I", 4 + len(head) + 8 + size)
        + b"WAVE"
        + head
        + b"data"
        + struct.pack("<I", size)
        + sound
    )


def test_a_closed_file_and_one_whose_writer_was_killed(tmp_path: Path) -> None:
    closed, killed, odd = (tmp_path / name for name in ("closed.wav", "killed.wav", "odd.wav"))
    closed.write_bytes(wav(RATE))
    killed.write_bytes(wav(RATE, told=0))
    odd.write_bytes(wav(RATE) + b"\1")
    for file, complete in ((closed, True), (killed, False), (odd, False)):
        shape = shape_of(file)
        assert shape is not None and (shape.seconds, shape.rate, shape.begin) == (1.0, RATE, 44)
        assert is_complete(file) is complete
    assert not is_complete(tmp_path / "none.wav")


def test_other_chunks_come_first(tmp_path: Path) -> None:
    file = tmp_path / "list.wav"
    file.write_bytes(wav(RATE, extra=b"LIST" + struct.pack("<I", 3) + b"abc\0"))
    shape = shape_of(file)
    assert shape is not None and shape.seconds == 1.0


@pytest.mark.parametrize("content", [b"", b"RIFF", b"RIFF\0\0\0\0WAVEfmt ", b"\0" * 100, wav(0)[:36]])
def test_what_is_none_or_not_begun(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "x.wav"
    file.write_bytes(content)
    assert shape_of(file) is None
    mute(file, EPOCH, [(EPOCH, EPOCH + 1)])
    assert file.read_bytes() == content


def test_a_pause_is_overwritten_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "x.wav"
    file.write_bytes(wav(RATE))
    mute(file, EPOCH, [(EPOCH + 0.25, EPOCH + 0.5), (EPOCH - 9, EPOCH - 8), (EPOCH + 0.75, EPOCH + 99)])
    sound = np.frombuffer(file.read_bytes()[44:], np.int16)
    assert len(sound) == RATE
    quarters = [int(part.sum()) for part in np.split(sound, 4)]
    assert quarters == [RATE // 4, 0, RATE // 4, 0]


@given(st.binary(max_size=120))
def test_no_bytes_end_it(content: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "x.wav"
        for one in (content, wav(4)[:20] + content, b"RIFF\0\0\0\0WAVE" + content):
            file.write_bytes(one)
            shape_of(file)
            is_complete(file)
