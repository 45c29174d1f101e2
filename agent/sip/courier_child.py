"""The courier's process: ``python -m agent.sip.courier_child CAPTURES``, started by `agent.sip.courierprocess`.

It reads lines of JSON on stdin (a call has news, or has ended), brings them into the database, and writes the name of
each capture whose end is stored on stdout. It leaves when its input ends, that is, when the parent is gone.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from agent.archive.blobs import open_archive
from agent.intake import Intake
from agent.logs import configure_logging
from agent.settings import Settings, load_settings
from agent.sip.courier import Courier
from agent.store.engine import Store

NICENESS = 5  # signalling and capture go first


async def run(settings: Settings, captures: Path) -> None:
    """Deliver until the input ends."""
    store = Store(settings.database.url.get_secret_value())
    intake = Intake(store, open_archive(settings.data_dir, settings.archive.url), host=settings.host)
    courier = Courier(intake, captures, on_delivered=lambda capture_id: print(capture_id, flush=True))  # noqa: T201
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        told = json.loads(line)
        (courier.tell_ended if told["ended"] else courier.tell)(told["capture"])
    await courier.stop()
    await store.close()


def main() -> None:
    """Settings come from the file in CARDLINE_CONFIG and from variables, the URL of the database among them."""
    config = os.environ.get("CARDLINE_CONFIG")
    settings = load_settings(Path(config) if config else None)
    configure_logging(settings.log_format)
    os.nice(NICENESS)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # whoever stops the service stops the parent, and it closes our input
    asyncio.run(run(settings, Path(sys.argv[1])))


if __name__ == "__main__":
    main()
