"""How far the first pass of a mailbox has come, in words for a person. Pure."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime


class Progress:
    """Counts by folder. ``done`` are messages known from earlier runs; ``tell`` hears the words."""

    def __init__(self, done: dict[str, int], tell: Callable[[str], None] = lambda words: None) -> None:
        self._tell = tell
        self._done = dict(done)
        self.is_under_way = True  # False while only new mail is taken, of which there is nothing to tell
        self._there: dict[str, int] = {}
        self.horizon: date | None = None
        self._oldest: datetime | None = None

    def saw(self, folder: str, exists: int) -> None:
        """The server has this many messages in a folder."""
        self._there[folder] = exists

    def took(self, folder: str, count: int, oldest: datetime | None) -> None:
        """This many were taken, the oldest of which came at ``oldest``."""
        self._done[folder] = self._done.get(folder, 0) + count
        if oldest is not None and (self._oldest is None or oldest < self._oldest):
            self._oldest = oldest
        if self.is_under_way:
            self._tell(str(self))

    def __str__(self) -> str:
        total = sum(self._there.values())
        done = min(total, sum(self._done.get(folder, 0) for folder in self._there))
        back = f", back to {self._oldest:%B %Y}" if self._oldest is not None else ""
        end = f"; it ends at {self.horizon:%d %B %Y}" if self.horizon is not None else ""
        return f"{done:,} of {total:,}{back}{end}."
