"""A folder of old recordings: taken in, killed in the middle and taken in to its end, beside ffmpeg file by file.

Ours is the command `cardline import recordings` with a database of its own, its start included: it finds the call
records, converts, seals the original and the recording, reads both back and commits. ffmpeg makes FLAC of the same
files, one after another. ``IMPORT_FILES`` says how many, ``IMPORT_SECONDS`` how long each is.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import av
import numpy as np
from sqlalchemy import func, select

from agent.parts import reach_database
from agent.settings import Settings
from agent.store.engine import Store
from agent.store.schema import evidence, recording
from tests.bench.result import Result

FILES = int(os.environ.get("IMPORT_FILES", "300"))
SECONDS = int(os.environ.get("IMPORT_SECONDS", "30"))
_SOUND = Path(__file__).parents[2] / "agent" / "demo" / "sound"
_EPOCH = 1_772_442_000
_ZONE = "Europe/Moscow"


def run() -> Result:
    """Prepare, import with a kill at a third, import to the end, then the peer."""
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        raise SystemExit("The peer of this benchmark is missing: apt-get install ffmpeg")
    with tempfile.TemporaryDirectory(prefix="cardline-bench-") as name:
        folder = Path(name)
        prepare(folder)
        began = time.monotonic()
        killed_at = _import(folder, kill_at=FILES // 3)
        _import(folder)
        ours = time.monotonic() - began
        kept, calls = asyncio.run(_kept(folder))
        print(f"ours   {FILES / ours:6.1f} files/s; killed at {killed_at}, kept {kept} recordings of {calls} calls")
        began = time.monotonic()
        _convert(ffmpeg, folder)
        peer = time.monotonic() - began
        print(f"ffmpeg {FILES / peer:6.1f} files/s", flush=True)
    return Result(
        bench="import",
        work=f"{FILES} stereo WAV files of {SECONDS} s, killed once in between; ffmpeg: the same to FLAC, one by one",
        unit="files/s",
        ours=round(FILES / ours, 1),
        peer=round(FILES / peer, 1),
        ratio=round(peer / ours, 2),
        goal="shows its progress, survives being killed, and never imports one twice",
        holds=kept == calls == FILES,
        details={"killed_at": killed_at, "kept": kept, "calls": calls},
    )


def prepare(folder: Path) -> None:
    """A FreePBX's folder of some days: speech over and over, in each file another part of it, and its Master.csv."""
    voices = [_speech(path) for path in sorted(_SOUND.glob("*.wav"))]
    sound = [np.concatenate(voices[side::2] * (SECONDS // 4 + 2)) for side in (0, 1)]
    with (folder / "Master.csv").open("w") as records:
        for number in range(FILES):
            began = datetime.fromtimestamp(_EPOCH + number * 40, UTC).astimezone(ZoneInfo(_ZONE))
            _write(folder / "monitor", number, began, [np.roll(one, 997 * number) for one in sound])
            records.write(_record(number, began))


def _speech(path: Path) -> np.ndarray:
    with av.open(str(path)) as file:
        return np.concatenate([frame.to_ndarray().reshape(-1) for frame in file.decode(audio=0)]).astype(np.int16)


def _write(folder: Path, number: int, began: datetime, voices: list[np.ndarray]) -> None:
    path = (
        folder
        / f"{began:%Y/%m/%d}"
        / (f"external-101-7495{number:07d}-{began:%Y%m%d-%H%M%S}-{_EPOCH + number * 40}.{number}.wav")
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    data = np.stack([one[: SECONDS * 8000] for one in voices], axis=1).astype("<i2").tobytes()
    head = (
        b"RIFF" + (36 + len(data)).to_bytes(4, "little") + b"WAVEfmt \x10\x00\x00\x00\x01\x00\x02\x00\x40\x1f\x00\x00"
    )
    path.write_bytes(head + b"\x00\x7d\x00\x00\x04\x00\x10\x00data" + len(data).to_bytes(4, "little") + data)
    old = time.time() - 3600
    os.utime(path, (old, old))


def _record(number: int, began: datetime) -> str:
    answer, end = began + timedelta(seconds=4), began + timedelta(seconds=4 + SECONDS)
    return (
        f",7495{number:07d},101,from-did-direct,7495{number:07d},PJSIP/trunk-00000001,PJSIP/101-00000002,Dial,x,"
        f"{began:%F %T},{answer:%F %T},{end:%F %T},{4 + SECONDS},{SECONDS},ANSWERED,DOCUMENTATION,"
        f"{_EPOCH + number * 40}.{number},\n"
    )


def _import(folder: Path, *, kill_at: int | None = None) -> int:
    """Run the command; returns how many files its report had when it ended or was killed."""
    report = folder / "report.jsonl"
    command = [sys.executable, "-m", "agent.cli", "import", "recordings", str(folder / "monitor")]
    command += ["--cdr", str(folder / "Master.csv"), "--timezone", _ZONE, "--report", str(report)]
    process = subprocess.Popen(command, env=_environment(folder), stdin=subprocess.DEVNULL)
    while process.poll() is None:
        time.sleep(0.1)
        if kill_at is not None and report.is_file() and len(report.read_bytes().splitlines()) >= kill_at:
            process.send_signal(signal.SIGKILL)
            process.wait()
            break
    if kill_at is None and process.returncode:
        raise SystemExit(f"the import ended with {process.returncode}")
    return sum(json.loads(line)["fate"] == "imported" for line in report.read_bytes().splitlines(keepends=True)[:-1])


def _environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "CARDLINE_DATA_DIR": str(folder / "data"), "CARDLINE_CONFIG": ""}


async def _kept(folder: Path) -> tuple[int, int]:
    """How many recordings there are, and of how many different calls."""
    async with reach_database(Settings(data_dir=folder / "data")) as url:
        store = Store(url)
        async with store.begin() as connection:
            kept = await connection.execute(select(func.count()).select_from(recording))
            mine = select(func.count(func.distinct(evidence.c.key))).where(evidence.c.blob_id.is_(None))
            calls = await connection.execute(mine)
        await store.close()
        return int(kept.scalar_one()), int(calls.scalar_one())


def _convert(ffmpeg: str, folder: Path) -> None:
    out = folder / "peer.flac"
    for path in (folder / "monitor").rglob("*.wav"):
        subprocess.run([ffmpeg, "-v", "error", "-nostdin", "-y", "-i", str(path), str(out)], check=True)
