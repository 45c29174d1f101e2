"""Re-reads sealed blobs against what the chain says of them, many at once; it imports little, since its processes
start anew for each proof.

What is read may be a copy on anybody's disk: names are checked before they become paths, and nothing is written.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

from agent.archive.sealing import RangeSource, SealedReader
from agent.errors import ArchiveUnavailable, BlobAltered, BlobMissing

_NAME = re.compile(r"[0-9a-f]{64}")
_KEY_BYTES = 32
_READ_BYTES = 1024 * 1024
_CHUNK = 256  # blobs a task: small ones cost less than handing them over
_AHEAD = 4  # tasks waiting for each worker, so that memory is bounded and nobody is idle
_FEW = 4 * _CHUNK  # up to here it is not worth starting processes

MISSING = "it is missing"
CHANGED = "its stored bytes were changed"
OTHER_PLAIN = "its plain bytes are not those that were digested"
UNREAD = "it cannot be read"
NOT_OPENED = "its row does not fit its stored bytes: it does not open under its key"


class Content(NamedTuple):
    """One blob to re-read; ``secret`` is its data key and salt where the master key is at hand."""

    sequence: int
    name: str
    plain_size: int
    salted: bytes
    secret: bytes | None


Opener = Callable[[str], RangeSource]
Problem = tuple[int, str]


def is_name(name: object) -> bool:
    """Whether this may be the name of a blob: SHA-256 in hex, and no path."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


class Folder:
    """Blobs in a folder, as ``ab/cd/<name>`` or flat as a bucket's copy has them; only read."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)

    def open(self, name: str) -> RangeSource:
        """A stored blob; raises `BlobMissing`."""
        for path in (f"{self._path}/{name[:2]}/{name[2:4]}/{name}", f"{self._path}/{name}"):
            try:
                return _File(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))  # a FIFO must not hold us up
            except OSError:
                continue
        raise BlobMissing(f"Blob {name} is missing.")


class _File:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def read_range(self, offset: int, length: int) -> bytes:
        try:
            return os.pread(self._descriptor, length, offset)
        except OSError:  # a folder or a broken sector: not the bytes that were there
            return b""

    def __del__(self) -> None:
        os.close(self._descriptor)


def problem_of(open_blob: Opener, content: Content) -> str:
    """What is wrong with one blob in words, or an empty string."""
    try:
        source = open_blob(content.name)
        if _digest(_stored(source), b"").hex() != content.name:
            return CHANGED
        if content.secret is None:
            return ""
        reader = SealedReader(source, content.secret[:_KEY_BYTES], content.plain_size)
        plain = iter(lambda: reader.read(_READ_BYTES) or b"", b"")
        return "" if _digest(plain, content.secret[_KEY_BYTES:]) == content.salted else OTHER_PLAIN
    except BlobMissing:
        return MISSING
    except BlobAltered:
        return NOT_OPENED
    except ArchiveUnavailable as error:
        return f"{UNREAD}: {error.what}"


def _stored(source: RangeSource) -> Iterator[bytes]:
    offset = 0
    while chunk := source.read_range(offset, _READ_BYTES):
        yield chunk
        offset += len(chunk)


def _digest(chunks: Iterator[bytes], salt: bytes) -> bytes:
    digest = hashlib.sha256(salt)
    for chunk in chunks:
        digest.update(chunk)
    return digest.digest()


class ContentCheck:
    """Takes blobs in the order of the chain and gives back what is wrong with them, in that order.

    With a folder the work is done by processes, since small files are mostly Python's own work; any other storage is
    waited for by threads.
    """

    def __init__(self, blobs: Path | Opener, *, workers: int = 0) -> None:
        self._blobs = blobs
        self._workers = workers or os.cpu_count() or 1
        self._pool: Executor | None = None
        self._gathered: list[Content] = []
        self._first: list[list[Content]] = []
        self._running: deque[Future[list[Problem]]] = deque()
        self.window = _CHUNK * (self._workers * _AHEAD + 2) + _FEW  # so many are not known yet at most
        self.done = 0

    def add(self, content: Content) -> list[Problem]:
        """Take one more; returns problems that have been found by now."""
        self._gathered.append(content)
        if len(self._gathered) < _CHUNK:
            return []
        self._first.append(self._gathered)
        self._gathered = []
        if self._pool is None and len(self._first) * _CHUNK < _FEW:
            return []
        return self._start_waiting()

    def finish(self) -> list[Problem]:
        """Wait for the rest."""
        if self._gathered:
            self._first.append(self._gathered)
            self._gathered = []
        found = self._start_waiting() if self._pool is not None else []
        if self._first:
            open_blob = Folder(self._blobs).open if isinstance(self._blobs, Path) else self._blobs
            for chunk in self._first:
                found += _check(open_blob, chunk)
                self.done += len(chunk)
            self._first = []
        while self._running:
            found += self._next()
        self.close()
        return found

    def close(self) -> None:
        """End the workers, whatever they still had to do."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None

    def _start_waiting(self) -> list[Problem]:
        if self._pool is None:
            self._pool = self._open_pool()
        found: list[Problem] = []
        for chunk in self._first:
            while len(self._running) >= self._workers * _AHEAD:
                found += self._next()
            self._running.append(self._submit(chunk))
        self._first = []
        return found

    def _open_pool(self) -> Executor:
        if isinstance(self._blobs, Path):
            context = get_context("spawn")
            return ProcessPoolExecutor(self._workers, mp_context=context, initializer=_begin, initargs=(self._blobs,))
        return ThreadPoolExecutor(self._workers)

    def _submit(self, chunk: Sequence[Content]) -> Future[list[Problem]]:
        assert self._pool is not None
        if isinstance(self._blobs, Path):
            return self._pool.submit(_check_in_folder, chunk)
        return self._pool.submit(_check, self._blobs, chunk)

    def _next(self) -> list[Problem]:
        task = self._running.popleft()
        problems = task.result()
        self.done += _CHUNK
        return problems


_folder: Folder | None = None


def _begin(path: Path) -> None:
    global _folder  # noqa: PLW0603 - one a worker process, which has no other place to keep it
    _folder = Folder(path)


def _check_in_folder(chunk: Sequence[Content]) -> list[Problem]:
    assert _folder is not None
    return _check(_folder.open, chunk)


def _check(open_blob: Opener, chunk: Sequence[Content]) -> list[Problem]:
    return [(content.sequence, problem) for content in chunk if (problem := problem_of(open_blob, content))]
