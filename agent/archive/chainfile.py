"""The chain as a file, for a proof on another machine: `chain.jsonl`, a line a link, and beside it `keys.jsonl`.

A line of `chain.jsonl` is ``<previous> <digest> <statement>``: two digests in hex (``-`` before the first link) and the
statement's very bytes. Files of this form come from anybody, so lines are bounded and nothing in them is believed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from agent.archive.statements import BLOB, canonical
from agent.errors import Unreadable

CHAIN, KEYS, SEALS, PUBLIC_KEY = "chain.jsonl", "keys.jsonl", "seals.jsonl", "seal-key.pem"
PROOF, MANIFEST, HANDOUT_KIND = "proof.jsonl", "manifest.json", "cardline export"  # of what is handed out
_LONGEST_LINE = 16 * 1024 * 1024  # an act of erasure over a scattered history of a million links
_DIGEST_BYTES = 32


@dataclass(frozen=True, slots=True)
class BlobKey:
    """The wrapped data key of a blob and the number of its master key; None once it was destroyed."""

    master_key: int
    wrapped: bytes | None


@dataclass(frozen=True, slots=True)
class Record:
    """One link as it is stored: nothing of it is proved yet. ``key`` is None where keys were not handed out."""

    previous: bytes
    digest: bytes
    statement: bytes
    key: BlobKey | None = None

    def fields(self) -> Mapping[str, Any]:
        """What the statement says.

        Raises:
            Unreadable: it is no statement.
        """
        return fields_of(self.statement)


def fields_of(statement: bytes) -> Mapping[str, Any]:
    """The table that a line of JSON is; raises `Unreadable` where it is none."""
    try:
        fields = json.loads(statement)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise Unreadable("This is no statement of the chain.")
    return fields


def write_record(chain: IO[bytes], keys: IO[bytes] | None, record: Record) -> None:
    """Append a link to the file, and its key to the other one."""
    chain.write(
        b"%s %s %s\n" % (record.previous.hex().encode() or b"-", record.digest.hex().encode(), record.statement)
    )
    if keys is not None and record.key is not None:
        wrapped = record.key.wrapped.hex() if record.key.wrapped is not None else None
        keys.write(canonical({"master_key": record.key.master_key, "wrapped": wrapped}) + b"\n")


def read_records(folder: Path) -> Iterator[Record]:
    """The links of an exported chain in the order of the file.

    Raises:
        Unreadable: a line is none of ours; the text names it.
    """
    keys_path = folder / KEYS
    keys = read_lines(keys_path) if keys_path.exists() else None
    for number, line in enumerate(read_lines(folder / CHAIN), 1):
        record = _record(line, number)
        if keys is not None and b'"kind":"%s"' % BLOB.encode() in record.statement:
            record = Record(record.previous, record.digest, record.statement, _key(next(keys, b""), number))
        yield record


def _record(line: bytes, number: int) -> Record:
    parts = line.split(b" ", 2)
    try:
        previous = b"" if parts[0] == b"-" else bytes.fromhex(parts[0].decode())
        return Record(previous, bytes.fromhex(parts[1].decode()), parts[2])
    except (ValueError, IndexError):
        raise Unreadable(f"Line {number} of {CHAIN} is no link.") from None


def _key(line: bytes, number: int) -> BlobKey:
    try:
        fields = json.loads(line)
        wrapped = fields["wrapped"]
        return BlobKey(int(fields["master_key"]), None if wrapped is None else bytes.fromhex(wrapped))
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Unreadable(f"{KEYS} has no key for link {number}.") from None


def read_lines(path: Path) -> Iterator[bytes]:
    """Lines without their ends, each bounded.

    Raises:
        Unreadable: the file is missing, or a line is longer than any of ours.
    """
    try:
        with path.open("rb") as file:
            while line := file.readline(_LONGEST_LINE):
                if len(line) == _LONGEST_LINE:
                    raise Unreadable(f"{path.name} has a line of over {_LONGEST_LINE} bytes.")
                yield line.rstrip(b"\r\n")
    except OSError as error:
        remedy = "Name the folder that `cardline chain export` wrote."
        raise Unreadable(f"{path} cannot be read: {error.strerror}.", remedy=remedy) from None
