"""The worker of speech, killed at any moment: each call has exactly one transcript in the end, with the same words."""

from __future__ import annotations

import asyncio
import os
import random
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import func, select, text

from agent import jobs
from agent.archive.blobs import Archive, open_archive
from agent.intake import Intake
from agent.store import transcriptions, transcripts
from agent.store.engine import Store
from agent.store.schema import answered_window, transcript
from agent.transcribe.models.fetching import TINY_DEMO
from tests.postgres import PostgresForTests
from tests.unit.test_transcribe_job import record
from tests.unit.test_transcribe_speech import CALLS, PARTIES, SOUND, flac, track

_REPOSITORY = Path(__file__).parents[2]
_TIMES_OVER = 3  # the demo's calls are short; so often over they take a while
_WORKED = 3000  # times a twentieth of a second, until whoever waits gives up


@pytest.fixture
async def fresh(postgres: PostgresForTests) -> AsyncIterator[Store]:
    """A database of this one test."""
    store = Store(await postgres.new_database())
    yield store
    await store.close()


@pytest.fixture
def own_archive(tmp_path: Path) -> Archive:
    """An archive where a worker that is told ``tmp_path`` finds it."""
    return open_archive(tmp_path, "")


class Workers:
    """One worker of speech at a time, as the service starts it."""

    def __init__(self, store: Store, data_dir: Path) -> None:
        self._store = store
        self._environment = {
            **os.environ,
            "PYTHONPATH": str(_REPOSITORY),
            "CARDLINE_DATABASE__URL": store.url,
            "CARDLINE_DATA_DIR": str(data_dir),
            "CARDLINE_TRANSCRIBE__MODEL": TINY_DEMO,
            "CARDLINE_TRANSCRIBE__THREADS": "1",
            "CARDLINE_TRANSCRIBE__CALLS_AT_ONCE": "2",
        }

    async def start(self) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "agent.worker", "speech"),
            env=self._environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
        )

    async def kill(self, process: asyncio.subprocess.Process) -> None:
        """SIGKILL; what it had in work is free for the next one, as once its heart has not beaten for a while."""
        process.kill()
        await process.wait()
        app = jobs.make_app(self._store.url)
        async with app.open_async():
            await app.job_manager.prune_stalled_workers(seconds_since_heartbeat=0)
            await jobs.retry_stalled(app)

    async def works(self, process: asyncio.subprocess.Process, seconds: float) -> None:
        """Until it has computed for so long, or all is done. By the clock, a machine that is busy otherwise would
        see it killed each time before it has got anywhere, which is what a call is given up for."""
        enough = processor_seconds(process.pid) + seconds

        async def is_enough() -> bool:
            return processor_seconds(process.pid) >= enough or await self.done()

        await until(is_enough)

    async def busy(self) -> bool:
        """Whether a worker has begun with a call since the last was killed, or all is done."""
        query = "SELECT count(*) FROM procrastinate_jobs WHERE queue_name = 'speech' AND status = 'doing'"
        return await self._count(query) > 0 or await self.done()

    async def done(self) -> bool:
        """Whether there is no speech any more to be transcribed."""
        return await self._count("SELECT count(*) FROM procrastinate_jobs WHERE queue_name = 'speech'") == 0

    async def _count(self, query: str) -> int:
        async with self._store.begin() as connection:
            return int((await connection.execute(text(query))).scalar_one())


def processor_seconds(number: int) -> float:
    """What a process has computed so far, in all its threads."""
    fields = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    for _ in range(_WORKED):
        if await condition():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("nothing came of it")


@pytest.mark.parametrize("kills", [pytest.param(2, id="some"), pytest.param(25, id="many", marks=pytest.mark.soak)])
async def test_killed_at_any_moment_each_call_has_one_transcript(
    fresh: Store, own_archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kills: int
) -> None:
    monkeypatch.setattr(jobs, "_INNOCENT_RETURNS", 1000)  # no pauses before it is tried again
    chance = random.Random(8)
    intake = Intake(fresh, own_archive, host="test")
    calls = [call for call in CALLS if call["language"] == "ru"]
    kept = []
    for call in calls:
        tracks = [np.tile(track(SOUND / call["files"][party]), _TIMES_OVER) for party in PARTIES]
        kept.append(await record(fresh, own_archive, intake, flac(tracks).getvalue()))
    async with fresh.begin() as connection:
        work = [jobs.Job(task=jobs.TRANSCRIBE, args={"recording_id": number}) for _, number in kept]
        await jobs.defer(connection, work)
    workers = Workers(fresh, tmp_path)
    for _ in range(kills):
        process = await workers.start()
        await until(workers.busy)
        await workers.works(process, chance.uniform(0, 1.5))
        await workers.kill(process)
    process = await workers.start()
    try:
        await until(workers.done)
    finally:
        await workers.kill(process)
    async with fresh.begin() as connection:
        assert await transcriptions.list_progress(connection, [number for _, number in kept]) == {}
        assert (await connection.execute(select(func.count()).select_from(answered_window))).scalar_one() == 0
        assert (await connection.execute(select(func.count()).select_from(transcript))).scalar_one() == len(kept)
        found = await transcripts.list_transcripts(connection, [interaction for interaction, _ in kept])
    for (interaction, _), call in zip(kept, calls, strict=True):
        (mine,) = [one for one in found if one.interaction_id == interaction]
        said = [phrase["text"] for phrase in call["phrases"]] * _TIMES_OVER
        assert len(mine.utterances) == len(said)
        heard = [one.text for one in mine.utterances]
        assert sum(a == b for a, b in zip(sorted(said), sorted(heard), strict=True)) >= 0.9 * len(said)


async def test_asked_to_stop_it_ends_in_order_and_the_call_goes_on_later(
    fresh: Store, own_archive: Archive, tmp_path: Path
) -> None:
    intake = Intake(fresh, own_archive, host="test")
    tracks = [np.tile(track(SOUND / CALLS[0]["files"][party]), 60) for party in PARTIES]
    _, number = await record(fresh, own_archive, intake, flac(tracks).getvalue())
    async with fresh.begin() as connection:
        await jobs.defer(connection, [jobs.Job(task=jobs.TRANSCRIBE, args={"recording_id": number})])
    workers = Workers(fresh, tmp_path)
    process = await workers.start()

    async def in_work() -> bool:
        async with fresh.begin() as connection:
            return bool(await transcriptions.list_answers(connection, number)) or await workers.done()

    try:
        await until(in_work)
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 120) == 0
    finally:
        if process.returncode is None:
            await workers.kill(process)
    async with fresh.begin() as connection:
        progress = await transcriptions.list_progress(connection, [number])
        assert await workers.done() or 0 < progress[number].done < progress[number].seconds
