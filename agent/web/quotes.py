"""Tells a mail's own words from the quotation below them. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

_ATTRIBUTION = re.compile(
    r"\b(wrote|writes|пишет|писал|писала|написал|написала|schrieb|écrit)\b.{0,80}:\s*$|<[^<>@\s]+@[^<>\s]+>\s*:\s*$",
    re.IGNORECASE,
)
_ATTRIBUTION_START = re.compile(r"\s*(on|am|le|в|во|\d{1,2}[ .]|(пн|вт|ср|чт|пт|сб|вс)\b)", re.IGNORECASE)
_SEPARATOR = re.compile(
    r"\s*(-{2,}\s*(original message|forwarded message|исходное сообщение|пересылаемое сообщение|"
    r"пересланное сообщение)\s*-{2,}|_{20,})\s*$",
    re.IGNORECASE,
)


def split_quoted(text: str) -> tuple[str, str]:
    """The writer's own words, and the quotation that closes the mail; one who answers between the lines quotes none."""
    lines = text.splitlines()
    start = next((index for index, line in enumerate(lines) if _SEPARATOR.match(line)), None)
    if start is None:
        start = _start_of_trailing_quote(lines)
    if start is None or not any(line.strip() for line in lines[:start]):
        return text.strip("\n"), ""
    return "\n".join(lines[:start]).strip("\n"), "\n".join(lines[start:]).strip("\n")


def _start_of_trailing_quote(lines: Sequence[str]) -> int | None:
    """Index of the first of the last lines that all are quoted, or of the line that says whom they quote."""
    start = len(lines)
    while start and (not lines[start - 1].strip() or lines[start - 1].lstrip().startswith(">")):
        start -= 1
    if not any(line.strip() for line in lines[start:]):
        return None
    if start and _ATTRIBUTION.search(lines[start - 1]):
        start -= 1
        wrapped = not _ATTRIBUTION_START.match(lines[start])
        if start and wrapped and _ATTRIBUTION_START.match(lines[start - 1]):
            start -= 1
    return start
