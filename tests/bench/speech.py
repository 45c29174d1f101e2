"""40 two-channel calls of 20 s to 10 min, half of it silence: from sealed recordings to transcripts in the database.

Ours is the worker of the service with its jobs, on the embedded database. Peer is the loop of faster-whisper's README
over the same calls mixed into one channel, with the same model and threads; the limit is its batched pipeline over
speech that somebody has found, cut and decoded already. Each runs in a fresh process, in turns; the best round of each
counts. A model may be given windows as short as their sound if it was trained so, as no Whisper of OpenAI's was: "30 s
windows" is ours without that. Then the memory of the worker over a short call and over one of three hours.
CARDLINE_BENCH_CALLS, CARDLINE_BENCH_ROUNDS and CARDLINE_BENCH_HOURS make it smaller; CARDLINE_BENCH_MODEL: another one.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import structlog
from sqlalchemy import text

from agent import jobs
from agent.model import CapturedCall, Disposition
from agent.parts import Parts
from agent.settings import Settings
from agent.store import blobs, recordings, transcripts
from agent.store.migrate import migrate
from agent.store.postgres import EmbeddedPostgres
from agent.transcribe.engines.habits import HABITS_FILE, read_habits
from agent.transcribe.models.fetching import TINY_DEMO, find_model
from agent.transcribe.wer import WordErrors, word_errors
from tests.bench._speech_calls import BenchCall, make_calls
from tests.bench.result import Result
from tests.speech.calls import SyntheticCall, make_call, write_flac

CALLS = int(os.environ.get("CARDLINE_BENCH_CALLS", "40"))
ROUNDS = int(os.environ.get("CARDLINE_BENCH_ROUNDS", "2"))
HOURS = float(os.environ.get("CARDLINE_BENCH_HOURS", "3"))
MODEL = os.environ.get("CARDLINE_BENCH_MODEL", TINY_DEMO)
THREADS = 2
TIMES, OF_THE_LIMIT = 2.0, 0.9
MOST_MB, MOST_GROWTH_MB = 400.0, 40.0
_SHORT_SECONDS = 600.0
_EMPTY = "TRUNCATE recording, transcript, utterance, procrastinate_jobs CASCADE"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """What one process did: seconds of wall time and of CPU, share of words wrong, peak memory in MB."""

    wall: float
    cpu: float
    wer: float | None
    memory: float

    def __str__(self) -> str:
        wrong = f"{100 * self.wer:5.1f} % of words wrong, " if self.wer is not None else ""
        return f"{self.wall:7.2f} s, {self.cpu:7.2f} s CPU, {wrong}{self.memory:6.1f} MB"


def run() -> Result:
    """Measure in turns and print each."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    calls = make_calls(CALLS)
    with tempfile.TemporaryDirectory(prefix="cardline-bench-") as folder:
        found = asyncio.run(_measure(Path(folder), calls))
    ours, plain, batched = found["ours"], found["plain"], found["batched"]
    small, large = found["short call"], found["long call"]
    ratio, of_limit = plain.wall / ours.wall, batched.wall / ours.wall
    minutes = sum(call.seconds for call in calls) / 60
    return Result(
        bench="speech",
        work=f"{CALLS} two-channel calls, {minutes:.0f} minutes, to transcripts; faster-whisper's loop over the mix",
        unit="s wall",
        ours=round(ours.wall, 2),
        peer=round(plain.wall, 2),
        ratio=round(ratio, 2),
        goal=f"at least {TIMES:g} times as fast, no more words wrong; {OF_THE_LIMIT:g} of the batched pipeline on cut "
        f"speech; under {MOST_MB:g} MB, and not {MOST_GROWTH_MB:g} MB more for {HOURS:g} hours",
        holds=ratio >= TIMES
        and (ours.wer or 0.0) <= (plain.wer or 0.0)
        and of_limit >= OF_THE_LIMIT
        and max(ours.memory, large.memory) < MOST_MB
        and large.memory - small.memory < MOST_GROWTH_MB,
        details={"times of the limit": round(of_limit, 2)} | {name: asdict(one) for name, one in found.items()},
    )


async def _measure(folder: Path, calls: Sequence[BenchCall]) -> dict[str, _Run]:
    server = EmbeddedPostgres(folder)
    await server.start()
    parts = Parts(Settings(data_dir=folder), server.url)
    try:
        await migrate(server.url)
        runs: dict[str, list[_Run]] = {"ours": [], "plain": [], "batched": []}
        for _ in range(ROUNDS):
            sounds = [call.path.read_bytes() for call in calls]
            runs["ours"].append(await _ours(parts, server.url, sounds, calls))
            for peer in ("plain", "batched"):
                runs[peer].append(_peer(peer, calls))
            for name, made in runs.items():
                print(f"{name:10} {made[-1]}", flush=True)
        best = {name: min(made, key=lambda one: one.wall) for name, made in runs.items()}
        best["30 s windows"] = await _ours(parts, server.url, sounds, calls, model=_without_short_windows(folder))
        print(f"30 s windows {best['30 s windows']}", flush=True)
        call = make_call(1, seconds=_SHORT_SECONDS)
        for name, hours in (("short call", _SHORT_SECONDS / 3600), ("long call", HOURS)):
            best[name] = await _ours(parts, server.url, [_lasting(call, hours)], [])
            print(f"{name:10} {best[name]}", flush=True)
        return best
    finally:
        await parts.close()
        await server.stop()


def _lasting(call: SyntheticCall, hours: float) -> bytes:
    """The same call over and over."""
    times = max(1, round(hours * 3600 / call.seconds))
    return write_flac(SyntheticCall(
        language=call.language,
        channels=tuple(np.tile(one, times) for one in call.channels),
        lines=(),
        voices=call.voices,
    ))  # fmt: skip


async def _ours(
    parts: Parts, url: str, sounds: Sequence[bytes], calls: Sequence[BenchCall], *, model: str = MODEL
) -> _Run:
    async with parts.store.begin() as connection:
        await connection.execute(text(_EMPTY))
    kept = [await _keep(parts, sound, number) for number, sound in enumerate(sounds)]
    done = _process(["ours", url, str(parts.settings.data_dir), str(THREADS)], "", model=model)
    async with parts.store.begin() as connection:
        found = {one.interaction_id: one for one in await transcripts.list_transcripts(connection, kept)}
    if set(found) != set(kept):
        raise SystemExit(f"{len(kept) - len(found)} calls have no transcript.")
    texts = [" ".join(one.text for one in found[number].utterances) for number in kept]
    return _Run(wall=done["wall"], cpu=done["cpu"], wer=_wrong(calls, texts) if calls else None, memory=done["memory"])


async def _keep(parts: Parts, sound: bytes, number: int) -> int:
    """A call with its sealed recording and its job; the number of the interaction."""
    key, ended = uuid.uuid4().hex, datetime.now(UTC) - timedelta(minutes=number)
    call = CapturedCall(source="bench", key=key, started=ended, ended=ended, disposition=Disposition.ANSWERED)
    interaction_id = await parts.intake.close_call(call)
    sealed = parts.archive.seal(sound, media_type="audio/flac")
    async with parts.store.begin() as connection:
        recording_id = await recordings.save_recording(
            connection,
            capture_id=None,
            reference=key,
            interaction_id=interaction_id,
            blob_id=await blobs.save_blob(connection, sealed, source="bench"),
            started=ended,
            duration_ms=1000,
            channels=2,
            sample_rate=8000,
            gaps=(),
            truncated=False,
        )
        work = jobs.Job(task=jobs.TRANSCRIBE, args={"recording_id": recording_id}, priority=jobs.speech_priority(ended))
        await jobs.defer(connection, [work])
    return interaction_id


def _peer(name: str, calls: Sequence[BenchCall]) -> _Run:
    told = [{"path": str(call.path), "mixed": str(call.mixed), "language": call.language} for call in calls]
    done = _process([name, str(THREADS)], json.dumps(told))
    wer = _wrong(calls, done["texts"]) if name == "plain" else None
    return _Run(wall=done["wall"], cpu=done["cpu"], wer=wer, memory=done["memory"])


def _wrong(calls: Sequence[BenchCall], texts: Sequence[str]) -> float:
    """Share of words wrong over all calls; the reference is what was said in order of time."""
    counted = [word_errors(call.said, heard) for call, heard in zip(calls, texts, strict=False)]
    return sum(one.errors for one in counted) / max(1, _words(counted))


def _words(counted: Sequence[WordErrors]) -> int:
    return sum(one.words for one in counted)


def _without_short_windows(folder: Path) -> str:
    """The same model, which says that it takes 30 s only."""
    whole = folder / "whole"
    whole.mkdir()
    for file in find_model(MODEL, data_dir=folder).iterdir():
        if file.name != HABITS_FILE:
            (whole / file.name).symlink_to(file)
    habits = asdict(read_habits(find_model(MODEL, data_dir=folder))) | {"short_windows": False}
    (whole / HABITS_FILE).write_text(json.dumps(habits))
    return str(whole)


def _process(arguments: Sequence[str], told: str, *, model: str = MODEL) -> Mapping[str, Any]:
    """What a fresh process printed in its last line."""
    command = [sys.executable, "-m", "tests.bench._speech_work", *arguments]
    environment = {**os.environ, "CARDLINE_BENCH_MODEL": model}
    done = subprocess.run(command, input=told, stdout=subprocess.PIPE, text=True, check=False, env=environment)
    if done.returncode:
        raise SystemExit(f"{arguments[0]} ended with {done.returncode}")
    found: Mapping[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
