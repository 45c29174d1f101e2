"""What `cardline doctor` says of a folder that is followed. Blocks."""

from __future__ import annotations

import os
from collections.abc import Iterator

from agent.settings_recordings import RecordingsSettings


def check_folder(settings: RecordingsSettings) -> Iterator[tuple[bool, str]]:
    """Whether it is good, and in words what was found and what to do."""
    folder, cdr = settings.folder, settings.cdr
    if not folder.is_dir():
        yield False, f"There is no folder {folder}. Mount it, or name the right one in recordings.folder."
    elif not os.access(folder, os.R_OK | os.X_OK):
        yield False, f"{folder} cannot be read. Let this user read it, for example: usermod -aG asterisk cardline."
    else:
        yield True, f"{folder} is followed, times in {settings.timezone}."
    if cdr is None:
        yield True, "No call records are named (recordings.cdr): names of files must do, and missed calls do not come."
    elif not cdr.is_file() or not os.access(cdr, os.R_OK):
        yield False, f"{cdr} cannot be read. Let this user read the call records, or name the right file."
