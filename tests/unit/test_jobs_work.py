"""Jobs: as durable as the transaction that asked for them, and done by another where a worker was killed."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import procrastinate
import pytest
from procrastinate.jobs import Job as StoredJob
from pydantic import SecretStr
from sqlalchemy import text

from agent import app as app_module
from agent import jobs
from agent.errors import ArchiveUnavailable, BlobAltered, DatabaseUnavailable, Misconfigured, Unreadable
from agent.parts import Parts
from agent.settings import DatabaseSettings, JobSettings, Settings
from agent.store.engine import Store
from agent.worker import _equip_general, run_worker
from tests.postgres import PostgresForTests

_REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
async def fresh(postgres: PostgresForTests) -> AsyncIterator[Store]:
    """A database of this one test."""
    store = Store(await postgres.new_database())
    yield store
    await store.close()


async def _defer(store: Store, *work: jobs.Job) -> None:
    async with store.begin() as connection:
        await jobs.defer(connection, work)


async def _list(store: Store) -> list[dict[str, Any]]:
    async with store.begin() as connection:
        query = text(
            "SELECT task_name, queue_name, status::text, attempts, args, lock, priority "
            "FROM procrastinate_jobs ORDER BY id"
        )
        return [dict(row._mapping) for row in await connection.execute(query)]


async def _until(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not what():  # noqa: ASYNC110 - other processes set no events
            await asyncio.sleep(0.02)


# --- Deferring ------------------------------------------------------------------------------------------------------


async def test_a_job_is_as_it_was_asked_for(fresh: Store) -> None:
    args = {"ids": [1, 2], "name": "Отдел \"x\" \\ 'y' %s :z", "none": None, "deep": {"a": [True]}}
    await _defer(fresh, jobs.Job(task=jobs.PARSE, args=args, lock="one", priority=3), jobs.Job(task=jobs.LINK))
    first, second = await _list(fresh)
    assert first["args"] == args
    assert (first["queue_name"], first["lock"], first["priority"], first["status"]) == ("parse", "one", 3, "todo")
    assert (second["queue_name"], second["lock"], second["args"]) == ("link", None, {})


async def test_nothing_asked_for_nothing_done(fresh: Store) -> None:
    await _defer(fresh)
    assert await _list(fresh) == []


async def test_a_rolled_back_transaction_leaves_no_job(fresh: Store) -> None:
    with pytest.raises(ZeroDivisionError):
        async with fresh.begin() as connection:
            await jobs.defer(connection, [jobs.Job(task=jobs.PARSE)])
            raise ZeroDivisionError
    assert await _list(fresh) == []


async def test_two_hundred_at_once(fresh: Store) -> None:
    await _defer(fresh, *(jobs.Job(task=jobs.LINK, args={"number": number}) for number in range(200)))
    assert sorted(row["args"]["number"] for row in await _list(fresh)) == list(range(200))


# --- Retrying -------------------------------------------------------------------------------------------------------


def _decide(error: BaseException, attempts: int, retry: jobs.Retry | None = None) -> float | None:
    job = StoredJob(id=1, queue="q", lock=None, queueing_lock=None, task_name="parse", attempts=attempts)
    decision = (retry or jobs.Retry()).get_retry_decision(exception=error, job=job)
    if decision is None or decision.retry_at is None:
        return None
    return round((decision.retry_at - procrastinate.utils.utcnow()).total_seconds())


@pytest.mark.parametrize(
    "error", [DatabaseUnavailable("x"), ArchiveUnavailable("x"), Misconfigured("x"), asyncio.CancelledError()]
)
def test_what_is_away_is_tried_for_ever(error: BaseException) -> None:
    assert [_decide(error, attempts) for attempts in (0, 1, 2, 3)] == [2, 4, 8, 16]
    assert [_decide(error, attempts) for attempts in (9, 20, 100_000)] == [600, 600, 600]


@pytest.mark.parametrize("error", [ValueError("x"), BlobAltered("x"), Unreadable("x")])
def test_what_looks_like_a_bug_is_given_up(error: BaseException) -> None:
    retry = jobs.Retry()
    assert [_decide(error, attempts, retry) for attempts in range(8)] == [2, 4, 8, 16, 32, 64, 128, None]


def test_waiting_for_the_database_is_no_mark_against_a_job() -> None:
    retry = jobs.Retry()
    for attempts in range(50):
        _decide(DatabaseUnavailable("x"), attempts, retry)
    assert _decide(ValueError("x"), 50, retry) == 600


async def test_a_failing_job_is_kept_for_another_attempt(fresh: Store) -> None:
    async def away(**arguments: Any) -> None:
        raise DatabaseUnavailable("The database does not answer.")

    await _defer(fresh, jobs.Job(task=jobs.PARSE))
    app = jobs.make_app(fresh.url)
    jobs.register(app, jobs.PARSE, away)
    async with app.open_async():
        await app.run_worker_async(queues=["parse"], wait=False, install_signal_handlers=False)
    (row,) = await _list(fresh)
    assert (row["status"], row["attempts"]) == ("todo", 1)


@pytest.mark.parametrize(("redoable", "waits"), [(True, "off"), (False, "on")])
async def test_only_the_queue_of_redoable_jobs_does_not_wait_for_the_disk(
    fresh: Store, *, redoable: bool, waits: str
) -> None:
    async with fresh.begin() as connection:  # the cluster of the tests waits for no disk
        name = (await connection.execute(text("SELECT current_database()"))).scalar_one()
        await connection.execute(text(f'ALTER DATABASE "{name}" SET synchronous_commit = on'))
    app = jobs.make_app(fresh.url, redoable=redoable)
    async with app.open_async():
        shown = await app.connector.execute_query_one_async("SHOW synchronous_commit")
    assert shown == {"synchronous_commit": waits}


# --- Working --------------------------------------------------------------------------------------------------------

_WORKER = """
import asyncio, pathlib, sys, time
from agent import app as app_module
from agent import jobs

url, folder, name = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3]

async def work(number):
    (folder / f"{name}-{number}-begun").touch()
    while name == "first":
        await asyncio.sleep(1)
    (folder / f"{name}-{number}-done").touch()

async def main():
    app = jobs.make_app(url)
    jobs.register(app, jobs.PARSE, work)
    async with app.open_async():
        await app.run_worker_async(queues=["parse"], name=name, update_heartbeat_interval=0.2,
                                   stalled_worker_timeout=1, fetch_job_polling_interval=0.2)

asyncio.run(main())
"""


async def test_a_killed_workers_job_is_done_by_another(
    fresh: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "STALLED_SECONDS", 1.0)
    monkeypatch.setenv("PYTHONPATH", str(_REPOSITORY))
    start = [sys.executable, "-c", _WORKER, fresh.url, str(tmp_path)]
    await _defer(fresh, jobs.Job(task=jobs.PARSE, args={"number": 7}))
    first = await asyncio.create_subprocess_exec(*start, "first")
    await _until((tmp_path / "first-7-begun").exists)
    app = jobs.make_app(fresh.url)
    async with app.open_async():
        assert await jobs.retry_stalled(app) == 0  # it works and its heart beats
        first.kill()
        await first.wait()
        second = await asyncio.create_subprocess_exec(*start, "second")
        try:
            async with asyncio.timeout(60):
                while not (tmp_path / "second-7-done").exists():
                    await jobs.retry_stalled(app)
                    await asyncio.sleep(0.1)
        finally:
            second.terminate()
            await second.wait()
    assert [row["status"] for row in await _list(fresh)] == ["succeeded"]


async def test_stalled_jobs_are_taken_back_even_after_the_database_was_away(
    fresh: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app_module, "_STALLED_CHECK_SECONDS", 0.05)
    keeper = asyncio.create_task(app_module._take_back_stalled(fresh.url))
    try:
        for round_number in range(2):
            await _defer(fresh, jobs.Job(task=jobs.PARSE))
            async with fresh.begin() as connection:  # as a worker that was killed leaves it
                await connection.execute(text("UPDATE procrastinate_jobs SET status = 'doing' WHERE status = 'todo'"))
            async with asyncio.timeout(60):
                while any(row["status"] == "doing" for row in await _list(fresh)):  # noqa: ASYNC110 - other processes set no events
                    await asyncio.sleep(0.02)
            assert not keeper.done()
            if round_number == 0:
                async with fresh.begin() as connection:
                    query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
                    await connection.execute(text(query + "AND datname = current_database()"))
    finally:
        keeper.cancel()
        await asyncio.gather(keeper, return_exceptions=True)


def _settings(tmp_path: Path, url: str, *queues: Literal["parse", "words", "index", "link", "host"]) -> Settings:
    return Settings(
        data_dir=tmp_path, host="box-1", database=DatabaseSettings(url=SecretStr(url)), jobs=JobSettings(queues=queues)
    )


async def test_the_general_worker_serves_its_own_host(fresh: Store, tmp_path: Path) -> None:
    parts = Parts(_settings(tmp_path, fresh.url), fresh.url)
    app = jobs.make_app(fresh.url)
    queues = await _equip_general(app, parts)
    await parts.close()
    assert queues == ["parse", "words", "index", "link", "host:box-1"]
    assert {jobs.PARSE, jobs.LINK, jobs.ASSEMBLE} <= set(app.tasks)


async def test_a_worker_really_takes_the_work_of_its_host_and_no_other(fresh: Store, tmp_path: Path) -> None:
    """A capture that nobody knows is done with at once; the one of another machine must wait for that machine."""
    mine = jobs.Job(task=jobs.ASSEMBLE, queue=jobs.host_queue("box-1"), args={"capture_id": "unknown"})
    await _defer(fresh, replace(mine, queue=jobs.host_queue("box-2")), mine)
    worker = asyncio.create_task(run_worker(_settings(tmp_path, fresh.url), "general"))
    try:
        async with asyncio.timeout(60):
            while not any(row["queue_name"] == "host:box-1" and row["attempts"] for row in await _list(fresh)):
                rows = await _list(fresh)
                if all(row["queue_name"] == "host:box-2" for row in rows):  # deleted: it succeeded
                    break
                await asyncio.sleep(0.05)
    finally:
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)
    (other,) = (row for row in await _list(fresh) if row["queue_name"] == "host:box-2")
    assert (other["status"], other["attempts"]) == ("todo", 0)


async def test_a_host_may_have_any_name(fresh: Store) -> None:
    """Kubernetes gives long ones; PostgreSQL takes 63 bytes, a part of which Procrastinate needs."""
    hosts = ["h" * 35, "h" * 36, "h" * 36 + "x", "я" * 40, "я" * 40 + "x"]
    names = [jobs.host_queue(one) for one in hosts]
    assert names[0] == f"host:{'h' * 35}"
    assert len(set(names)) == len(hosts)
    await _defer(fresh, *[jobs.Job(task=jobs.ASSEMBLE, queue=one, args={"capture_id": "x"}) for one in names])
    assert {row["queue_name"] for row in await _list(fresh)} == set(names)


async def test_a_worker_may_be_told_its_queues(fresh: Store, tmp_path: Path) -> None:
    parts = Parts(_settings(tmp_path, fresh.url, "host", "link"), fresh.url)
    assert await _equip_general(jobs.make_app(fresh.url), parts) == ["host:box-1", "link"]
    await parts.close()


async def test_a_worker_without_a_database_says_so(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="needs a database"):
        await run_worker(Settings(data_dir=tmp_path), "general")
