"""Which folders of a tree have news: a folder tells by its time, so a million old recordings cost nothing. Blocks."""

from __future__ import annotations

import os
import time
from pathlib import Path

_TICK_NS = 2_000_000_000  # a change within this time of the last look may not have moved the folder's time


class WatchedTree:
    """A folder and all in it; hidden ones and links are left out."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._times: dict[Path, int] = {}

    def news(self) -> list[Path]:
        """Folders in which something was added or removed since the last time; at first all.

        Raises:
            OSError: the folder itself cannot be read.
        """
        changed: list[Path] = []
        waiting = [self._root, *(one for one in self._times if one != self._root)]
        seen: set[Path] = set()
        while waiting:
            folder = waiting.pop(0)
            if folder in seen:
                continue
            seen.add(folder)
            try:
                at = folder.stat().st_mtime_ns
                if self._times.get(folder) == at:
                    continue
                waiting += _subfolders(folder)
            except (FileNotFoundError, NotADirectoryError):
                if folder == self._root:
                    raise
                self._times.pop(folder, None)
                continue
            except OSError:  # it may be readable the next time, and no time of a folder tells when
                if folder == self._root:
                    raise
                self._times[folder] = -1
                continue
            changed.append(folder)
            self._times[folder] = at if time.time_ns() - at > _TICK_NS else -1
        return changed


def _subfolders(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        return [Path(one.path) for one in entries if not one.name.startswith(".") and one.is_dir(follow_symlinks=False)]
