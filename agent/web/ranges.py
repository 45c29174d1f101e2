"""Byte ranges of HTTP (RFC 9110 section 14) for one resource of known size. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

_ONE_RANGE = re.compile(r"\s*bytes\s*=\s*(\d{0,18})\s*-\s*(\d{0,18})\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ByteRange:
    """From ``start`` to ``end``, which is not included."""

    start: int
    end: int

    @property
    def length(self) -> int:
        """How many bytes."""
        return self.end - self.start


class Unsatisfiable(ValueError):
    """The range begins behind the end: 416."""


def parse_range(header: str | None, size: int) -> ByteRange | None:
    """The one range asked for; None means the whole, also for what is malformed or more than one range.

    Raises:
        Unsatisfiable: nothing of it lies in the resource.
    """
    found = _ONE_RANGE.fullmatch(header) if header else None
    if found is None:
        return None
    first, last = found.groups()
    if first:
        start, end = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return None  # section 14.1.1: such a range is invalid, so the header is ignored
    elif last:
        start, end = max(0, size - int(last)), size
    else:
        return None
    if start >= size or start >= end:
        raise Unsatisfiable(header)
    return ByteRange(start, end)
