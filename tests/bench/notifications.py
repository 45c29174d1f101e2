"""Notifications of virtual PBXs: how long each waits for its answer at 200 a second, and whether one is ever lost.

Ours is the whole service on a database of its own: signature, storing with the job that reads it, the jobs that make
calls of them and link these, all on this machine. The peer is the plainest door on the same web server and database: an
INSERT and a commit each, and no job. Afterwards the database is away for 30 s while notifications keep coming, and are
sent again by the one who sends them, as providers do.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import text

from agent.store.engine import Store
from agent.store.postgres import EmbeddedPostgres
from tests.acceptance.service import ServiceUnderTest
from tests.bench._notifications_load import SECRET
from tests.bench.result import Result

RATE, SECONDS = 200, 30
AWAY_S, AROUND_S = 30, 10
GOAL_MS = 50.0
READ_S = 600.0
LOAD = [sys.executable, "-m", "tests.bench._notifications_load"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What the sender saw: waits in ms, and how many were accepted."""

    p50: float
    p99: float
    longest: float
    accepted: int
    statuses: dict[str, int]

    def __str__(self) -> str:
        return f"p50 {self.p50:6.1f} ms, p99 {self.p99:6.1f} ms, longest {self.longest:7.1f} ms, {self.statuses}"


class Service(ServiceUnderTest):
    """The whole service on a database that this benchmark starts and stops."""

    url = ""

    def _configuration(self, queues: object, speech: bool) -> str:
        return f"""
data_dir = "{self.folder / "data"}"
database = {{ url = "{self.url}" }}
siprec = {{ enabled = false }}
smtp = {{ enabled = false }}
web = {{ listen = "127.0.0.1", port = 0 }}
transcribe = {{ enabled = false }}
jobs = {{ general = true, speech = false }}

[[provider]]
name = "pbx"
preset = "zadarma"
timezone = "Europe/Moscow"
key = "the-key"
secret = "{SECRET}"
poll_minutes = 0
"""


def run() -> Result:
    """Ours, ours without its database, then the peer."""
    ours, outage, stored, calls, peer = asyncio.run(_measure())
    count = RATE * SECONDS
    lost = count + RATE * (AWAY_S + AROUND_S) - stored
    print(f"cardline  {ours}")
    print(f"database away for {AWAY_S} s  {outage}; {stored} stored, {lost} lost, {calls} calls")
    print(f"peer      {peer}")
    return Result(
        bench="notifications",
        work=f"{RATE} signed notifications/s for {SECONDS} s; then {AWAY_S} s without the database, sent again",
        unit="ms p99",
        ours=round(ours.p99, 1),
        peer=round(peer.p99, 1),
        ratio=round(peer.p99 / ours.p99, 2),
        goal=f"p99 under {GOAL_MS:g} ms, all accepted, none lost while the database is away for {AWAY_S} s",
        holds=ours.p99 < GOAL_MS and ours.accepted == count and lost == 0,
        details={
            "p50_ms": round(ours.p50, 2),
            "peer_p50_ms": round(peer.p50, 2),
            "peer": "aiohttp and psycopg, an INSERT and a commit each",
            "lost": lost,
            "calls": calls,
            "outage_statuses": outage.statuses,
            "outage_longest_ms": round(outage.longest, 1),
        },
    )


async def _measure() -> tuple[Figures, Figures, int, int, Figures]:
    with tempfile.TemporaryDirectory(prefix="cardline-bench-") as name:
        folder = Path(name)
        postgres = EmbeddedPostgres(folder / "database")
        await postgres.start()
        service = Service(folder)
        service.url = postgres.url
        await service.start()
        try:
            host, port = service.addresses["web"]
            address = f"http://{host}:{port}/hooks/pbx"
            ours = await asyncio.to_thread(_load, address, SECONDS)
            load = asyncio.create_task(
                asyncio.to_thread(_load, address, AWAY_S + AROUND_S, "--retry", "--first", str(RATE * SECONDS))
            )
            await asyncio.sleep(AROUND_S / 2)
            await postgres.stop()
            await asyncio.sleep(AWAY_S)
            await postgres.start()
            outage = await load
            stored, calls = await _read(postgres.url)
        finally:
            await service.stop()
        with _peer(postgres.url) as port:
            peer = await asyncio.to_thread(_load, f"http://127.0.0.1:{port}/", SECONDS)
        await postgres.stop()
    return ours, outage, stored, calls, peer


async def _read(url: str) -> tuple[int, int]:
    """Stored notifications, and calls that ended; waits for the worker to come to all of them."""
    counts = text(
        "SELECT (SELECT count(*) FROM notification), (SELECT count(*) FROM notification WHERE state = 'stored'), "
        "(SELECT count(*) FROM call WHERE ended_at IS NOT NULL)"
    )
    expected = RATE * (SECONDS + AWAY_S + AROUND_S) // 3
    deadline = time.monotonic() + READ_S
    store = Store(url)
    try:
        while True:
            async with store.begin() as connection:
                stored, unread, calls = (await connection.execute(counts)).one()
            if (unread == 0 and calls >= expected) or time.monotonic() > deadline:
                return int(stored), int(calls)
            await asyncio.sleep(1)
    finally:
        await store.close()


def _load(address: str, seconds: int, *options: str) -> Figures:
    command = [*LOAD, address, "--rate", str(RATE), "--seconds", str(seconds), *options]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    waits = sorted(found["waits_ms"])
    return Figures(
        p50=waits[len(waits) // 2],
        p99=waits[int(len(waits) * 0.99)],
        longest=waits[-1],
        accepted=found["accepted"],
        statuses=found["statuses"],
    )


@contextmanager
def _peer(url: str) -> Iterator[int]:
    command = [sys.executable, "-m", "tests.bench._notifications_peer", url]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
