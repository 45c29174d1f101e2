"""One hour of a two-channel G.711 call: from packet logs to a sealed FLAC, beside Debian's ffmpeg and its FLAC alone.

Ours reads the logs, decodes, encodes, seals and reads back what was sealed; ffmpeg is given the finished sound as WAV.
Each runs in a fresh process, so wall time, CPU and peak memory are those of the whole work, start of the interpreter
included.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agent.sound.codecs import STATIC_CODECS, Decoder

SECONDS = 3600
EPOCH = 1_780_000_000.0
ROUNDS = 3
MOST_MB, MOST_TIMES = 150, 2.0
GOAL = f"peak memory under {MOST_MB} MB, at most twice ffmpeg's wall time"
_SOUND = Path(__file__).parents[2] / "agent" / "demo" / "sound"
_PACKET = np.dtype(
    [
        ("length", ">u2"),
        ("size", ">u2"),
        ("offset", ">u4"),
        ("first", "u1"),
        ("second", "u1"),
        ("sequence", ">u2"),
        ("timestamp", ">u4"),
        ("ssrc", ">u4"),
        ("payload", "u1", 160),
    ]
)
_NOISE = b"\x55\xd5\x54\xd4\x57"  # the quietest steps of A-law: the floor of a line that is open


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Of a process: wall and CPU in seconds, peak resident memory in MB."""

    wall: float
    cpu: float
    memory: float

    def __str__(self) -> str:
        return f"{self.wall:6.2f} s wall, {self.cpu:6.2f} s CPU, {self.memory:6.1f} MB peak"


def run() -> dict[str, Any]:
    """Measure and print; the result as `python -m tests.bench` prints it last."""
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        raise SystemExit("The peer of this benchmark is missing: apt-get install ffmpeg")
    with tempfile.TemporaryDirectory(prefix="cardline-bench-") as name:
        folder = Path(name)
        _prepare(folder)
        ours, peer = [], []
        for _ in range(ROUNDS):
            ours.append(_cost([sys.executable, "-m", "tests.bench.assemble", str(folder)]))
            peer.append(_cost([ffmpeg, "-v", "error", "-y", "-i", str(folder / "call.wav"), str(folder / "peer.flac")]))
            print(f"ours   {ours[-1]}\nffmpeg {peer[-1]}", flush=True)
        sizes = [(folder / one).stat().st_size / 1e6 for one in ("ours.flac", "peer.flac")]
    print(f"FLAC: ours {sizes[0]:.1f} MB, ffmpeg {sizes[1]:.1f} MB")
    wall, other = min(one.wall for one in ours), min(one.wall for one in peer)
    memory = max(one.memory for one in ours)
    return {
        "bench": "assemble",
        "work": f"{SECONDS} s of a two-channel G.711 call to a sealed FLAC",
        "unit": "s",
        "ours": {"wall": wall, "cpu": min(one.cpu for one in ours), "memory_mb": memory},
        "peer": {"name": "ffmpeg, FLAC only", "wall": other, "cpu": min(one.cpu for one in peer)},
        "ratio": round(other / wall, 2),
        "goal": GOAL,
        "holds": wall <= MOST_TIMES * other and memory < MOST_MB,
    }


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


def _prepare(folder: Path) -> None:
    """Two packet logs of the demo's speech, over and over with pauses between, and the same sound as WAV."""
    voices = sorted(_SOUND.glob("*.wav"))
    sound = []
    for channel in (0, 1):
        said = b"".join(_alaw(path) + _NOISE * 4000 for path in voices[channel::2])
        sound.append((said * (SECONDS * 8000 // len(said) + 1))[: SECONDS * 8000])
        _write_log(folder / f"{channel}.rtpdump", sound[channel], ssrc=1000 + channel)
    decoders = [Decoder(STATIC_CODECS[8]) for _ in sound]
    with wave.open(str(folder / "call.wav"), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(8000)
        for place in range(0, SECONDS * 8000, 80000):
            parts = [one.decode(data[place : place + 80000]) for one, data in zip(decoders, sound, strict=True)]
            file.writeframes(np.stack([part for part in parts if part is not None], axis=1).astype("<i2").tobytes())


def _alaw(path: Path) -> bytes:
    """The sound of a WAV file of A-law, which the wave module does not read."""
    return path.read_bytes().partition(b"data")[2][4:]


def _write_log(path: Path, sound: bytes, *, ssrc: int) -> None:
    """As the capture process writes it, a packet a 20 ms, with the jitter of a quiet network."""
    count = len(sound) // 160
    late = np.abs(np.random.default_rng(ssrc).normal(0, 2, count)).astype(int)
    packets = np.zeros(count, _PACKET)
    packets["length"], packets["size"], packets["offset"] = 180, 172, np.arange(count) * 20 + late
    packets["first"], packets["second"], packets["sequence"] = 0x80, 8, np.arange(count) & 0xFFFF
    packets["timestamp"], packets["ssrc"] = np.arange(count) * 160, ssrc
    packets["payload"] = np.frombuffer(sound, np.uint8)[: count * 160].reshape(count, 160)
    head = b"#!rtpplay1.0 192.0.2.1/40000\n" + struct.pack("!IIIHH", int(EPOCH), 0, 0, 40000, 0)
    path.write_bytes(head + packets.tobytes())


def _assemble(folder: Path) -> None:
    """What the job does between the logs and the database."""
    from agent.archive.blobs import open_archive
    from agent.sound.assemble import StreamPlan, assemble

    plans = [StreamPlan(path=folder / f"{channel}.rtpdump", channel=channel, codecs={}) for channel in (0, 1)]
    done = assemble(plans, started=EPOCH, ended=EPOCH + SECONDS, out=folder / "ours.flac")
    assert done.packets == 2 * SECONDS * 50 and not done.gaps and not done.flags, done
    archive = open_archive(folder, "")
    with done.path.open("rb") as source:
        sealed = archive.seal(source, media_type="audio/flac")
    assert not archive.check(sealed)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        _assemble(Path(sys.argv[1]))
    else:
        print(json.dumps(run()))
