"""The sealed form of a blob: framed AES-256-GCM, so that a range can be read and nothing is held in memory whole.

Layout: a header of 16 bytes (``CARDLINE``, version and frame size as big-endian 32-bit numbers), then frames of
64 KiB of plain bytes, each followed by its 16-byte tag. The nonce of a frame is its number and a mark on the last one
(the STREAM construction: frames can be neither swapped nor cut off); the header is authenticated with each frame. The
data key is random for each blob, so that nonces never repeat under a key.
"""

from __future__ import annotations

import hashlib
import io
import struct
from collections.abc import Iterator
from typing import BinaryIO, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from agent.errors import BlobAltered

FRAME = 64 * 1024
_TAG = 16
_HEADER = struct.pack(">8sII", b"CARDLINE", 1, FRAME)
HEADER_SIZE = len(_HEADER)


class RangeSource(Protocol):
    """Something that gives ``length`` stored bytes from ``offset``: a file, or an object in a bucket."""

    def read_range(self, offset: int, length: int) -> bytes:
        """The bytes; fewer only at the end."""


class Sealer:
    """Seals one stream of plain bytes and digests both sides of it on the way."""

    def __init__(self, data_key: bytes, salt: bytes) -> None:
        self._cipher = AESGCM(data_key)
        self._stored = hashlib.sha256()
        self._plain = hashlib.sha256(salt)
        self.plain_size = 0
        self.stored_size = 0

    def frames(self, source: BinaryIO) -> Iterator[bytes]:
        """Header and sealed frames, in order; the caller writes them away."""
        yield self._count(_HEADER)
        number = 0
        chunk = _read_frame(source)
        while True:
            following = _read_frame(source) if len(chunk) == FRAME else b""
            is_last = not following
            self._plain.update(chunk)
            self.plain_size += len(chunk)
            yield self._count(self._cipher.encrypt(_nonce(number, is_last=is_last), chunk, _HEADER))
            if is_last:
                return
            chunk = following
            number += 1

    @property
    def name(self) -> str:
        """SHA-256 of the stored bytes, hex."""
        return self._stored.hexdigest()

    @property
    def salted_digest(self) -> bytes:
        """SHA-256 of salt and plain bytes."""
        return self._plain.digest()

    def _count(self, stored: bytes) -> bytes:
        self._stored.update(stored)
        self.stored_size += len(stored)
        return stored


class SealedReader(io.RawIOBase):
    """The plain bytes again, as a seekable file; only the frames touched are read and decrypted.

    Raises `BlobAltered` on the first frame that does not open.
    """

    def __init__(self, source: RangeSource, data_key: bytes, plain_size: int) -> None:
        self._source = source
        self._cipher = AESGCM(data_key)
        self._size = plain_size
        self._position = 0
        self._cached: tuple[int, bytes] = (-1, b"")
        if source.read_range(0, HEADER_SIZE) != _HEADER:
            raise BlobAltered("A sealed blob does not begin as it should.")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readall(self) -> bytes:
        """All from here to the end, each frame opened once."""
        if self._size == 0:
            self._frame(0)
        first, inside = divmod(self._position, FRAME)
        pieces = io.BytesIO()  # gives what it holds without a copy
        for number in range(first, -(-self._size // FRAME)):
            pieces.write(self._frame(number))
        self._position = max(self._position, self._size)
        return pieces.getvalue()[inside:]

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if self._position >= self._size:
            if self._size == 0:
                self._frame(0)
            return 0
        number, inside = divmod(self._position, FRAME)
        part = self._frame(number)[inside : inside + len(buffer)]
        buffer[: len(part)] = part
        self._position += len(part)
        return len(part)

    def _frame(self, number: int) -> bytes:
        if self._cached[0] != number:
            self._cached = (number, self._open_frame(number))
        return self._cached[1]

    def _open_frame(self, number: int) -> bytes:
        last = max(0, (self._size - 1) // FRAME)
        stored = self._source.read_range(HEADER_SIZE + number * (FRAME + _TAG), FRAME + _TAG)
        try:
            plain = self._cipher.decrypt(_nonce(number, is_last=number == last), stored, _HEADER)
        except (InvalidTag, ValueError):
            raise BlobAltered(f"Frame {number} of a sealed blob does not open.") from None
        if number == last and len(plain) != self._size - last * FRAME:
            raise BlobAltered("A sealed blob is not as long as its row says.")
        return plain


def _nonce(number: int, *, is_last: bool) -> bytes:
    return struct.pack(">QI", number, is_last)


def _read_frame(source: BinaryIO) -> bytes:
    """A whole frame unless the source ends; ``read`` alone may give less."""
    chunk = source.read(FRAME)
    while 0 < len(chunk) < FRAME:
        more = source.read(FRAME - len(chunk))
        if not more:
            break
        chunk += more
    return chunk
