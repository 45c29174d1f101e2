"""Fifty calls at once while the capture process is killed again and again: each kill costs a call a second at most."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
from itertools import pairwise
from pathlib import Path

from agent.sip.recorder import CaptureEventKind
from agent.sound.packetlog import read_packets
from tests.unit.capture_lab import HOST, running, until

CALLS, SECONDS, KILLS = 50, 12, 4
PACKETS = SECONDS * 50
MISSING = 50  # packets in a row, a second


async def test_fifty_calls_survive_kills(tmp_path: Path) -> None:
    async with running(tmp_path / "captures") as bench:
        names = [f"call-{number}" for number in range(CALLS)]
        ports = [bench.recorder.open_stream(name, index) for name in names for index in (0, 1)]
        load = await asyncio.create_subprocess_exec(
            *[sys.executable, "-m", "tests.bench.load", HOST, str(SECONDS), *map(str, ports)],
            stdout=asyncio.subprocess.PIPE,
        )
        await until(lambda: len(bench.kinds(CaptureEventKind.FIRST_PACKET)) == len(ports))
        dice = random.Random(1)
        for _ in range(KILLS):
            await asyncio.sleep(1 + dice.random())
            killed = bench.pid
            os.kill(killed, signal.SIGKILL)
            await until(lambda killed=killed: bench.recorder.pid not in (None, killed))  # type: ignore[misc]
        told, _ = await load.communicate()
        assert json.loads(told)["packets"] == PACKETS
        await asyncio.gather(*[bench.recorder.close_capture(name) for name in names])
    longest = 0
    for name in names:
        for index in (0, 1):
            reader = read_packets(bench.folder / name / f"{index}.rtpdump")
            sequence = [int.from_bytes(packet.data[2:4], "big") for packet in reader]
            assert reader.torn is None
            assert sequence == sorted(set(sequence)), "in order, and each once"
            longest = max([longest, *(after - before - 1 for before, after in pairwise([-1, *sequence, PACKETS]))])
    assert longest <= MISSING
    assert sum(event.details["strangers"] for event in bench.kinds(CaptureEventKind.CLOSED)) == 0
