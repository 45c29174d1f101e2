"""What belongs to a fetched model, written beside it: by this its files are checked, and a broken one is named.

A manifest is written before the first byte is fetched, so that a directory that was only begun is known as ours, and
once more when all is there.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

MANIFEST = "cardline-manifest.json"
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A file of a model; ``sha256`` is empty where the hub does not tell it and nothing was fetched yet."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """``repository`` and ``revision`` (a commit) at the hub; ``is_complete`` once all files were here and right."""

    repository: str
    revision: str
    is_complete: bool
    files: Mapping[str, Entry]


def read(directory: Path) -> Manifest | None:
    """The manifest of a directory; None where there is none, or none that can be read."""
    try:
        told = json.loads((directory / MANIFEST).read_bytes())
        return Manifest(
            repository=str(told["repository"]),
            revision=str(told["revision"]),
            is_complete=told["complete"] is True,
            files={
                str(name): Entry(size=int(entry["size"]), sha256=str(entry["sha256"]))
                for name, entry in told["files"].items()
                if "/" not in name and name not in {"", ".", ".."}
            },
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def write(directory: Path, manifest: Manifest) -> None:
    """Put the manifest into the directory, whole or not at all.

    Raises:
        OSError: the disk is full or may not be written.
    """
    told = {
        "repository": manifest.repository,
        "revision": manifest.revision,
        "complete": manifest.is_complete,
        "files": {name: {"size": one.size, "sha256": one.sha256} for name, one in sorted(manifest.files.items())},
    }
    new = directory / f"{MANIFEST}.new"
    with new.open("w", encoding="utf-8") as file:
        json.dump(told, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    new.replace(directory / MANIFEST)


def broken(directory: Path, manifest: Manifest, *, thorough: bool) -> dict[str, str]:
    """Which files are not as they were fetched, and why: missing, of another size and, ``thorough``, other bytes.

    Thorough means reading all of them, about a second for a gigabyte.
    """
    found = {name: _trouble(directory / name, entry, thorough) for name, entry in manifest.files.items()}
    return {name: why for name, why in found.items() if why}


def _trouble(path: Path, entry: Entry, thorough: bool) -> str:
    try:
        size = path.stat().st_size
        if size != entry.size:
            return f"it has {size} bytes instead of {entry.size}"
        if thorough and entry.sha256 and sha256_of(path) != entry.sha256:
            return "its checksum is wrong"
    except FileNotFoundError:
        return "it is missing"
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    return ""


def sha256_of(path: Path) -> str:
    """Digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def blob_id_of(path: Path) -> str:
    """The name git gives to the bytes of a file: all that the hub tells of a small one (Pro Git, chapter 10.2)."""
    digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
