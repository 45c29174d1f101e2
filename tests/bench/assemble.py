"""One hour of a two-channel G.711 call: from packet logs to a sealed FLAC, beside Debian's ffmpeg and its FLAC alone.

Ours reads the logs, decodes, encodes, seals and reads back what was sealed; ffmpeg is given the finished sound as WAV.
Each runs in a fresh process, so wall time, CPU and peak memory are those of the whole work, start of the interpreter
included. This process stays small, since Linux counts the memory of the one that starts another as the other's too.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.bench.result import Result

SECONDS = 3600
ROUNDS = 5
MOST_MB, MOST_TIMES = 150, 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Of a process: wall and CPU in seconds, peak resident memory in MB."""

    wall: float
    cpu: float
    memory: float

    def __str__(self) -> str:
        return f"{self.wall:6.2f} s wall, {self.cpu:6.2f} s CPU, {self.memory:6.1f} MB peak"


def run() -> Result:
    """Measure in turns and print each; the best of either counts, as other work of the machine only ever slows down."""
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        raise SystemExit("The peer of this benchmark is missing: apt-get install ffmpeg")
    work = [sys.executable, "-m", "tests.bench._assemble_work"]
    with tempfile.TemporaryDirectory(prefix="cardline-bench-") as name:
        folder = Path(name)
        subprocess.run([*work, "prepare", name], check=True)
        ours, peer = [], []
        for _ in range(ROUNDS):
            ours.append(_cost([*work, "assemble", name]))
            peer.append(_cost([ffmpeg, "-v", "error", "-y", "-i", f"{name}/call.wav", f"{name}/peer.flac"]))
            print(f"ours   {ours[-1]}\nffmpeg {peer[-1]}", flush=True)
        sizes = [(folder / one).stat().st_size / 1e6 for one in ("ours.flac", "peer.flac")]
    print(f"FLAC: ours {sizes[0]:.1f} MB, ffmpeg {sizes[1]:.1f} MB")
    best, other = _best(ours), _best(peer)
    return Result(
        bench="assemble",
        work=f"{SECONDS} s of a two-channel G.711 call to a sealed FLAC; ffmpeg: WAV to FLAC",
        unit="s wall",
        ours=best.wall,
        peer=other.wall,
        ratio=round(other.wall / best.wall, 2),
        goal=f"peak memory under {MOST_MB} MB, at most {MOST_TIMES:g} times ffmpeg's wall time",
        holds=best.wall <= MOST_TIMES * other.wall and best.memory < MOST_MB,
        details={"ours": asdict(best), "peer": asdict(other)},
    )


def _best(costs: list[Cost]) -> Cost:
    return Cost(
        wall=min(one.wall for one in costs),
        cpu=min(one.cpu for one in costs),
        memory=max(one.memory for one in costs),
    )


def _cost(command: list[str]) -> Cost:
    start = time.monotonic()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command[0]} ended with {process.returncode}")
    return Cost(
        wall=round(time.monotonic() - start, 3),
        cpu=round(used.ru_utime + used.ru_stime, 3),
        memory=round(used.ru_maxrss / 1024, 1),
    )
