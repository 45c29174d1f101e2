"""Old recordings through the whole program: an import that is killed again and again, a folder that is followed."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from agent.archive.blobs import open_archive
from agent.store import blobs
from agent.store.engine import Store
from agent.store.schema import blob
from tests.acceptance.service import ServiceUnderTest
from tests.unit.recordings_lab import EPOCH, Made, calls_of, make_call, quiet, record_of, rows

_FILES = 60
_PLACES = (0, 3, 17, 18, 40, 59)  # recordings that are there when the next process is killed


async def _begin(folder: Path, store: Store) -> asyncio.subprocess.Process:
    environment = {
        **os.environ,
        "CARDLINE_DATABASE__URL": store.url,
        "CARDLINE_DATA_DIR": str(folder / "data"),
        "CARDLINE_CONFIG": "",
    }
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "agent.cli", "import", "recordings", str(folder / "monitor")),
        *("--cdr", str(folder / "Master.csv"), "--timezone", "Europe/Moscow", "--name", "office"),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def _count(store: Store, table: str) -> int:
    (row,) = await rows(store, f"SELECT count(*) AS found FROM {table}")
    return int(row.found)


async def test_killed_at_several_places_it_ends_with_each_once(store: Store, tmp_path: Path) -> None:
    calls = [make_call(tmp_path / "monitor", number, seconds=0.5) for number in range(20_000, 20_000 + _FILES)]
    (tmp_path / "Master.csv").write_text("".join(one.record for one in calls))
    for place in _PLACES:
        process = await _begin(tmp_path, store)
        await ServiceUnderTest.until(partial(_has_come_so_far, store, process, place), 60)
        if process.returncode is None:
            process.kill()
        await process.communicate()
    process = await _begin(tmp_path, store)
    shown, _ = await process.communicate()
    assert process.returncode == 0, shown
    assert await calls_of(store, "recordings:office") == sorted((one.unique_id, 1) for one in calls)
    assert await _count(store, "recording") == _FILES
    assert await _count(store, "procrastinate_jobs WHERE task_name = 'transcribe'") == _FILES
    assert await _count(store, "sound_file WHERE state IN ('kept', 'known')") == _FILES
    await _check_all_blobs(store, tmp_path / "data")
    process = await _begin(tmp_path, store)
    shown, _ = await process.communicate()
    assert b"There is nothing new" in shown


async def _has_come_so_far(store: Store, process: asyncio.subprocess.Process, place: int) -> bool:
    tried = await rows(store, "SELECT 1 FROM sound_file WHERE state = 'trying' LIMIT 1")
    return process.returncode is not None or (bool(tried) and await _count(store, "recording") >= place)


async def _check_all_blobs(store: Store, data: Path) -> None:
    archive = open_archive(data, "")
    async with store.begin() as connection:
        found = [blobs.sealed(row) for row in await connection.execute(blob.select())]
    assert len(found) == 2 * _FILES
    assert {await asyncio.to_thread(archive.check, one) for one in found} == {""}


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[ServiceUnderTest]:
    (tmp_path / "monitor").mkdir()
    following = f"""
[[recordings]]
name = "office"
folder = "{tmp_path / "monitor"}"
cdr = "{tmp_path / "Master.csv"}"
timezone = "Europe/Moscow"
quiet_seconds = 0.5
cdr_seconds = 1
look_seconds = 0.2
"""
    service = ServiceUnderTest(tmp_path, following)
    try:
        yield service
    finally:
        await service.stop()


async def test_a_freepbx_that_records_is_attached_by_its_folder(service: ServiceUnderTest, tmp_path: Path) -> None:
    def record(number: int) -> Made:
        made = make_call(tmp_path / "monitor", number, seconds=0.5)
        quiet(made.path, 0)
        with (tmp_path / "Master.csv").open("a") as file:
            file.write(made.record)
        return made

    async def is_there(expected: list[tuple[str, int]]) -> bool:
        async with service.store() as store:
            return await calls_of(store, "recordings:office") == sorted(expected)

    expected = [(record(30_000).unique_id, 1)]  # before it is attached
    await service.start(queues=(), speech=False)
    await service.until(lambda: is_there(expected))
    expected.append((record(30_001).unique_id, 1))
    await service.until(lambda: is_there(expected))
    with (tmp_path / "Master.csv").open("a") as file:
        file.write(record_of(30_002, answered=False))
    expected.append((f"{EPOCH + 30_002 * 60}.30002", 0))
    await service.until(lambda: is_there(expected))
    async with service.store() as store:
        (state,) = await rows(store, "SELECT state FROM source_status WHERE source = 'recordings:office'")
    assert state.state == "running"
    await service.kill()
    (tmp_path / "Master.csv").rename(tmp_path / "Master.csv.1")  # rotated while nobody looked
    expected.append((record(30_003).unique_id, 1))
    await service.start(queues=(), speech=False)
    await service.until(lambda: is_there(expected))
