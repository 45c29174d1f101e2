"""The connection below IMAPClient, with bounds: what a server sends is limited in size and time, and a literal that is
large goes to the disk instead of into memory.

`imaplib` reads as many bytes as a server announces, waits for each piece of a line as long as the socket allows, and
keeps every line of an answer. All three are here made the server's trouble instead of ours.
"""

from __future__ import annotations

import imaplib
import tempfile
import time
from pathlib import Path
from typing import Any, BinaryIO, cast

from imapclient.imap4 import IMAP4WithTimeout
from imapclient.imapclient import IMAPClient
from imapclient.tls import IMAP4_TLS

from agent.errors import ArchiveUnavailable, MailboxUnreachable

SPOOLED_FROM = 4 * 1024 * 1024  # bytes of a literal from which on it lies on the disk
HELD_BYTES = 16 * 1024 * 1024  # of one answer's literals in memory; all further ones lie on the disk
_LINES_BYTES = 64 * 1024 * 1024  # of one answer's lines
_LONGEST_LINE = 1_000_000
_PIECE = 256 * 1024
_GRACE = 300.0  # seconds an answer may take however little it brings …
_SLOWEST = 2000  # … and the bytes a second it must bring from then on


class MailTooLarge(MailboxUnreachable):
    """The server sends more than may be kept; the connection is of no use any more."""


class Spooled(bytes):
    """Stands for a literal whose bytes lie in ``file``, an unnamed file that ends with this object; as long as that, so
    that whoever compares it with what was announced finds them equal."""

    file: BinaryIO
    size: int

    def __len__(self) -> int:
        return self.size


class _Bounded:
    """Mixed into `imaplib.IMAP4`; one instance a connection."""

    file: BinaryIO
    folder: Path | None = None  # where large literals lie
    most = SPOOLED_FROM  # bytes of one literal
    _began: float | None = None
    _grace = _GRACE
    _received = _held = _lines = 0
    _partial = b""

    def expect(self, *, most: int = SPOOLED_FROM, seconds: float = _GRACE) -> None:
        """An operation begins: how large a literal of its answer may be, and how long it may take bringing little."""
        self.most, self._grace = most, seconds
        self._began = time.monotonic()
        self._received = self._held = self._lines = 0

    def readline(self) -> bytes:
        """One line; nothing where the connection has ended, or where it does not block and there is no whole line."""
        pieces = [self._partial]
        length, self._partial = len(self._partial), b""
        while True:
            try:
                there = cast("Any", self.file).peek(1)
            except OSError:
                self._partial = b"".join(pieces)
                raise
            if not there:
                self._partial = b"".join(pieces)
                return b""
            end = there.find(b"\n") + 1
            piece = self.file.read(end or len(there))
            pieces.append(piece)
            length += len(piece)
            self._lines += len(piece)
            self._came(len(piece))
            if length > _LONGEST_LINE or self._lines > _LINES_BYTES:
                raise imaplib.IMAP4.abort(f"an answer of more than {min(length, _LINES_BYTES)} bytes without a message")
            if end:
                return b"".join(pieces)

    def read(self, size: int) -> bytes:
        """A literal of this size; shorter where the connection has ended."""
        if size > self.most:
            raise MailTooLarge(f"The mail server sends {size} bytes where no more than {self.most} are taken.")
        if size >= SPOOLED_FROM or self._held + size > HELD_BYTES:
            return self._spool(size)
        self._held += size
        pieces = []
        while size and (piece := cast("Any", self.file).read1(min(size, _PIECE))):
            pieces.append(piece)
            size -= len(piece)
            self._came(len(piece))
        return b"".join(pieces)

    def _spool(self, size: int) -> Spooled:
        spooled = Spooled()
        spooled.size = left = size
        spooled.file = _unnamed(self.folder)
        while left:
            piece = cast("Any", self.file).read1(min(left, _PIECE))
            if not piece:
                raise imaplib.IMAP4.abort("the connection ended within a message")
            _write(spooled.file, piece)
            left -= len(piece)
            self._came(len(piece))
        spooled.file.seek(0)
        return spooled

    def _came(self, count: int) -> None:
        self._received += count
        if self._began is None:
            self._began = time.monotonic()
        if time.monotonic() - self._began > self._grace + self._received / _SLOWEST:
            raise imaplib.IMAP4.abort(f"only {self._received} bytes came in {self._grace:g} seconds")


def _unnamed(folder: Path | None) -> BinaryIO:
    try:
        return cast("BinaryIO", tempfile.TemporaryFile(dir=folder))
    except OSError as error:
        raise _no_room(error) from error


def _write(file: BinaryIO, piece: bytes) -> None:
    try:
        file.write(piece)
    except OSError as error:
        raise _no_room(error) from error


def _no_room(error: OSError) -> ArchiveUnavailable:
    """The disk is ours and no fault of the server's."""
    return ArchiveUnavailable(f"A large mail cannot be written to the disk: {error.strerror}.")


class _Plain(_Bounded, IMAP4WithTimeout):  # type: ignore[misc] # untyped, as all three
    pass


class _Tls(_Bounded, IMAP4_TLS):  # type: ignore[misc]
    pass


class BoundedClient(IMAPClient):  # type: ignore[misc]
    """IMAPClient over a bounded connection."""

    @property
    def wire(self) -> _Bounded:
        """The bounds of this connection."""
        return cast("_Bounded", self._imap)

    def _create_IMAP4(self) -> imaplib.IMAP4:  # noqa: N802 - IMAPClient's own name
        wait = getattr(self._timeout, "connect", None)
        if self.ssl:
            return _Tls(self.host, self.port, self.ssl_context, wait)
        return _Plain(self.host, self.port, wait)
