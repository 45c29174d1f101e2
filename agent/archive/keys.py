"""Master keys: numbered files beside the data, of mode 0600, which the operator is made to save elsewhere.

A master key wraps the data keys of blobs. Whoever has the disk without this folder can read nothing; whoever loses
this folder has lost the archive, so `cardline doctor` warns until the operator has confirmed a copy by its check code.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from agent.errors import BlobAltered, MasterKeyMissing, Misconfigured

KEY_BYTES = 32
_CONFIRMED = "saved-elsewhere"
_SAVED = re.compile(r"master-(\d{4})\.key\s+([0-9a-f]{64})\b")


class KeyRing:
    """All master keys of an installation; the one with the highest number wraps new blobs."""

    def __init__(self, folder: Path, keys: dict[int, bytes]) -> None:
        self.folder = folder
        self._keys = keys

    @classmethod
    def open_or_create(cls, folder: Path, *, is_first_start: Callable[[], bool] = lambda: True) -> KeyRing:
        """Read the key folder; at the first start make it, with master key 1.

        ``is_first_start`` is asked only where there is no key: a new key beside an archive that was sealed under
        another one would hide the loss and stand in the way of the saved copy.

        Raises:
            MasterKeyMissing: there is no key although it is not the first start.
            Misconfigured: a key file is damaged or readable by others.
        """
        make_folder(folder)
        with alone(folder):  # the service and `cardline doctor` at once would each make a key, and one would be lost
            keys = {_number(path): read_key_file(path) for path in sorted(folder.glob("master-*.key"))}
            if not keys:
                if not is_first_start():
                    raise MasterKeyMissing(f"There are sealed blobs, but no master key in {folder}.")
                keys = {1: _make_key(folder / "master-0001.key")}
        return cls(folder, keys)

    @classmethod
    def open(cls, folder: Path) -> KeyRing:
        """Read a key folder, or a copy of one, and change nothing.

        Raises:
            MasterKeyMissing: there is no key in it.
            Misconfigured: a key file is damaged or readable by others.
        """
        keys = {_number(path): read_key_file(path) for path in sorted(folder.glob("master-*.key"))}
        if not keys:
            raise MasterKeyMissing(f"There is no master key in {folder}.")
        return cls(folder, keys)

    @classmethod
    def restore(cls, folder: Path, saved: str) -> KeyRing:
        """Write saved lines (`export`) back into ``folder``. What others put around them does no harm.

        Raises:
            Misconfigured: no key in the text, or another one of its number lies there; nothing is written.
        """
        found = {int(number): key for number, key in _SAVED.findall(saved)}
        if not found:
            raise Misconfigured(
                "There is no key in these lines.",
                remedy="Give what `cardline keys show` has printed: master-0001.key and 64 letters and digits.",
            )
        make_folder(folder)
        with alone(folder):
            there = {_number(path): read_key_file(path).hex() for path in folder.glob("master-*.key")}
            if wrong := [number for number in sorted(there) if found.get(number, there[number]) != there[number]]:
                raise Misconfigured(
                    f"Another master key {wrong[0]} lies in {folder}.",
                    remedy="Move it aside, if the archive was sealed under the saved one.",
                )
            for number in sorted(found.keys() - there.keys()):
                write_key_file(folder / f"master-{number:04d}.key", found[number])
        ring = cls.open(folder)
        ring.confirm(ring.check_code())  # that there is a copy has just been shown
        return ring

    @property
    def current(self) -> int:
        """Number of the key that wraps new blobs."""
        return max(self._keys)

    def wrap(self, secret: bytes) -> bytes:
        """``secret`` (a multiple of 8 bytes) under the current master key, by RFC 3394."""
        return aes_key_wrap(self._keys[self.current], secret)

    def unwrap(self, number: int, wrapped: bytes) -> bytes:
        """The secret again.

        Raises:
            MasterKeyMissing: key ``number`` is not in the folder.
            BlobAltered: the wrapped secret is damaged or of another key.
        """
        if number not in self._keys:
            raise MasterKeyMissing(f"Master key {number} is missing in {self.folder}.")
        try:
            return aes_key_unwrap(self._keys[number], wrapped)
        except InvalidUnwrap:
            raise BlobAltered(f"A data key does not open under master key {number}.") from None

    def derive(self, purpose: bytes) -> bytes:
        """A key of 32 bytes for another purpose, from the oldest master key so that rotation does not change it."""
        return HKDF(SHA256(), length=32, salt=None, info=b"cardline " + purpose).derive(self._keys[min(self._keys)])

    def check_code(self) -> str:
        """Eight characters that change with any key; typing them proves that the saved copy was looked at."""
        digest = hashlib.sha256(b"".join(self._keys[number] for number in sorted(self._keys)))
        return digest.hexdigest()[:8]

    @property
    def is_confirmed(self) -> bool:
        """Whether the operator has confirmed a copy of exactly these keys."""
        mark = self.folder / _CONFIRMED
        return mark.exists() and mark.read_text().strip() == self.check_code()

    def confirm(self, code: str) -> None:
        """Note that the keys were saved elsewhere.

        Raises:
            Misconfigured: the code is not that of these keys.
        """
        if not secrets.compare_digest(code.strip().lower().encode(), self.check_code().encode()):
            raise Misconfigured(
                "The code is not that of these keys.", remedy="Take it from the output of `cardline keys show`."
            )
        (self.folder / _CONFIRMED).write_text(self.check_code() + "\n")

    def export(self) -> str:
        """All keys as text to be saved elsewhere; a line a key."""
        return "".join(f"master-{number:04d}.key {self._keys[number].hex()}\n" for number in sorted(self._keys))


def _number(path: Path) -> int:
    try:
        return int(path.stem.removeprefix("master-"))
    except ValueError:
        raise Misconfigured(f"{path} is no key file.", remedy="Take it out of the key folder.") from None


def read_key_file(path: Path) -> bytes:
    """A key of 32 bytes in hex; raises `Misconfigured` where it is damaged or others may read it."""
    if path.stat().st_mode & 0o077:
        raise Misconfigured(f"{path} can be read by others.", remedy=f"Run: chmod 600 {path}")
    try:
        key = bytes.fromhex(path.read_text().strip())
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise Misconfigured(f"{path} is damaged.", remedy="Put the saved copy of this file in its place.")
    return key


def _make_key(path: Path) -> bytes:
    key = secrets.token_bytes(KEY_BYTES)
    write_key_file(path, key.hex())
    return key


def write_key_file(path: Path, text: str) -> None:
    """Written to a temporary name first: a power cut leaves either no key or a whole one. Mode 0600."""
    partial = path.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)
    sync_folder(path.parent)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """One process at a time; the kernel lets go of it however the process ends."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Make a folder of mode 0700, durably, unless it is there."""
    if not folder.is_dir():
        folder.mkdir(parents=True, mode=0o700, exist_ok=True)
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Make names in ``folder`` durable (fsync of the directory)."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
