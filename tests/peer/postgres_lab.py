"""What the tests of the embedded PostgreSQL share: a folder, rows to count, a parent that can be killed."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg
import pytest

from agent.store.embedded import Binaries
from agent.store.postgres import EmbeddedPostgres

REPOSITORY = Path(__file__).parents[2]


ROWS = 500
SERVE = """
import asyncio, pathlib, sys
from agent.store.postgres import EmbeddedPostgres

async def main():
    server = EmbeddedPostgres(pathlib.Path(sys.argv[1]))
    await server.start()
    print(server._cluster._process.pid, server.url, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A short path of its own, into which only its owner may enter."""
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    folder.chmod(0o700)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@asynccontextmanager
async def running(data_dir: Path) -> AsyncIterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(data_dir)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


def write_rows(url: str, table: str = "kept", rows: int = ROWS) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(f"CREATE TABLE IF NOT EXISTS {table} (number integer, words text)".encode())
        connection.execute(f"INSERT INTO {table} SELECT n, 'Слово ' || n FROM generate_series(1, {rows}) n".encode())


def count_rows(url: str, table: str = "kept") -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute(f"SELECT count(DISTINCT words) FROM {table}".encode()).fetchone()
    assert row is not None
    return int(row[0])


def postmaster(data_dir: Path) -> int:
    return int((data_dir / "postgres" / str(Binaries().newest) / "postmaster.pid").read_text().splitlines()[0])


def is_alive(pid: int) -> bool:
    try:
        return ") Z" not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


async def until(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not what():  # noqa: ASYNC110 - other processes set no events
            await asyncio.sleep(0.02)


async def until_gone(pid: int) -> None:
    await until(lambda: not is_alive(pid))


async def serve(data_dir: Path, **environment: str) -> tuple[asyncio.subprocess.Process, int, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVE, str(data_dir), stdout=asyncio.subprocess.PIPE, cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), **environment},
    )  # fmt: skip
    assert process.stdout is not None
    words = (await process.stdout.readline()).decode().split()
    return process, int(words[0]), words[1]
