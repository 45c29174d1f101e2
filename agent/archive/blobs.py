"""The archive: sealed blobs that are written once, on the local disk or in a bucket.

On a local disk durability is ours: a temporary file of mode 0600, fsync, a link under its final name, fsync of the
folder. Buckets (S3, GCS, Azure) are reached through obstore, the one foreign library of this file; its local backend
is not used, because it never syncs.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import io
import os
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

import obstore
from obstore.store import ObjectStore

from agent.archive.keys import KeyRing, make_folder, sync_folder
from agent.archive.sealing import RangeSource, SealedReader, Sealer
from agent.errors import ArchiveUnavailable, BlobAltered, BlobErased, BlobMissing
from agent.model import SealedBlob

_KEY_BYTES = 32
_COPY_BYTES = 1024 * 1024


class BlobStorage(Protocol):
    """Where sealed bytes lie. What is there is never rewritten."""

    def put(self, sealer: Sealer, source: BinaryIO) -> None:
        """Write what the sealer makes of ``source``, durably, under ``sealer.name``."""

    def open(self, name: str) -> RangeSource:
        """A stored blob for reading ranges; raises `BlobMissing` or `ArchiveUnavailable`."""

    def is_empty(self) -> bool:
        """Whether nothing was ever sealed here."""

    def sweep(self) -> None:
        """Remove what a crash left half-written."""


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
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb", buffering=0) as file:
                for frame in sealer.frames(source):
                    _write_all(file.fileno(), frame)
                os.fsync(file.fileno())
            self._publish(temporary, self._path(sealer.name))
        except OSError as error:
            raise ArchiveUnavailable(f"The archive cannot be written: {error.strerror or error}.") from error
        finally:
            temporary.unlink(missing_ok=True)

    def open(self, name: str) -> RangeSource:
        """See `BlobStorage`."""
        try:
            return _LocalFile(self._path(name).open("rb", buffering=0))
        except FileNotFoundError:
            raise BlobMissing(f"Blob {name} is missing.") from None
        except OSError as error:
            raise _not_readable(error) from error

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
            raise _not_readable(error) from error

    def __del__(self) -> None:
        self._file.close()


class BucketStorage:
    """A bucket and prefix given by URL; credentials come from the provider's usual environment variables."""

    def __init__(self, url: str) -> None:
        self._store: ObjectStore = obstore.store.from_url(url)

    def put(self, sealer: Sealer, source: BinaryIO) -> None:
        """See `BlobStorage`: sealed into a temporary file first, since the name is the digest of the whole.

        Raises:
            ArchiveUnavailable: the bucket does not take it.
        """
        try:
            with tempfile.TemporaryFile() as file:
                for frame in sealer.frames(source):
                    file.write(frame)
                file.seek(0)
                obstore.put(self._store, sealer.name, file)
        except Exception as error:  # obstore's errors have no base of their own
            raise ArchiveUnavailable(f"The bucket does not take a blob: {error}.") from error

    def open(self, name: str) -> RangeSource:
        """See `BlobStorage`."""
        return _BucketObject(self._store, name)

    def is_empty(self) -> bool:
        """See `BlobStorage`.

        Raises:
            ArchiveUnavailable: the bucket does not answer.
        """
        try:
            return not next(iter(obstore.list(self._store, chunk_size=1)), [])
        except Exception as error:
            raise ArchiveUnavailable(f"The bucket does not answer: {error}.") from error

    def sweep(self) -> None:
        """See `BlobStorage`: an upload that was cut off leaves nothing."""


class _BucketObject:
    def __init__(self, store: ObjectStore, name: str) -> None:
        self._store = store
        self._name = name
        try:
            self._size: int = obstore.head(store, name)["size"]
        except FileNotFoundError:
            raise BlobMissing(f"Blob {name} is missing in the bucket.") from None
        except Exception as error:
            raise ArchiveUnavailable(f"The bucket does not answer: {error}.") from error

    def read_range(self, offset: int, length: int) -> bytes:
        length = min(length, self._size - offset)
        if length <= 0:
            return b""
        try:
            return bytes(obstore.get_range(self._store, self._name, start=offset, length=length))
        except FileNotFoundError:
            raise BlobMissing(f"Blob {self._name} is missing in the bucket.") from None
        except Exception as error:
            raise ArchiveUnavailable(f"The bucket does not answer: {error}.") from error


class Archive:
    """Seals plain bytes into blobs and opens them again. All methods block: call them in a thread."""

    def __init__(self, storage: BlobStorage, keys: KeyRing) -> None:
        self._storage = storage
        self.keys = keys
        self._fingerprint_key = keys.derive(b"fingerprint")

    def seal(self, source: BinaryIO | bytes, *, media_type: str) -> SealedBlob:
        """Seal and store; the bytes are on disk when this returns. The row is the caller's to commit.

        Raises:
            ArchiveUnavailable: the disk is full or the bucket away.
        """
        secret = secrets.token_bytes(2 * _KEY_BYTES)
        sealer = Sealer(secret[:_KEY_BYTES], secret[_KEY_BYTES:])
        self._storage.put(sealer, io.BytesIO(source) if isinstance(source, bytes) else source)
        return SealedBlob(
            name=sealer.name,
            media_type=media_type,
            plain_size=sealer.plain_size,
            stored_size=sealer.stored_size,
            salted_digest=sealer.salted_digest,
            master_key=self.keys.current,
            wrapped_key=self.keys.wrap(secret),
        )

    def open(self, blob: SealedBlob) -> SealedReader:
        """The plain bytes as a seekable file.

        Raises:
            BlobErased: the key was destroyed.
            BlobMissing: the stored bytes are gone.
            BlobAltered: they do not open (here, or when the altered frame is read).
        """
        return SealedReader(self._storage.open(blob.name), self._secret(blob)[:_KEY_BYTES], blob.plain_size)

    def read(self, blob: SealedBlob) -> bytes:
        """All plain bytes; for what is known to be small, such as a mail."""
        return io.BufferedReader(self.open(blob), _COPY_BYTES).read()

    def check(self, blob: SealedBlob) -> str:
        """Prove the stored bytes against the name, and the plain ones against the salted digest while the key exists.

        Returns what is wrong in words, or an empty string.
        """
        try:
            if _digest(_ranges(self._storage.open(blob.name), blob.stored_size), b"") != bytes.fromhex(blob.name):
                return "its stored bytes were changed"
            if blob.wrapped_key is None:
                return ""
            reader = io.BufferedReader(self.open(blob), _COPY_BYTES)
            if (
                _digest(iter(lambda: reader.read(_COPY_BYTES), b""), self._secret(blob)[_KEY_BYTES:])
                != blob.salted_digest
            ):
                return "its plain bytes are not those that were digested"
        except BlobMissing:
            return "it is missing"
        except BlobAltered:
            return "its row does not fit its stored bytes: it does not open under its key"
        return ""

    def sweep(self) -> None:
        """Remove what a crash left half-written; only while nobody else of this installation writes."""
        self._storage.sweep()

    def fingerprint(self, plain: bytes) -> bytes:
        """A keyed digest that recognises equal content without telling anything to whoever reads the database."""
        return hmac.digest(self._fingerprint_key, plain, "sha256")

    def _secret(self, blob: SealedBlob) -> bytes:
        if blob.wrapped_key is None:
            raise BlobErased(f"Blob {blob.name} was erased.")
        return self.keys.unwrap(blob.master_key, blob.wrapped_key)


def open_archive(data_dir: Path, url: str) -> Archive:
    """The archive of an installation: its keys, and the folder ``blobs`` or the bucket at ``url``."""
    storage: BlobStorage = BucketStorage(url) if url else LocalStorage(data_dir / "blobs")
    keys = KeyRing.open_or_create(data_dir / "keys", is_first_start=storage.is_empty)
    return Archive(storage, keys)


def _not_readable(error: OSError) -> ArchiveUnavailable:
    return ArchiveUnavailable(
        f"The archive cannot be read: {error.strerror or error}.",
        remedy="Look after the archive's disk and its permissions.",
    )


def _ranges(source: RangeSource, size: int) -> Iterator[bytes]:
    """All stored bytes, and one more byte than there should be, so that an appended tail is seen."""
    for offset in range(0, size + 1, _COPY_BYTES):
        yield source.read_range(offset, _COPY_BYTES)


def _digest(chunks: Iterator[bytes], salt: bytes) -> bytes:
    digest = hashlib.sha256(salt)
    for chunk in chunks:
        digest.update(chunk)
    return digest.digest()


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
