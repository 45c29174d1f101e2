"""The archive: sealed blobs that are written once, on the local disk or in a bucket.

Local disks are written by `agent.archive.local`. Buckets (S3, GCS, Azure) are reached through obstore, the one foreign
library of this file; its local backend is not used, because it never syncs.
"""

from __future__ import annotations

import hashlib
import hmac
import io
import secrets
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, Protocol

import obstore
from obstore.store import ObjectStore

from agent.archive.keys import KeyRing
from agent.archive.local import LocalStorage
from agent.archive.sealing import RangeSource, SealedReader, Sealer
from agent.errors import ArchiveUnavailable, BlobAltered, BlobErased, BlobMissing
from agent.model import SealedBlob

_KEY_BYTES = 32
_COPY_BYTES = 1024 * 1024
_UPLOADS = 8  # to a bucket at the same time


class BlobStorage(Protocol):
    """Where sealed bytes lie. What is there is never rewritten."""

    def put(self, sealer: Sealer, source: BinaryIO) -> None:
        """Write what the sealer makes of ``source``, durably, under ``sealer.name``."""

    def put_all(self, pairs: Sequence[tuple[Sealer, bytes]]) -> None:
        """The same for many small ones; all are durable when it returns, none needs to be when it raises."""

    def open(self, name: str) -> RangeSource:
        """A stored blob for reading ranges; raises `BlobMissing` or `ArchiveUnavailable`."""

    def is_empty(self) -> bool:
        """Whether nothing was ever sealed here."""

    def sweep(self) -> None:
        """Remove what a crash left half-written."""


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

    def put_all(self, pairs: Sequence[tuple[Sealer, bytes]]) -> None:
        """See `BlobStorage`: several uploads at a time, as each waits for the network."""
        with ThreadPoolExecutor(_UPLOADS) as pool:
            list(pool.map(lambda pair: self.put(pair[0], io.BytesIO(pair[1])), pairs))

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


def put_once(url: str, name: str, content: bytes) -> None:
    """Write a small object that nobody has written before; the same content again is no error. Blocks.

    Raises:
        ArchiveUnavailable: the bucket does not take it.
        BlobAltered: another content lies under this name.
    """
    try:
        store = obstore.store.from_url(url)
        try:
            obstore.put(store, name, content, mode="create")
        except (FileExistsError, obstore.exceptions.AlreadyExistsError):
            there = bytes(obstore.get(store, name).bytes())
        else:
            return
    except Exception as error:  # obstore's errors have no base of their own
        raise ArchiveUnavailable(f"The bucket does not take a seal: {error}.") from error
    if there != content:
        raise BlobAltered(f"Another content lies under {name} in the bucket.")


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
        secret, sealer = _new_sealer()
        self._storage.put(sealer, io.BytesIO(source) if isinstance(source, bytes) else source)
        return self._sealed(sealer, secret, media_type)

    def seal_all(self, sources: Sequence[bytes], *, media_type: str) -> list[SealedBlob]:
        """Seal and store many small things at the price of two syncs; all are on disk when this returns.

        Raises:
            ArchiveUnavailable: the disk is full or the bucket away; some may have been stored, vouched for by nothing.
        """
        made = [_new_sealer() for _ in sources]
        self._storage.put_all([(sealer, source) for (_, sealer), source in zip(made, sources, strict=True)])
        return [self._sealed(sealer, secret, media_type) for secret, sealer in made]

    def _sealed(self, sealer: Sealer, secret: bytes, media_type: str) -> SealedBlob:
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

    def open_stored(self, name: str) -> RangeSource:
        """The sealed bytes as they lie there, for a proof; raises `BlobMissing` or `ArchiveUnavailable`."""
        return self._storage.open(name)

    def read(self, blob: SealedBlob) -> bytes:
        """All plain bytes; for what is known to be small, such as a mail."""
        return self.open(blob).readall()

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

    def fingerprint(self, plain: bytes | BinaryIO) -> bytes:
        """A keyed digest that recognises equal content without telling anything to whoever reads the database. A file
        is read from its beginning.
        """
        if isinstance(plain, bytes):
            return hmac.digest(self._fingerprint_key, plain, "sha256")
        digest = hmac.new(self._fingerprint_key, digestmod="sha256")
        plain.seek(0)
        while piece := plain.read(_COPY_BYTES):
            digest.update(piece)
        return digest.digest()

    def _secret(self, blob: SealedBlob) -> bytes:
        if blob.wrapped_key is None:
            raise BlobErased(f"Blob {blob.name} was erased.")
        return self.keys.unwrap(blob.master_key, blob.wrapped_key)


def open_archive(data_dir: Path, url: str) -> Archive:
    """The archive of an installation: its keys, and the folder ``blobs`` or the bucket at ``url``."""
    storage: BlobStorage = BucketStorage(url) if url else LocalStorage(data_dir / "blobs")
    keys = KeyRing.open_or_create(data_dir / "keys", is_first_start=storage.is_empty)
    return Archive(storage, keys)


def _new_sealer() -> tuple[bytes, Sealer]:
    """Data key and salt of a new blob, and what seals under them."""
    secret = secrets.token_bytes(2 * _KEY_BYTES)
    return secret, Sealer(secret[:_KEY_BYTES], secret[_KEY_BYTES:])


def _ranges(source: RangeSource, size: int) -> Iterator[bytes]:
    """All stored bytes, and one more byte than there should be, so that an appended tail is seen."""
    for offset in range(0, size + 1, _COPY_BYTES):
        yield source.read_range(offset, _COPY_BYTES)


def _digest(chunks: Iterator[bytes], salt: bytes) -> bytes:
    digest = hashlib.sha256(salt)
    for chunk in chunks:
        digest.update(chunk)
    return digest.digest()
