"""What this machine is worth for speech: its parts, and the speed of each model that is on it, or would be."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from agent.errors import ModelUnavailable
from agent.settings import Settings
from agent.transcribe.capacity.estimates import OFFERED, Estimate, estimate, size_of
from agent.transcribe.capacity.measuring import Measured, Order
from agent.transcribe.capacity.share import count_threads
from agent.transcribe.models.catalogue import KNOWN
from agent.transcribe.models.choosing import models_of
from agent.transcribe.models.fetching import find_model, models_on_disk

BLIND_SIZE = "base"
_DAY_HOURS = 24
_MOST_SECONDS = 900.0  # for one model: loading, and one window of a model that is far too large
_KILLED = -9
_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Cores this process may use, threads that speech gets of them, memory in MB, and GPUs that CTranslate2 can use."""

    cores: int
    threads: int
    memory_mb: int
    free_mb: int
    gpus: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rating:
    """A model on this machine.

    ``speed``: seconds of speech transcribed in a second; 0: not known. ``source``: empty for what was measured, else
    how it was estimated. ``languages``: what the settings want of it. ``error``: why it could not be measured.
    """

    name: str
    is_here: bool
    speed: float = 0.0
    source: str = ""
    load_seconds: float = 0.0
    memory_mb: float = 0.0
    fetch_mb: int = 0
    is_chosen: bool = False
    languages: tuple[str, ...] = ()
    error: str = ""

    @property
    def hours_a_day(self) -> float:
        """How many hours of talk it writes down in a day and night of work. Who speaks in turn makes an hour of talk
        in an hour, whatever the number of channels."""
        return self.speed * _DAY_HOURS


def look(settings: Settings, *, beside_service: bool) -> Machine:
    """This machine, without measuring anything."""
    import ctranslate2

    total, free = _memory()
    return Machine(
        cores=len(os.sched_getaffinity(0)),
        threads=count_threads(settings, beside_service=beside_service),
        memory_mb=total,
        free_mb=free,
        gpus=0 if settings.transcribe.device == "cpu" else ctranslate2.get_cuda_device_count(),
    )


def _memory() -> tuple[int, int]:
    """All and free memory in MB; in a container that of its limit."""
    told = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    total, free = (int(told[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable"))
    with contextlib.suppress(OSError, ValueError):  # another version of cgroups, or no limit, which is the word "max"
        limit = int((_CGROUP / "memory.max").read_text())
        used = int((_CGROUP / "memory.current").read_text())
        total, free = min(total, limit), min(free, max(0, limit - used))
    return total >> 20, free >> 20


def rate(
    settings: Settings,
    threads: int,
    samples: Mapping[str, Sequence[Path]],
    *,
    seconds: float = 10.0,
    run: Callable[[Order], Measured] | None = None,
) -> Iterator[Rating]:
    """Each model on this machine, measured, and those that could be fetched, estimated; one after the other.

    ``samples``: language → files of one voice. Where no Whisper of a known size is here, one that knows nothing is
    measured in its place. Blocks for about ``seconds`` a model.
    """
    run = run or in_child
    chosen = models_of(settings)
    measured: dict[str, float] = {}
    lacking: dict[str, str] = {}
    here = list(dict.fromkeys([*models_on_disk(settings.data_dir), *chosen]))
    for name in here:
        rating = _measured(name, settings, threads, samples, seconds, run)
        if rating.is_here:
            measured[name] = rating.speed
            yield _with_choice(rating, chosen)
        else:
            lacking[name] = rating.error
    if not any(size_of(name) and speed for name, speed in measured.items()):
        order = Order(name=BLIND_SIZE, size=BLIND_SIZE, threads=threads, device=settings.transcribe.device)
        measured[BLIND_SIZE] = run(replace(order, seconds=seconds)).speed
    for name in dict.fromkeys([*lacking, *OFFERED]):
        if name not in measured:
            found = estimate(name, measured) or Estimate(speed=0.0, source="")
            rating = Rating(name=name, is_here=False, speed=found.speed, source=found.source)
            fetch_mb = KNOWN[name].megabytes if name in KNOWN else 0
            yield _with_choice(replace(rating, fetch_mb=fetch_mb, error=lacking.get(name, "")), chosen)


def in_child(order: Order) -> Measured:
    """Measure in a process of its own, whose end this one survives."""
    command = [sys.executable, "-m", "agent.transcribe.capacity.measuring"]
    try:
        done = subprocess.run(
            command, input=json.dumps(asdict(order)), capture_output=True, text=True, timeout=_MOST_SECONDS, check=False
        )
        if done.returncode == 0:
            return Measured(**json.loads(done.stdout))
        error = "it was killed: the memory does not suffice" if done.returncode == _KILLED else _last_line(done.stderr)
    except subprocess.TimeoutExpired:
        error = f"it took over {_MOST_SECONDS / 60:.0f} minutes"
    except (ValueError, TypeError) as problem:
        error = f"it gave no figures: {problem}"
    return Measured(speed=0.0, load_seconds=0.0, memory_mb=0.0, error=error)


def _measured(
    name: str,
    settings: Settings,
    threads: int,
    samples: Mapping[str, Sequence[Path]],
    seconds: float,
    run: Callable[[Order], Measured],
) -> Rating:
    try:
        directory = find_model(name, data_dir=settings.data_dir, thorough=True)
    except ModelUnavailable as error:
        return Rating(name=name, is_here=False, error=error.what)
    known = KNOWN[name].languages if name in KNOWN else ()
    wanted = [
        one for one in (*settings.transcribe.languages, *samples) if one in samples and (not known or one in known)
    ]
    language = wanted[0] if wanted else next(iter(samples))
    order = Order(
        name=name,
        directory=str(directory),
        sound=tuple(str(path) for path in samples[language]),
        language=language,
        threads=threads,
        device=settings.transcribe.device,
        seconds=seconds,
    )
    found = run(order)
    return Rating(
        name=name,
        is_here=True,
        speed=found.speed,
        load_seconds=found.load_seconds,
        memory_mb=found.memory_mb,
        error=found.error,
    )


def _with_choice(rating: Rating, chosen: Mapping[str, tuple[str, ...]]) -> Rating:
    return replace(rating, is_chosen=rating.name in chosen, languages=chosen.get(rating.name, ()))


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1][:200] if lines else "it ended without a word"
