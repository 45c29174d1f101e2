"""The sealed form: any range comes back, and no altered byte is ever taken for a good one."""

from __future__ import annotations

import io
import os
import secrets
import struct
import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.archive.sealing import FRAME, HEADER_SIZE, SealedReader, Sealer
from agent.errors import BlobAltered

_KEY = bytes(range(32))
_SALT = bytes(32)
_STORED_FRAME = FRAME + 16


class _Memory:
    def __init__(self, stored: bytes) -> None:
        self._stored = stored
        self.reads: list[tuple[int, int]] = []

    def read_range(self, offset: int, length: int) -> bytes:
        self.reads.append((offset, length))
        return self._stored[offset : offset + length]


def _seal(plain: bytes, key: bytes = _KEY) -> bytes:
    return b"".join(Sealer(key, _SALT).frames(io.BytesIO(plain)))


def _open(stored: bytes, size: int, key: bytes = _KEY) -> bytes:
    return io.BufferedReader(SealedReader(_Memory(stored), key, size)).read()


@pytest.mark.parametrize("size", [0, 1, FRAME - 1, FRAME, FRAME + 1, 2 * FRAME, 5 * 1024 * 1024 + 7])
def test_any_size_comes_back(size: int) -> None:
    plain = os.urandom(size)
    stored = _seal(plain)
    assert _open(stored, size) == plain
    assert len(stored) == HEADER_SIZE + size + 16 * max(1, -(-size // FRAME))


def test_a_source_that_gives_little_at_a_time_is_sealed_the_same() -> None:
    class Dribbling(io.RawIOBase):
        def __init__(self, plain: bytes) -> None:
            self._inner = io.BytesIO(plain)

        def read(self, size: int = -1) -> bytes:
            return self._inner.read(min(size, 4099))

    plain = os.urandom(2 * FRAME)
    sealed = b"".join(Sealer(_KEY, _SALT).frames(Dribbling(plain)))  # type: ignore[arg-type]
    assert sealed == _seal(plain)


_PLAIN = os.urandom(3 * FRAME + 1234)
_SEALED = _seal(_PLAIN)


@given(st.lists(st.tuples(st.integers(0, len(_PLAIN) + 10), st.integers(0, 2 * FRAME + 3)), max_size=6))
@settings(max_examples=60, deadline=None)
def test_ranges_at_random(ranges: list[tuple[int, int]]) -> None:
    raw = SealedReader(_Memory(_SEALED), _KEY, len(_PLAIN))
    buffered = io.BufferedReader(SealedReader(_Memory(_SEALED), _KEY, len(_PLAIN)), 1024)
    for offset, length in ranges:
        buffered.seek(offset)
        assert buffered.read(length) == _PLAIN[offset : offset + length]
        raw.seek(offset)
        part = raw.read(length)
        assert part is not None
        assert _PLAIN[offset : offset + length].startswith(part)
        assert part or not _PLAIN[offset : offset + length]
        assert raw.tell() == offset + len(part)


def test_a_range_reads_only_the_frames_it_touches() -> None:
    source = _Memory(_SEALED)
    reader = SealedReader(source, _KEY, len(_PLAIN))
    reader.seek(2 * FRAME + 5)
    assert reader.read(10) == _PLAIN[2 * FRAME + 5 : 2 * FRAME + 15]
    assert source.reads == [(0, HEADER_SIZE), (HEADER_SIZE + 2 * _STORED_FRAME, _STORED_FRAME)]


def test_seek_from_the_end_and_from_here() -> None:
    reader = SealedReader(_Memory(_SEALED), _KEY, len(_PLAIN))
    assert reader.seek(-4, io.SEEK_END) == len(_PLAIN) - 4
    assert reader.read(100) == _PLAIN[-4:]
    assert reader.seek(-2, io.SEEK_CUR) == len(_PLAIN) - 2


def _frame(stored: bytes, number: int) -> bytes:
    start = HEADER_SIZE + number * _STORED_FRAME
    return stored[start : start + _STORED_FRAME]


_ALTERATIONS: dict[str, Callable[[bytes], bytes]] = {
    "frames swapped": lambda s: s[:HEADER_SIZE] + _frame(s, 1) + _frame(s, 0) + s[HEADER_SIZE + 2 * _STORED_FRAME :],
    "frame repeated": lambda s: s[:HEADER_SIZE] + _frame(s, 0) * 2 + s[HEADER_SIZE + 2 * _STORED_FRAME :],
    "frame left out": lambda s: s[:HEADER_SIZE] + s[HEADER_SIZE + _STORED_FRAME :],
    "cut off at a frame's end": lambda s: s[: HEADER_SIZE + 3 * _STORED_FRAME],
    "cut off inside a frame": lambda s: s[:-1],
    "nothing left": lambda s: b"",
    "header only": lambda s: s[:HEADER_SIZE],
    "appended a byte": lambda s: s + b"\0",
    "appended a frame": lambda s: s + _frame(s, 0),
    "version in the header changed": lambda s: s[:8] + struct.pack(">I", 2) + s[12:],
    "frame size in the header changed": lambda s: s[:12] + struct.pack(">I", FRAME * 2) + s[16:],
    "name in the header changed": lambda s: b"X" + s[1:],
}


@pytest.mark.parametrize("alteration", _ALTERATIONS.values(), ids=_ALTERATIONS.keys())
def test_an_altered_blob_does_not_open(alteration: Callable[[bytes], bytes]) -> None:
    with pytest.raises(BlobAltered):
        _open(alteration(_SEALED), len(_PLAIN))


@given(st.integers(0, len(_SEALED) - 1), st.integers(0, 7))
@settings(max_examples=80, deadline=None)
def test_a_flipped_bit_anywhere_is_found(position: int, bit: int) -> None:
    altered = bytearray(_SEALED)
    altered[position] ^= 1 << bit
    with pytest.raises(BlobAltered):
        _open(bytes(altered), len(_PLAIN))


def test_every_bit_of_a_small_blob_counts() -> None:
    sealed = _seal(b"hello")
    for position in range(len(sealed)):
        altered = bytearray(sealed)
        altered[position] ^= 1
        with pytest.raises(BlobAltered):
            _open(bytes(altered), 5)


def test_even_an_empty_blob_is_authenticated() -> None:
    stored = bytearray(_seal(b""))
    assert _open(bytes(stored), 0) == b""
    stored[-1] ^= 1
    with pytest.raises(BlobAltered):
        _open(bytes(stored), 0)


@pytest.mark.parametrize(
    "size", [len(_PLAIN) - 1, len(_PLAIN) + 1, len(_PLAIN) - 2000, 3 * FRAME, FRAME, 1, 0, len(_PLAIN) + FRAME]
)
def test_a_row_that_lies_about_the_size_gives_no_shortened_copy(size: int) -> None:
    with pytest.raises(BlobAltered):
        _open(_SEALED, size)


def test_another_key_does_not_open_it() -> None:
    with pytest.raises(BlobAltered):
        _open(_SEALED, len(_PLAIN), secrets.token_bytes(32))


def test_frames_of_two_blobs_cannot_be_mixed() -> None:
    other = _seal(_PLAIN, secrets.token_bytes(32))
    with pytest.raises(BlobAltered):
        _open(_SEALED[: HEADER_SIZE + _STORED_FRAME] + other[HEADER_SIZE + _STORED_FRAME :], len(_PLAIN))


def test_memory_stays_flat_however_large_the_blob() -> None:
    class Zeros(io.RawIOBase):
        left = 64 * 1024 * 1024

        def read(self, size: int = -1) -> bytes:
            size = min(size, self.left)
            self.left -= size
            return bytes(size)

    sealer = Sealer(_KEY, _SALT)
    tracemalloc.start()
    try:
        for _ in sealer.frames(Zeros()):  # type: ignore[arg-type]
            pass
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sealer.plain_size == 64 * 1024 * 1024
    assert peak < 16 * FRAME
