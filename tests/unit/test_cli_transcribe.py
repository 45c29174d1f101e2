"""`cardline transcribe` and `cardline status` on a real database."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from agent.archive.blobs import Archive
from agent.cli import app
from agent.intake import Intake
from agent.store import transcriptions
from agent.store.engine import Store
from tests.unit.test_transcribe_afterwards import record, said, save

EARLY, LATE = datetime(2032, 1, 1, tzinfo=UTC), datetime(2032, 3, 1, tzinfo=UTC)


async def cardline(store: Store, *arguments: str) -> str:
    """What the command prints."""
    environment = {"CARDLINE_DATABASE__URL": store.url, "COLUMNS": "200", "CARDLINE_CONFIG": ""}
    done = await asyncio.to_thread(CliRunner().invoke, app, list(arguments), env=environment)
    assert done.exit_code == 0, done.output
    return done.output


async def jobs_of(store: Store, recordings: Sequence[int]) -> list[tuple[dict[str, object], int]]:
    query = text(
        "SELECT args, priority FROM procrastinate_jobs WHERE task_name = 'transcribe' "
        "AND (args ->> 'recording_id')::bigint = ANY(:ids) ORDER BY priority DESC, id"
    )
    async with store.begin() as connection:
        return [(row.args, row.priority) for row in await connection.execute(query, {"ids": list(recordings)})]


@pytest.fixture
async def recordings(store: Store, archive: Archive, intake: Intake) -> list[int]:
    """Three of a minute each, the first of them transcribed by "small"."""
    made = [(await record(store, archive, intake, started=started))[1] for started in (EARLY, EARLY, LATE)]
    await save(store, made[0], said(1, "раз"))
    return made


async def test_older_calls_wait_behind_all_others(store: Store, recordings: list[int]) -> None:
    since = ("transcribe", "--since", "2032-01-01", "--until", "2032-12-31")
    told = await cardline(store, *since, "--dry-run")
    assert "2 recordings, 0.0 hours of talk, not transcribed by small" in told
    assert await jobs_of(store, recordings) == []
    assert "2 recordings" in await cardline(store, *since)
    first, second = await jobs_of(store, recordings)
    assert first[0] == {"recording_id": recordings[2], "model": ""}, "the newest first"
    assert second[0] == {"recording_id": recordings[1], "model": ""}
    assert first[1] < 0, "behind every call of today"
    told = await cardline(store, *since, "--model", "large-v3", "--dry-run")
    assert "not transcribed by large-v3" in told
    assert told.startswith("3 recordings") or "3 recordings" in told
    assert "Every recording of that time" in await cardline(store, "transcribe", "--since", "2033-01-01")


async def test_status_says_how_far_it_is(store: Store, recordings: list[int]) -> None:
    async with store.begin() as connection:
        await transcriptions.begin(connection, recordings[1], model="small", host="speech-1")
        await transcriptions.note(connection, recordings[1], done=12, seconds=40, answers={})
    told = await cardline(store, "status")
    assert f"recording {recordings[1]}: 12 of 40 s of speech, small on speech-1" in told
    assert "1 in work" in told
    assert "index of words:" in told
    async with store.begin() as connection:
        await transcriptions.forget(connection, recordings[1])
