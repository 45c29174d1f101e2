"""Packet logs through the whole way: encode, log, assemble, decode, and look where the sound lies."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from agent.sound.assemble import Assembled, assemble
from agent.sound.codecs import Codec
from agent.sound.streams import LOST, StreamPlan
from tests.unit.soundlab import (
    EPOCH,
    Sent,
    chirps,
    delayed,
    encode,
    read_sound,
    shift_of,
    stream,
    write_log,
)

MS = 8  # samples at 8000 Hz


def record(folder: Path, *streams: list[Sent], seconds: float, codecs: dict[int, Codec] | None = None) -> Assembled:
    """Assemble these streams, one a channel, into a recording that starts at EPOCH."""
    plans = [
        StreamPlan(path=write_log(folder / f"{number}.rtpdump", packets), channel=number, codecs=codecs or {})
        for number, packets in enumerate(streams)
    ]
    return assemble(plans, started=EPOCH, ended=EPOCH + seconds, out=folder / "call.flac")


def test_both_channels_lie_in_step_and_the_length_is_the_calls(tmp_path: Path) -> None:
    caller, callee = chirps(20, seed=1), chirps(18, seed=2)
    done = record(tmp_path, stream(caller), stream(callee, at=1.5, timestamp=2**32 - 40000), seconds=20.0123)

    sound = read_sound(done.path)
    assert sound.shape == (round(20.0123 * 8000), 2)
    assert abs(shift_of(sound[:, 0], caller, place=0)) <= MS
    assert abs(shift_of(sound[:, 1], callee, place=12000)) <= MS
    assert [(gap.channel, gap.start_ms, gap.end_ms) for gap in done.gaps] == [(1, 0, 1500), (1, 19500, 20012)]
    with av.open(str(done.path)) as file:
        assert file.streams.audio[0].duration == len(sound)
    assert done.path.stat().st_mode & 0o777 == 0o600


def test_a_hold_is_a_gap_and_does_not_shorten_the_call(tmp_path: Path) -> None:
    before, after = chirps(4, seed=3), chirps(5, seed=4)
    quiet = [
        *stream(before),
        *stream(after, at=10.0, sequence=300, timestamp=5000 + 10 * 8000),  # the timestamp went on
    ]
    stopped = [
        *stream(before),
        *stream(after, at=10.0, sequence=300, timestamp=5000 + 4 * 8000),  # the sender's clock stood still
    ]
    done = record(tmp_path, quiet, stopped, seconds=15)

    sound = read_sound(done.path)
    for channel in (0, 1):
        assert abs(shift_of(sound[:, channel], before, place=0)) <= MS
        assert abs(shift_of(sound[:, channel], after, place=80000)) <= MS
    assert [(gap.channel, gap.start_ms, gap.end_ms) for gap in done.gaps] == [(0, 4000, 10000), (1, 4000, 10000)]
    assert not sound[32000:80000].any()


def test_jitter_and_a_burst_delivered_late_do_not_move_the_sound(tmp_path: Path) -> None:
    sent = chirps(40, seed=5)
    random = np.random.default_rng(5)
    packets = stream(sent)
    jittered = delayed(packets, random.exponential(0.015, len(packets)))
    bursts = [
        replace(one, at=max(one.at, 2.0) if one.at < 2 else max(one.at, 13.0) if one.at > 11 else one.at)
        for one in packets
    ]
    done = record(tmp_path, jittered, bursts, seconds=40)

    sound = read_sound(done.path)
    for channel in (0, 1):
        for second in range(0, 40, 4):
            part = sent[second * 8000 : (second + 4) * 8000]
            assert abs(shift_of(sound[:, channel], part, place=second * 8000)) <= 5 * MS
    assert done.gaps == ()
    assert done.dropped == 0


@pytest.mark.parametrize("drift", [300e-6, -300e-6])
def test_a_slow_clock_stays_within_20_ms(tmp_path: Path, drift: float) -> None:
    sent = chirps(300, seed=6)
    packets = [replace(one, at=one.at * (1 + drift)) for one in stream(sent)]
    done = record(tmp_path, packets, seconds=301)

    sound = read_sound(done.path)
    for second in range(1, 300, 20):
        part = sent[second * 8000 : second * 8000 + 4000]
        assert abs(shift_of(sound[:, 0], part, place=round(second * 8000 * (1 + drift)))) <= 20 * MS


def test_reordered_late_and_repeated_packets_find_their_place(tmp_path: Path) -> None:
    sent = chirps(10, seed=7)
    packets = stream(sent, sequence=65400)
    delays = [0.0] * len(packets)
    delays[100], delays[300] = 0.021, 1.8
    repeated = [replace(packets[5], at=packets[200].at), packets[250]]
    arrived = delayed([*packets, *repeated], [*delays, 0.0, 0.0])
    done = record(tmp_path, arrived, seconds=10)

    heard = read_sound(done.path)[:, 0].astype(int)
    assert np.abs(heard - sent).max() < 512  # A-law keeps 4 bits of the mantissa
    assert [gap.channel for gap in done.gaps] == [1]
    assert done.dropped == 2


def test_lost_packets_are_silence_with_their_reason(tmp_path: Path) -> None:
    packets = stream(chirps(6, seed=8))
    done = record(tmp_path, packets[:100] + packets[150:], seconds=6)
    (gap, other) = done.gaps
    assert (gap.channel, gap.start_ms, gap.end_ms, gap.reason) == (0, 2000, 3000, LOST)
    assert (other.channel, other.start_ms, other.end_ms) == (1, 0, 6000)


def test_a_new_source_and_a_leap_of_the_timestamp_are_anchored_anew(tmp_path: Path) -> None:
    parts = [chirps(4, seed=seed) for seed in (9, 10, 11)]
    packets = stream(parts[0], timestamp=2**32 - 1000)
    packets += [replace(one, ssrc=77) for one in stream(parts[1], at=5, sequence=40000, timestamp=99)]
    packets += [replace(one, ssrc=77) for one in stream(parts[2], at=10, sequence=40200, timestamp=3_000_000_000)]
    done = record(tmp_path, packets, seconds=14)

    sound = read_sound(done.path)[:, 0]
    for number, part in enumerate(parts):
        assert abs(shift_of(sound, part, place=number * 40000)) <= MS


def test_a_change_of_the_codec_in_mid_stream(tmp_path: Path) -> None:
    narrow, wide = chirps(4, seed=12), chirps(4, rate=16000, seed=13)
    data = b"".join(encode(wide, "g722", rate=16000))
    packets = stream(narrow)
    packets += [
        Sent(
            at=4 + n * 0.02, sequence=300 + n, timestamp=37000 + n * 160, payload=data[n * 160 :][:160], payload_type=9
        )
        for n in range(200)
    ]
    packets += [Sent(at=4.01, sequence=500, timestamp=37000, payload=b"\x01\x8a\x00\xa0", payload_type=101)]
    packets.sort(key=lambda packet: packet.at)
    done = record(tmp_path, packets, seconds=8, codecs={101: Codec(name="telephone-event", clock_rate=8000)})

    assert done.rate == 16000
    assert done.flags == ()
    sound = read_sound(done.path)[:, 0]
    assert abs(shift_of(sound[::2], narrow, place=0)) <= MS
    assert abs(shift_of(sound, wide, place=64000)) <= 3 * MS  # the filter of G.722 takes 1.4 ms
    assert [gap.channel for gap in done.gaps] == [1]


def test_opus_sounds_at_48000_hz(tmp_path: Path) -> None:
    sent = chirps(3, rate=48000, seed=14)
    packets = [
        Sent(at=n * 0.02, sequence=n, timestamp=n * 960, payload=payload, payload_type=96)
        for n, payload in enumerate(encode(sent, "libopus", rate=48000))
    ]
    done = record(tmp_path, packets, seconds=3, codecs={96: Codec(name="opus", clock_rate=48000, channels=2)})
    assert done.rate == 48000
    assert abs(shift_of(read_sound(done.path)[:, 0], sent[4800:96000], place=4800)) <= 48 * 10


def test_two_streams_on_one_channel_follow_each_other(tmp_path: Path) -> None:
    first, second = chirps(3, seed=15), chirps(3, seed=16)
    plans = [
        StreamPlan(path=write_log(tmp_path / "0", stream(first)), channel=0, codecs={}),
        StreamPlan(path=write_log(tmp_path / "1", stream(second, at=3.5)), channel=0, codecs={}),
    ]
    done = assemble(plans, started=EPOCH, ended=EPOCH + 7, out=tmp_path / "call.flac")
    sound = read_sound(done.path)[:, 0]
    assert abs(shift_of(sound, first, place=0)) <= MS
    assert abs(shift_of(sound, second, place=28000)) <= MS
    assert [(gap.start_ms, gap.end_ms) for gap in done.gaps if gap.channel == 0] == [(3000, 3500), (6500, 7000)]


def test_unknown_codecs_garbage_and_missing_logs_are_flagged(tmp_path: Path) -> None:
    packets = stream(chirps(2, seed=17))
    packets += [replace(one, at=one.at + 2, payload_type=99) for one in packets]
    packets += [
        Sent(at=4, sequence=1, timestamp=1, payload=b"", payload_type=200),
    ]
    path = write_log(tmp_path / "0.rtpdump", packets)
    with path.open("ab") as file:
        file.write(b"\x00\x07garbage")
    plans = [
        StreamPlan(path=path, channel=0, codecs={99: Codec(name="EVS", clock_rate=16000)}),
        StreamPlan(path=tmp_path / "none.rtpdump", channel=1, codecs={}),
    ]
    done = assemble(plans, started=EPOCH, ended=EPOCH + 4, out=tmp_path / "call.flac")
    assert [gap.reason for gap in done.gaps if gap.channel == 0] == ["codec EVS/16000 is not known"]
    assert len(done.flags) == 3
    assert any("torn at byte" in flag for flag in done.flags)
    assert any("no packet log" in flag for flag in done.flags)


def test_nothing_at_all_is_a_silent_recording(tmp_path: Path) -> None:
    done = assemble([], started=EPOCH, ended=EPOCH + 1.2345, out=tmp_path / "call.flac")
    assert math.isclose(done.seconds, 1.2345, abs_tol=0.001)
    assert not read_sound(done.path).any()


def test_sound_outside_of_the_call_is_left_out(tmp_path: Path) -> None:
    sent = chirps(10, seed=18)
    path = write_log(tmp_path / "0.rtpdump", stream(sent))
    plan = StreamPlan(path=path, channel=0, codecs={})
    done = assemble([plan], started=EPOCH + 2, ended=EPOCH + 8, out=tmp_path / "call.flac")
    sound = read_sound(done.path)
    assert len(sound) == 48000
    assert abs(shift_of(sound[:, 0], sent[16000:64000], place=0)) <= MS
