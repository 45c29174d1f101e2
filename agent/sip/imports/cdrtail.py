"""Reads a file of call records that grows, is rotated or truncated. Blocks.

Rotated by renaming: what was still written to the old file is read first. Truncated in place (copytruncate): it is read
from its beginning. Whether it is the same file is told by its inode and by its first bytes.
"""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from agent.store.soundfiles import Place

_HEAD = 200
_LONGEST_LINE = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A complete line, and where the file goes on after it."""

    data: bytes
    after: Place


class CdrTail:
    """One file. ``generation`` grows each time that another file begins, so that its columns are learnt anew."""

    def __init__(self, path: Path, place: Place | None = None) -> None:
        self._path, self._place = path, place or Place()
        self._file: BinaryIO | None = None
        self.generation = 0
        self.first_line = b""

    def read(self, most: int = 10_000) -> list[Line]:
        """Lines that are new, at most so many; none where the file is not there.

        Raises:
            OSError: it cannot be read.
        """
        found: list[Line] = []
        if self._file is not None:
            self._begin_anew_if_truncated(self._file)
        while len(found) < most:
            if self._file is None and not self._open():
                break
            assert self._file is not None
            lines = list(self._lines(self._file, most - len(found)))
            found += lines
            if not lines and not self._moved_on(found):
                break
        return found

    def close(self) -> None:
        """Give the file back."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self) -> bool:
        try:
            self._file = (self._rotated() or self._path).open("rb")
        except FileNotFoundError:
            return False
        status = os.fstat(self._file.fileno())
        known = self._place
        is_same = known.inode == status.st_ino and known.offset <= status.st_size and self._has_head(known.head)
        self._begin(status.st_ino, known.offset if is_same else 0)
        return True

    def _rotated(self) -> Path | None:
        """The file that was read before, under the name it has now, should it have been rotated while nobody looked."""
        known = self._place.inode
        try:
            if not known or self._path.stat().st_ino == known:
                return None
        except FileNotFoundError:
            pass
        for one in self._path.parent.glob(f"{glob.escape(self._path.name)}?*"):
            if one.stat().st_ino == known:
                return one
        return None

    def _begin(self, inode: int, offset: int) -> None:
        assert self._file is not None
        self.generation += 1
        self._file.seek(0)
        self.first_line = self._file.readline(_LONGEST_LINE)
        self._file.seek(offset)
        self._place = Place(inode=inode, offset=offset, head=self._place.head if offset else b"")

    def _lines(self, file: BinaryIO, most: int) -> Iterator[Line]:
        """Complete lines from here on; half a line is left for the next time."""
        for _ in range(most):
            data = file.readline(_LONGEST_LINE)
            if not data.endswith(b"\n") and len(data) < _LONGEST_LINE:
                file.seek(self._place.offset)
                return
            offset = self._place.offset + len(data)
            self._place = Place(inode=self._place.inode, offset=offset, head=self._head(offset))
            yield Line(data=data, after=self._place)

    def _begin_anew_if_truncated(self, file: BinaryIO) -> None:
        status = os.fstat(file.fileno())
        if status.st_size < self._place.offset or not self._has_head(self._place.head):
            self._begin(status.st_ino, 0)

    def _moved_on(self, found: list[Line]) -> bool:
        """At the end: whether another file has taken its place."""
        assert self._file is not None
        status = os.fstat(self._file.fileno())
        try:
            is_same = self._path.stat().st_ino == status.st_ino
        except FileNotFoundError:
            return False
        if is_same:
            return False
        rest = self._file.readline(_LONGEST_LINE)  # the last line of the old one, should it lack its end
        if rest:
            found.append(Line(data=rest, after=Place(inode=status.st_ino, offset=self._place.offset + len(rest))))
        self.close()
        self._place = Place()
        return self._open()

    def _head(self, offset: int) -> bytes:
        """Of the first bytes, as many as were read; once there are enough of them it stays."""
        if self._place.head and self._place.head[0] == _HEAD:
            return self._place.head
        return self._digest(min(offset, _HEAD))

    def _has_head(self, head: bytes) -> bool:
        return not head or self._digest(head[0]) == head

    def _digest(self, length: int) -> bytes:
        assert self._file is not None
        return bytes([length]) + hashlib.sha256(os.pread(self._file.fileno(), length, 0)).digest()
