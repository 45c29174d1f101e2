"""The pages over one long recording, for `tests.bench.listeners`: tells what there is as a line of JSON, serves until
its standard input says something."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import av
import numpy as np
import structlog
from sqlalchemy import insert

from agent.archive.blobs import open_archive
from agent.intake import Intake
from agent.model import UserRole
from agent.store import logins
from agent.store.engine import Store
from agent.store.schema import account
from tests.bench.listeners import LISTENERS
from tests.postgres import PostgresForTests
from tests.unit.call_world import LINES
from tests.web_world import MARIA, Builder, phone, serve, settings_for

RATE = 8000


def noise_flac(seconds: int) -> bytes:
    """As large as sound can be: noise does not get smaller."""
    dice = np.random.default_rng(11)
    output = io.BytesIO()
    with av.open(output, "w", format="flac") as container:
        stream: Any = container.add_stream("flac", rate=RATE, layout="stereo")
        for second in range(seconds):
            piece = dice.integers(-20_000, 20_000, (1, RATE * 2), dtype=np.int16)
            frame = av.AudioFrame.from_ndarray(piece, format="s16", layout="stereo")
            frame.sample_rate, frame.pts = RATE, second * RATE
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return output.getvalue()


async def main(folder: Path) -> None:
    """Make, serve, wait."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(file=sys.stderr))
    seconds = int(os.environ.get("LISTENERS_BENCH_SECONDS", "600"))
    database = PostgresForTests(folder)
    await database.start()
    try:
        store = Store(await database.new_database())
        (folder / "archive").mkdir()
        archive = open_archive(folder / "archive", "")
        settings = settings_for(folder)
        builder = Builder(store, archive, Intake(store, archive, host="test"), settings)
        flac = await asyncio.to_thread(noise_flac, seconds)
        (folder / "plain.flac").write_bytes(flac)
        await builder.card("Мария Смирнова", phone(MARIA))
        started = datetime.now(UTC) - timedelta(hours=3)
        call = await builder.call(MARIA, "101", started, talk=seconds)
        said = [(channel, start, text) for channel, start, _, text in LINES]
        recording = await builder.recording(call, started, flac, seconds, said=said)
        cookies = []
        async with store.begin() as connection:
            for number in range(LISTENERS):
                values = {"login": f"listener{number}", "password_hash": "", "role": UserRole.SUPERVISOR}
                made = await connection.execute(insert(account).values(**values).returning(account.c.id))
                cookies.append(await logins.open_login(connection, made.scalar_one()))
        told = {
            "call": call, "recording": recording, "size": len(flac), "sha256": hashlib.sha256(flac).hexdigest(),
            "cookies": cookies,
        }  # fmt: skip
        del flac
        server = await serve(store, archive, settings, _no_parts)
        print(json.dumps(told | {"port": server.address[1]}), flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        await server.stop()
        await store.close()
    finally:
        await database.stop()


async def _no_parts(plain: bytes, part: int) -> tuple[bytes, str, str]:
    raise AssertionError("nobody asks for attachments here")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
