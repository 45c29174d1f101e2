"""A day-long call by its timestamps: whatever clock and network do, each minute of it lies where it was said."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from agent.sound.assemble import assemble
from agent.sound.batches import Batch
from agent.sound.decoding import _quietest
from agent.sound.placing import Placer, Table
from agent.sound.rtp import Floats, Ints, parse_headers
from agent.sound.streams import StreamPlan
from agent.sound.timeline import Blocks, Tracker, find_anchors
from tests.unit.soundlab import EPOCH, Sent, chirps, read_sound, shift_of, stream, write_log

DAY = 24 * 3600
STEP = 0.02  # seconds a packet
CLOCKS = np.where(np.arange(128) == 8, 8000, 0)
# a byte a packet stands for its 160 samples, so that a day takes 60 MB and not a gigabyte
TABLE = Table(clock=CLOCKS, size=np.ones(128, np.int64), ticks=np.full(128, 160))
PACKET = np.dtype(
    [("first", "u1"), ("type", "u1"), ("seq", ">u2"), ("time", ">u4"), ("ssrc", ">u4"), ("payload", "u1")]
)


def day(ppm: float, seed: int) -> tuple[Floats, Floats, NDArray[np.void]]:
    """When each packet was sent and when it came (seconds), and the packets in order of arrival."""
    random = np.random.default_rng(seed)
    number = np.arange(round(DAY / STEP))
    sent = (number * STEP * (1 + ppm * 1e-6)).astype(np.float64)
    late = random.exponential(0.004, len(number)) + 0.002 * np.sin(sent / 1000)
    for begin in range(600, DAY, 1800):  # a burst: the network stands still and then gives everything at once
        length = random.uniform(0.2, 3)
        inside = (sent > begin) & (sent < begin + length)
        late[inside] = begin + length - sent[inside]
    packets = np.zeros(len(number), PACKET)
    packets["first"], packets["type"] = 0x80, 8
    packets["seq"], packets["time"] = (number + 65000) & 0xFFFF, (number * 160 + 2**32 - 8000 * 3600) & 0xFFFFFFFF
    packets["ssrc"] = np.where(sent < DAY / 2, 77, 78)
    packets["time"][sent >= DAY / 2] += 12345  # the new source counts from somewhere else
    kept = np.flatnonzero(random.random(len(number)) > 0.005)
    arrived = sent + late
    order = kept[np.argsort(arrived[kept], kind="stable")]
    return sent[order], arrived[order], packets[order]


def batches(arrived: Floats, packets: NDArray[np.void], size: int = 50_000) -> list[Batch]:
    made = []
    for place in range(0, len(packets), size):
        some = packets[place : place + size]
        starts: Ints = np.arange(len(some)) * PACKET.itemsize
        buffer = np.frombuffer(some.tobytes(), np.uint8)
        made.append(
            Batch(
                arrival=np.round(EPOCH + arrived[place : place + size], 3),
                buffer=buffer,
                headers=parse_headers(buffer, starts, np.full(len(some), PACKET.itemsize)),
                refused=np.zeros(len(some), np.bool_),
            )
        )
    return made


@pytest.mark.parametrize("ppm", [200, -200])
def test_a_day_drifts_less_than_20_ms_in_every_minute(ppm: float) -> None:
    sent, arrived, packets = day(ppm, seed=1)
    read = batches(arrived, packets)
    tracker = Tracker(CLOCKS)
    found = [tracker.track(batch)[1] for batch in read]
    anchors = find_anchors(Blocks.joined(found))
    placer = Placer(TABLE, anchors, rate=8000, started=EPOCH)
    at = np.concatenate([run.at for batch in read for run in placer.place(batch)] + [run.at for run in placer.finish()])
    assert placer.dropped == 0
    wanted = np.sort(sent)
    assert len(at) == len(wanted)
    drift = at / 8000 - wanted
    worst = [
        np.abs(drift[first:last]).max() for first, last in pairwise(np.searchsorted(wanted, np.arange(0, DAY, 60)))
    ]
    assert max(worst) < 0.020
    assert np.abs(drift).max() < 0.020


@pytest.mark.parametrize("ppm", [200, -200])
def test_the_clock_is_corrected_where_nobody_speaks(tmp_path: Path, ppm: float) -> None:
    """Half a second of talk, half a second of pause: no word may be cut or stretched by the corrections."""
    words, quiet = chirps(600, seed=2), np.zeros(4000, np.int16)
    said = np.concatenate([part for number in range(300) for part in (words[number * 4000 :][:4000], quiet)])
    packets = [
        Sent(at=one.at * (1 + ppm * 1e-6), sequence=one.sequence, timestamp=one.timestamp, payload=one.payload)
        for one in stream(said)
    ]
    plan = StreamPlan(path=write_log(tmp_path / "0.rtpdump", packets), channel=0, codecs={})
    done = assemble([plan], started=EPOCH - 0.1, ended=EPOCH + 301, out=tmp_path / "x.flac")
    sound = read_sound(done.path)[:, 0]
    shifts = set()
    for number in range(300):
        word, place = words[number * 4000 :][:4000], 800 + round(number * 8000 * (1 + ppm * 1e-6))
        shift = shift_of(sound, word, place=place, most=400)
        heard = sound[place + shift :][:4000].astype(int)
        assert np.abs(heard - word).max() < 512, f"word {number} was cut"
        assert abs(shift) < 160
        shifts.add(shift // 40)
    assert len(shifts) > 1  # it was corrected at all


def test_the_quietest_moment() -> None:
    sound = chirps(6, seed=3)
    sound[24000:24800] = 0
    assert 24000 <= _quietest(sound, 8000) <= 24800 - 160
    assert _quietest(sound[:100], 8000) == 0
    assert _quietest(sound[:0], 8000) == 0
