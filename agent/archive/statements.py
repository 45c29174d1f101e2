"""What a link of the chain says, byte for byte, and how links are hashed together; pure.

A statement is one line of JSON with sorted keys, without spaces, in ASCII, so that everybody makes the same bytes of
it. A link's digest is SHA-256(digest of the link before ‖ SHA-256(statement)): whoever is to be shown one mail gets
its statement and only the hashes of all others. docs/evidence.md shows how to repeat it with `sha256sum`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

BLOB, ERASURE = "blob", "erasure"
_VERSION = 1


def canonical(fields: Mapping[str, Any]) -> bytes:
    """The one way to write ``fields``, which hold text, whole numbers, lists and tables only."""
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


def instant(moment: datetime) -> str:
    """A time as statements have it: UTC, microseconds."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def blob_statement(
    *,
    sequence: int,
    name: str,
    salted: bytes,
    media_type: str,
    plain_size: int,
    stored_size: int,
    source: str,
    created: datetime,
) -> bytes:
    """That these sealed bytes came at this time from this source. Sizes in bytes."""
    return canonical(
        {
            "v": _VERSION,
            "kind": BLOB,
            "sequence": sequence,
            "name": name,
            "salted": salted.hex(),
            "media_type": media_type,
            "plain_size": plain_size,
            "stored_size": stored_size,
            "source": source,
            "created": instant(created),
        }
    )


def erasure_statement(
    *, sequence: int, links: Sequence[Sequence[int]], at: datetime, by: str, reason: str, basis: str, subject: str
) -> bytes:
    """That the keys of these links' blobs (ranges, first and last) were destroyed: when, by whom, why, on what legal
    basis."""
    return canonical(
        {
            "v": _VERSION,
            "kind": ERASURE,
            "sequence": sequence,
            "links": [list(one) for one in links],
            "at": instant(at),
            "by": by,
            "reason": reason,
            "basis": basis,
            "subject": subject,
        }
    )


def as_ranges(numbers: Sequence[int]) -> list[list[int]]:
    """``[4, 5, 6, 9]`` as ``[[4, 6], [9, 9]]``: a client's whole history in few words."""
    ranges: list[list[int]] = []
    for number in sorted(set(numbers)):
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ranges


def statement_hash(statement: bytes) -> bytes:
    """What of a statement enters the chain, and all that is shown of those that are nobody's business."""
    return hashlib.sha256(statement).digest()


def link_digest(previous: bytes, hashed_statement: bytes) -> bytes:
    """The digest of a link; ``previous`` is empty for the first one."""
    return hashlib.sha256(previous + hashed_statement).digest()
