"""Where the sound of a stream lies, whatever the network did to its packets."""

from __future__ import annotations

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agent.sound.batches import Batch
from agent.sound.placing import Placer, Run, Table
from agent.sound.rtp import parse_headers
from agent.sound.timeline import Blocks, Tracker, find_anchors
from tests.unit.soundlab import EPOCH, Sent, delayed

CLOCKS = np.where(np.arange(128) == 8, 8000, 0)
TABLE = Table(clock=CLOCKS, size=np.ones(128, np.int64), ticks=np.ones(128, np.int64))


def batches(packets: list[Sent], size: int) -> list[Batch]:
    made = []
    for place in range(0, len(packets), size):
        some = [packet.packet() for packet in packets[place : place + size]]
        lengths = np.array([len(one) for one in some], np.int64)
        buffer = np.frombuffer(b"".join(some), np.uint8)
        made.append(
            Batch(
                arrival=EPOCH + np.array([packet.at for packet in packets[place : place + size]]),
                buffer=buffer,
                headers=parse_headers(buffer, np.cumsum(lengths) - lengths, lengths),
                refused=np.zeros(len(some), np.bool_),
            )
        )
    return made


def place(packets: list[Sent], *, size: int = 100) -> tuple[list[Run], Placer]:
    tracker = Tracker(CLOCKS)
    found = [tracker.track(batch)[1] for batch in batches(packets, size)]
    anchors = find_anchors(Blocks.joined(found))
    placer = Placer(TABLE, anchors, rate=8000, started=EPOCH)
    runs = [run for batch in batches(packets, size) for run in placer.place(batch)]
    return [*runs, *placer.finish()], placer


def numbered(count: int, *, sequence: int, timestamp: int, spacing: int = 160) -> list[Sent]:
    """Packets whose payload says which they are."""
    return [
        Sent(
            at=number * spacing / 8000,
            sequence=sequence + number,
            timestamp=timestamp + number * spacing,
            payload=number.to_bytes(4, "big") * (spacing // 4),
        )
        for number in range(count)
    ]


def numbers(runs: list[Run]) -> list[int]:
    return [int.from_bytes(payload[:4], "big") for run in runs for payload in run.payloads()]


@given(
    sequence=st.integers(0, 2**16 - 1),
    timestamp=st.integers(0, 2**32 - 1),
    size=st.integers(20, 400),
    seed=st.integers(0, 2**32 - 1),
    lost=st.floats(0, 0.2),
)
@example(sequence=0, timestamp=0, size=205, seed=16712, lost=0.10546875)  # a packet of 1.5 s ago among late ones
@settings(max_examples=60, deadline=None)
def test_wraps_reorders_repeats_and_losses_change_no_place(
    sequence: int, timestamp: int, size: int, seed: int, lost: float
) -> None:
    random = np.random.default_rng(seed)
    packets = numbered(400, sequence=sequence, timestamp=timestamp)
    kept = [packet for packet in packets if random.random() >= lost]
    repeated = [packet for packet in kept if random.random() < 0.05]
    delays = np.where(random.random(len(kept)) < 0.5, 0, random.exponential(0.02, len(kept)))
    delays = np.where(random.random(len(kept)) < 0.02, 1.5, delays)
    runs, placer = place(delayed([*kept, *repeated], [*delays, *random.uniform(0, 1, len(repeated))]), size=size)

    assert numbers(runs) == [int.from_bytes(packet.payload[:4], "big") for packet in kept]
    assert placer.dropped == len(repeated)
    at = np.concatenate([run.at for run in runs])
    wanted = np.array(numbers(runs)) * 160
    # anchored by the earliest arrival: not before it was said, and late by no more than the jitter everywhere
    assert (at - wanted >= -1).all()
    assert (at - wanted <= 8 * 60).all()
    assert (np.diff(at) > 0).all()


@given(sequence=st.integers(0, 2**16 - 1), timestamp=st.integers(0, 2**32 - 1), size=st.integers(10, 300))
@settings(max_examples=30, deadline=None)
def test_an_undisturbed_stream_is_one_seamless_run_a_batch(sequence: int, timestamp: int, size: int) -> None:
    runs, _ = place(numbered(700, sequence=sequence, timestamp=timestamp), size=size)
    assert numbers(runs) == list(range(700))
    assert np.abs(np.concatenate([run.at for run in runs]) - np.arange(700) * 160).max() <= 1
    assert len(runs) <= 700 // size + 2
    assert all(run.joined() == b"".join(run.payloads()) for run in runs)


def test_two_sources_at_once_are_followed_each_by_itself() -> None:
    one = numbered(300, sequence=65500, timestamp=0)
    other = [
        Sent(at=p.at + 0.013, sequence=p.sequence + 9000, timestamp=p.timestamp + 77, payload=p.payload, ssrc=9)
        for p in one
    ]
    runs, placer = place(sorted([*one, *other], key=lambda packet: packet.at))
    assert placer.dropped == 0
    for ssrc, delay in ((0x1234, 0), (9, 104)):
        mine = [run for run in runs if run.ssrc == ssrc]
        assert numbers(mine) == list(range(300))
        assert np.abs(np.concatenate([run.at for run in mine]) - np.arange(300) * 160 - delay).max() <= 1


def test_a_flood_of_sources_stays_bounded() -> None:
    packets = [Sent(at=n * 0.001, sequence=n * 77, timestamp=n, payload=b"1234", ssrc=n) for n in range(5000)]
    runs, _ = place(packets, size=2500)
    assert len(runs) == 5000


def test_a_delay_that_passes_is_seen_through_and_one_that_stays_is_followed() -> None:
    offsets = np.zeros(2000)
    offsets[500:540] = 0.8  # 13 s of congestion
    offsets[1000:] = 30.0  # the sender's clock stood still for 30 s
    offsets[1500:] += 0.001 * np.arange(500) / 10
    anchors = find_anchors(Blocks(np.zeros(2000, np.int64), offsets, np.full(2000, 16), np.zeros(2000), np.zeros(2000)))
    assert not anchors[:1000].any()
    assert (anchors[1000:1500] == 30.0).all()
    assert np.abs(anchors - offsets)[1000:].max() <= 0.0151
