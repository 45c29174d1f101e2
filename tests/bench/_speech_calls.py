"""The calls of `tests.bench.speech`: made once and kept for further runs, as long as what makes them stays the same."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import tests.speech
from tests.speech.calls import make_call, write_flac

SHORTEST, LONGEST = 20.0, 600.0  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchCall:
    """``path`` has a channel a party, ``mixed`` both in one; ``said`` is all that is said in order of time."""

    path: Path
    mixed: Path
    seconds: float
    language: str
    said: str


def make_calls(count: int) -> list[BenchCall]:
    """``count`` calls of 20 s to 10 min, each longer in proportion, half of it silence; every fourth is English."""
    folder = Path(tempfile.gettempdir()) / f"cardline-bench-speech-{_digest()}"
    folder.mkdir(exist_ok=True)
    lengths = [SHORTEST * (LONGEST / SHORTEST) ** (number / max(1, count - 1)) for number in range(count)]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        made = list(pool.map(_make, [folder] * count, range(count), lengths))
    return sorted(made, key=lambda call: hashlib.sha256(call.path.name.encode()).digest())  # long and short mixed


def _make(folder: Path, number: int, seconds: float) -> BenchCall:
    name = f"{number}-{seconds:.0f}"
    path, mixed, table = (folder / f"{name}{end}" for end in (".flac", "-mixed.flac", ".json"))
    language = "en" if number % 4 == 3 else "ru"
    if not table.exists():
        call = make_call(number, language=language, seconds=seconds)
        path.write_bytes(write_flac(call))
        mixed.write_bytes(write_flac(call, mixed=True))
        table.write_text(json.dumps({"seconds": call.seconds, "said": call.said()}, ensure_ascii=False), "utf-8")
    known = json.loads(table.read_text("utf-8"))
    return BenchCall(path=path, mixed=mixed, seconds=known["seconds"], language=language, said=known["said"])


def _digest() -> str:
    folder = Path(tests.speech.__file__).parent
    made_by = [folder / f"{name}.py" for name in ("calls", "corpus", "synth", "voices")]
    content = b"".join(path.read_bytes() for path in [*made_by, *sorted(folder.glob("phrases/*"))])
    return hashlib.sha256(content).hexdigest()[:12]
