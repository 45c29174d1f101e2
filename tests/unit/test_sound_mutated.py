"""Packet logs as a hostile or broken sender would fill them: always a recording, never an exception."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agent.sound.assemble import Assembly
from agent.sound.codecs import Codec
from agent.sound.srtp import SrtpKeys
from agent.sound.streams import StreamPlan
from tests.unit.soundlab import EPOCH, chirps, stream, write_log
from tests.unit.test_sound_srtp import AES, protected, write

CODECS = {
    96: Codec(name="opus", clock_rate=48000, channels=2),
    97: Codec(name="AMR", clock_rate=8000),
    98: Codec(name="AMR-WB", clock_rate=16000, fmtp="octet-align=1"),
    99: Codec(name="G726-24", clock_rate=8000),
    100: Codec(name="speex", clock_rate=16000),
    101: Codec(name="telephone-event", clock_rate=8000),
    102: Codec(name="iLBC", clock_rate=8000),
}
TYPES = [0, 2, 3, 4, 8, 9, 13, 18, 77, *CODECS]


def mutated_log(path: Path, random: np.random.Generator) -> Path:
    """Four seconds in which codecs, sources, counters, payloads and the file itself are changed at random."""
    packets = [
        replace(
            one,
            payload_type=int(random.choice(TYPES)) if random.random() < 0.3 else 8,
            ssrc=int(random.integers(1, 4)) if random.random() < 0.2 else 1,
            timestamp=one.timestamp + (int(random.integers(-(2**31), 2**31)) if random.random() < 0.05 else 0),
            sequence=one.sequence + (int(random.integers(0, 70000)) if random.random() < 0.05 else 0),
            payload=one.payload if random.random() < 0.7 else random.bytes(int(random.integers(0, 400))),
        )
        for one in stream(chirps(4))
        if random.random() < 0.95
    ]
    write_log(path, packets)
    data = bytearray(path.read_bytes())
    for place in random.integers(0, len(data), int(random.integers(0, 60))).tolist():
        data[place] = int(random.integers(256))
    path.write_bytes(data[: int(random.integers(0, 2 * len(data)))])
    return path


def check(folder: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    path = mutated_log(folder / f"{seed}.rtpdump", random)
    if random.random() < 0.3:
        path.unlink()
        write(path, [(at, bytes(random.permutation(list(one)))) for at, one in protected(AES, stream(chirps(1)))])
    keys = SrtpKeys(keys=(AES,)) if random.random() < 0.3 else None
    pauses = [(EPOCH + begin, EPOCH + end) for begin, end in random.uniform(-1, 5, (int(random.integers(0, 3)), 2))]
    assembly = Assembly([StreamPlan(path=path, channel=0, codecs=CODECS, srtp=keys)], pauses=pauses)
    done = assembly.write(started=EPOCH + random.uniform(-1, 2), ended=EPOCH + 5, out=folder / "x.flac")
    length = done.samples * 1000 // done.rate
    assert all(0 <= gap.start_ms < gap.end_ms <= length for gap in done.gaps)
    assert all(0 <= mark.start_ms <= mark.end_ms <= length for mark in done.marks)


@pytest.mark.parametrize("seed", range(10))
def test_mutated_logs(tmp_path: Path, seed: int) -> None:
    check(tmp_path, seed)


@pytest.mark.soak
def test_many_mutated_logs(tmp_path: Path) -> None:
    for seed in range(10, 2000):
        check(tmp_path, seed)
        (tmp_path / f"{seed}.rtpdump").unlink()
