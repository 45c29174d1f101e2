"""Our side of `mail-smtp`, in a process of its own: the SMTP door, the archive and an embedded PostgreSQL.

Argument: a folder. Prints the port once it listens; when stdin ends, one JSON object: how many mails are committed as
evidence, and the most memory of this process in MB.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from pathlib import Path

import structlog
from sqlalchemy import text

from agent.mail.smtp import SmtpServer
from agent.parts import Parts, database
from agent.settings import load_settings
from agent.store.migrate import migrate


async def run(folder: Path) -> dict[str, float]:
    """Serve until stdin ends."""
    config = folder / "cardline.toml"
    config.write_text(
        f'data_dir = "{folder / "data"}"\n[smtp]\nlisten = "127.0.0.1"\nport = 0\njournal = ["box@example.com"]\n'
    )
    settings = load_settings(config)
    async with database(settings) as url:
        await migrate(url)
        parts = Parts(settings, url)
        server = SmtpServer(settings.smtp, parts.intake)
        await server.start()
        print(server.port, flush=True)
        await asyncio.to_thread(sys.stdin.read)
        await server.stop()
        async with parts.store.begin() as connection:
            stored = (await connection.execute(text("SELECT count(*) FROM evidence"))).scalar_one()
        await parts.close()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"stored": int(stored), "memory_mb": round(peak, 1)}


if __name__ == "__main__":
    # as the service logs, but to where nobody reads it: the figures come by stdout
    with Path(sys.argv[1], "log").open("w") as log:
        structlog.configure(logger_factory=structlog.PrintLoggerFactory(log))
        print(json.dumps(asyncio.run(run(Path(sys.argv[1])))))
