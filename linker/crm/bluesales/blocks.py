"""Our entries within the comment of a customer; pure.

BlueSales has no calls and mails, so each is a block of the one comment, between two lines that name our key. What
people write around the blocks is never touched. Newest first; the oldest go when the comment becomes too long.
"""

from __future__ import annotations

import re

_OPEN, _CLOSE = "[{key}]", "[/{key}]"
_BLOCK = re.compile(r"^\[(cardline-[0-9a-zA-Z-]+)\]\n(.*?)\n\[/\1\]\n?", re.DOTALL | re.MULTILINE)
LONGEST_COMMENT = 30_000  # characters
LONGEST_BLOCK = 6_000


def find_block(comment: str, key: str) -> str | None:
    """The text of our entry."""
    return next((one[2] for one in _BLOCK.finditer(_plain(comment)) if one[1] == key), None)


def put_block(comment: str, key: str, text: str) -> str:
    """With this entry, in place of what it was before, else above the others."""
    comment = _plain(comment)
    block = f"{_OPEN.format(key=key)}\n{text}\n{_CLOSE.format(key=key)}\n"
    if find_block(comment, key) is not None:
        return _bounded(_BLOCK.sub(lambda one: block if one[1] == key else one[0], comment), key)
    first = _BLOCK.search(comment)
    at = first.start() if first is not None else len(comment)
    before = comment[:at]
    if before and not before.endswith("\n"):
        before += "\n"
    return _bounded(before + block + comment[at:], key)


def drop_block(comment: str, key: str) -> str:
    """Without this entry."""
    return _BLOCK.sub(lambda one: "" if one[1] == key else one[0], _plain(comment))


def list_keys(comment: str) -> list[str]:
    """Keys of our entries, the newest first."""
    return [one[1] for one in _BLOCK.finditer(_plain(comment))]


def _bounded(comment: str, key: str) -> str:
    for oldest in reversed(list_keys(comment)):
        if len(comment) <= LONGEST_COMMENT:
            break
        if oldest != key:
            comment = drop_block(comment, oldest)
    return comment


def _plain(comment: str) -> str:
    return comment.replace("\r\n", "\n").replace("\r", "\n")
