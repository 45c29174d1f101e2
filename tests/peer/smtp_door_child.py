"""The SMTP door on a given database, archive folder and port, until it is killed: ``url folder port journal-address``.

Prints the port once it listens.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from agent.archive.blobs import open_archive
from agent.intake import Intake
from agent.logs import configure_logging
from agent.mail.smtp import SmtpServer
from agent.settings_smtp import SmtpSettings
from agent.store.engine import Store


async def serve(url: str, folder: Path, port: int, journal: str) -> None:
    """For ever."""
    settings = SmtpSettings.model_validate({"listen": "127.0.0.1", "port": port, "journal": [journal]})
    server = SmtpServer(settings, Intake(Store(url), open_archive(folder, ""), host="test"))
    await server.start()
    print(server.port, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    configure_logging("text")
    asyncio.run(serve(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]))
