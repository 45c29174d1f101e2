"""Sealed blobs on a local disk, where durability is ours: what is named there is whole, also after a power cut.

One blob: a temporary file of mode 0600, fsync, a link under its final name, fsync of the folder. Many small ones: all
contents are written and synced by one call, then named and the names synced by another. Either way the caller goes on
only when content and name are on the disk.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import BinaryIO

from agent.archive.keys import make_folder, sync_folder
from agent.archive.sealing import FRAME, RangeSource, Sealer
from agent.errors import ArchiveUnavailable, BlobMissing

_FEW = 2  # blobs up to which syncs of their own, of content and new folders, are no slower than two of everything
_SYNCFS_TELLS = (5, 8)  # Linux from which on syncfs reports that a page could not be written (syncfs(2))


class LocalStorage:
    """A folder tree ``ab/cd/<name>`` on a local disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._incoming = folder / "incoming"
        self._durable: set[Path] = set()  # folders whose own names this process has synced
        for one in (folder, self._incoming):
            make_folder(one)

    def is_empty(self) -> bool:
        """See `BlobStorage`."""
        return next(self._folder.glob("??/??/*"), None) is None

    def sweep(self) -> None:
        """See `BlobStorage`."""
        for leftover in self._incoming.iterdir():
            leftover.unlink(missing_ok=True)

    def put(self, sealer: Sealer, source: BinaryIO) -> None:
        """See `BlobStorage`.

        Raises:
            ArchiveUnavailable: the disk is full or refuses.
        """
        temporary = self._incoming / secrets.token_hex(16)
        try:
            _write_file(temporary, sealer, source, sync=True)
            self._publish(temporary, self._path(sealer.name))
        except OSError as error:
            raise _not_writable(error) from error
        finally:
            temporary.unlink(missing_ok=True)

    def put_all(self, pairs: Sequence[tuple[Sealer, bytes]]) -> None:
        """See `BlobStorage`: all contents are written, synced at once, then named, and the names synced at once.

        A sync of the file system costs about as much as one of a single file, and spares one a blob and one a folder.

        Raises:
            ArchiveUnavailable: the disk is full or refuses.
        """
        if len(pairs) <= _FEW or not _syncfs_tells():
            for sealer, source in pairs:
                self.put(sealer, io.BytesIO(source))
            return
        unnamed: dict[Path, Sealer] = {}
        try:
            with _file_system(self._incoming) as descriptor:
                for sealer, source in pairs:
                    temporary = self._incoming / secrets.token_hex(16)
                    unnamed[temporary] = sealer
                    _write_file(temporary, sealer, io.BytesIO(source), sync=False)
                _sync_file_system(descriptor)
                for temporary, sealer in list(unnamed.items()):
                    self._name(temporary, sealer.name)
                    del unnamed[temporary]
                _sync_file_system(descriptor)
        except OSError as error:
            raise _not_writable(error) from error
        finally:
            for temporary in unnamed:
                temporary.unlink(missing_ok=True)

    def _name(self, temporary: Path, name: str) -> None:
        """Whatever lay under the name already has the same digest, so it is the same. Folders are asked for only where
        they are missing."""
        outer, inner = f"{self._folder}/{name[:2]}", name[2:4]
        try:
            temporary.rename(f"{outer}/{inner}/{name}")
        except FileNotFoundError:
            for folder in (outer, f"{outer}/{inner}"):
                Path(folder).mkdir(mode=0o700, exist_ok=True)
            temporary.rename(f"{outer}/{inner}/{name}")

    def open(self, name: str) -> RangeSource:
        """See `BlobStorage`."""
        try:
            return _LocalFile(self._path(name).open("rb", buffering=0))
        except FileNotFoundError:
            raise BlobMissing(f"Blob {name} is missing.") from None
        except OSError as error:
            raise not_readable(error) from error

    def _path(self, name: str) -> Path:
        return self._folder / name[:2] / name[2:4] / name

    def _publish(self, temporary: Path, final: Path) -> None:
        """Folders are synced by whoever uses them first, since whoever made them may have died before it could."""
        for folder in (final.parent.parent, final.parent):
            if folder not in self._durable:
                folder.mkdir(mode=0o700, exist_ok=True)
                sync_folder(folder.parent)
                self._durable.add(folder)
        with contextlib.suppress(FileExistsError):
            os.link(temporary, final)
        sync_folder(final.parent)


class _LocalFile:
    def __init__(self, file: io.FileIO) -> None:
        self._file = file

    def read_range(self, offset: int, length: int) -> bytes:
        try:
            return os.pread(self._file.fileno(), length, offset)
        except OSError as error:
            raise not_readable(error) from error

    def __del__(self) -> None:
        self._file.close()


def _not_writable(error: OSError) -> ArchiveUnavailable:
    return ArchiveUnavailable(f"The archive cannot be written: {error.strerror or error}.")


def not_readable(error: OSError) -> ArchiveUnavailable:
    return ArchiveUnavailable(
        f"The archive cannot be read: {error.strerror or error}.",
        remedy="Look after the archive's disk and its permissions.",
    )


def _write_file(path: Path, sealer: Sealer, source: BinaryIO, *, sync: bool) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        held = b""  # the header goes with the first frame, so that most mails are one write
        for frame in sealer.frames(source):
            held += frame
            if len(held) > FRAME:
                _write_all(descriptor, held)
                held = b""
        _write_all(descriptor, held)
        if sync:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


@cache
def _syncfs_tells() -> bool:
    """Whether one call makes a whole file system durable and says so when it could not."""
    numbers = os.uname().release.split("-")[0].split(".")[:2]
    return hasattr(_libc(), "syncfs") and tuple(int(one) for one in numbers if one.isdigit()) >= _SYNCFS_TELLS


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


@contextmanager
def _file_system(folder: Path) -> Iterator[int]:
    """A descriptor for syncing; open before the first write, since it hears of faults from its opening on."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _sync_file_system(descriptor: int) -> None:
    """Make everything written to the file system of ``descriptor`` durable: contents and names (syncfs(2))."""
    if _libc().syncfs(descriptor) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
