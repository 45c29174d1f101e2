"""`cardline transcribe`: calls of before, by the models of the settings or another one; `cardline status`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from agent.commandline.base import console, in_database, read_settings

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

_BATCH = 500
_STILL = timedelta(minutes=2)  # a worker notes every few seconds how far it is

Day = Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Calls before this day, UTC.")]


def transcribe(
    since: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="Calls from this day on, UTC.")],
    until: Day = None,
    model: Annotated[str, typer.Option(help="Another model than those of the settings; what is there stays.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how many hours of talk that is.")] = False,
) -> None:
    """Have older calls transcribed that this model has not transcribed yet: behind all others, the newest first."""
    from agent import jobs
    from agent.store import retranscribing
    from agent.transcribe.models.choosing import models_of

    models = [model] if model else list(models_of(read_settings()))

    async def work(connection: AsyncConnection) -> tuple[int, float]:
        end = until.replace(tzinfo=UTC) if until is not None else None
        found = await retranscribing.list_recordings_without(
            connection, models, since=since.replace(tzinfo=UTC), until=end
        )
        for first in range(0, 0 if dry_run else len(found), _BATCH):
            await jobs.defer(
                connection,
                [
                    jobs.Job(
                        task=jobs.TRANSCRIBE,
                        args={"recording_id": number, "model": model},
                        priority=jobs.speech_priority(started, again=True),
                    )
                    for number, _, started in found[first : first + _BATCH]
                ],
            )
        return len(found), sum(length for _, length, _ in found) / 3_600_000

    count, hours = in_database(work)
    name = escape(", ".join(models))
    if not count:
        console.print(f"Every recording of that time is transcribed by {name}.")
    elif dry_run:
        console.print(f"{count} recordings, {hours:.1f} hours of talk, not transcribed by {name}. Nothing was begun.")
    else:
        console.print(f"{count} recordings, {hours:.1f} hours of talk, wait for {name} behind all newer calls.")


def status() -> None:
    """How far transcribing and the index of words are."""
    for line in in_database(_status_lines):
        console.print(line, highlight=False)


async def _status_lines(connection: AsyncConnection) -> list[str]:
    from agent.store import retranscribing, search, transcriptions

    behind = await transcriptions.find_backlog(connection)
    done = await retranscribing.count_since(connection, datetime.now(UTC) - timedelta(days=1))
    index = await search.backlog(connection)
    lines = [
        f"speech: {done.count} calls ({done.seconds / 3600:.1f} h) transcribed in 24 hours, "
        f"{len(behind.doing)} in work, {behind.waiting} waiting ({behind.waiting_seconds / 3600:.1f} h)"
    ]
    now = datetime.now(UTC)
    for one in behind.doing:
        part = f"{one.done:.0f} of {one.seconds:.0f} s of speech" if one.seconds else "begun"
        still = "" if now - one.updated < _STILL else ", not heard of for some time"
        lines.append(f"  recording {one.recording_id}: {part}, {escape(one.model)} on {escape(one.host)}{still}")
    lines.append(f"index of words: {index.waiting} waiting" if index.waiting else "index of words: up to date")
    return lines
