"""Durable work: jobs are deferred inside the transaction that makes them necessary, and done by whoever is free.

Procrastinate keeps the jobs in the same PostgreSQL as the rows. `defer` calls its SQL function over our own
connection, so a rollback leaves no job and a commit never forgets one. The names of all jobs stand here, so that the
siblings above (sip, mail, transcribe, linker) can ask for each other's work without importing each other.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import procrastinate
import psycopg
import structlog
from procrastinate import jobs as procrastinate_jobs
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.errors import Misconfigured, Unavailable

log = structlog.get_logger()

ASSEMBLE = "assemble"  # packet logs of a closed call -> a sealed recording; on the host that has the logs
TRANSCRIBE = "transcribe"  # a recording -> its transcript
PARSE = "parse"  # sealed mails -> messages
EXTRACT_WORDS = "extract_words"  # attached files of messages -> their words
INDEX = "index"  # whatever has changed -> the index of words
LINK = "link"  # interactions -> parties with roles, client cards with reasons
READ_NOTIFICATIONS = "read_notifications"  # what virtual PBXs told -> calls
SEAL_TOLD = "seal_told"  # what virtual PBXs told of calls that have ended -> the archive
FETCH_RECORDINGS = "fetch_recordings"  # recordings due at virtual PBXs -> the archive
IMPORT_CARDS = "import_cards"  # an uploaded list -> cards
RESORT = "resort"  # all mails, by rules that were changed
MASK = "mask"  # transcripts of before, by rules that were changed
MEASURE = "measure"  # figures of a talk whose call was answered at another time than was known
CARRY_SEAL = "carry_seal"  # a seal of the chain -> a place outside
DELIVER = "deliver"  # whatever is due for a CRM -> that CRM
RETAIN = "retain"  # what is older than the policy of retention -> tombstones
READ_CRM = "read_crm"  # cards, users and deals of a CRM -> its mirror

SPEECH_QUEUE = "speech"
_QUEUES = {
    TRANSCRIBE: SPEECH_QUEUE,
    PARSE: "parse",
    EXTRACT_WORDS: "words",
    INDEX: "index",
    LINK: "link",
    READ_NOTIFICATIONS: "parse",
    SEAL_TOLD: "parse",
    FETCH_RECORDINGS: "parse",
    IMPORT_CARDS: "link",
    RESORT: "link",
    MASK: "link",
    MEASURE: "link",
    CARRY_SEAL: "link",
    RETAIN: "link",
}

_LONGEST_QUEUE = 63 - len("procrastinate_queue_v1#")  # bytes: the queue becomes a channel of NOTIFY

HEARTBEAT_SECONDS = 3.0
STALLED_SECONDS = 15.0
_FIRST_RETRY_SECONDS = 2
_LONGEST_RETRY_SECONDS = 600
_ATTEMPTS_OF_A_BUG = 8
_INNOCENT_RETURNS = 3
FINISHING = 1
"""Priority of what finishes something begun (a mail that was read, a call that was told) before more is begun: else all
mails of a large mailbox are read before the first of them is found, and at the end one processor indexes by itself."""
_BEHIND = 1_000_000_000  # minutes; priorities are 32-bit integers


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One piece of work: the task's name and its JSON arguments. ``lock`` lets only one job with it run at a time;
    before ``at`` it is not begun."""

    task: str
    args: Mapping[str, Any] = field(default_factory=dict)
    queue: str = ""
    priority: int = 0
    lock: str | None = None
    at: datetime | None = None

    @property
    def queue_name(self) -> str:
        """The queue asked for, else the task's own."""
        return self.queue or _QUEUES[self.task]


def speech_priority(started: datetime, *, again: bool = False) -> int:
    """Of calls to be transcribed the newest comes first (by the minute), so that ten thousand old recordings keep no
    call of today waiting; what is asked for ``again`` comes behind all of them."""
    return int(started.timestamp() // 60) - (_BEHIND if again else 0)


def host_queue(host: str) -> str:
    """Queue of the work that needs files lying on this host. A name too long for PostgreSQL is cut and told apart."""
    name = f"host:{host}"
    if len(name.encode()) <= _LONGEST_QUEUE:
        return name
    told_apart = f"~{hashlib.sha256(host.encode()).hexdigest()[:8]}"
    return name.encode()[: _LONGEST_QUEUE - len(told_apart)].decode(errors="ignore") + told_apart


def crm_queue(name: str) -> str:
    """Queue of all that is said to one CRM, by a worker that does nothing else: it may take its time to answer."""
    return f"crm:{name}"


_DEFER = text(
    """
    SELECT procrastinate_defer_jobs_v1(ARRAY(
        SELECT ROW(j.queue_name, j.task_name, j.priority, j.lock, NULL, j.args, j.at)::procrastinate_job_to_defer_v1
        FROM jsonb_to_recordset(CAST(:jobs AS jsonb))
             AS j(queue_name text, task_name text, priority integer, lock text, args jsonb, at timestamptz)
    ))
    """
)


async def defer(connection: AsyncConnection, jobs: Sequence[Job]) -> None:
    """Put jobs into the queue as part of the caller's transaction."""
    if not jobs:
        return
    rows = [
        {
            "queue_name": job.queue_name,
            "task_name": job.task,
            "priority": job.priority,
            "lock": job.lock,
            "args": dict(job.args),
            "at": job.at.isoformat() if job.at is not None else None,
        }
        for job in jobs
    ]
    await connection.execute(_DEFER, {"jobs": json.dumps(rows)})


_WAITS = text(
    """
    SELECT id FROM procrastinate_jobs
    WHERE task_name = :task AND queue_name = :queue AND status = 'todo'
          AND (scheduled_at IS NULL OR scheduled_at <= now())
    LIMIT 1 FOR SHARE SKIP LOCKED
    """
)


async def defer_unless_waiting(connection: AsyncConnection, job: Job) -> None:
    """For a job that does whatever there is to do: one that waits already is enough.

    It is held until the caller's commit, so it cannot begin before it would see what the caller has written.
    """
    held = await connection.execute(_WAITS, {"task": job.task, "queue": job.queue_name})
    if held.first() is None:
        await defer(connection, [job])


async def retain(connection: AsyncConnection) -> None:
    """Have a batch of what is older than the policy erased."""
    await defer(connection, [Job(task=RETAIN, lock="retention")])


async def carry_seal(connection: AsyncConnection, number: int, targets: Sequence[str]) -> None:
    """Have a seal brought to places outside."""
    work = [Job(task=CARRY_SEAL, args={"number": number, "target": one}) for one in targets]
    await defer(connection, work)


class Retry(procrastinate.BaseRetryStrategy):
    """Doubling pauses. What is merely away is tried for ever; what looks like a bug is given up and kept as failed.

    Failures that look like a bug are counted here and not by the job's attempts, most of which may have been spent
    waiting for a database that was away.
    """

    def __init__(self) -> None:
        self._bugs: Counter[int | None] = Counter()

    def get_retry_decision(
        self, *, exception: BaseException, job: procrastinate_jobs.Job
    ) -> procrastinate.RetryDecision | None:
        """Seconds until the next attempt, or None to give up. A job that a shutdown broke off is no bug."""
        is_bug = not isinstance(exception, Unavailable | Misconfigured | asyncio.CancelledError)
        self._bugs[job.id] += is_bug
        if self._bugs[job.id] >= _ATTEMPTS_OF_A_BUG:
            del self._bugs[job.id]
            log.error("job_given_up", task=job.task_name, job=job.id, error=repr(exception))
            return None
        return procrastinate.RetryDecision(retry_in={"seconds": _pause(job.attempts)})


def _pause(attempts: int) -> int:
    return int(min(_FIRST_RETRY_SECONDS * 2 ** min(attempts, 16), _LONGEST_RETRY_SECONDS))


def make_app(url: str, *, redoable: bool = False) -> procrastinate.App:
    """The Procrastinate app on the database at ``url`` (a libpq URL), with no tasks yet.

    ``redoable``: it notes what it takes and what is done without waiting for the disk (`Store.begin`). A job that was
    done and is done again after a crash must then change nothing outside of the database either.
    """
    configure = _do_not_wait if redoable else None
    connector = procrastinate.PsycopgConnector(conninfo=url, min_size=1, max_size=4, configure=configure)
    return procrastinate.App(connector=connector)


async def _do_not_wait(connection: psycopg.AsyncConnection[Any]) -> None:
    await connection.execute("SET synchronous_commit = off")
    await connection.commit()


def register(app: procrastinate.App, name: str, handler: Callable[..., Awaitable[None]]) -> None:
    """Let ``handler`` do the jobs called ``name``; it must be idempotent, since a killed job runs again."""

    async def run(**arguments: Any) -> None:
        with structlog.contextvars.bound_contextvars(job=name):
            try:
                await handler(**arguments)
            except Unavailable as error:
                log.warning("job_postponed", reason=str(error))
                raise
            except Misconfigured as error:
                log.error("job_postponed", reason=str(error))  # noqa: TRY400 - a person must act, no trace helps
                raise
            except Exception:
                log.exception("job_failed")
                raise

    app.task(name=name, retry=Retry())(run)


async def retry_stalled(app: procrastinate.App) -> int:
    """Take back the jobs of workers that died, so that somebody else does them; returns how many.

    A job that was taken back often may be what kills them, so it waits longer each time and lets the others pass.
    """
    stalled = await app.job_manager.get_stalled_jobs(seconds_since_heartbeat=STALLED_SECONDS)
    count = 0
    for job in stalled:
        pause = _pause(job.attempts) if job.attempts >= _INNOCENT_RETURNS else 0
        await app.job_manager.retry_job(job, retry_at=datetime.now(UTC) + timedelta(seconds=pause))
        count += 1
    if count:
        log.warning("stalled_jobs_taken_back", count=count)
    return count


__all__ = ["ASSEMBLE", "LINK", "PARSE", "TRANSCRIBE", "Job", "defer", "host_queue", "make_app"]
