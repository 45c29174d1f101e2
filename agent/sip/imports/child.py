"""The process that follows folders of recordings: ``python -m agent.sip.imports.child``, started by `agent.app`.

It reads files that anybody's PBX wrote through FFmpeg, so it is a process of its own: what kills it keeps no call from
being recorded. It leaves when its parent does.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from agent.archive.blobs import open_archive
from agent.intake import Intake
from agent.logs import configure_logging
from agent.processes import leave_with_parent
from agent.settings import Settings, load_settings
from agent.sip.imports.follow import Follower, make_importer
from agent.store.engine import Store

_NICENESS = 10  # signalling and capture of calls, on the same machine, go first
_AT_ONCE = 2


async def run(settings: Settings) -> None:
    """Follow all of them until killed."""
    store = Store(settings.database.url.get_secret_value())
    archive = open_archive(settings.data_dir, settings.archive.url)
    intake = Intake(store, archive, host=settings.host)
    async with asyncio.TaskGroup() as group:
        for one in settings.recordings:
            importer = make_importer(store, archive, intake, one, settings.extension_digits)
            importer.at_once = _AT_ONCE
            group.create_task(Follower(store, importer, one).run())


def main() -> None:
    """Settings come from the file in CARDLINE_CONFIG and from variables, the URL of the database among them."""
    config = os.environ.get("CARDLINE_CONFIG")
    settings = load_settings(Path(config) if config else None)
    configure_logging(settings.log_format)
    os.nice(_NICENESS)
    leave_with_parent()
    asyncio.run(run(settings))


if __name__ == "__main__":
    main()
