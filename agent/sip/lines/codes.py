"""Codes of keys by which whoever speaks on a line has the recording paused; as `agent.sip.keypad` for packets. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

BETWEEN = timedelta(seconds=5)  # between two keys of one code at most


class Codes:
    """The last keys of one side, no more than the longest code has. ``codes``: keys and the name they are told by."""

    def __init__(self, codes: Mapping[str, str]) -> None:
        self._codes = sorted(codes.items(), key=lambda code: -len(code[0]))
        self._most = max(map(len, codes), default=0)
        self._keys, self._at = "", datetime.fromtimestamp(0, UTC)

    def press(self, digit: str, at: datetime) -> str | None:
        """The name of the code that this key completes."""
        if at - self._at > BETWEEN:
            self._keys = ""
        self._keys, self._at = (self._keys + digit)[-self._most :] if self._most else "", at
        for keys, name in self._codes:
            if self._keys.endswith(keys):
                self._keys = ""
                return name
        return None
