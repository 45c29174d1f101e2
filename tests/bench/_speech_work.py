"""What `tests.bench.speech` runs in processes of their own; each prints what it measured as one JSON line."""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the worker has it; for the peers it is no loss either

import asyncio
import io
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import structlog

from agent import jobs
from agent.parts import Parts
from agent.settings import Settings, TranscribeSettings
from agent.transcribe.engine import SAMPLE_RATE
from agent.transcribe.engines.habits import read_habits
from agent.transcribe.models.fetching import find_model
from agent.transcribe.speech.channels import read_channels
from agent.transcribe.speech.planning import plan
from agent.transcribe.speech.speechfinder import find_speech
from agent.worker import _equip_speech, suit_memory

MODEL = os.environ["CARDLINE_BENCH_MODEL"]  # its name or directory
_BATCH = 16  # as faster-whisper's README has it


def settings_of(data_dir: Path, threads: int) -> Settings:
    """As an installation has them, but for model and threads."""
    chosen = TranscribeSettings(model=MODEL, threads=threads, languages=("ru", "en"))
    return Settings(data_dir=data_dir, transcribe=chosen)


async def ours(url: str, data_dir: str, threads: int) -> dict[str, Any]:
    """The worker of the service, until there is no job any more."""
    import faster_whisper  # noqa: F401 - loading libraries is measured for nobody

    parts = Parts(settings_of(Path(data_dir), threads), url)
    app = jobs.make_app(url)
    queues = await _equip_speech(app, parts, beside_service=False)
    async with app.open_async():
        began = time.perf_counter()
        at_once = parts.settings.transcribe.calls_at_once
        await app.run_worker_async(queues=queues, concurrency=at_once, wait=False, delete_jobs="successful")
        wall = time.perf_counter() - began
    await parts.close()
    return {"wall": wall}


def plain(calls: list[dict[str, Any]], threads: int) -> dict[str, Any]:
    """The loop of faster-whisper's README, over mixed files."""
    from faster_whisper import WhisperModel

    began = time.perf_counter()
    model = WhisperModel(_model(), device="cpu", compute_type="int8", cpu_threads=threads)
    texts = []
    for call in calls:
        segments, _ = model.transcribe(call["mixed"], beam_size=5)
        texts.append("".join(segment.text for segment in segments))
    return {"wall": time.perf_counter() - began, "texts": texts}


def batched(calls: list[dict[str, Any]], threads: int) -> dict[str, Any]:
    """faster-whisper's batched pipeline over the speech of both channels, which somebody has cut already."""
    from faster_whisper import BatchedInferencePipeline, WhisperModel

    habits = read_habits(Path(_model()))
    prepared = [_cut(call["path"], habits.join_seconds) for call in calls]
    began = time.perf_counter()
    model = WhisperModel(_model(), device="cpu", compute_type="int8", cpu_threads=threads)
    pipeline = BatchedInferencePipeline(model=model)
    texts = []
    for call, (sound, clips) in zip(calls, prepared, strict=True):
        segments, _ = pipeline.transcribe(
            sound,
            language=call["language"],
            beam_size=habits.beam_size,
            clip_timestamps=clips,
            batch_size=_BATCH,
            without_timestamps=not habits.timestamps,
            word_timestamps=habits.word_times,
        )
        texts.append("".join(segment.text for segment in segments))
    return {"wall": time.perf_counter() - began, "texts": texts}


def _cut(path: str, join_seconds: float) -> tuple[np.ndarray[Any, Any], list[dict[str, float]]]:
    channels = read_channels(io.BytesIO(Path(path).read_bytes()))
    windows = plan(channels, join_seconds=join_seconds, find=find_speech).windows
    sounds = [one.cut(channels) for one in windows]
    ends = np.cumsum([len(sound) for sound in sounds]) / SAMPLE_RATE
    starts = [0.0, *ends[:-1]]
    clips = [{"start": float(start), "end": float(end)} for start, end in zip(starts, ends, strict=True)]
    return np.concatenate(sounds), clips


def _model() -> str:
    return str(find_model(MODEL, data_dir=Path("/nonexistent")))


def main() -> None:
    """``ours URL DATA_DIR THREADS``, or ``plain`` or ``batched`` with THREADS and the calls on standard input."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    if sys.argv[1] == "ours":
        suit_memory("speech")
        found = asyncio.run(ours(sys.argv[2], sys.argv[3], int(sys.argv[4])))
    else:
        found = {"plain": plain, "batched": batched}[sys.argv[1]](json.load(sys.stdin), int(sys.argv[2]))
    status = Path("/proc/self/status").read_text()
    memory = int(status.partition("VmHWM:")[2].split()[0]) / 1024  # ru_maxrss has that of the parent in it
    print(json.dumps({**found, "cpu": time.process_time(), "memory": memory}), flush=True)


if __name__ == "__main__":
    main()
